"""Every node of a cluster and every replica is told by itself; a slow command is counted where it ran."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from paiid_perf.cache import nodes
from paiid_perf.cache.recorders import RECORDERS
from paiid_perf.stores import redis_gate
from project.embedded import Valkey, free_port, start_valkey

BY_NODE = (
    "cache.memory_bytes",
    "cache.memory_percent",
    "cache.evicted_keys",
    "cache.fragmentation",
    "cache.slow_commands",
    "cache.node_hit_ratio",
)


def until(is_so: Callable[[], bool]) -> None:
    """Bounded by what a loaded machine may take, not by what is expected."""
    ends, pause = time.monotonic() + 60, threading.Event()
    while not is_so():
        assert time.monotonic() < ends
        pause.wait(0.02)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], list[Valkey]]]:
    with ExitStack() as stack:

        def start(options: dict[str, str]) -> list[Valkey]:
            servers = []
            for name in ("a", "b"):
                more = {"cluster-port": str(free_port())} if "cluster-enabled" in options else {}
                server = start_valkey(tmp_path / name, options=options | more)
                stack.callback(server.kill)
                servers.append(server)
            return servers

        yield start


def gauges() -> dict[str, dict[str, float]]:
    return {name: dict(read()) for name, read in RECORDERS if name in BY_NODE}


def use(settings: Any, server: Valkey) -> None:
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}}


def test_each_node_of_a_cluster(two: Any, settings: Any) -> None:
    first, second = servers = two({"cluster-enabled": "yes", "cluster-node-timeout": "60000"})
    with closing(Redis(port=first.port)) as client:
        client.execute_command(
            "CLUSTER", "MEET", "127.0.0.1", second.port, int(second.options["cluster-port"])
        )
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: len(client.cluster("NODES")) == 2 and "handshake" not in str(client.cluster("NODES")))
        until(lambda: client.cluster("INFO")["cluster_state"] == "ok")
        client.config_set("slowlog-log-slower-than", 0)
        client.get("nothing")
    use(settings, first)

    found = gauges()

    subjects = {f"default 127.0.0.1:{server.port}" for server in servers}
    assert all(set(found[name]) == subjects for name in BY_NODE[:5])
    assert all(value > 100_000 for value in found["cache.memory_bytes"].values())
    assert {row["node"] for row in nodes.table()} == {f"127.0.0.1:{server.port}" for server in servers}
    assert found["cache.slow_commands"][f"default 127.0.0.1:{first.port}"] > 0
    assert found["cache.slow_commands"][f"default 127.0.0.1:{second.port}"] == 0
    assert found["cache.node_hit_ratio"] == {f"default 127.0.0.1:{first.port}": 0}


def test_the_replicas_of_a_primary_and_one_that_went_away(
    two: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    primary, replica = two({"repl-diskless-sync-delay": "0"})
    with closing(Redis(port=primary.port)) as client, closing(Redis(port=replica.port)) as other:
        other.execute_command("REPLICAOF", "127.0.0.1", primary.port)
        until(lambda: client.info("replication").get("slave0", {}).get("state") == "online")
    use(settings, primary)

    assert set(gauges()["cache.memory_bytes"]) == {"default", f"default 127.0.0.1:{replica.port}"}

    client = redis_gate.patient()
    assert client is not None
    gone = [("127.0.0.1", free_port())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "_replicas", lambda client: gone)
        assert [name for name, _, _ in nodes.each(client)] == [""]
    assert "does not answer" in caplog.text
