"""How old rows go: the way, the pace, and the end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.conf import Settings
from paiid_perf.contracts import Measurement
from paiid_perf.database import retention_changes
from paiid_perf.database.rules import retention as rules
from paiid_perf.database.rules.thresholds import limit
from paiid_perf.database.types import RetentionFact, RetentionRule
from tests.unit.database.build import NOW

RULE = RetentionRule("trading.PriceTick", timedelta(days=90), "at", 500)
FACT = RetentionFact(1_234, False, 9_000, NOW - timedelta(days=200), "tick_at", "index", "in order")


@pytest.mark.parametrize(
    ("postgresql", "fast", "index", "method"),
    [
        (True, True, "tick_at", "index"),
        (True, True, "", "blocks"),
        (True, False, "tick_at", "orm"),
        (False, True, "", "orm"),
        (False, False, "", "orm"),
    ],
)
def test_method(postgresql: bool, fast: bool, index: str, method: str) -> None:
    chosen, reason = rules.method(postgresql=postgresql, fast=fast, index=index)

    assert chosen == method
    assert reason


@given(
    st.timedeltas(timedelta(minutes=1), timedelta(days=900)), st.timedeltas(timedelta(), timedelta(days=2))
)
def test_a_row_lives_at_least_as_long_as_declared_and_little_longer(age: timedelta, later: timedelta) -> None:
    rule = RetentionRule("trading.PriceTick", age, "at")
    exact = NOW + later - age

    assert exact - age / 24 <= rules.cutoff(rule, NOW + later) <= exact


def test_a_run_a_moment_later_has_the_same_cutoff() -> None:
    morning = NOW.replace(hour=1, minute=2, second=3)

    assert rules.cutoff(RULE, morning) == rules.cutoff(RULE, morning + timedelta(hours=20))


@given(st.integers(1, 10**6))
def test_halving_ends(batch: int) -> None:
    steps = 0
    size: int | None = batch
    while size is not None:
        assert size >= 1
        size, steps = rules.halved(size), steps + 1
    assert steps <= 21


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_rests_are_short_unless_a_replica_is_behind(seconds: float, lag: float) -> None:
    rest = rules.rest(seconds, rules.Pressure(lag))

    assert 0 <= rest <= rules.LAG_STEP
    assert (rest == rules.LAG_STEP) == (lag > limit("lag_s"))


@pytest.mark.parametrize(
    ("deleted", "seconds", "stops"), [(0, 0.0, False), (99, 9.9, False), (100, 0.0, True), (0, 10.0, True)]
)
def test_budget(deleted: int, seconds: float, stops: bool) -> None:
    assert bool(rules.stop_because(deleted=deleted, most=100, seconds=seconds, budget=10.0)) is stops


def test_nothing_due_is_nothing_proposed() -> None:
    nothing = RetentionFact(0, False, 9_000, None, "", "blocks", "")

    assert rules.refused_because(nothing)
    assert not rules.refused_because(FACT)


def test_a_proposal_says_how_many_rows_and_that_they_do_not_come_back() -> None:
    proposal = retention_changes.proposal(RULE, FACT, NOW)

    assert proposal.title == "Delete 1234 rows of trading.PriceTick older than 90 days"
    assert proposal.undo == ""
    assert proposal.risk == "medium"
    assert retention_changes.HANDLER.revert is None


def test_the_same_rule_is_the_same_change_on_another_day() -> None:
    tomorrow = NOW + timedelta(days=1)

    assert (
        retention_changes.proposal(RULE, FACT, NOW).key
        == retention_changes.proposal(RULE, FACT, tomorrow).key
    )


def test_a_payload_is_the_rule() -> None:
    assert retention_changes.from_payload(retention_changes.payload(RULE)) == RULE


def test_what_was_deleted_is_kept() -> None:
    verdict = retention_changes.judge(
        Measurement("none", numbers={"rows_due": 10}),
        Measurement("none", numbers={"rows_due": 3}),
        Settings(),
    )

    assert verdict.keep is True
    assert "10 rows were due, 3 are left" in verdict.reason


def test_it_rests_while_somebody_waits_for_a_lock() -> None:
    assert rules.rest(0.1, rules.Pressure(0.0, 1)) > rules.rest(0.1, rules.Pressure())


@pytest.mark.parametrize(
    ("fact", "subjects"),
    [
        ({}, []),
        ({"total": 20_000_000}, ["tick"]),
        ({"total": 20_000_000, "partitioned": True}, []),
        ({"total": 20_000_000, "method": "orm"}, []),
    ],
)
def test_partitions_are_advised_where_a_large_table_loses_its_tail(
    fact: dict[str, object], subjects: list[str]
) -> None:
    found = rules.advise_partitions(RULE, replace(FACT, **fact), "tick")  # type: ignore[arg-type]

    assert [f.subject for f in found] == subjects


@pytest.mark.parametrize(
    ("due", "total", "held", "found"),
    [
        (25, 100, 4_000, 1_000),
        (300, 100, 4_000, 4_000),  # the estimate of all rows is old
        (None, 100, 4_000, None),
        (25, 0, 4_000, None),
        (25, 100, None, None),
    ],
)
def test_due_rows_hold_their_share_of_the_table(due, total, held, found):
    assert rules.share(due, total, held) == found
