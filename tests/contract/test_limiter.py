"""One suite for every limiter: the exact window in the process, Redis' two, and django-ratelimit's on another cache."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from django.test import RequestFactory

from paiid_perf.api import store
from paiid_perf.api.limits import EXACT_UP_TO, Allowance, Limit, Rate, SlidingLog
from paiid_perf.api.store import Question
from paiid_perf.stores import redis_gate

Hit = Callable[[str, Rate], Allowance]


def through_store(key: str, rate: Rate) -> Allowance:
    """What a request's question answers."""
    reply = store.ask(Question(Limit(f"perf:limit:{key}", rate, "test"), None), RequestFactory().get("/"))
    assert reply.allowance is not None
    return reply.allowance


def in_process() -> Hit:
    log = SlidingLog()
    return lambda key, rate: log.hit(key, rate, time.monotonic())


@pytest.fixture(params=["in process", "valkey", "locmem"])
def hit(request: pytest.FixtureRequest, settings: Any) -> Hit:
    """Count one request."""
    if request.param == "in process":
        return in_process()
    if request.param == "valkey":
        request.getfixturevalue("redis_cache")
    else:
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                "LOCATION": str(random.random()),
            }
        }
    return through_store


@pytest.mark.parametrize("limit", [1, 5, EXACT_UP_TO, EXACT_UP_TO + 1])
def test_exactly_the_limit_is_let_through(hit: Hit, limit: int) -> None:
    rate = Rate(limit, 3600)
    answers = [hit("a", rate) for _ in range(limit + 3)]
    assert [a.allowed for a in answers] == [True] * limit + [False] * 3
    assert [a.remaining for a in answers] == [*reversed(range(limit)), 0, 0, 0]
    assert 0 <= answers[-1].reset_after <= 3600 * (1 + 1 / 32)


def test_keys_are_counted_apart(hit: Hit) -> None:
    assert [hit(key, Rate(1, 3600)).allowed for key in ("a", "b", "a", "b")] == [True, True, False, False]


def test_a_limit_of_nothing_lets_nothing_through(hit: Hit) -> None:
    assert not hit("a", Rate(0, 3600)).allowed


def test_threads_at_once_get_the_limit_and_no_more(hit: Hit) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: hit("a", Rate(20, 3600)), range(80)))
    # Django's in-memory cache adds up under a lock of its own; the plain log is for one thread.
    assert sum(a.allowed for a in answers) == 20


# --- only where the window slides ------------------------------------------------------------------------


def hammer(url: str, key: str, limit: int, tries: int, seconds: float) -> list[float]:
    """A process of its own; the times at which it was let through."""
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}},
            PAIID_PERF={"REDIS_TIMEOUT": 10.0},
        )
        django.setup()
    redis_gate.forget()
    allowed: list[float] = []
    ends = time.time() + seconds
    while time.time() < ends:
        if through_store(key, Rate(limit, 1)).allowed:
            allowed.append(time.time())
    return allowed


@pytest.mark.parametrize("limit", [60, EXACT_UP_TO + 60])
def test_processes_never_get_more_in_any_window(redis_cache: Any, valkey_url: str, limit: int) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        started = [pool.submit(hammer, valkey_url, "h", limit, 0, 2.5) for _ in range(4)]
        times = sorted(moment for one in started for moment in one.result(60))
    assert len(times) > limit  # the window did slide
    # Times are the clients' own, taken after the answer: allow for that, not for a second burst.
    slack = 0.05
    for first, last in zip(times, times[limit:], strict=False):
        assert last - first > 1 - slack


def test_the_window_has_no_edge(redis_cache: Any) -> None:
    """The fault of fixed windows: a burst on each side of the edge is twice the limit."""
    rate = Rate(30, 1)
    start = time.monotonic()
    allowed = []
    while time.monotonic() - start < 1.9:
        if through_store("edge", rate).allowed:
            allowed.append(time.monotonic())
    assert len(allowed) <= 60
    assert all(b - a > 0.95 for a, b in zip(allowed, allowed[30:], strict=False))
