"""The way to Redis: django-redis' connection, with a bounded wait and a circuit breaker.

A request never waits for a dead Redis longer than ``REDIS_TIMEOUT`` once per ``REDIS_COOL_OFF``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.cache import caches
from django.core.signals import setting_changed
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from paiid_perf.conf import get_settings

logger = logging.getLogger("paiid_perf")
T = TypeVar("T")


class RedisGate:
    """Lends a Redis client, or none while Redis is away or the cache is not Redis."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clients: dict[tuple[str, float | None], Redis | None] = {}
        self._closed_until = 0.0

    def is_redis(self) -> bool:
        """Whether the cache of ``settings.CACHE`` is django-redis (says nothing of whether it answers)."""
        return self._client(get_settings().REDIS_TIMEOUT) is not None

    def is_open(self) -> bool:
        """False while the breaker keeps requests away from a Redis that failed a moment ago."""
        return self._clock() >= self._closed_until

    def call(self, work: Callable[[Redis], T], default: T) -> T:
        """``work(client)`` under the request path's time-out; ``default`` when Redis is not to be had.

        Never raises a RedisError; a failure closes the gate for ``REDIS_COOL_OFF`` seconds.
        """
        if not self.is_open():
            return default
        client = self._client(get_settings().REDIS_TIMEOUT)
        if client is None:
            return default
        try:
            return work(client)
        except (RedisError, OSError) as error:
            self._trip(error)
            return default

    def patient(self) -> Redis | None:
        """A client for work outside requests (5 s time-out); it may raise RedisError."""
        return self._client(5.0)

    def forget(self) -> None:
        """Drop the clients and open the gate: after a fork, a settings change, a restart in a test."""
        self._clients.clear()
        self._closed_until = 0.0

    def _trip(self, error: Exception) -> None:
        self._closed_until = self._clock() + get_settings().REDIS_COOL_OFF
        logger.warning("Redis does not answer (%s); requests go on without it.", type(error).__name__)

    def _client(self, timeout: float) -> Redis | None:
        key = (get_settings().CACHE, timeout)
        try:
            return self._clients[key]
        except KeyError:
            client = self._clients[key] = _connect(*key)
            return client


def _connect(alias: str, timeout: float) -> Redis | None:
    """A client on the same server as django-redis' ``alias``, with time-outs of our own; None if not Redis."""
    backend: Any = caches[alias]
    if not backend.__class__.__module__.startswith("django_redis."):
        return None
    hosts = backend.client.get_client(write=True).connection_pool
    options = hosts.connection_kwargs | {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
    }
    return Redis(connection_pool=ConnectionPool(connection_class=hosts.connection_class, **options))


redis_gate = RedisGate()


def _follow_settings(*, setting: str, **_: Any) -> None:
    if setting in {"CACHES", "PAIID_PERF"}:
        redis_gate.forget()


setting_changed.connect(_follow_settings, dispatch_uid="paiid_perf.stores")
