"""A share of the cache's look-ups, in their order: when a key is asked for again, and whether it was still there.

Keys are sampled, not look-ups: of a key whose checksum falls into the share every look is noted, in whichever process
(spatial sampling: Waldspurger, Park, Garthwaite, Ahmad, "Efficient MRC Construction with SHARDS", FAST 2015). They
stand in a Redis list of at most KEPT; where that holds less than SPAN, the share is halved for everybody. Only
checksums are kept, never a key or a value. Without Redis they stay in the process.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from typing import Any, NamedTuple
from zlib import crc32

import msgpack
from redis import Redis
from redis.exceptions import RedisError

from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate
from paiid_perf.telemetry.recording import recorder

logger = logging.getLogger("paiid_perf")

#: One key of so many, to begin with.
ONE_OF = 16
#: Look-ups that are kept, and that may wait in a process for its next flush.
KEPT, WAITING = 20_000, 2_000
#: Seconds that those kept should reach back, and after which the list is let go of if nothing more comes.
SPAN, FORGOTTEN = 3_600.0, 86_400


class Look(NamedTuple):
    """One look-up. ``subject`` is the strategy as counters name it: ``portfolios``, ``response:user``."""

    subject: str
    key: int
    """The key's checksum."""
    at: float
    """Epoch seconds."""
    hit: bool


_waiting: deque[Look] = deque(maxlen=WAITING)
_one_of = ONE_OF


def saw(subject: str, key: str, hit: bool) -> None:
    """Note a look-up, if its key is one of those that are followed."""
    mark = crc32(key.encode())
    if not mark % _one_of:
        _waiting.append(Look(subject, mark, time.time(), hit))


def flush() -> None:
    """Hand over what waits, and learn the share. What cannot be handed over is let go: more will come."""
    client = redis_gate.patient() if _waiting else None
    if client is None:
        return
    taken = [_waiting.popleft() for _ in range(len(_waiting))]
    try:
        _keep(client, taken)
    except RedisError as error:
        logger.warning("Sampled look-ups could not be kept (%s).", error)


def _keep(client: Redis, taken: list[Look]) -> None:
    global _one_of
    pipeline = client.pipeline(transaction=False)
    pipeline.rpush(_key(), *map(msgpack.packb, taken))
    pipeline.ltrim(_key(), -KEPT, -1)
    pipeline.expire(_key(), FORGOTTEN)
    pipeline.llen(_key())
    pipeline.lindex(_key(), 0)
    pipeline.get(_share_key())
    *_done, length, oldest, share = pipeline.execute()
    _one_of = max(ONE_OF, int(share or 0))
    if length >= KEPT and oldest is not None and taken[-1].at - _read(oldest).at < SPAN:
        _one_of *= 2
        client.set(_share_key(), _one_of, ex=FORGOTTEN)


def read() -> list[Look]:
    """The look-ups of all processes (of this one, where there is no Redis) by time. Empty when Redis does not answer.

    Where the share was halved meanwhile, those of keys that are no longer followed are left out.
    """
    client = redis_gate.patient()
    if client is None:
        return list(_waiting)
    try:
        stored: Any = client.lrange(_key(), 0, -1)
        share = max(ONE_OF, int(client.get(_share_key()) or 0))
    except RedisError as error:
        logger.warning("Sampled look-ups cannot be read (%s).", error)
        return []
    found = [look for look in map(_read, stored) if not look.key % share]
    return sorted(found, key=lambda look: look.at)


def _read(packed: bytes) -> Look:
    return Look(*msgpack.unpackb(packed))


def _key() -> str:
    return f"{get_settings().KEY_PREFIX}:looks"


def _share_key() -> str:
    return f"{get_settings().KEY_PREFIX}:looks-one-of"


def forget() -> None:
    """Let go of what waits (in a forked child, in a test)."""
    global _one_of
    _waiting.clear()
    _one_of = ONE_OF


os.register_at_fork(after_in_child=forget)
recorder.beside("sampled look-ups", flush)
