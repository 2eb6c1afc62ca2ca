"""Real HTTP traffic, always the same for the same seed: who asks for what is drawn once, then sent.

A few users and symbols make most of the requests (Zipf), as on a real platform; about one request in twenty
places an order. Each simulated user has a session of its own, so limits count them apart.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from project.trading.loader import FIRST_USER, Size

CLIENTS = 4
ACTIVE_USERS = 200
READ, WRITE = "GET", "POST"
TIMEOUT_SECONDS = 60

#: (weight, what is asked for); the weights of reads and writes add up to 100.
MIX: tuple[tuple[int, str], ...] = (
    (26, "market"),
    (2, "instruments"),
    (6, "movers"),
    (18, "portfolio"),
    (8, "positions"),
    (16, "orders"),
    (7, "watch_list"),
    (7, "insights"),
    (5, "news"),
    (5, "place_order"),
)


@dataclass(frozen=True)
class Request:
    """One request of one user."""

    user: int
    method: str
    path: str
    body: str = ""


@dataclass
class Outcome:
    """What the clients saw. Latencies in ms, of every request that got an answer."""

    latencies: list[float] = field(default_factory=list)
    requests: int = 0
    errors: int = 0
    limited: int = 0
    writes: int = 0
    hits: int = 0
    lookups: int = 0
    seconds: float = 0.0

    @property
    def mean_ms(self) -> float:
        return sum(self.latencies) / len(self.latencies) if self.latencies else math.nan

    def percentile_ms(self, q: float) -> float:
        """Nearest rank."""
        ordered = sorted(self.latencies)
        return ordered[max(1, math.ceil(q * len(ordered))) - 1] if ordered else math.nan

    @property
    def hit_ratio(self) -> float | None:
        """Answers from the cache ÷ answers that could have come from it; None if none could."""
        return self.hits / self.lookups if self.lookups else None


def plan(seed: int, size: Size, count: int) -> list[Request]:
    """The first ``count`` requests of that seed; a longer plan begins with the shorter one."""
    return list(itertools.islice(requests(seed, size), count))


def requests(seed: int, size: Size) -> Iterator[Request]:
    """The endless list of requests of that seed."""
    rng = random.Random(seed)
    users = _zipf(rng, min(ACTIVE_USERS, size.users), exponent=0.6)
    symbols = _zipf(rng, size.instruments, exponent=0.99)  # as YCSB's workloads have it
    kinds = [kind for weight, kind in MIX for _ in range(weight)]
    while True:
        yield _draw(rng, rng.choice(kinds), users(), f"S{symbols():04d}", size)


def _draw(rng: random.Random, kind: str, user: int, symbol: str, size: Size) -> Request:
    portfolio = user if rng.random() < 0.8 else user + size.users
    account = FIRST_USER + user
    if kind == "place_order":
        order = {
            "portfolio": portfolio,
            "symbol": symbol,
            "side": rng.choice(("buy", "sell")),
            "quantity": rng.randint(1, 50),
            "limit_price": round(rng.uniform(10, 500), 2),
        }
        return Request(account, WRITE, "/api/orders/", json.dumps(order))
    paths = {
        "market": f"/api/market-data/{symbol}/",
        "instruments": "/api/instruments/",
        "movers": "/api/market-data/movers/",
        "portfolio": f"/api/portfolios/{portfolio}/",
        "positions": f"/api/portfolios/{portfolio}/positions/",
        "orders": f"/api/portfolios/{portfolio}/orders/{rng.choice(('', '', '', '?status=open', '?page=2'))}",
        "watch_list": "/api/watch-list/",
        "insights": f"/api/portfolios/{portfolio}/insights/",
        "news": f"/api/news/{symbol}/",
    }
    return Request(account, READ, paths[kind])


def _zipf(rng: random.Random, count: int, exponent: float) -> Callable[[], int]:
    """Draws 1 … count, k with a probability proportional to k^-exponent."""
    weights = list(itertools.accumulate(k**-exponent for k in range(1, count + 1)))
    numbers = range(1, count + 1)
    return lambda: rng.choices(numbers, cum_weights=weights)[0]


def send(
    planned: Sequence[Request],
    port: int,
    sessions: dict[int, str],
    *,
    seconds: float | None = None,
    clients: int = CLIENTS,
    report: Callable[[int], object] = lambda done: None,
) -> Outcome:
    """Send the plan over keep-alive connections; with ``seconds``, stop drawing from it after that long.

    ``sessions`` maps a user's id to its session cookie. ``report(done)`` is told the number of requests sent.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    queue, lock, total = iter(planned), threading.Lock(), Outcome()

    def work() -> None:
        with closing(_Client(port, sessions)) as client:
            while (request := _next(queue, lock, deadline)) is not None:
                client.send(request)
                report(1)
        with lock:
            _add(total, client.outcome)

    started = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total.seconds = time.monotonic() - started
    return total


def _next(queue: Iterator[Request], lock: threading.Lock, deadline: float | None) -> Request | None:
    if deadline is not None and time.monotonic() > deadline:
        return None
    with lock:
        return next(queue, None)


def _add(total: Outcome, part: Outcome) -> None:
    total.latencies += part.latencies
    for name in ("requests", "errors", "limited", "writes", "hits", "lookups"):
        setattr(total, name, getattr(total, name) + getattr(part, name))


class _Client:
    """One connection that is kept alive."""

    def __init__(self, port: int, sessions: dict[int, str]) -> None:
        self.port, self.sessions, self.outcome = port, sessions, Outcome()
        self.connection = self._connect()

    def send(self, request: Request) -> None:
        self.outcome.requests += 1
        started = time.perf_counter()
        try:
            status, cache = self._exchange(request)
        except (OSError, http.client.HTTPException):
            self.outcome.errors += 1
            self.close()
            self.connection = self._connect()
            return
        self.outcome.latencies.append((time.perf_counter() - started) * 1000)
        self.outcome.errors += status >= 500
        self.outcome.limited += status == 429
        self.outcome.writes += request.method == WRITE and status == 201
        self.outcome.lookups += cache is not None
        self.outcome.hits += cache in HITS

    def close(self) -> None:
        self.connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)

    def _exchange(self, request: Request) -> tuple[int, str | None]:
        headers = {"Accept-Encoding": "gzip", "Cookie": f"sessionid={self.sessions[request.user]}"}
        if request.body:
            headers["Content-Type"] = "application/json"
        self.connection.request(request.method, request.path, request.body or None, headers)
        response = self.connection.getresponse()
        response.read()
        return response.status, response.headers.get("X-Cache")


#: Values of ``X-Cache`` that mean: answered without running the view.
HITS = frozenset({"HIT", "STALE"})
