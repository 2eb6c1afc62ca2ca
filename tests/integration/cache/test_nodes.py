"""Every node of a cluster and every replica is told by itself; a slow command is counted where it ran."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from paiid_perf.cache import nodes
from paiid_perf.cache.recorders import RECORDERS
from paiid_perf.stores import redis_gate
from project.embedded import Valkey, free_port, start_valkey
from tests.integration.api.nodes import Cluster, start_cluster, tell, until

BY_NODE = (
    "cache.memory_bytes",
    "cache.memory_percent",
    "cache.evicted_keys",
    "cache.fragmentation",
    "cache.slow_commands",
    "cache.node_hit_ratio",
)


def gauges() -> dict[str, dict[str, float]]:
    return {name: dict(read()) for name, read in RECORDERS if name in BY_NODE}


def use(settings: Any, server: Valkey, **options: str) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": server.url,
            "OPTIONS": options,
        }
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.mark.parametrize(
    "options",
    [{}, {"CONNECTION_FACTORY": "paiid_perf.clusters.ClusterConnectionFactory"}],
    ids=["by one node", "as a cluster"],
)
def test_each_node_of_a_cluster(cluster: Cluster, settings: Any, options: dict[str, str]) -> None:
    for node in cluster.nodes:
        tell(node, "CONFIG", "SET", "slowlog-log-slower-than", -1)
        tell(node, "SLOWLOG", "RESET")
    tell(cluster.owner, "CONFIG", "SET", "slowlog-log-slower-than", 0)
    tell(cluster.owner, "GET", "{perf}")
    tell(cluster.owner, "CONFIG", "SET", "slowlog-log-slower-than", -1)
    use(settings, cluster.other, **options)

    found = gauges()
    shown = {row["node"] for row in nodes.table()}

    owner, other = (f"127.0.0.1:{node.port}" for node in cluster.nodes)
    assert shown == {owner, other}
    assert all(set(found[name]) == {f"default {owner}", f"default {other}"} for name in BY_NODE[:5])
    assert all(value > 100_000 for value in found["cache.memory_bytes"].values())
    assert found["cache.slow_commands"][f"default {owner}"] > 0
    assert found["cache.slow_commands"][f"default {other}"] == 0
    assert found["cache.node_hit_ratio"] == {f"default {owner}": 0}


def test_the_replicas_of_a_primary_and_one_that_went_away(
    tmp_path: Path, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        primary, replica = (
            start_valkey(tmp_path / name, options={"repl-diskless-sync-delay": "0"}) for name in "ab"
        )
        stack.callback(primary.kill)
        stack.callback(replica.kill)
        tell(replica, "REPLICAOF", "127.0.0.1", primary.port)
        until(lambda: "'state': 'online'" in str(tell(primary, "INFO", "replication")))
        use(settings, primary)

        assert set(gauges()["cache.memory_bytes"]) == {"default", f"default 127.0.0.1:{replica.port}"}

        client = redis_gate.patient()
        assert client is not None
        gone = [("127.0.0.1", free_port())]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nodes, "_replicas", lambda client: gone)
            assert [name for name, _, _ in nodes.each(client)] == [""]
    assert "does not answer" in caplog.text
