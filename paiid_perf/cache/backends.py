"""Where envelopes live: Redis through the gate (one round trip for each step), or any Django cache.

Neither ever raises into a request: a store that fails answers like an empty one that keeps nothing.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from redis import ConnectionPool, Redis
from redis.exceptions import ResponseError

from paiid_perf import invalidation, wire
from paiid_perf.cache.envelope import HEADER_BYTES, is_stamped, stamp_of
from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate

logger = logging.getLogger("paiid_perf")
T = TypeVar("T")
#: From the stamp to the bytes to store.
Sealed = Callable[[int], bytes]
#: A lock's key and the token that it was taken with.
Turn = tuple[str, str]


class Reading(NamedTuple):
    """What one look into the store gave."""

    stored: bytes | None
    versions: tuple[int, ...]
    """Of the tags, in their order; negative while they cannot be known."""
    reachable: bool = True


class Store(Protocol):
    """The seam: tests/contract/test_cache_stores.py holds every implementation to the same behaviour."""

    def read(self, key: str, tags: Sequence[str]) -> Reading:
        """The value and the versions of its tags, as they are now."""
        ...

    def look(self, key: str, tags: Sequence[str], lease_ms: int) -> tuple[Reading, Turn | None]:
        """``read``, and where there is no value of these versions, the turn to compute it if nobody else has it.

        The turn may be left out (``take`` gets it then); what was taken is seen to have come before anybody's value.
        """
        ...

    def heads(self, keys: Sequence[str]) -> list[bytes | None]:
        """The envelopes' headers (at least), in the order of the keys."""
        ...

    def write(self, key: str, stored: bytes, ttl_ms: int) -> bool:
        """Keep the bytes; whether it was done."""
        ...

    def delete(self, keys: Sequence[str]) -> int:
        """Forget the keys; how many there were (where the store knows)."""
        ...

    def put(self, key: str, sealed: Sealed, ttl_ms: int, tags: Sequence[str]) -> bool:
        """Keep a value that is as old as this call: ``sealed(stamp)`` gives its bytes. Whether it was done."""
        ...

    def lock(self, key: str, lease_ms: int) -> str | None:
        """A token while nobody else has this lock, else None. A store that does not answer grants it."""
        ...

    def take(self, lock: str, lease_ms: int, key: str, tags: Sequence[str]) -> tuple[str | None, Reading]:
        """``lock`` and, after it, ``read``."""
        ...

    def land(self, key: str, stored: bytes, ttl_ms: int, lock: str, token: str) -> bool:
        """``write`` and, after it, ``unlock``; whether the bytes were kept."""
        ...

    def unlock(self, key: str, token: str) -> None:
        """Give the lock back, if it is still ours."""
        ...


def lock_key(key: str, stamp: int) -> str:
    """The lock of who computes the value of ``key`` for ``stamp``.

    Work for another stamp is other work: who reads after an invalidation waits for nobody from before it.
    """
    return f"{key}:lock:{stamp:x}"


def _token() -> str:
    return secrets.token_hex(8)


_UNLOCK_LUA = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RedisStore:
    """The server of django-redis, asked past it: opaque bytes, no pickle around them."""

    def read(self, key: str, tags: Sequence[str]) -> Reading:
        if invalidation.has_pending(tags):
            return Reading(None, (-1,))
        answers = _asked(_look(key, tags))
        return _reading(tags, answers[0]) if answers else Reading(None, (-1,), reachable=False)

    def look(self, key: str, tags: Sequence[str], lease_ms: int) -> tuple[Reading, Turn | None]:
        if invalidation.has_pending(tags):
            return Reading(None, (-1,)), None
        # The turn is asked for before the stamp is known that it is for: mostly it is the one seen last.
        token, guess = _token(), _guessed(tags)
        lock = lock_key(key, guess)
        answers = _asked(_look(key, tags), _locked(lock, token, lease_ms))
        if not answers:
            return Reading(None, (-1,), reachable=False), None
        looked, got = answers
        reading = _reading(tags, looked)
        stamp = _stamp_seen(tags, reading)
        if not got:
            return reading, None
        if stamp == guess and not is_stamped(reading.stored, guess):
            return reading, (lock, token)
        _noted(wire.command("DEL", lock))
        return reading, None

    def heads(self, keys: Sequence[str]) -> list[bytes | None]:
        return _call(lambda client: _heads(client, keys), [None] * len(keys))

    def write(self, key: str, stored: bytes, ttl_ms: int) -> bool:
        return _asked(_set(key, stored, ttl_ms)) == [b"OK"]

    def put(self, key: str, sealed: Sealed, ttl_ms: int, tags: Sequence[str]) -> bool:
        return not invalidation.has_pending(tags) and _put(key, sealed, ttl_ms, tuple(tags))

    def delete(self, keys: Sequence[str]) -> int:
        return _call(lambda client: _count(client.unlink(*keys)), 0) if keys else 0

    def lock(self, key: str, lease_ms: int) -> str | None:
        token = _token()
        # None: the lock is taken. Where Redis is away, everybody may compute.
        return None if _asked(_locked(key, token, lease_ms)) == [None] else token

    def take(self, lock: str, lease_ms: int, key: str, tags: Sequence[str]) -> tuple[str | None, Reading]:
        token = _token()
        if invalidation.has_pending(tags):
            return token, Reading(None, (-1,))
        answers = _asked(_locked(lock, token, lease_ms), _look(key, tags))
        if not answers:
            return token, Reading(None, (-1,), reachable=False)
        got, looked = answers
        return token if got else None, _reading(tags, looked)

    def land(self, key: str, stored: bytes, ttl_ms: int, lock: str, token: str) -> bool:
        # Whoever has the turn by now, if this one took longer than its lease: the value is there, and nobody needs it.
        return _noted(_set(key, stored, ttl_ms), wire.command("DEL", lock))

    def unlock(self, key: str, token: str) -> None:
        _asked(_unlocked(key, token))


def _asked(*commands: bytes) -> list[Any] | None:
    """The answers, in one round trip; None where Redis is away, or answers with an error (full, forbidden)."""
    answers = redis_gate.over(lambda pool: wire.ask(pool, *commands), None)
    refused = next((answer for answer in answers or () if isinstance(answer, ResponseError)), None)
    if refused is None:
        return answers
    logger.warning("Redis refuses: %s", refused)
    return None


def _noted(*commands: bytes) -> bool:
    """Whether the commands went out; nobody waits for what they give."""

    def send(pool: ConnectionPool) -> bool:
        wire.note(pool, *commands)
        return True

    return redis_gate.over(send, False)


def _call(work: Callable[[Redis], T], default: T) -> T:
    """Through the gate; a Redis that answers with an error (full, read-only, forbidden) is not one that is away."""

    def attempt(client: Redis) -> T:
        try:
            return work(client)
        except ResponseError as error:
            logger.warning("Redis refuses: %s", error)
            return default

    return redis_gate.call(attempt, default)


def _look(key: str, tags: Sequence[str]) -> bytes:
    return wire.command("MGET", key, *map(invalidation.tag_key, tags))


def _reading(tags: Sequence[str], answer: Any) -> Reading:
    stored, *versions = answer
    if None in versions:
        # A tag that the store does not know (new, evicted, flushed) is given a version above all there were.
        return Reading(stored, invalidation.versions(tags))
    return Reading(stored, tuple(map(int, versions)))


def _put(key: str, sealed: Sealed, ttl_ms: int, tags: tuple[str, ...]) -> bool:
    """One round trip while the stamp is still the one of this process' last look: it is asked for in the same one.

    A value that went out with an older stamp is old to every reader; it is sent again with the one it should have.
    """
    guess = _guessed(tags)
    answers = _asked(_look(key, tags), _set(key, sealed(guess), ttl_ms))
    if not answers:
        return False
    looked, kept = answers
    stamp = _stamp_seen(tags, _reading(tags, looked))
    if stamp == guess:
        return bool(kept == b"OK")
    if stamp is None:
        return False
    return _asked(_set(key, sealed(stamp), ttl_ms)) == [b"OK"]


def _guessed(tags: Sequence[str]) -> int:
    """The stamp of a value computed now, by what this process saw last; the store checks it before it counts."""
    return max((_versions.get(tag, 0) for tag in tags), default=0)


def _stamp_seen(tags: Sequence[str], reading: Reading) -> int | None:
    """The stamp of a value computed now, and what to guess the next time; None while it cannot be known."""
    stamp = stamp_of(reading.versions)
    if stamp is not None:
        if len(_versions) >= MOST_VERSIONS:
            _versions.clear()
        _versions.update(zip(tags, reading.versions, strict=True))
    return stamp


_versions: dict[str, int] = {}
MOST_VERSIONS = 4096


def _set(key: str, stored: bytes, ttl_ms: int) -> bytes:
    return wire.command("SET", key, stored, "PX", ttl_ms)


def _locked(key: str, token: str, lease_ms: int) -> bytes:
    return wire.command("SET", key, token, "PX", lease_ms, "NX")


def _unlocked(key: str, token: str) -> bytes:
    return wire.command("EVAL", _UNLOCK_LUA, 1, key, token)


def _heads(client: Redis, keys: Sequence[str]) -> list[bytes | None]:
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.getrange(key, 0, HEADER_BYTES - 1)
    return [head or None for head in pipeline.execute()]


def _count(answer: Any) -> int:
    return int(answer)


class DjangoStore:
    """Whatever ``settings.CACHES`` has there: locmem, database, files, memcached."""

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache

    def read(self, key: str, tags: Sequence[str]) -> Reading:
        nowhere = Reading(None, (-1,), reachable=False)
        return _quietly(lambda: Reading(self._bytes(key), invalidation.versions(tags)), nowhere)

    def look(self, key: str, tags: Sequence[str], lease_ms: int) -> tuple[Reading, Turn | None]:
        return self.read(key, tags), None

    def heads(self, keys: Sequence[str]) -> list[bytes | None]:
        nothing: dict[str, bytes] = {}
        found = _quietly(lambda: self._cache.get_many(list(keys)), nothing)
        return [found.get(key) for key in keys]

    def write(self, key: str, stored: bytes, ttl_ms: int) -> bool:
        def keep() -> bool:
            # Whole seconds are all that some backends know; the envelope has the exact end.
            self._cache.set(key, stored, max(1, -(-ttl_ms // 1000)))
            return True

        return _quietly(keep, False)

    def put(self, key: str, sealed: Sealed, ttl_ms: int, tags: Sequence[str]) -> bool:
        stamp = stamp_of(_quietly(lambda: invalidation.versions(tags), (-1,)))
        return stamp is not None and self.write(key, sealed(stamp), ttl_ms)

    def delete(self, keys: Sequence[str]) -> int:
        return _quietly(lambda: sum(map(bool, map(self._cache.delete, keys))), 0)

    def lock(self, key: str, lease_ms: int) -> str | None:
        token = _token()
        got = _quietly(lambda: self._cache.add(key, token, max(1, lease_ms // 1000)), True)
        return token if got else None

    def unlock(self, key: str, token: str) -> None:
        if _quietly(lambda: self._cache.get(key), None) == token:
            _quietly(lambda: self._cache.delete(key), False)

    def take(self, lock: str, lease_ms: int, key: str, tags: Sequence[str]) -> tuple[str | None, Reading]:
        return self.lock(lock, lease_ms), self.read(key, tags)

    def land(self, key: str, stored: bytes, ttl_ms: int, lock: str, token: str) -> bool:
        kept = self.write(key, stored, ttl_ms)
        self.unlock(lock, token)
        return kept

    def _bytes(self, key: str) -> bytes | None:
        stored = self._cache.get(key)
        return stored if isinstance(stored, bytes) else None


def _quietly(work: Callable[[], T], default: T) -> T:
    try:
        return work()
    except Exception:
        logger.warning("The cache does not answer; requests go on without it.", exc_info=True)
        return default


def current_store() -> Store:
    """The store of ``settings.CACHE``."""
    if redis_gate.is_redis():
        return _REDIS
    return DjangoStore(caches[get_settings().CACHE])


_REDIS = RedisStore()
