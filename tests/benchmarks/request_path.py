"""The request path beside its peers: one process, one Valkey, one run, cases taken in turns.

    python -m tests.benchmarks.request_path [--json] [--rounds 60] [--requests 40] [--seconds 2]

Each case is a Django handler (WSGI, or ASGI with an async view; called directly) around one view of 4.6 KB JSON; µs
are medians over the rounds of a round's mean. ``added_us`` and ``ratio`` are against the bare handler of its kind in
the same rounds. ``best_added_us`` compares the best rounds and ``cpu_added_us`` the processor time of this process
(without the wait for Valkey): both drift less than the median on a machine that does other work.
``p99_us`` is over the single requests of all rounds.
``one_ping`` is the bare view after one PING on an open socket (not counted as a trip): nothing that asks a store costs
less here.
``round_trips`` counts what is sent to Valkey per request. ``misses_at_once`` and ``http`` are ``served.py``'s.
Nothing is asserted on time.
"""

from __future__ import annotations

import argparse
import gc
import json
import socket
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from importlib.util import find_spec
from itertools import count, pairwise
from pathlib import Path
from time import perf_counter, sleep, thread_time
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.handlers import AsyncCaller, Caller, Case, counted_trips

PERF = "paiid_perf.middleware.PerfMiddleware"
ROWS = [{"symbol": f"SYM{n:03}", "price": f"{90 + n * 1.37:.4f}", "volume": n * 1200} for n in range(80)]
#: A rate that is counted and never refuses.
RATE = "1000000/h"


def installed(module: str) -> bool:
    """Whether a peer is there."""
    return find_spec(module) is not None


def configure(url: str, directory: Path) -> None:
    """Django as the cases share it."""
    import django
    from django.conf import settings

    peers = [name for name in ("django_prometheus", "silk", "django_observatory") if installed(name)]
    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "paiid_perf",
            *peers,
        ],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(directory / "db.sqlite3")}
        },
        CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}},
        CACHE_MIDDLEWARE_SECONDS=600,
        LOGGING_CONFIG=None,
        SILENCED_SYSTEM_CHECKS=["django_ratelimit.E003", "django_ratelimit.W001"],
    )
    django.setup()


# --- the view -------------------------------------------------------------------------------------------


def view(request: Any) -> Any:
    """4.6 KB of JSON, computed anew."""
    from django.http import JsonResponse

    return JsonResponse({"rows": ROWS})


#: One entry for each call of ``slow_view``.
SLOW_CALLS: list[float] = []


def slow_view(request: Any, n: int) -> Any:
    """The same after 50 ms."""
    SLOW_CALLS.append(perf_counter())
    sleep(0.05)
    return view(request)


async def async_view(request: Any) -> Any:
    """The same for ASGI."""
    return view(request)


def limited_view(request: Any) -> Any:
    """The same under django-ratelimit's decorator."""
    return LIMITED[0](request)


def sliding_view(request: Any) -> Any:
    """The same under a sliding window of the ``limits`` package."""
    if not SLIDING(request.META["REMOTE_ADDR"]):
        raise PermissionError
    return view(request)


async def async_numbered(request: Any, n: int) -> Any:
    """One of many."""
    return view(request)


LIMITED: list[Callable[[Any], Any]] = []
SLIDING: Callable[[str], bool] = lambda address: True  # noqa: E731


def routes() -> list[Any]:
    """The views' places."""
    from django.urls import path

    return [
        path("plain/", view),
        path("limited/", limited_view),
        path("sliding/", sliding_view),
        path("limit/", view),
        path("cached/<int:n>/", lambda request, n: view(request)),
        path("both/<int:n>/", lambda request, n: limited_view(request)),
        path("slow/<int:n>/", slow_view),
        path("async/plain/", async_view),
        path("async/limit/", async_view),
        path("async/cached/<int:n>/", async_numbered),
    ]


urlpatterns: list[Any] = []


def one_ping(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A middleware that asks Valkey for nothing and waits: what any answer of a shared store costs on this machine."""
    line = socket.create_connection(VALKEY[0])
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answered(request: Any) -> Any:
        line.sendall(b"PING\r\n")
        line.recv(64)
        return get_response(request)

    return answered


#: Where it listens.
VALKEY: list[tuple[str, int]] = []


# --- the cases ------------------------------------------------------------------------------------------


#: Peers by module; the report names those that are not there.
PEERS = ("django_ratelimit", "limits", "django_prometheus", "silk", "django_observatory")
_fresh = count()
OFF = {
    "RECORD": False,
    "RESPONSE_CACHE": False,
    "RATE_LIMITS": False,
    "COMPRESS_MIN_BYTES": 0,
    "INSPECTION": "off",
    "PERFORMANCE_HEADERS": "off",
}
DJANGO_CACHE = [
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
]
PROMETHEUS = ["django_prometheus.middleware.PrometheusBeforeMiddleware"]
PROMETHEUS_END = ["django_prometheus.middleware.PrometheusAfterMiddleware"]


def fresh(stem: str) -> Callable[[], str]:
    """Paths that nobody asked for before."""
    return lambda: f"/{stem}/{next(_fresh)}/"


def fixed(path: str) -> Callable[[], str]:
    """One path."""
    return lambda: path


def cases() -> list[Case]:
    """Ours, and the peers that are installed."""
    ours = [PERF]
    quiet = {"INSPECTION": "off"}
    found = [
        Case("bare", fixed("/plain/")),
        Case("one_ping", fixed("/plain/"), [f"{__name__}.one_ping"]),
        Case("ours_off", fixed("/plain/"), ours, OFF, "≤ +5"),
        Case("ours_record", fixed("/plain/"), ours, OFF | {"RECORD": True}, "≤ +20"),
        Case("ours_limit", fixed("/limit/"), ours, OFF | {"RATE_LIMITS": True}, "≤ +60"),
        Case("ours_hit", fixed("/cached/0/"), ours, quiet, "≤ +90"),
        Case("ours_hit_unshelved", fixed("/cached/0/"), ours, quiet, shelved=False),
        Case("ours_miss", fresh("cached"), ours, quiet, "≤ +330"),
        Case("ours_miss_inspected", fresh("cached"), ours, {}),
        Case("django_cache_hit", fixed("/cached/0/"), DJANGO_CACHE),
        Case("django_cache_miss", fresh("cached"), DJANGO_CACHE),
        Case("django_ratelimit", fixed("/limited/")),
    ]
    if installed("limits"):
        found.append(Case("limits_sliding", fixed("/sliding/")))
    if installed("django_prometheus"):
        composed = [*PROMETHEUS, *DJANGO_CACHE, *PROMETHEUS_END]
        found += [
            Case("django_prometheus", fixed("/plain/"), [*PROMETHEUS, *PROMETHEUS_END]),
            Case("composed_hit", fixed("/both/0/"), composed),
            Case("composed_miss", fresh("both"), composed),
        ]
    if installed("silk"):
        found.append(Case("silk", fixed("/plain/"), ["silk.middleware.SilkyMiddleware"], every=10))
    if installed("django_observatory"):
        observed = ["django_observatory.middleware.ObservabilityMiddleware"]
        found.append(Case("django_observatory", fixed("/plain/"), observed, every=10))
    return found + async_cases(ours, quiet)


def async_cases(ours: list[str], quiet: dict[str, Any]) -> list[Case]:
    """The same under ASGI."""
    return [
        Case("asgi_bare", fixed("/async/plain/")),
        Case("asgi_ours_off", fixed("/async/plain/"), ours, OFF),
        Case("asgi_ours_record", fixed("/async/plain/"), ours, OFF | {"RECORD": True}),
        Case("asgi_ours_limit", fixed("/async/limit/"), ours, OFF | {"RATE_LIMITS": True}),
        Case("asgi_ours_hit", fixed("/async/cached/0/"), ours, quiet),
        Case("asgi_ours_miss", fresh("async/cached"), ours, quiet),
        Case("asgi_django_cache_hit", fixed("/async/cached/0/"), DJANGO_CACHE),
    ]


# --- running --------------------------------------------------------------------------------------------


def measure(callers: list[Caller], rounds: int, requests: int) -> None:
    """Fill in each case's rounds, in turns, so that a slow moment of the machine meets all of them."""
    for number in range(rounds):
        for caller in callers:
            if number % caller.case.every == 0:
                with caller.settings():
                    wall, cpu = timed(caller, max(5, requests // caller.case.every))
                    caller.case.rounds.append(wall)
                    caller.case.cpu.append(cpu)


def timed(caller: Caller, requests: int) -> tuple[float, float]:
    """Mean µs of a request, and of its thread's processor time, garbage collection aside."""
    caller()
    gc.collect()
    gc.disable()
    ends, worked = [perf_counter()], thread_time()
    for _ in range(requests):
        caller()
        ends.append(perf_counter())
    spent, work = ends[-1] - ends[0], thread_time() - worked
    gc.enable()
    caller.case.each += [(after - before) * 1e6 for before, after in pairwise(ends)]
    return spent / requests * 1e6, work / requests * 1e6


def count_io(caller: Caller, requests: int = 20) -> None:
    """Round trips and SQL statements of one request."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with caller.settings():
        caller()
        caller()
        with counted_trips() as trips, CaptureQueriesContext(connection) as queries:
            for _ in range(requests):
                caller()
    caller.case.trips = trips[0] / requests
    caller.case.sql = len(queries) / requests


def declare() -> None:
    """What a host would declare for these views."""
    from paiid_perf import declarations as perf

    perf.register(
        perf.EndpointClass("limit", match="/limit/", rate=RATE, rate_key="ip"),
        perf.EndpointClass("cached", match="/cached/", rate=RATE, rate_key="ip", cache="cached"),
        perf.EndpointClass("slow", match="/slow/", rate=RATE, rate_key="ip", cache="cached"),
        perf.EndpointClass("async_limit", match="/async/limit/", rate=RATE, rate_key="ip"),
        perf.EndpointClass("async_cached", match="/async/cached/", rate=RATE, rate_key="ip", cache="cached"),
        perf.ResponseStrategy("cached", ttl=timedelta(minutes=10), depends_on=["auth.User"]),
    )


def sliding(url: str) -> Callable[[str], bool]:
    """The ``limits`` package's sliding window."""
    from limits import parse
    from limits.storage import storage_from_string
    from limits.strategies import SlidingWindowCounterRateLimiter

    limiter = SlidingWindowCounterRateLimiter(storage_from_string(url))
    rate = parse("1000000/hour")
    return lambda address: bool(limiter.hit(rate, address))


def report(done: list[Case]) -> dict[str, Any]:
    """The measured cases."""
    rows, bases = [], {case.name: case for case in done}
    for case in done:
        base = bases[case.base]
        bare, best, cpu = statistics.median(base.rounds), min(base.rounds), min(base.cpu)
        us = statistics.median(case.rounds)
        rows.append(
            {
                "case": case.name,
                "us": round(us, 1),
                "added_us": round(us - bare, 1),
                "best_added_us": round(min(case.rounds) - best, 1),
                "cpu_added_us": round(min(case.cpu) - cpu, 1),
                "p99_us": round(statistics.quantiles(case.each, n=100)[98], 1),
                "ratio": round(us / bare, 2),
                "round_trips": round(case.trips, 2),
                "sql": round(case.sql, 2),
                "aim": case.aim,
            }
        )
    return {"cases": rows, "not_installed": [name for name in PEERS if not installed(name)]}


def main() -> None:
    """Run, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--seconds", type=int, default=2, help="of load over HTTP for each stack; 0: none")
    parser.add_argument("--only", default="", help="comma-separated names of cases, beside bare")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        from project.embedded import start_valkey

        valkey = start_valkey(directory)
        stack.callback(valkey.stop)
        found = run(valkey.url, directory, options)
    print(json.dumps(found) if options.json else table(found))


def run(url: str, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything against the Valkey at ``url``."""
    from django.core.management import call_command

    from tests.benchmarks import served

    prepare(url, directory)
    call_command("migrate", verbosity=0, skip_checks=True)
    wanted = options.only.split(",") if options.only else []
    callers = [
        (AsyncCaller if case.is_async else Caller)(case)
        for case in cases()
        if not wanted or case.name in {"bare", "asgi_bare", *wanted}
    ]
    for caller in callers:
        count_io(caller)
    measure(callers, options.rounds, options.requests)
    found = report([caller.case for caller in callers])
    found["misses_at_once"] = served.misses_at_once()
    found["http"] = served.over_http(url, directory, options.seconds)
    return found


def prepare(url: str, directory: Path) -> None:
    """Django with the views, what they are declared to be, and the peers' limiters."""
    global SLIDING
    found = urlsplit(url)
    VALKEY.append((found.hostname or "127.0.0.1", found.port or 6379))
    configure(url, directory)
    urlpatterns.extend(routes())
    from django_ratelimit.decorators import ratelimit

    LIMITED.append(ratelimit(key="ip", rate=RATE)(view))
    declare()
    if installed("limits"):
        SLIDING = sliding(url)


def table(found: dict[str, Any]) -> str:
    """The report for people."""
    from tests.benchmarks import served

    head = (
        f"{'case':22} {'µs':>8} {'added':>8} {'best':>7} {'cpu':>7} {'p99':>8} "
        f"{'ratio':>6} {'trips':>6} {'sql':>5}  aim"
    )
    rows = [
        f"{c['case']:22} {c['us']:8.1f} {c['added_us']:+8.1f} {c['best_added_us']:+7.1f} "
        f"{c['cpu_added_us']:+7.1f} {c['p99_us']:8.1f} {c['ratio']:6.2f} "
        f"{c['round_trips']:6.2f} {c['sql']:5.1f}  {c['aim']}"
        for c in found["cases"]
    ]
    rows += [
        "",
        *(
            f"100 misses at once, {name}: {calls} calls of the view"
            for name, calls in found["misses_at_once"].items()
        ),
    ]
    rows += [served.line(row) for row in found["http"].get("cases", ())] or [
        f"HTTP: {found['http']['skipped']}"
    ]
    absent = [f"Not installed, so not measured: {', '.join(found['not_installed'])}."]
    return "\n".join([head, *rows, *(absent if found["not_installed"] else [])])


if __name__ == "__main__":
    # By its own name, which the views and what serves them over HTTP know it by.
    from tests.benchmarks import request_path

    request_path.main()
