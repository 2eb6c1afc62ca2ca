"""How many bytes the cached values take here, and would take as django-redis keeps them by default (pickle)."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from paiid_perf.cache.actions import measure_payloads
from paiid_perf.cache.envelope import open_
from paiid_perf.cache.facts import scan
from paiid_perf.cache.keys import ROOM, strategy_of
from paiid_perf.cache.serialization import Unreadable, decode
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

Reader = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class _Kept:
    key: bytes
    stored: bytes
    pickled: bytes
    group: str


def memory_report(readers: Mapping[str, Reader] | None = None, sample: int = SAMPLE) -> dict[str, Any]:
    """The bytes of up to ``sample`` live keys, as they are and as pickle would make them.

    ``ours_bytes`` and ``pickle_bytes`` are what the same ``keys`` take in the server with their names and overhead,
    both measured with MEMORY USAGE (``measured``) or, where that is forbidden, estimated from their lengths;
    ``by_strategy`` has the same by strategy. ``readers`` turns the stored bytes of other rooms of the app's keys
    (``{"response": read}`` for ``perf:response:…``) into the object that Django's own cache would have pickled.
    All zero where the cache is not Redis.

    Raises:
        RedisError: the server does not answer.
    """
    client = redis_gate.patient() if redis_gate.is_redis() else None
    rows = list(_measured(client, readers or {}, sample)) if client is not None else []
    groups: dict[str, dict[str, int]] = {}
    for group, ours, pickled, _ in rows:
        one = groups.setdefault(group, {"keys": 0, "ours_bytes": 0, "pickle_bytes": 0})
        one["keys"] += 1
        one["ours_bytes"] += ours
        one["pickle_bytes"] += pickled
    return {
        "keys": len(rows),
        "ours_bytes": sum(row[1] for row in rows),
        "pickle_bytes": sum(row[2] for row in rows),
        "measured": all(row[3] for row in rows),
        "by_strategy": groups,
    }


def _measured(
    client: Redis, readers: Mapping[str, Reader], sample: int
) -> Iterator[tuple[str, int, int, bool]]:
    for names in scan(client, sample, f"{get_settings().KEY_PREFIX}:*"):
        wanted = [name for name in names if _room(name) == ROOM or _room(name) in readers]
        kept = list(_read(client, wanted, readers))
        ours, measured = _sizes(client, [(len(one.key), one.stored) for one in kept])
        pickled, _ = _sizes(client, [(len(one.key), one.pickled) for one in kept])
        for one, here, there in zip(kept, ours, pickled, strict=True):
            yield one.group, here, there, measured


def _sizes(client: Redis, payloads: list[tuple[int, bytes]]) -> tuple[list[int], bool]:
    try:
        return measure_payloads(client, payloads), True
    except ResponseError:
        return [length + len(payload) + OVERHEAD for length, payload in payloads], False


def _read(client: Redis, names: list[bytes], readers: Mapping[str, Reader]) -> Iterator[_Kept]:
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.get(name)
    for name, stored in zip(names, pipeline.execute(raise_on_error=False), strict=True):
        value = _value(name, stored, readers) if isinstance(stored, bytes) else None
        if value is not None:
            group = strategy_of(name.decode(errors="replace")) or _room(name)
            yield _Kept(name, stored, pickle.dumps(value[0], pickle.HIGHEST_PROTOCOL), group)


def _value(name: bytes, stored: bytes, readers: Mapping[str, Reader]) -> tuple[Any] | None:
    """The value in a 1-tuple; None if it is not readable here (a lock, another format, a strategy that is gone)."""
    room = _room(name)
    if room != ROOM:
        return (readers[room](stored),)
    try:
        strategy = registry.get(CacheStrategy, strategy_of(name.decode(errors="replace")) or "")
        envelope = open_(stored)
        return (decode(envelope.codec, envelope.body, allow_pickle=strategy.allow_pickle),)
    except (Unreadable, NotRegistered):
        return None


def _room(name: bytes) -> str:
    return name.decode(errors="replace").removeprefix(get_settings().KEY_PREFIX + ":").split(":", 1)[0]


def compare_with_pickle(values: Mapping[str, Any], strategy: CacheStrategy) -> dict[str, int]:
    """{"ours_bytes", "pickle_bytes", "keys"} of given values under a strategy: payload lengths, no server asked.

    Raises:
        NotCacheable: the strategy cannot keep one of them.
    """
    from paiid_perf.cache.envelope import HEADER_BYTES
    from paiid_perf.cache.serialization import encode

    return {
        "keys": len(values),
        "ours_bytes": sum(HEADER_BYTES + len(encode(value, strategy)[1]) for value in values.values()),
        "pickle_bytes": sum(len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)) for value in values.values()),
    }
