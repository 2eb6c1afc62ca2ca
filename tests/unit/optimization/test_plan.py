"""Which phases a run has, and whether a change may be made now."""

from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.contracts import Phase, PhaseResult
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.optimization import plan

ALLOWED = {
    "policy": "auto",
    "approved": False,
    "kill_switch": False,
    "dry_run": False,
    "quick": False,
    "window": None,
    "now": time(12),
}


def phase(name: str, order: int, quick: bool = True) -> Phase:
    return Phase(name, name, order, lambda context: PhaseResult("succeeded", ""), quick)


def test_phases_come_in_their_order_and_a_quick_run_leaves_out_the_slow_ones():
    declared = [phase("b", 2), phase("slow", 1, quick=False), phase("a", 2)]

    assert [p.name for p in plan.phases_of("full", declared)] == ["slow", "a", "b"]
    assert [p.name for p in plan.phases_of("quick", declared)] == ["a", "b"]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["succeeded", "skipped"], "succeeded"),
        (["succeeded", "failed"], "partial"),
        (["skipped", "failed"], "partial"),
        (["failed", "failed"], "failed"),
        ([], "succeeded"),
    ],
)
def test_one_phase_that_fails_leaves_the_run_partial(statuses, expected):
    assert plan.status_of(statuses) == expected


@given(st.integers(1, 9), st.floats(-1, 2))
def test_progress_never_leaves_its_range_and_never_goes_back(count, fraction):
    steps = [plan.overall_progress(position, count, fraction) for position in range(count)]

    assert all(0 <= step <= 1 for step in steps)
    assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("window", "now", "inside"),
    [
        (None, time(12), True),
        (("22:00", "05:00"), time(23), True),
        (("22:00", "05:00"), time(4, 59), True),
        (("22:00", "05:00"), time(5), False),
        (("22:00", "05:00"), time(12), False),
        (("09:00", "17:00"), time(9), True),
        (("09:00", "17:00"), time(17), False),
    ],
)
def test_a_change_window_may_go_over_midnight(window, now, inside):
    assert plan.in_window(window, now) is inside


def test_a_window_that_is_none_says_what_is_wanted():
    with pytest.raises(ConfigurationError, match="two times are wanted"):
        plan.in_window(("late", "05:00"), time(12))


@pytest.mark.parametrize(
    ("circumstance", "reason"),
    [
        ({}, ""),
        ({"policy": "report"}, "policy is report"),
        ({"policy": "report", "approved": True}, ""),
        ({"policy": "approve"}, "approval"),
        ({"policy": "approve", "approved": True}, ""),
        ({"policy": "off", "approved": True}, "policy is off"),
        ({"kill_switch": True, "approved": True}, "kill switch"),
        ({"dry_run": True, "approved": True}, "dry run"),
        ({"quick": True}, "quick run"),
        ({"window": ("22:00", "05:00")}, "outside the change window"),
    ],
)
def test_every_refusal_says_why(circumstance, reason):
    answer = plan.refused_because(**ALLOWED | circumstance)

    assert reason in answer
    assert bool(answer) is bool(reason)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_part_is_told_within_its_part_of_the_whole(start: float, end: float, fraction: float) -> None:
    start, end = min(start, end), max(start, end)
    told: list[float] = []
    plan.between(lambda share, step: told.append(share), start, end)(fraction, "at it")
    assert start <= told[0] <= end + 1e-12
