"""The gauges of the cache: (name, read) pairs; ``read()`` yields (alias, value)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from django.utils import timezone

from paiid_perf.cache import nodes, rules
from paiid_perf.cache.facts import read_use
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


def fragmentation() -> Iterator[tuple[str, float]]:
    """Memory that the system gave over memory that is used (1.0: none lost)."""
    yield from _of_server(lambda server: server.fragmentation)


def slow_commands() -> Iterator[tuple[str, float]]:
    """Commands of the last minute that the slow log kept."""
    for subject, _server, slow in _nodes():
        yield subject, float(slow)


def hit_ratio() -> Iterator[tuple[str, float]]:
    """Hits over lookups (0–1) of the last five minutes, from the app's own counters; nothing without lookups."""
    use = read_use(timezone.now(), HIT_RATIO_WINDOW)
    lookups = sum(one.lookups for one in use)
    if lookups:
        yield get_settings().CACHE, sum(one.hits for one in use) / lookups


def node_hit_ratio() -> Iterator[tuple[str, float]]:
    """Hits over lookups (0–1) of all that a node was asked for since its start, by whomever."""
    for subject, server, _slow in _nodes():
        if lookups := server.keyspace_hits + server.keyspace_misses:
            yield subject, server.keyspace_hits / lookups


def _of_server(number: Callable[[ServerFacts], float]) -> Iterator[tuple[str, float]]:
    for subject, server, _slow in _nodes():
        yield subject, float(number(server))


def _nodes() -> Iterator[tuple[str, ServerFacts, int]]:
    """Each node; its subject is the alias, and its address where there are others."""
    client = redis_gate.patient() if redis_gate.is_redis() else None
    if client is not None:
        for address, server, slow in nodes.each(client):
            yield f"{get_settings().CACHE} {address}".strip(), server, slow


RECORDERS: tuple[tuple[str, Read], ...] = (
    ("cache.memory_bytes", memory_bytes),
    ("cache.memory_percent", memory_percent),
    ("cache.evicted_keys", evicted_keys),
    ("cache.fragmentation", fragmentation),
    ("cache.slow_commands", slow_commands),
    ("cache.node_hit_ratio", node_hit_ratio),
    ("cache.hit_ratio", hit_ratio),
)
