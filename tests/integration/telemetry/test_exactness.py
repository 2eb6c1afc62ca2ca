"""Many processes and threads: the table says what the clients saw, to the unit; what is lost is said to be lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from paiid_perf import telemetry
from paiid_perf.models import Metric, MetricTotal
from paiid_perf.monitoring import actions
from paiid_perf.telemetry.histogram import percentile
from paiid_perf.telemetry.recording import Recorder
from paiid_perf.telemetry.sinks import LOST, Courier

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[3]
PROCESSES, THREADS, REQUESTS = 8, 8, 250

CLIENTS = """
    import json, os, random, signal, sys, threading
    import django
    from django.conf import settings
    settings.configure(CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": sys.argv[1]}})
    django.setup()
    from paiid_perf.telemetry import recorder
    processes, threads, requests = map(int, sys.argv[2:5])
    recorder.request("GET parent/", 200, 1.0)

    def client(number, seen):
        rng = random.Random(number)
        for n in range(requests):
            ms = rng.lognormvariate(3, 1)
            recorder.request(f"GET {n % 3}/", 200, ms)
            seen.append(ms)
            if n % 97 == 0:
                recorder.flush()

    for process in range(processes):
        if os.fork() == 0:
            seen = [[] for _ in range(threads)]
            started = [threading.Thread(target=client, args=(process * 100 + n, own)) for n, own in enumerate(seen)]
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            [thread.start() for thread in started]
            [thread.join() for thread in started]
            with open(f"{sys.argv[5]}/{os.getpid()}", "w") as told:
                json.dump(sum(seen, []), told)
            waits = process % 2
            # One short write: lines of several processes stay whole.
            os.write(1, f"{os.getpid()} {waits}\\n".encode())
            signal.pause() if waits else sys.exit(0)
    for _ in range(processes):
        os.wait()
"""


def test_the_roll_up_is_what_the_clients_saw(redis_cache: Any, valkey_url: str, tmp_path: Path) -> None:
    """Half of the processes end by themselves, half by SIGTERM, with what they saw not handed over."""
    numbers = map(str, (PROCESSES, THREADS, REQUESTS))
    program = textwrap.dedent(CLIENTS)
    command = [sys.executable, "-W", "ignore", "-c", program, valkey_url, *numbers, str(tmp_path)]
    with ended(subprocess.Popen(command, cwd=ROOT, env=in_tree(), stdout=subprocess.PIPE)) as parent:
        assert parent.stdout is not None
        told = [parent.stdout.readline().split() for _ in range(PROCESSES)]
        for pid, waits in told:
            if int(waits):
                os.kill(int(pid), signal.SIGTERM)
        assert parent.wait(60) == 0
    seen = sorted(ms for pid, _ in told for ms in json.loads((tmp_path / pid.decode()).read_text()))
    telemetry.collect()
    newest = Metric.objects.order_by("-at")[0].at
    actions.roll_up(newest)

    assert len(seen) == PROCESSES * THREADS * REQUESTS
    for model, resolution in ((Metric, 60), (Metric, 3600), (MetricTotal, 60), (MetricTotal, 86400)):
        rows = list(model.objects.filter(name="api.latency_ms", resolution=resolution))
        assert sum(row.count for row in rows) == len(seen) + 1
        assert sum(row.total for row in rows) == pytest.approx(sum(seen) + 1)
        buckets = telemetry.histogram.merge({int(b): n for b, n in row.buckets.items()} for row in rows)
        for q in (0.5, 0.95, 0.99):
            assert percentile(buckets, q) == pytest.approx(seen[int(q * len(seen)) - 1], rel=0.02)


SITE = """
    import django, sys
    from datetime import timedelta
    from django.conf import settings
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "paiid_perf"],
        ROOT_URLCONF="site_of_test", ALLOWED_HOSTS=["*"], SECRET_KEY="x", LOGGING_CONFIG=None,
        CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "VALKEY"}},
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        MIDDLEWARE=["paiid_perf.middleware.PerfMiddleware"],
        PAIID_PERF={"FLUSH_INTERVAL": timedelta(hours=1), "INSPECTION": "off"},
    )
    django.setup()
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.urls import path
    urlpatterns = [path("items/<int:n>/", lambda request, n: HttpResponse("ok"))]
    application = WSGIHandler()
"""


def test_gunicorn_workers_that_are_ended_lose_nothing(
    redis_cache: Any, valkey_url: str, tmp_path: Path
) -> None:
    """A worker gets SIGTERM between requests, and all of them at the end; nothing was handed over before."""
    (tmp_path / "site_of_test.py").write_text(textwrap.dedent(SITE).replace("VALKEY", valkey_url))
    place = tmp_path / "s"
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "gunicorn",
        "site_of_test",
        "--preload",
        "-w",
        "2",
        "-b",
        f"unix:{place}",
    ]
    command += ["--chdir", str(tmp_path), "--log-file", str(tmp_path / "log")]
    with ended(subprocess.Popen(command, cwd=tmp_path, env=in_tree())) as master:
        ask(place)  # waits until somebody answers
        for n in range(1, 120):
            if n == 60:
                psutil.Process(master.pid).children()[0].terminate()
            ask(place)
        workers = psutil.Process(master.pid).children()
        master.terminate()
        # What the master itself has to tidy up is not ours to wait for.
        _, left = psutil.wait_procs(workers, 60)
    assert not left, (tmp_path / "log").read_text()
    collect()

    assert {m.subject for m in Metric.objects.filter(name="api.latency_ms")} == {"GET items/<int:n>/ 2xx"}
    assert sum(m.count for m in Metric.objects.filter(name="api.latency_ms")) == 120


def ask(socket_path: Path) -> None:
    """One GET that is answered by 200; until the socket is there, waits for it (a minute at most)."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(socket_path))
                client.sendall(b"GET /items/1/ HTTP/1.0\r\nHost: x\r\n\r\n")
                assert client.makefile("rb").readline().split()[1] == b"200"
                return
        except (FileNotFoundError, ConnectionRefusedError):
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)


def test_what_valkey_forgot_is_said_to_be_lost(tmp_path: Path, settings: Any) -> None:
    """Handed over, not collected, and then Valkey is killed: that is the window, and the counter says how much."""
    from project.embedded import start_valkey

    valkey = start_valkey(tmp_path)
    try:
        settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": valkey.url}}
        recorder = Recorder(Courier().deliver)
        recorder._thread = object()  # type: ignore[assignment]

        def see(count: int) -> bool:
            for _ in range(count):
                recorder.request("GET a/", 200, 5.0)
            return recorder.flush()

        assert see(100)
        collect()
        assert see(30)
        valkey.kill()
        see(7)  # waits in the process
        valkey.start()
        assert see(20)
        collect()
    finally:
        valkey.stop()

    counts = {m.subject: m.count for m in Metric.objects.filter(name="api.latency_ms")}
    assert counts == {"GET a/ 2xx": 127}
    dropped = Metric.objects.get(name="telemetry.dropped")
    # A request is four observations: its latency, queries, database time and bytes.
    assert (dropped.subject, dropped.count) == (LOST, 4 * 30)


def test_a_restart_that_lost_nothing_is_not_called_a_loss(redis_cache: Any) -> None:
    courier = Courier()
    recorder = Recorder(courier.deliver)
    recorder._thread = object()  # type: ignore[assignment]
    for _ in range(2):
        recorder.request("GET a/", 200, 5.0)
        recorder.flush()
        collect()
    recorder.request("GET a/", 200, 5.0)
    recorder.flush()
    collect()
    redis_cache.flushdb()
    courier._undrained.clear()  # as the next receipt would have told
    recorder.request("GET a/", 200, 5.0)
    recorder.flush()
    collect()

    assert sum(m.count for m in Metric.objects.filter(name="api.latency_ms")) == 4
    assert not Metric.objects.filter(name="telemetry.dropped").exists()


def collect() -> None:
    for batch_id, rows in telemetry.drain():
        telemetry.store(batch_id, rows)
        telemetry.acknowledge(batch_id)


def in_tree() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process for a block; it and its children are gone at the end, whatever happened."""
    with process:
        try:
            yield process
        finally:
            for one in [*psutil.Process(process.pid).children(), process] if process.poll() is None else []:
                one.kill()
