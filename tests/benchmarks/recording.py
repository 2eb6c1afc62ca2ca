"""What recording costs, beside peers in the same run: a request, memory, a flush, a day's roll-up.

    python -m tests.benchmarks.recording [--json] [--rounds 60] [--requests 200] [--series 500]

Cases take turns around one view of 4.6 KB JSON in one process. ``us`` is processor time of the thread that serves;
ours folds there, at the end of each round, what it would have left to its flusher (what a peer's threads do is not
counted against it). ``added`` is against the bare handler of the same round, the median over the rounds;
``of_prometheus`` is the share of what django-prometheus adds. Peers that are not installed are left out. Nothing is
asserted on time.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import tracemalloc
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter, process_time, thread_time
from typing import Any

import environ

from tests.benchmarks.handlers import EMPTY, ENVIRON
from tests.benchmarks.request_path import (
    OFF,
    PERF,
    PROMETHEUS,
    PROMETHEUS_END,
    installed,
    view,
)

APPS = ("django_prometheus", "django_observatory")
urlpatterns: list[Any] = []


def configure(database: str, redis: str) -> None:
    """Django as the cases share it."""
    import django
    from django.conf import settings
    from django.urls import path

    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "paiid_perf",
            *filter(installed, APPS),
        ],
        DATABASES={"default": environ.Env.db_url_config(database)},
        CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis}},
        LOGGING_CONFIG=None,
        PAIID_PERF=OFF | {"RECORD": True},
    )
    django.setup()
    urlpatterns.append(path("plain/<int:n>/", lambda request, n: view(request)))


# --- a request -------------------------------------------------------------------------------------------


@dataclass
class Case:
    """One stack; ``settle`` does what it had put off for later."""

    name: str
    middleware: list[str] = field(default_factory=list)
    settle: Callable[[], Any] = lambda: None
    rounds: list[float] = field(default_factory=list)
    handler: Any = None


def cases() -> list[Case]:
    """Bare Django, ours with everything off but recording, and the peers that are there."""
    from paiid_perf.telemetry import recorder

    found = [Case("bare"), Case("paiid_perf", [PERF], recorder.fold)]
    if installed("django_prometheus"):
        found.append(Case("django-prometheus", [*PROMETHEUS, *PROMETHEUS_END]))
    if installed("django_observatory"):
        found.append(Case("django-observatory", ["django_observatory.middleware.ObservabilityMiddleware"]))
    return found


def request_costs(rounds: int, requests: int) -> dict[str, Any]:
    """Case → µs of a request, what the case adds, and how that compares."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.test.utils import override_settings

    run = cases()
    for case in run:
        with override_settings(MIDDLEWARE=case.middleware):
            case.handler = WSGIHandler()
    for number in range(rounds + 1):
        for case in run[number % len(run) :] + run[: number % len(run)]:
            spent = one_round(case, requests)
            if number:  # the first one warms up
                case.rounds.append(spent)
    bare = run[0].rounds
    added = {
        case.name: statistics.median(a - b for a, b in zip(case.rounds, bare, strict=True))
        for case in run[1:]
    }
    peer = added.get("django-prometheus")
    found: dict[str, Any] = {"bare": {"us": round(statistics.median(bare), 1)}}
    for case in run[1:]:
        found[case.name] = {
            "us": round(statistics.median(case.rounds), 1),
            "added_us": round(added[case.name], 1),
            "added_where_bare_takes_100": round(added[case.name] / statistics.median(bare) * 100, 1),
            "of_prometheus": round(added[case.name] / peer, 2) if peer else None,
        }
    return found


def one_round(case: Case, requests: int) -> float:
    """Mean µs of processor time of a request, with what it leaves to be done."""
    gc.collect()
    gc.disable()
    started = thread_time()
    for number in range(requests):
        call(case.handler, number)
    case.settle()
    spent = thread_time() - started
    gc.enable()
    return spent / requests * 1e6


def call(handler: Any, number: int) -> None:
    """One request."""
    environ = dict(ENVIRON, PATH_INFO=f"/plain/{number}/")
    environ["wsgi.input"] = EMPTY
    statuses: list[str] = []
    response = handler(environ, lambda status, headers: statuses.append(status))
    b"".join(response)
    response.close()
    if statuses[0][:3] != "200":
        raise RuntimeError(statuses[0])


# --- memory, flush, roll-up --------------------------------------------------------------------------------


def filled(routes: int, seed: int = 1) -> Any:
    """A recorder of its own that saw each route 20 times in one minute, at latencies of a log-normal; not flushed."""
    from paiid_perf.telemetry.recording import Recorder
    from paiid_perf.telemetry.sinks import Courier

    rng = random.Random(seed)
    recorder = Recorder(Courier().deliver, lambda: 1_800_000_000.0)
    recorder._thread = object()  # type: ignore[assignment]
    for _ in range(20):
        for route in range(routes):
            recorder.request(f"GET api/r{route}/<int:pk>/", 200, rng.lognormvariate(3, 0.8), 3, 2.0, 4_600)
    recorder.fold()
    return recorder


def memory(routes: int) -> dict[str, Any]:
    """Bytes that a process holds for a minute in which each route was asked for, and how many series that is."""
    tracemalloc.start()
    recorder = filled(routes)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {"routes": routes, "mb": round(held / 1e6, 1), "series": len(recorder._cells)}


def flush(routes: int, times: int = 5) -> dict[str, Any]:
    """Time of one hand-over to Valkey, and its round trips."""
    spent, worked = [], []
    for number in range(times):
        recorder = filled(routes, number)
        started, work = perf_counter(), process_time()
        with counted() as trips:
            recorder.flush()
        spent.append(perf_counter() - started)
        worked.append(process_time() - work)
    return {
        "routes": routes,
        "ms": round(statistics.median(spent) * 1000, 1),
        "cpu_ms": round(statistics.median(worked) * 1000, 1),
        "round_trips": trips[0],
    }


@contextmanager
def counted() -> Any:
    """Counts what is sent to Valkey."""
    from redis.connection import AbstractConnection

    trips, plain = [0], AbstractConnection.send_packed_command

    def send(self: Any, *args: Any, **kwargs: Any) -> Any:
        trips[0] += 1
        return plain(self, *args, **kwargs)

    AbstractConnection.send_packed_command = send
    try:
        yield trips
    finally:
        AbstractConnection.send_packed_command = plain


def roll_up(series: int) -> dict[str, Any]:
    """Time to roll a whole day of minutes of so many histograms up, and of a roll-up that finds nothing new."""
    from paiid_perf.models import Metric
    from paiid_perf.monitoring import actions
    from paiid_perf.monitoring.actions import rollups
    from paiid_perf.telemetry.histogram import bucket_of

    rng = random.Random(2)
    end = datetime(2026, 1, 2, tzinfo=UTC)
    shapes = [
        {str(bucket_of(rng.lognormvariate(3, 0.8))): rng.randint(1, 9) for _ in range(12)} for _ in range(200)
    ]
    for minute in range(1_440):
        at = end - timedelta(minutes=1_440 - minute)
        Metric.objects.bulk_create(
            Metric(
                name="api.latency_ms",
                subject=f"GET api/r{n}/ 2xx",
                resolution=60,
                at=at,
                count=sum(shape.values()),
                total=1.0,
                buckets=shape,
            )
            for n in range(series)
            for shape in (rng.choice(shapes),)
        )
    rollups.add_up(60, 1_440)  # as each stored batch would have
    found: dict[str, Any] = {"series": series, "minute_rows": 1_440 * series}
    for name in ("whole_day_s", "nothing_new_s"):
        started, work = perf_counter(), process_time()
        written = actions.roll_up(end)
        found[name] = round(perf_counter() - started, 2)
        found[f"{name[:-2]}_cpu_s"] = round(process_time() - work, 2)
        found.setdefault("rows_written", written)
    return found


def main() -> None:
    """Run, and print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--routes", type=int, default=10_000)
    parser.add_argument("--series", type=int, default=500)
    options = parser.parse_args()
    from project.embedded import start_servers

    with start_servers("recording", fresh=True, durable=False) as servers:
        configure(servers.database_url, servers.redis_url)
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", verbosity=0, skip_checks=True)
        found = {
            "request": request_costs(options.rounds, options.requests),
            "memory": [memory(100), memory(options.routes)],
            "flush": [flush(100), flush(500)],
            "roll_up": roll_up(options.series),
        }
        connections.close_all()
    print(json.dumps(found) if options.json else json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
