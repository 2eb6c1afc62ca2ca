"""What a server's memory goes to, from the figures of MEMORY STATS."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.cache import footprint
from paiid_perf.cache.types import Part

MB = 1024**2
STATS: dict[Any, Any] = {
    "total.allocated": 100 * MB,
    "startup.allocated": MB,
    "clients.normal": 30 * MB,
    "clients.slaves": 1 * MB,
    "replication.backlog": 2 * MB,
    "db.0": {"overhead.hashtable.main": 4 * MB, "overhead.hashtable.expires": MB},
    b"db.1": {b"overhead.hashtable.main": MB, b"overhead.hashtable.expires": 0},
    "dataset.bytes": 60 * MB,
    "dataset.percentage": 61.5,
    "allocator-fragmentation.bytes": 70 * MB,
    "rss-overhead.bytes": -5,
}


def test_the_figures_are_added_up_in_parts_the_larger_first() -> None:
    assert [(part.name, part.bytes // MB) for part in footprint.parts(STATS)] == [
        ("dataset", 60),
        ("clients", 30),
        ("key_index", 6),
        ("replicas", 3),
        ("server", 1),
        ("fragmentation", 70),
    ]


def test_a_server_that_tells_nothing_has_no_parts() -> None:
    assert footprint.parts({}) == []
    (part,) = footprint.parts({"dataset.bytes": 5})
    assert part.share == 0


def test_what_takes_too_much_is_told_with_what_to_do() -> None:
    (advice,) = footprint.advice(tuple(footprint.parts(STATS)))
    assert advice.strategy == "clients"
    assert "30 MB, 30 %" in advice.why
    assert "CLIENT LIST" in advice.how


@pytest.mark.parametrize(
    "part",
    [Part("clients", 15 * MB, 0.9), Part("clients", 900 * MB, 0.19), Part("dataset", 900 * MB, 0.99)],
    ids=["small", "within its share", "what the cache is for"],
)
def test_what_is_small_or_wanted_is_left_alone(part: Part) -> None:
    assert not list(footprint.advice((part,)))


@given(
    st.dictionaries(
        st.sampled_from([name for kind in footprint.KINDS.values() for name in kind.figures]), st.integers()
    )
)
def test_no_byte_is_counted_twice(stats: dict[str, int]) -> None:
    found = footprint.parts(stats)
    assert all(part.bytes > 0 for part in found)
    assert sum(part.bytes for part in found) <= sum(size for size in stats.values() if size > 0)


def test_whatever_may_be_too_much_says_what_to_do() -> None:
    assert all(bool(kind.how) == (kind.most < 1) for kind in footprint.KINDS.values())
