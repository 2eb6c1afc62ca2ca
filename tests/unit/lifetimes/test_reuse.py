"""Other times to live, foretold from the look-ups of one and then played through with the other."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.lifetimes.reuse import ENOUGH, Reuse, better, reuse
from paiid_perf.telemetry.looks import Look

HOUR = 3_600.0


def traffic(
    seed: int, keys: int = 60, rate: float = 0.02, changes: float = 0.0
) -> list[tuple[float, int, bool]]:
    """(when, key, whether it is a change of the key and not a look) over an hour, the first keys asked for most."""
    chance = Random(seed)
    events = []
    for key in range(keys):
        for each, is_change in ((rate * 8 / (key + 4), False), (changes, True)):
            at = chance.expovariate(each) if each else HOUR
            while at < HOUR:
                events.append((at, key, is_change))
                at += chance.expovariate(each)
    return sorted(events)


def played(events: list[tuple[float, int, bool]], ttl: float) -> Iterator[Look]:
    """The look-ups of a cache with this time to live, which a change empties of its key."""
    made: dict[int, float] = {}
    for at, key, is_change in events:
        if is_change:
            made.pop(key, None)
            continue
        hit = key in made and at - made[key] < ttl
        if not hit:
            made[key] = at
        yield Look("s", key, at, hit)


def ratio(events: list[tuple[float, int, bool]], ttl: float) -> float:
    looks = list(played(events, ttl))
    return sum(look.hit for look in looks) / len(looks)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("changes", "near"), [(0.0, 0.03), (0.0005, 0.04), (0.005, 0.07)])
def test_what_is_foretold_is_what_happens(seed: int, changes: float, near: float) -> None:
    events = traffic(seed, changes=changes)
    found = reuse("s", list(played(events, 30.0)), 30.0)
    assert found.ratio == pytest.approx(ratio(events, 30.0))
    assert len(found.expected) == 6
    for ttl, expected in found.expected:
        assert expected == pytest.approx(ratio(events, ttl), abs=near)


@given(
    st.lists(
        st.tuples(st.floats(0, 10_000), st.integers(0, 5), st.booleans()).map(
            lambda seen: Look("s", seen[1], seen[0], seen[2])
        ),
        max_size=60,
    ),
    st.floats(1, 600),
)
def test_no_longer_time_is_expected_to_lose_a_hit(looks: list[Look], ttl: float) -> None:
    found = reuse("s", sorted(looks, key=lambda look: look.at), ttl)
    assert all(found.ratio - 1e-9 <= expected <= 1 + 1e-9 for _, expected in found.expected)
    assert found.once <= found.keys <= found.looks == len(looks)


def test_where_every_miss_was_a_change_no_time_helps() -> None:
    events = traffic(1, changes=0.05)
    found = reuse("s", list(played(events, 600.0)), 600.0)
    assert found.lost > 100
    assert better(found) is None


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        (Reuse("s", 15, ENOUGH, 0, expected=((30, 0.5), (60, 0.78), (120, 0.8))), (60, 0.78)),
        (Reuse("s", 15, ENOUGH - 1, 0, expected=((30, 0.5), (60, 0.78))), None),
        (Reuse("s", 15, 1_000, 900, expected=((30, 0.92), (60, 0.94))), None),
        (Reuse("s", 15, ENOUGH, 0), None),
    ],
)
def test_the_shortest_time_with_most_of_the_gain(found: Reuse, chosen: tuple[float, float] | None) -> None:
    assert better(found) == chosen


def test_nothing_is_said_of_times_longer_than_was_watched() -> None:
    looks = list(played([event for event in traffic(2) if event[0] < 100], 30.0))
    assert [ttl for ttl, _ in reuse("s", looks, 30.0).expected] == [60.0]
