"""Forgetting all the values of one strategy, at a person's word."""

from __future__ import annotations

from paiid_perf.cache.keys import storage_key
from paiid_perf.stores import redis_gate

#: Keys asked for, and forgotten, in one round trip.
BATCH = 500


def clear(strategy: str) -> int:
    """Unlink every stored value of the strategy; returns how many. 0 where the cache is not Redis.

    Raises:
        RedisError: the server does not answer.
    """
    client = redis_gate.patient() if redis_gate.is_redis() else None
    if client is None:
        return 0
    gone, batch = 0, list[bytes]()
    for name in client.scan_iter(match=f"{_escaped(storage_key(strategy, ''))}*", count=BATCH):
        batch.append(name)
        if len(batch) == BATCH:
            gone, batch = gone + int(client.unlink(*batch)), []
    return gone + (int(client.unlink(*batch)) if batch else 0)


def _escaped(text: str) -> str:
    """The text for a glob pattern of Redis."""
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in text)
