"""Eight processes at one name at once: as many passwords are tried as the limit says, also while Redis goes away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parents[3]
PROCESSES, TRIES, LIMIT = 8, 5, 5

#: argv: the database's settings, Redis' address. Prints how many passwords were tried, by what happened to Redis.
ATTACK = """
    import json, os, sys
    import django
    from django.conf import settings
    redis = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": sys.argv[2]}
    settings.configure(
        SECRET_KEY="x" * 50,
        DATABASES={"default": json.loads(sys.argv[1])},
        CACHES={"default": redis},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "paiid_perf"],
        AUTHENTICATION_BACKENDS=[
            "paiid_perf.security.backends.LimitedLoginBackend",
            "django.contrib.auth.backends.ModelBackend",
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        PAIID_PERF={"LOGIN_LIMIT": "5/5m"},
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    django.setup()
    from django.contrib.auth import authenticate
    from django.contrib.auth.hashers import MD5PasswordHasher
    from django.test import RequestFactory
    from django.test.utils import override_settings
    from paiid_perf.security import background
    from paiid_perf.stores import redis_gate

    background._start = lambda: None
    hashed, encode = [], MD5PasswordHasher.encode
    MD5PasswordHasher.encode = lambda *given: (hashed.append(1), encode(*given))[1]

    def one(address, name):
        request = RequestFactory().post("/", REMOTE_ADDR=address)
        assert authenticate(request, username=name, password="x") is None

    def go_away(what, first):
        if what == "flushed" and first:
            redis_gate.patient().flushdb()
        if what == "killed":
            override_settings(CACHES={"default": redis | {"LOCATION": "redis://127.0.0.1:1/0"}}).enable()
            redis_gate.forget()

    def attack(what, address):
        (start, go), (told, tell) = os.pipe(), os.pipe()
        for number in range(PROCESSES):
            if os.fork() == 0:
                os.close(go)
                os.read(start, 1)
                for turn in range(TRIES):
                    if turn == 1:
                        go_away(what, number == 0)
                    one(address, what)
                os.write(tell, b"%d\\n" % len(hashed))
                os._exit(0)
        os.close(go)
        assert [os.wait()[1] for _ in range(PROCESSES)] == [0] * PROCESSES
        return sum(map(int, os.read(told, 1_000).split()))

    print(json.dumps({what: attack(what, f"203.0.113.{n}") for n, what in enumerate(("alive", "flushed", "killed"))}))
"""


@pytest.mark.django_db(transaction=True)
def test_eight_processes_try_no_more_passwords_than_one(redis_cache, valkey_url):
    program = textwrap.dedent(ATTACK).replace("PROCESSES", str(PROCESSES)).replace("TRIES", str(TRIES))
    keys = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")
    database = json.dumps({key: connection.settings_dict[key] for key in keys})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, database, valkey_url],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tried = json.loads(done.stdout)
    assert tried.pop("alive") == LIMIT
    # What is under way when the counters go is in neither place yet: at most one attempt of each process.
    assert {what: LIMIT <= count <= LIMIT + PROCESSES for what, count in tried.items()} == {
        "flushed": True,
        "killed": True,
    }, tried
