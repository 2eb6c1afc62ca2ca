"""The same on a cluster: one script on the node that has our keys, wherever that is at the moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches

from paiid_perf import invalidation, stores
from paiid_perf.clusters import ClusterConnectionFactory, Node, SlotPool, Whereabouts, owner_of, redirected
from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate
from tests.integration.api import nodes, views
from tests.integration.api.conftest import PERF, Browser
from tests.integration.api.nodes import Cluster

NUMBER = "/limited/number/"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The two nodes, for all tests of this module."""
    with nodes.start_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def cluster(both: Cluster, site: None, settings: Any) -> Iterator[Cluster]:
    """What a host writes to use one. It names the node that does not have our keys."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": both.other.url,
            "OPTIONS": {"CONNECTION_FACTORY": "paiid_perf.clusters.ClusterConnectionFactory"},
        }
    }
    settings.PAIID_PERF = PERF | {"REDIS_TIMEOUT": 2.0}
    redis_gate.forget()
    yield both
    for client in ClusterConnectionFactory._clusters.values():
        client.close()
    ClusterConnectionFactory._clusters.clear()
    both.restore()


def seen(browser: Browser) -> tuple[str, str]:
    """How the cache answered, and what is left of the limit."""
    answer = browser.get(NUMBER)
    assert answer.status_code == 200
    return answer.get("X-Cache", "-"), answer.get("RateLimit", "-").split("r=")[-1].split(";")[0]


def test_the_keys_are_together(cluster: Cluster, mode: str) -> None:
    browser = Browser(mode)
    assert get_settings().KEY_PREFIX == "{perf}"
    assert [seen(browser) for _ in range(3)] == [("MISS", "2"), ("HIT", "1"), ("HIT", "0")]
    assert browser.get(NUMBER).status_code == 429
    assert nodes.tell(cluster.owner, "DBSIZE") > 0
    assert nodes.tell(cluster.other, "DBSIZE") == 0
    invalidation.bump(["auth.user"])
    assert browser.get("/public/number/")["X-Cache"] == "MISS"


def test_a_slot_that_moves_is_followed(cluster: Cluster, mode: str) -> None:
    browser = Browser(mode)
    assert seen(browser) == ("MISS", "2")
    cluster.begin_move()  # ASK, for what has one key: a POST is only counted
    assert "r=1" in browser.post(NUMBER)["RateLimit"]
    cluster.end_move(cluster.other, cluster.owner)  # MOVED
    assert seen(browser) == ("HIT", "0")
    assert browser.get(NUMBER).status_code == 429
    assert redis_gate.is_open()
    # What goes through the client library follows as well.
    invalidation.bump(["auth.user"])
    assert not invalidation.has_pending(["auth.user"])
    patient = redis_gate.patient()
    assert patient is not None
    assert patient.exists(invalidation.sequence_key())
    patient.connection_pool.disconnect()


def comes_back(browser: Browser) -> bool:
    """Whether the cache answers again, now that the pause is over."""
    redis_gate._closed_until = 0.0
    return bool(browser.get("/public/number/").get("X-Cache") == "HIT")


def test_a_node_that_hangs_is_waited_for_once(
    cluster: Cluster, mode: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PAIID_PERF = PERF | {"REDIS_TIMEOUT": 0.3, "REDIS_COOL_OFF": 600.0}
    monkeypatch.setattr(stores, "FIRST_PAUSE", 600.0)
    browser = Browser(mode)
    nodes.until(lambda: comes_back(browser))
    assert cluster.owner.process is not None
    os.kill(cluster.owner.process.pid, signal.SIGSTOP)
    try:
        views.calls.clear()
        assert {browser.get("/public/number/").status_code for _ in range(20)} == {200}
        assert len(views.calls) == 20
        assert not redis_gate.is_open()
        cluster.end_move(cluster.other)
        nodes.until(lambda: comes_back(browser))
    finally:
        os.kill(cluster.owner.process.pid, signal.SIGCONT)


def test_the_hosts_own_cache_is_on_all_nodes(cluster: Cluster) -> None:
    cache = caches["default"]
    values = {f"key {number}": number for number in range(20)}
    cache.set_many(values)
    assert cache.get_many(values) == values
    assert all(nodes.tell(node, "DBSIZE") for node in cluster.nodes)
    assert cache.incr("key 3") == 4
    cache.delete_many(list(values)[:10])
    assert len(cache.get_many(values)) == 10
    cache.clear()
    assert cache.get_many(values) == {}


def test_no_node_to_be_had_leaves_the_way_open(cluster: Cluster, mode: str, settings: Any) -> None:
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    redis_gate.forget()
    assert [seen(Browser(mode)) for _ in range(3)] == [("-", "-")] * 3


# --- where it is -----------------------------------------------------------------------------------------

A, B, C = Node("a", 1), Node("b", 2), Node("c", 3)
SLOTS = [[0, 99, [b"a", 1, b"id", []], [b"b", 2, b"id", []]], [100, 199, [b"", 3, b"id", []]]]


def test_the_owner_of_a_slot() -> None:
    assert owner_of(SLOTS, 99, C) == (A, [A, B, Node("c", 3)])
    assert owner_of(SLOTS, 100, C)[0] == C, "no host: the one that was asked"
    assert owner_of(SLOTS, 200, C)[0] is None


@pytest.mark.parametrize(
    ("message", "node"),
    [("MOVED 9 10.0.0.1:6379", ("10.0.0.1", 6379)), ("ASK 9 ::1:7", ("::1", 7)), ("MOVED 9 :7", ("a", 7))],
)
def test_a_redirection(message: str, node: tuple[str, int]) -> None:
    assert redirected(message, A) == Node(*node)


def test_who_does_not_answer_is_asked_last() -> None:
    asked: list[Node] = []

    def ask(node: Node) -> Any:
        asked.append(node)
        if node == A:
            raise ConnectionRefusedError
        return SLOTS

    whereabouts = Whereabouts(150, [A, B, C], ask)
    assert whereabouts.node() == Node("b", 3)
    assert whereabouts.node() == Node("b", 3)
    whereabouts.lost(C)
    whereabouts.lost(Node("b", 3))
    whereabouts.node()
    assert asked[:2] == [A, B]
    assert asked[2] != A


def test_the_pool_is_that_of_the_slot(cluster: Cluster) -> None:
    assert isinstance(redis_gate._pool_of_requests(), SlotPool)
    assert redis_gate.may_fail_over()
