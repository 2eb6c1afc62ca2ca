"""A Redis Cluster of six: one settings line, and what happens when a node dies and when a slot moves under load."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache as host_cache
from django.test import RequestFactory
from redis.crc import key_slot

from paiid_perf import invalidation, wire
from paiid_perf.api import store
from paiid_perf.api.limits import Limit, Rate
from paiid_perf.api.store import Found, Keepsake, Lookup, Question
from paiid_perf.cache import get, get_or_compute
from paiid_perf.cache import set as keep
from paiid_perf.clusters import ClusterConnectionFactory, SlotPool
from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate
from project.embedded import Cluster, Valkey, ask, start_cluster
from tests.integration.cache.failover import Load, until

TAG = "cluster.thing"


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(six: Cluster, settings: Any) -> Iterator[Cluster]:
    """The settings that a host writes to go from one node to a cluster."""
    running = next(node for node in six.nodes if node.process is not None)
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": running.url,
            "OPTIONS": {"CONNECTION_FACTORY": "paiid_perf.clusters.ClusterConnectionFactory"},
        }
    }
    # A loaded machine may take its time; the gate's pauses are of no interest here.
    settings.PAIID_PERF = {**settings.PAIID_PERF, "REDIS_TIMEOUT": 1.0, "REDIS_COOL_OFF": 0.2}
    yield six
    line = wire._lines.open.pop(redis_gate._pool_of_requests(), None)
    if line is not None:
        line.close()
    for pool in redis_gate._pools.values():
        if pool is not None:
            pool.disconnect()  # type: ignore[no-untyped-call]
    for client in ClusterConnectionFactory._clusters.values():
        client.close()
    ClusterConnectionFactory._clusters.clear()
    redis_gate.forget()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    invalidation._replicas = invalidation._Replicas()


def slot() -> int:
    return key_slot(get_settings().KEY_PREFIX.encode())


def port_in_use() -> int:
    """Where the requests' connections go."""
    (pool,) = redis_gate._pools.values()
    assert isinstance(pool, SlotPool)
    return pool.whereabouts.node().port


def asked() -> Any:
    limit = Limit(f"{get_settings().KEY_PREFIX}:limit:x", Rate(2, 60), "x")
    return store.ask(Question(limit, None), RequestFactory().get("/")).allowance


def test_one_line_of_settings_is_all_it_takes(cluster: Cluster) -> None:
    assert get_settings().KEY_PREFIX == "{perf}"
    assert keep("a", 1, tags=[TAG])
    assert get("a", tags=[TAG]) == 1
    invalidation.bump([TAG])
    assert get("a", tags=[TAG]) is None
    assert get_or_compute("b", lambda: 2) == 2
    assert [asked().allowed for _ in range(3)] == [True, True, False]
    assert asked() is not None
    counts = [int(ask(node, "DBSIZE")) for node in cluster.primaries]
    assert sorted(counts)[:-1] == [0, 0], "what belongs together is on one node"


def test_an_answer_is_looked_up_counted_and_kept(cluster: Cluster) -> None:
    prefix = get_settings().KEY_PREFIX
    lookup = Lookup(f"{prefix}:answer:x", ("cluster.thing",))
    limit = Limit(f"{prefix}:limit:y", Rate(9, 60), "y")
    request = RequestFactory().get("/")
    first = store.ask(Question(limit, lookup), request)
    assert first.found is Found.LEAD
    store.keep(Keepsake(lookup, first.lease, first.born, b"answer", 60_000))
    again = store.ask(Question(limit, lookup), request)
    assert (again.found, again.blob) == (Found.FRESH, b"answer")
    assert again.allowance
    assert again.allowance.remaining == 7
    invalidation.bump(["cluster.thing"])
    assert store.ask(Question(None, lookup), request).found is Found.LEAD


def test_the_hosts_own_keys_are_spread_and_found(cluster: Cluster) -> None:
    values = {f"key{n}": n for n in range(50)}
    host_cache.set_many(values)
    assert host_cache.get_many(values) == values
    assert sum(int(ask(node, "DBSIZE")) > 0 for node in cluster.primaries) == 3
    host_cache.delete_many(values)
    assert host_cache.get_many(values) == {}


def test_a_slot_moves_under_load(cluster: Cluster) -> None:
    assert keep("fresh", "value")
    source = cluster.of_slot(slot())
    target = next(node for node in cluster.primaries if node is not source)
    with Load(TAG) as load:
        until(lambda: load.committed > 20)
        moved(slot(), source, target)
        done = load.committed
        until(lambda: load.committed > done + 20)
    assert (load.failures, load.stale) == ([], 0)
    until(lambda: asked() is not None)
    assert port_in_use() == target.port
    assert get("fresh") == "value"
    assert keep("after", "the move")
    assert get("after") == "the move"


def moved(number: int, source: Valkey, target: Valkey) -> None:
    """As ``valkey-cli --cluster reshard`` does it."""
    there, here = ask(target, "CLUSTER", "MYID"), ask(source, "CLUSTER", "MYID")
    ask(target, "CLUSTER", "SETSLOT", number, "IMPORTING", here)
    ask(source, "CLUSTER", "SETSLOT", number, "MIGRATING", there)
    while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", number, 1):
        ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)

    def is_given() -> bool:
        # A message that was under way may give it back before the target's epoch is above all.
        for node in (target, source):
            ask(node, "CLUSTER", "SETSLOT", number, "NODE", there)
        ask(target, "CLUSTER", "BUMPEPOCH")
        return all(serves(node, number) == target.port for node in (target, source))

    until(is_given)


def serves(asked: Valkey, number: int) -> int:
    """The port of the node that serves the slot, as this one knows it."""
    shares = ask(asked, "CLUSTER", "SLOTS")
    return next(int(primary[1]) for first, last, primary, *_ in shares if first <= number <= last)


def test_the_node_that_serves_us_dies_under_load(cluster: Cluster) -> None:
    assert keep("kept", "value")
    assert keep("old", "value", tags=["cluster.other"])
    invalidation.bump(["cluster.other"])
    dying = cluster.of_slot(slot())
    with Load(TAG) as load:
        until(lambda: load.committed > 20)
        dying.kill()
        until(
            lambda: (
                asked() is not None and port_in_use() != dying.port and not invalidation.has_pending([TAG])
            )
        )
        done = load.committed
        until(lambda: load.committed > done + 20)
    assert (load.failures, load.stale) == ([], 0)
    assert get("kept") == "value", "what the replica had is there still"
    assert get("old", tags=["cluster.other"]) is None, "and what it heard was old is old"
    assert get_or_compute("again", lambda: 3) == 3
