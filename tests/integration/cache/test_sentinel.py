"""A primary that dies behind Sentinel: requests go on, nothing old is served, and the cache comes back by itself."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django_redis.pool import SentinelConnectionFactory
from redis.sentinel import SentinelConnectionPool

from paiid_perf import invalidation, wire
from paiid_perf.cache import get
from paiid_perf.cache import set as keep
from paiid_perf.cache.keys import storage_key
from paiid_perf.stores import redis_gate
from project.embedded import Replicated, start_replicated
from tests.integration.cache.failover import Load, answers, until

TAG = "sentinel.thing"


@pytest.fixture
def servers_of(tmp_path: Path, settings: Any) -> Iterator[Replicated]:
    """The settings that a host writes to go from one node to Sentinel."""
    with start_replicated(tmp_path) as replicated:
        settings.CACHES = {
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": f"redis://{replicated.service}/0",
                "OPTIONS": {
                    "CLIENT_CLASS": "django_redis.client.SentinelClient",
                    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                    "SENTINELS": [("127.0.0.1", replicated.sentinel.port)],
                },
            }
        }
        # A loaded machine's replica may take its time; the gate's pauses are of no interest here.
        settings.PAIID_PERF = {**settings.PAIID_PERF, "REDIS_TIMEOUT": 1.0, "REDIS_COOL_OFF": 0.2}
        yield replicated
        _hang_up()
        redis_gate.forget()
        # What redis-py's rings of connections and parsers still hold of the killed primary goes with them, here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        invalidation._replicas = invalidation._Replicas()


def _hang_up() -> None:
    """Close what was opened to these servers, and let nobody find it again: the host's pools are the process's."""
    line = wire._lines.open.pop(redis_gate._pool_of_requests(), None)
    if line is not None:
        line.close()
    hosts = SentinelConnectionFactory._pools
    patient = getattr(redis_gate.patient(), "connection_pool", None)
    for pool in (*hosts.values(), *redis_gate._pools.values(), patient):
        if isinstance(pool, SentinelConnectionPool):
            pool.disconnect()  # type: ignore[no-untyped-call]
            for sentinel in pool.sentinel_manager.sentinels:
                sentinel.connection_pool.disconnect()
    for key in [key for key, pool in hosts.items() if isinstance(pool, SentinelConnectionPool)]:
        del hosts[key]


def _of_replica(servers_of: Replicated) -> bool:
    return redis_gate.call(lambda client: client.info("server")["tcp_port"] == servers_of.replica.port, False)


def test_a_primary_dies_under_load(servers_of: Replicated) -> None:
    assert keep("fresh", "value")
    assert keep("old", "value", tags=["sentinel.other"])
    invalidation.bump(["sentinel.other"])
    assert answers()
    with Load(TAG) as load:
        servers_of.primary.kill()
        until(lambda: _of_replica(servers_of) and not invalidation.has_pending([TAG]))
        done = load.committed
        until(lambda: load.committed > done)
    assert load.failures == []
    assert load.stale == 0
    until(answers)
    assert get("fresh") == "value", "what the replica had is there still"
    assert redis_gate.call(lambda client: client.exists(storage_key("standard", "old")), 0)
    assert get("old", tags=["sentinel.other"]) is None, "and what it heard was old is old"
    assert keep("after", "failover")
    assert get("after") == "failover"
