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
from paiid_perf.cache.envelope import HEADER_BYTES, stamp_of
from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate
from paiid_perf.wire import Script

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


#: ``look``: the value, the versions of its tags, and 1 where the turn is the caller's.
_LOOK = Script("""
local found = redis.call('MGET', unpack(KEYS))
local stamp = 0
for i = 2, #found do
  if not found[i] then return found end
  stamp = math.max(stamp, tonumber(found[i]))
end
-- An envelope's bytes 2 to 9 are its stamp.
if found[1] and string.sub(found[1], 2, 9) == struct.pack('>I8', stamp) then return found end
local mine = redis.call('SET', string.format('%s:lock:%x', KEYS[1], stamp), ARGV[1], 'NX', 'PX', ARGV[2])
found[#found + 1] = mine and 1 or 0
return found
""")


_LAND = Script("""
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
return 1
""")

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
        token = _token()
        answer = _run(_LOOK, [key, *map(invalidation.tag_key, tags)], [token, str(lease_ms)])
        if answer is None:
            return Reading(None, (-1,), reachable=False), None
        reading = _reading(tags, answer[: len(tags) + 1])
        if answer[len(tags) + 1 :] != [1]:
            return reading, None
        return reading, (lock_key(key, stamp_of(reading.versions) or 0), token)

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
        return redis_gate.over(lambda pool: _told(pool, _LAND, [key, lock], [stored, ttl_ms, token]), False)

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


def _run(script: Script, keys: list[str], args: list[str]) -> Any:
    """What the script says; None where Redis is away, or answers with an error."""

    def work(pool: ConnectionPool) -> Any:
        try:
            return wire.send(pool, script, script.call(len(keys), keys + args), keys, args)
        except ResponseError as error:
            logger.warning("Redis refuses: %s", error)
            return None

    return redis_gate.over(work, None)


def _told(pool: ConnectionPool, script: Script, keys: list[str], args: list[str | int | bytes]) -> bool:
    wire.tell(pool, script, keys, args)
    return True


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
    guess = _stamps.get(tags, 0)
    answers = _asked(_look(key, tags), _set(key, sealed(guess), ttl_ms))
    if not answers:
        return False
    looked, kept = answers
    stamp = stamp_of(_reading(tags, looked).versions)
    if stamp == guess:
        return bool(kept == b"OK")
    if stamp is None:
        return False
    if len(_stamps) >= MOST_STAMPS:
        _stamps.clear()
    _stamps[tags] = stamp
    return _asked(_set(key, sealed(stamp), ttl_ms)) == [b"OK"]


#: The stamps that this process last saw, by tags: guesses, each checked by the store before it counts.
_stamps: dict[tuple[str, ...], int] = {}
MOST_STAMPS = 1024


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
