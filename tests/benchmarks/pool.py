"""What a connection costs a request: opened anew, kept, or lent by psycopg's pool, side by side in one process.

    python -m tests.benchmarks.pool [--json] [--rounds 150] [--threads 8]

Passes are interleaved; figures are medians in ms over passes of ``SELECT 1`` as a request makes it (ask for the
connection, query, give it back). ``ratio`` is new / pooled. ``crowd`` is the wall time of threads that come at once,
each with its own request, again and again. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

#: The ways to a connection: Django's settings for each.
WAYS: dict[str, dict[str, Any]] = {
    "new": {"CONN_MAX_AGE": 0},
    "persistent": {"CONN_MAX_AGE": None},
    "pooled": {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 5, "max_size": 20, "timeout": 30}}},
}


def configure(url: str) -> None:
    """Django with an alias of one server for each way."""
    import django
    import environ
    from django.conf import settings

    base = environ.Env.db_url_config(url)
    settings.configure(
        SECRET_KEY="benchmark",
        USE_TZ=True,
        DATABASES={"default": base, **{name: {**base, **way} for name, way in WAYS.items()}},
    )
    django.setup()


def request(alias: str) -> None:
    """What a request does with its database, and what Django does after it."""
    from django.db import connections

    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    connection.close_if_unusable_or_obsolete()


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds of wall time."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def crowd(alias: str, threads: int, each: int = 10) -> float:
    """Milliseconds until ``threads`` threads have each made their requests."""
    from django.db import connections

    def visitor(_number: int) -> None:
        for _request in range(each):
            request(alias)
        connections[alias].close()

    with ThreadPoolExecutor(threads) as pool:
        return timed(lambda: list(pool.map(visitor, range(threads))))


def run(rounds: int, threads: int) -> dict[str, Any]:
    """Every way, a request in turn; then every way with a crowd."""
    for alias in WAYS:
        request(alias)
    one: dict[str, list[float]] = {alias: [] for alias in WAYS}
    many: dict[str, list[float]] = {alias: [] for alias in WAYS}
    for _round in range(rounds):
        for alias in WAYS:
            one[alias].append(timed(lambda alias=alias: request(alias)))  # type: ignore[misc]
    for _pass in range(3):
        for alias in WAYS:
            many[alias].append(crowd(alias, threads))
    request_ms = {alias: round(median(times), 3) for alias, times in one.items()}
    crowd_ms = {alias: round(median(times), 1) for alias, times in many.items()}
    return {
        "request_ms": request_ms,
        "crowd_ms": crowd_ms,
        "threads": threads,
        "ratio": round(request_ms["new"] / request_ms["pooled"], 1),
        "crowd_ratio": round(crowd_ms["new"] / crowd_ms["pooled"], 1),
        "load_average": round(os.getloadavg()[0], 2),
    }


def close() -> None:
    """Give the pools' connections back."""
    from django.db import connections

    for alias in WAYS:
        connections[alias].close()
        if alias == "pooled":
            connections[alias].close_pool()  # type: ignore[attr-defined]


def main() -> None:
    """Start a server of its own, measure, print."""
    from project.embedded import start_servers

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    with start_servers("pool", fresh=True) as servers:
        configure(servers.database_url)
        try:
            result = run(options.rounds, options.threads)
        finally:
            close()
    if options.json:
        json.dump(result, sys.stdout, indent=1)
        print()
    else:
        print(*(f"{name:14} {value}" for name, value in result.items()), sep="\n")


if __name__ == "__main__":
    main()
