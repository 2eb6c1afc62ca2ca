"""The way to Redis: django-redis' connection, with a bounded wait and a circuit breaker.

A request never waits for Redis longer than ``REDIS_TIMEOUT``. After a failure the next ones do not wait at all,
for a moment at first (a busy machine is not a dead Redis) and up to ``REDIS_COOL_OFF`` while it goes on failing.

Behind Sentinel (django-redis' ``SentinelClient``) each connection is made to the primary of the moment: after a
failover the next ones find the new one. On a cluster (``clusters.ClusterConnectionFactory``) it is made to the node
that has our keys. Replicas are not read: they may be behind a commit.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, TypeVar

from django.core.cache import caches
from django.core.signals import setting_changed
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from paiid_perf.clusters import ClusterConnectionFactory, SlotPool, slot_pool
from paiid_perf.conf import get_settings

logger = logging.getLogger("paiid_perf")
T = TypeVar("T")


#: Seconds for which the first failure closes the gate; each further one in a row doubles them.
FIRST_PAUSE = 0.1


class RedisGate:
    """Lends a Redis client, or none while Redis is away or the cache is not Redis."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._closed_until = 0.0
        self._failures = 0
        self._patient: dict[str, Redis | None] = {}
        self._pools: dict[tuple[str, float], ConnectionPool | None] = {}
        # For requests, each thread has a connection of its own: taking one from a pool costs a quarter of a
        # round trip.
        self._of_thread = threading.local()
        self._generation = 0

    def is_redis(self) -> bool:
        """Whether the cache of ``settings.CACHE`` is django-redis (says nothing of whether it answers)."""
        return self.patient() is not None

    def is_open(self) -> bool:
        """False while the breaker keeps requests away from a Redis that failed a moment ago."""
        return self._clock() >= self._closed_until

    def call(self, work: Callable[[Redis], T], default: T) -> T:
        """``work(client)`` under the request path's time-out; ``default`` when Redis is not to be had.

        Never raises a RedisError; a failure closes the gate for a while.
        """
        if not self.is_open() or not self.is_redis():
            return default
        try:
            answer = work(self._quick())
        except (RedisError, OSError) as error:
            self._trip(error)
            return default
        self._failures = 0
        return answer

    def over(self, work: Callable[[ConnectionPool], T], default: T) -> T:
        """``call`` for ``work`` that keeps connections of its own (``wire``), made as the pool makes them."""
        pool = self._pool_of_requests()
        if pool is None:
            return default
        try:
            answer = work(pool)
        except (RedisError, OSError) as error:
            self._trip(error)
            return default
        self._failures = 0
        return answer

    async def over_async(self, work: Callable[[ConnectionPool], Awaitable[T]], default: T) -> T:
        """The same for ``work`` that awaits."""
        pool = self._pool_of_requests()
        if pool is None:
            return default
        try:
            answer = await work(pool)
        except (RedisError, OSError) as error:
            self._trip(error)
            return default
        self._failures = 0
        return answer

    def _pool_of_requests(self) -> ConnectionPool | None:
        if not self.is_open():
            return None
        key = (get_settings().CACHE, get_settings().REDIS_TIMEOUT)
        try:
            return self._pools[key]
        except KeyError:
            pool = self._pools[key] = _pool(*key)
            return pool

    def may_fail_over(self) -> bool:
        """Whether a replica may take the server's place, so that what it has not received yet would be lost."""
        return isinstance(self._pool_of_requests(), SentinelConnectionPool | SlotPool)

    def patient(self) -> Redis | None:
        """A client for work outside requests (5 s time-out); it may raise RedisError."""
        alias = get_settings().CACHE
        try:
            return self._patient[alias]
        except KeyError:
            pool = _pool(alias, PATIENCE)
            client = self._patient[alias] = Redis(connection_pool=pool) if pool else None
            return client

    def forget(self) -> None:
        """Drop the clients and open the gate: after a fork, a settings change, a restart in a test."""
        self._patient.clear()
        self._pools.clear()
        self._generation += 1
        self._closed_until = 0.0
        self._failures = 0

    def _trip(self, error: Exception) -> None:
        if not self.is_open():
            return  # another thread's failure, of the same moment, has closed it
        pause = min(FIRST_PAUSE * 2**self._failures, get_settings().REDIS_COOL_OFF)
        self._closed_until = self._clock() + pause
        self._failures = min(self._failures + 1, 30)
        logger.warning("Redis does not answer (%s); requests go on without it.", type(error).__name__)

    def _quick(self) -> Redis:
        """This thread's client for requests; connects where it is new, and may raise RedisError then."""
        settings, mine = get_settings(), self._of_thread
        key = (self._generation, settings.CACHE, settings.REDIS_TIMEOUT)
        if getattr(mine, "key", None) != key:
            pool = _pool(settings.CACHE, settings.REDIS_TIMEOUT)
            mine.client = Redis(connection_pool=pool, single_connection_client=True)
            mine.key = key
        client: Redis = mine.client
        return client


#: Seconds that work outside requests waits for Redis.
PATIENCE = 5.0


def _pool(alias: str, timeout: float) -> ConnectionPool | None:
    """Connections to the server of django-redis' ``alias``, with time-outs of our own; None if not Redis."""
    backend: Any = caches[alias]
    if not backend.__class__.__module__.startswith("django_redis."):
        return None
    factory = backend.client.connection_factory
    if isinstance(factory, ClusterConnectionFactory):
        nodes = factory.nodes(backend.client._server)
        return slot_pool(nodes, get_settings().KEY_PREFIX, _hasty(nodes[0], timeout))
    hosts = backend.client.get_client(write=True).connection_pool
    options = _hasty(hosts, timeout)
    if isinstance(hosts, SentinelConnectionPool):
        del options["connection_pool"]  # the host's: the new pool puts itself there
        watchers = _watchers(hosts.sentinel_manager, timeout)
        return SentinelConnectionPool(  # type: ignore[no-untyped-call]
            hosts.service_name, watchers, connection_class=_following(hosts.connection_class), **options
        )
    return ConnectionPool(connection_class=hosts.connection_class, **options)


def _hasty(pool: ConnectionPool, timeout: float) -> dict[str, Any]:
    """The pool's options with time-outs of our own."""
    return pool.connection_kwargs | {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        # A connection that the server closed while it was idle is opened again; a time-out is not tried twice.
        "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        "retry_on_timeout": False,
    }


class _Following:
    """Over redis-py's connections behind Sentinel, which open again where they were, though another is primary now,
    and stay open when an answer is late, so that the next question would get it.
    """

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        here: Any = self
        if not here._sock:
            here.connect()
        super().send_packed_command(command, check_health)  # type: ignore[misc]

    def read_response(self, disable_decoding: bool = False, **options: Any) -> Any:
        options["disconnect_on_error"] = True
        return super().read_response(disable_decoding, **options)  # type: ignore[misc]


def _following(connection_class: type) -> type:
    return type("FollowingConnection", (_Following, connection_class), {})


def _watchers(known: Sentinel, timeout: float) -> Sentinel:
    """The host's Sentinels, asked with time-outs of our own."""
    found = copy(known)
    pools = [sentinel.connection_pool for sentinel in known.sentinels]
    found.sentinels = [
        Redis(connection_pool=ConnectionPool(connection_class=pool.connection_class, **_hasty(pool, timeout)))
        for pool in pools
    ]
    return found


redis_gate = RedisGate()
# A child must not write to its parent's sockets.
os.register_at_fork(after_in_child=redis_gate.forget)


def _follow_settings(*, setting: str, **_: Any) -> None:
    if setting in {"CACHES", "PAIID_PERF"}:
        redis_gate.forget()


setting_changed.connect(_follow_settings, dispatch_uid="paiid_perf.stores")
