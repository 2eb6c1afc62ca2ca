"""A primary that dies behind Sentinel: requests go on, nothing old is served, and the cache comes back by itself."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django_redis.pool import SentinelConnectionFactory
from redis.sentinel import SentinelConnectionPool

from paiid_perf import invalidation
from paiid_perf.api import wire
from paiid_perf.cache import get, get_or_compute
from paiid_perf.cache import set as keep
from paiid_perf.cache.keys import storage_key
from paiid_perf.stores import redis_gate
from project.embedded import Replicated, start_replicated

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


def _until(is_so: Callable[[], bool]) -> None:
    """Bounded by what a loaded machine may take, not by what is expected."""
    ends, pause = time.monotonic() + 30, threading.Event()
    while not is_so():
        assert time.monotonic() < ends
        pause.wait(0.02)


#: What the response cache asks with.
SCRIPT = wire.Script("return 'up'")


def _answers() -> bool:
    return redis_gate.over(lambda pool: bool(wire.call(pool, SCRIPT, [], []) == b"up"), False)


class Load:
    """Threads that read one value while another changes what it is computed from."""

    def __init__(self) -> None:
        self.row = self.committed = 0
        self.failures: list[BaseException] = []
        self.stale = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in self._works()]

    def _works(self) -> list[Callable[[], None]]:
        return [self._read, self._read, self._write]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            while not self._stop.wait(0.002):
                work()
        except BaseException as error:
            self.failures.append(error)

    def _read(self) -> None:
        before = self.committed
        self.stale += get_or_compute("value", lambda: self.row, tags=[TAG]) < before

    def _write(self) -> None:
        # As a transaction does: the row is there first, then the tag is bumped, then the caller goes on.
        self.row += 1
        invalidation.bump([TAG])
        self.committed = self.row


def _of_replica(servers_of: Replicated) -> bool:
    return redis_gate.call(lambda client: client.info("server")["tcp_port"] == servers_of.replica.port, False)


def test_a_primary_dies_under_load(servers_of: Replicated) -> None:
    assert keep("fresh", "value")
    assert keep("old", "value", tags=["sentinel.other"])
    invalidation.bump(["sentinel.other"])
    assert _answers()
    with Load() as load:
        servers_of.primary.kill()
        _until(lambda: _of_replica(servers_of) and not invalidation.has_pending([TAG]))
        done = load.committed
        _until(lambda: load.committed > done)
    assert load.failures == []
    assert load.stale == 0
    _until(_answers)
    assert get("fresh") == "value", "what the replica had is there still"
    assert redis_gate.call(lambda client: client.exists(storage_key("standard", "old")), 0)
    assert get("old", tags=["sentinel.other"]) is None, "and what it heard was old is old"
    assert keep("after", "failover")
    assert get("after") == "failover"
