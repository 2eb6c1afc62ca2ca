"""The demo's traffic for longer than the demo: hits of the cache, what each miss is, and whether any answer is old.

    python -m tests.benchmarks.demo_traffic [--json] [--seconds 180] [--scale 0.1] [--rate 100]

The demo's site and its Zipf plan with 5 % writes, at ``rate`` requests a second, from a cold cache. Half a minute at
a time: hits of the answers that could come from the cache, and the misses as the client knows them: *cold* (never
asked for), *changed* (an order was placed in that portfolio since), *expired* (the rest). An order history that lacks
an order confirmed before it was asked for is *stale*. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Set for the process that runs on the servers; holds the directory of their data.
DIRECTORY = "BENCH_DEMO_DIRECTORY"
#: The site shows what the cache did; the servers share few connections.
ACTING = {"PAIID_PERF_PERFORMANCE_HEADERS": "all", "DATABASE_POOL": "1"}
CLIENTS = 4
PART_SECONDS = 30.0
#: Answers that do not depend on who asks.
SHARED = ("/api/market-data/", "/api/instruments/", "/api/news/")
HISTORY = re.compile(r"^/api/portfolios/(\d+)/orders/(\??.*)$")


def main() -> None:
    """Start servers of its own, and this module once more on them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--rate", type=float, default=100.0)
    options = parser.parse_args()
    if DIRECTORY in os.environ:
        result = run(options.scale, options.seconds, options.rate)
        json.dump(result, sys.stdout, indent=1 if options.json else None)
        print()
        return
    from project.embedded import start_servers

    with start_servers("demo-traffic") as servers:
        urls = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
        own = {DIRECTORY: str(servers.directory), "DJANGO_SETTINGS_MODULE": "project.settings"}
        command = [sys.executable, "-m", "tests.benchmarks.demo_traffic", *sys.argv[1:]]
        done = subprocess.run(command, env=os.environ | ACTING | urls | own, check=False)
    sys.exit(done.returncode)


def run(scale: float, seconds: float, rate: float) -> dict[str, Any]:
    """Load, serve, send; what was seen half a minute at a time."""
    import django

    django.setup()
    from django.core.cache import cache

    from project.trading import demo

    directory = Path(os.environ[DIRECTORY])
    show = demo.Demo(demo.Options(scale, seconds, directory, 0, sys.stderr))
    try:
        show.prepare()
        cache.clear()
        show.serve(act=True)
        seen = Watcher(show.port, show.sessions, rate)
        seen.send(Drawn(demo.traffic.requests(demo.SEED, show.size)), seconds)
    finally:
        show.close()
    return {"scale": scale, "rate": rate, "parts": [part(*one) for one in sorted(seen.parts.items())]}


def part(number: int, outcomes: Counter[str]) -> dict[str, Any]:
    """One part's figures, as shares of the answers that could come from the cache."""
    kinds = ("hit", "cold", "changed", "expired")
    total = sum(outcomes[kind] for kind in kinds) or 1
    shares = {kind: round(outcomes[kind] / total, 3) for kind in kinds}
    others = {kind: outcomes[kind] for kind in ("write", "stale", "limited", "error", "bypass")}
    return {"from_second": number * PART_SECONDS, "lookups": total, **shares, **others}


class Drawn:
    """An endless plan that several threads draw from."""

    def __init__(self, requests: Iterator[Any]) -> None:
        self._requests, self._lock = zip(itertools.count(), requests, strict=False), threading.Lock()

    def next(self) -> tuple[int, Any]:
        with self._lock:
            return next(self._requests)


class Watcher:
    """Clients that know what they have asked for and what they have written."""

    def __init__(self, port: int, sessions: dict[int, str], rate: float) -> None:
        self.port, self.sessions, self.rate = port, sessions, rate
        self.parts: dict[int, Counter[str]] = {}
        self._asked: dict[tuple[int, str], float] = {}
        self._placed: dict[int, tuple[float, int]] = {}
        """Portfolio → (when an order was last confirmed, the newest order's id)."""
        self._lock = threading.Lock()

    def send(self, plan: Drawn, seconds: float) -> None:
        began = time.monotonic()

        def work() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            while time.monotonic() - began < seconds:
                number, request = plan.next()
                early = began + number / self.rate - time.monotonic()
                if early > 0:
                    time.sleep(early)
                self._one(connection, request, int((time.monotonic() - began) / PART_SECONDS))

        threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _one(self, connection: http.client.HTTPConnection, request: Any, number: int) -> None:
        history = HISTORY.match(request.path)
        portfolio = int(history[1]) if history else 0
        known = self._placed.get(portfolio, (0.0, 0))
        began = time.monotonic()
        headers = {"Cookie": f"sessionid={self.sessions[request.user]}"}
        if request.body:
            headers["Content-Type"] = "application/json"
        connection.request(request.method, request.path, request.body or None, headers)
        response = connection.getresponse()
        body, status, state = response.read(), response.status, response.headers.get("X-Cache")
        with self._lock:
            outcomes = self.parts.setdefault(number, Counter())
            outcomes["limited"] += status == 429
            outcomes["error"] += status >= 500
            if status == 201:
                self._wrote(json.loads(request.body)["portfolio"], json.loads(body)["id"])
                outcomes["write"] += 1
            elif status == 200 and state in {"HIT", "STALE", "MISS"}:
                outcomes[self._kind(request, state, known[0], began)] += 1
                if history and not history[2]:
                    outcomes["stale"] += _newest(body) < known[1]
            else:
                outcomes["bypass"] += 1

    def _wrote(self, portfolio: int, order: int) -> None:
        newest = self._placed.get(portfolio, (0.0, 0))[1]
        self._placed[portfolio] = (time.monotonic(), max(newest, order))

    def _kind(self, request: Any, state: str, placed: float, began: float) -> str:
        key = (0 if request.path.startswith(SHARED) else request.user, request.path)
        asked = self._asked.get(key)
        if state != "MISS":
            return "hit"
        self._asked[key] = began
        if asked is None:
            return "cold"
        return "changed" if asked < placed else "expired"


def _newest(body: bytes) -> int:
    return max((order["id"] for order in json.loads(body)["orders"]), default=0)


if __name__ == "__main__":
    main()
