"""What a login costs: locked, failed and successful, and what Django's own takes beside it.

    python -m tests.benchmarks.logins [--json] [--times 400]

``us`` is the median by the clock, round trips to Valkey and PostgreSQL included, ``cpu_us`` the processor time of this
thread. The password hash is counted and not timed (MD5 in its place): ``hashes`` and ``queries`` are of one attempt.
``round_trip_us`` is one PING over the same connection. ``locked_asked`` is an attempt that the process has not refused
within the last second, so that it asks Valkey. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from datetime import timedelta
from time import perf_counter, thread_time
from typing import Any
from unittest.mock import patch

import environ

GOOD, BAD = "correct horse battery staple", "wrong"
OURS = ["paiid_perf.security.backends.LimitedLoginBackend", "django.contrib.auth.backends.ModelBackend"]


def configure(database: str, redis: str) -> None:
    """Django with the limits on, on servers of its own."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="benchmark",
        USE_TZ=True,
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "paiid_perf"],
        DATABASES={"default": environ.Env.db_url_config(database)},
        CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis}},
        AUTHENTICATION_BACKENDS=OURS,
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        LOGGING_CONFIG=None,
        # Without its thread, whose rounds would be in the figures.
        PAIID_PERF={"FLUSH_INTERVAL": timedelta(0), "LOGIN_LIMIT": "5/1d"},
    )
    django.setup()


urlpatterns: list[Any] = []


def attempt(name: str, password: str, address: str) -> bool:
    """Whether an attempt gets in."""
    from django.contrib.auth import authenticate
    from django.test import RequestFactory

    request = RequestFactory().post("/login/", REMOTE_ADDR=address)
    started = perf_counter(), thread_time()
    user = authenticate(request, username=name, password=password)
    _took.append((perf_counter() - started[0], thread_time() - started[1]))
    return user is not None


_took: list[tuple[float, float]] = []


def timed(work: Callable[[], object], times: int) -> dict[str, Any]:
    """Microseconds of one of ``times``, and what one asks of the hasher and the database."""
    from django.contrib.auth.hashers import MD5PasswordHasher
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    encode = patch.object(MD5PasswordHasher, "encode", autospec=True, side_effect=MD5PasswordHasher.encode)
    with encode as hashed, CaptureQueriesContext(connection) as queries:
        work()
    _took.clear()
    for _ in range(times):
        work()
    return {
        "us": round(statistics.median(wall for wall, _ in _took) * 1e6, 1),
        "p99_us": round(sorted(wall for wall, _ in _took)[len(_took) * 99 // 100] * 1e6, 1),
        "cpu_us": round(statistics.median(cpu for _, cpu in _took) * 1e6, 1),
        "hashes": hashed.call_count,
        "queries": len(queries),
    }


def round_trip(times: int) -> float:
    """Microseconds of a PING over the connection that counts."""
    from paiid_perf import wire
    from paiid_perf.stores import redis_gate

    ping, took = wire.command("PING"), []
    for _ in range(times):
        started = perf_counter()
        redis_gate.over(lambda pool: wire.ask(pool, ping), None)
        took.append(perf_counter() - started)
    return round(statistics.median(took) * 1e6, 1)


def measure(times: int) -> dict[str, Any]:
    """Every kind of attempt."""
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from paiid_perf.security import refusals

    call_command("migrate", verbosity=0)
    get_user_model().objects.filter(username="alice").delete()
    get_user_model().objects.create_user("alice", password=GOOD)
    for _ in range(5):
        attempt("alice", BAD, "203.0.113.7")
    numbers = iter(range(10**9))
    result: dict[str, Any] = {
        "locked": timed(lambda: attempt("alice", GOOD, "203.0.113.7"), times),
        "locked_asked": timed(lambda: (refusals.forget(), attempt("alice", GOOD, "203.0.113.7")), times),
        "locked_name": timed(lambda: attempt("nobody", GOOD, "203.0.113.7"), times),
        "round_trip_us": round_trip(times),
        "success": timed(lambda: attempt("alice", GOOD, "203.0.113.8"), times),
        "failure": timed(
            lambda: attempt(f"n{next(numbers)}", BAD, f"2001:db8:0:{next(numbers) % 65_000:x}::1"), times
        ),
    }
    settings.AUTHENTICATION_BACKENDS = OURS[1:]
    result["django_success"] = timed(lambda: attempt("alice", GOOD, "203.0.113.8"), times)
    return result


def main(arguments: list[str]) -> int:
    from project.embedded import start_servers

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--times", type=int, default=400)
    options = parser.parse_args(arguments)
    with start_servers("logins", fresh=True, durable=False) as servers:
        configure(servers.database_url, servers.redis_url)
        result = measure(options.times)
    print(json.dumps(result, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
