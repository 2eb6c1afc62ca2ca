"""A build: whether the disk has room for it, and how far it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.database.health_types import Disk
from paiid_perf.database.rules.indexes import room
from paiid_perf.database.rules.indexes.progress import PHASES, Progress, done, step

GB = 2**30


@pytest.mark.parametrize(
    ("disk", "index_bytes", "is_refused"),
    [
        (None, 10 * GB, False),
        (Disk(100 * GB, 50 * GB), 10 * GB, False),
        (Disk(100 * GB, 21 * GB), 10 * GB, True),
        (Disk(100 * GB, 1 * GB), 1, True),
        (Disk(10_000 * GB, 3 * GB), 1, False),
    ],
)
def test_room(disk: Disk | None, index_bytes: int, is_refused: bool) -> None:
    assert bool(room.refused_because(disk, index_bytes)) == is_refused


@given(st.integers(1, 2**50), st.integers(0, 2**50), st.integers(0, 2**50))
def test_more_free_space_never_refuses(total: int, free: int, index_bytes: int) -> None:
    if not room.refused_because(Disk(total, free), index_bytes):
        assert not room.refused_because(Disk(total, free + 1), index_bytes)


counts = st.integers(0, 10**9)


@given(st.sampled_from([*PHASES, "one that a later server adds"]), counts, counts)
def test_a_share_is_a_share_and_more_done_is_not_less(phase: str, part: int, total: int) -> None:
    now, later = (done(Progress(phase, blocks_done=n, blocks_total=total)) for n in (part, part + 1))
    assert 0.0 <= now <= later <= 1.0


def test_phases_follow_each_other() -> None:
    starts = [start for start, _ in PHASES.values() if (start, _) != PHASES["building index"]]
    assert starts == sorted(starts)


def test_whom_it_waits_for() -> None:
    waiting = Progress("waiting for writers before build", lockers_done=1, lockers_total=3)
    assert step(waiting) == "waiting for writers before build (2 to go)"
    assert step(Progress("initializing")) == "initializing"
