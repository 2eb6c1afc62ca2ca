"""How many bytes the cached values take here, and would take as django-redis keeps them by default (pickle)."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from paiid_perf.cache.actions import measure_payloads
from paiid_perf.cache.envelope import HEADER_BYTES, open_
from paiid_perf.cache.facts import scan
from paiid_perf.cache.keys import ROOM, strategy_of
from paiid_perf.cache.serialization import Unreadable, decode, encode
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.conf import get_settings
from paiid_perf.exceptions import NotRegistered
from paiid_perf.registry import registry
from paiid_perf.stores import redis_gate

#: Keys that a report looks at.
SAMPLE = 1000
#: What a short key with a TTL takes beside its name and value (a table entry, an object header, two string
#: headers, an entry in the table of expiries), where the server does not let us measure. Source: Valkey 8's sds.h,
#: server.h and dict.c, rounded.
OVERHEAD = 72


@dataclass(frozen=True, slots=True)
class Room:
    """How to read another part of the app's keys (``perf:<room>:…``).

    ``read`` turns stored bytes into the object that Django's own cache would have pickled, None if it cannot.
    """

    read: Callable[[bytes], Any]
    field: str | None = None
    """Field of the bytes where the room keeps hashes."""


@dataclass(frozen=True, slots=True)
class _Kept:
    key: bytes
    group: str
    stored: bytes
    pickled: bytes
    size: int
    """As measured; 0 where the server does not let us."""


def memory_report(rooms: Mapping[str, Room] | None = None, sample: int = SAMPLE) -> dict[str, Any]:
    """The bytes of up to ``sample`` live keys, as they are and as pickle would make them.

    ``ours_bytes`` and ``pickle_bytes`` are what the same ``keys`` take in the server with their names and overhead,
    both measured with MEMORY USAGE (``measured``) or, where that is forbidden, estimated from their lengths;
    ``by_strategy`` has the same by strategy. Other ``rooms`` count where the caller says how to read them. All zero
    where the cache is not Redis.

    Raises:
        RedisError: the server does not answer.
    """
    client = redis_gate.patient() if redis_gate.is_redis() else None
    rows = list(_compared(client, rooms or {}, sample)) if client is not None else []
    groups: dict[str, dict[str, int]] = {}
    for row in rows:
        one = groups.setdefault(row.group, {"keys": 0, "ours_bytes": 0, "pickle_bytes": 0})
        one["keys"] += 1
        one["ours_bytes"] += row.ours
        one["pickle_bytes"] += row.pickled
    return {
        "keys": len(rows),
        "ours_bytes": sum(row.ours for row in rows),
        "pickle_bytes": sum(row.pickled for row in rows),
        "measured": all(row.measured for row in rows),
        "by_strategy": groups,
    }


@dataclass(frozen=True, slots=True)
class _Compared:
    group: str
    ours: int
    pickled: int
    measured: bool


def _compared(client: Redis, rooms: Mapping[str, Room], sample: int) -> Iterator[_Compared]:
    for names in scan(client, sample, f"{get_settings().KEY_PREFIX}:*"):
        kept = list(_read(client, [name for name in names if _room(name) in {ROOM, *rooms}], rooms))
        lengths = [(len(one.key), one.pickled) for one in kept]
        try:
            pickled = measure_payloads(client, lengths)
            yield from (
                _Compared(one.group, one.size, there, True) for one, there in zip(kept, pickled, strict=True)
            )
        except ResponseError:
            for one in kept:
                ours, there = (len(one.key) + len(data) + OVERHEAD for data in (one.stored, one.pickled))
                yield _Compared(one.group, ours, there, False)


def _read(client: Redis, names: list[bytes], rooms: Mapping[str, Room]) -> Iterator[_Kept]:
    pipeline = client.pipeline(transaction=False)
    for name in names:
        field = rooms[_room(name)].field if _room(name) != ROOM else None
        _ = pipeline.get(name) if field is None else pipeline.hget(name, field)
        pipeline.memory_usage(name)
    answers = pipeline.execute(raise_on_error=False)
    for name, stored, size in zip(names, answers[::2], answers[1::2], strict=True):
        value = _value(name, stored, rooms) if isinstance(stored, bytes) else None
        if value is not None:
            pickled = pickle.dumps(value[0], pickle.HIGHEST_PROTOCOL)
            yield _Kept(name, _group(name), stored, pickled, size if isinstance(size, int) else 0)


def _value(name: bytes, stored: bytes, rooms: Mapping[str, Room]) -> tuple[Any] | None:
    """The value in a 1-tuple; None if it is not readable here (a lock, another format, a strategy that is gone)."""
    if _room(name) != ROOM:
        value = rooms[_room(name)].read(stored)
        return None if value is None else (value,)
    try:
        strategy = registry.get(CacheStrategy, _group(name))
        envelope = open_(stored)
        return (decode(envelope.codec, envelope.body, allow_pickle=strategy.allow_pickle),)
    except (Unreadable, NotRegistered):
        return None


def _group(name: bytes) -> str:
    return strategy_of(name.decode(errors="replace")) or _room(name)


def _room(name: bytes) -> str:
    return name.decode(errors="replace").removeprefix(get_settings().KEY_PREFIX + ":").split(":", 1)[0]


def compare_with_pickle(values: Mapping[str, Any], strategy: CacheStrategy) -> dict[str, int]:
    """{"ours_bytes", "pickle_bytes", "keys"} of given values under a strategy: payload lengths, no server asked.

    Raises:
        NotCacheable: the strategy cannot keep one of them.
    """
    return {
        "keys": len(values),
        "ours_bytes": sum(HEADER_BYTES + len(encode(value, strategy)[1]) for value in values.values()),
        "pickle_bytes": sum(len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)) for value in values.values()),
    }
