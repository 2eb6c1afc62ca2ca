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
from redis import Redis
from redis.exceptions import ResponseError

from paiid_perf import invalidation
from paiid_perf.cache.envelope import HEADER_BYTES
from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate

logger = logging.getLogger("paiid_perf")
T = TypeVar("T")


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

    def heads(self, keys: Sequence[str]) -> list[bytes | None]:
        """The envelopes' headers (at least), in the order of the keys."""
        ...

    def write(self, key: str, stored: bytes, ttl_ms: int) -> bool:
        """Keep the bytes; whether it was done."""
        ...

    def delete(self, keys: Sequence[str]) -> int:
        """Forget the keys; how many there were (where the store knows)."""
        ...

    def lock(self, key: str, lease_ms: int) -> str | None:
        """A token while nobody else has this lock, else None. A store that does not answer grants it."""
        ...

    def unlock(self, key: str, token: str) -> None:
        """Give the lock back, if it is still ours."""
        ...


_UNLOCK_LUA = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RedisStore:
    """The raw client of django-redis' server: opaque bytes, no pickle around them."""

    def read(self, key: str, tags: Sequence[str]) -> Reading:
        if invalidation.has_pending(tags):
            return Reading(None, (-1,))
        nowhere = Reading(None, (-1,), reachable=False)
        return _call(lambda client: _read(client, key, tags), nowhere)

    def heads(self, keys: Sequence[str]) -> list[bytes | None]:
        return _call(lambda client: _heads(client, keys), [None] * len(keys))

    def write(self, key: str, stored: bytes, ttl_ms: int) -> bool:
        return _call(lambda client: client.set(key, stored, px=ttl_ms) is not None, False)

    def delete(self, keys: Sequence[str]) -> int:
        return _call(lambda client: _count(client.unlink(*keys)), 0) if keys else 0

    def lock(self, key: str, lease_ms: int) -> str | None:
        token = secrets.token_hex(8)
        # None: the lock is taken. True is also the answer of a Redis that is away: then everybody may compute.
        got = _call(lambda client: client.set(key, token, nx=True, px=lease_ms) is not None, True)
        return token if got else None

    def unlock(self, key: str, token: str) -> None:
        _call(lambda client: invalidation.run_script(client, _UNLOCK_LUA, [key], [token]), None)


def _call(work: Callable[[Redis], T], default: T) -> T:
    """Through the gate; a Redis that answers with an error (full, read-only, forbidden) is not one that is away."""

    def attempt(client: Redis) -> T:
        try:
            return work(client)
        except ResponseError as error:
            logger.warning("Redis refuses: %s", error)
            return default

    return redis_gate.call(attempt, default)


def _read(client: Redis, key: str, tags: Sequence[str]) -> Reading:
    stored, *versions = _ask(client, "MGET", key, *(invalidation.tag_key(tag) for tag in tags))
    if None in versions:
        # A tag that the store does not know (new, evicted, flushed) is given a version above all there were.
        return Reading(stored, invalidation.versions(tags))
    return Reading(stored, tuple(map(int, versions)))


def _ask(client: Redis, *command: str) -> Any:
    """A command on the thread's own connection: what ``execute_command`` does, without a third of its time."""
    connection: Any = client.connection
    if connection is None:
        return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def attempt() -> Any:
        connection.send_command(*command)
        return connection.read_response()

    return connection.retry.call_with_retry(attempt, lambda _: connection.disconnect())


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

    def delete(self, keys: Sequence[str]) -> int:
        return _quietly(lambda: sum(map(bool, map(self._cache.delete, keys))), 0)

    def lock(self, key: str, lease_ms: int) -> str | None:
        token = secrets.token_hex(8)
        got = _quietly(lambda: self._cache.add(key, token, max(1, lease_ms // 1000)), True)
        return token if got else None

    def unlock(self, key: str, token: str) -> None:
        if _quietly(lambda: self._cache.get(key), None) == token:
            _quietly(lambda: self._cache.delete(key), False)

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
