"""The gauges of the cache: (name, read) pairs; ``read()`` yields (alias, value)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from django.utils import timezone

from paiid_perf.cache import rules
from paiid_perf.cache.facts import read_server, read_use
from paiid_perf.cache.types import ServerFacts
from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate

HIT_RATIO_WINDOW = timedelta(minutes=5)
Read = Callable[[], Iterator[tuple[str, float]]]


def memory_bytes() -> Iterator[tuple[str, float]]:
    """Bytes that the server uses; nothing where the cache is not Redis. May raise RedisError."""
    yield from _of_server(lambda server: server.used_bytes)


def evicted_keys() -> Iterator[tuple[str, float]]:
    """Keys evicted since the server's start."""
    yield from _of_server(lambda server: server.evicted_keys)


def memory_percent() -> Iterator[tuple[str, float]]:
    """Memory in use, in per cent of ``maxmemory`` (of the machine where there is no limit)."""
    yield from _of_server(lambda server: rules.fullness(server) * 100)


def hit_ratio() -> Iterator[tuple[str, float]]:
    """Hits over lookups (0–1) of the last five minutes, from the app's own counters; nothing without lookups."""
    use = read_use(timezone.now(), HIT_RATIO_WINDOW)
    lookups = sum(one.lookups for one in use)
    if lookups:
        yield get_settings().CACHE, sum(one.hits for one in use) / lookups


def _of_server(number: Callable[[ServerFacts], float]) -> Iterator[tuple[str, float]]:
    client = redis_gate.patient() if redis_gate.is_redis() else None
    if client is not None:
        yield get_settings().CACHE, float(number(read_server(client)))


RECORDERS: tuple[tuple[str, Read], ...] = (
    ("cache.memory_bytes", memory_bytes),
    ("cache.memory_percent", memory_percent),
    ("cache.evicted_keys", evicted_keys),
    ("cache.hit_ratio", hit_ratio),
)
