"""When a materialized view is made, refreshed, left alone or refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.conf import Settings
from paiid_perf.contracts import Measurement, QueryMeasure
from paiid_perf.database import view_changes, views
from paiid_perf.database.rules import views as rules
from paiid_perf.database.types import MaterializedView, ViewState
from tests.unit.database.build import NOW

VIEW = MaterializedView("sums", "SELECT a, sum(b) FROM t GROUP BY a", ["a"], timedelta(minutes=5))
FRESH = ViewState(
    exists=True,
    ours=True,
    populated=True,
    unique_index=True,
    digest=rules.digest(VIEW),
    refreshed_at=NOW - timedelta(minutes=6),
    refresh_seconds=1.0,
    seen={"t": "5/1"},
    sources={"t": "5/1"},
)


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"exists": False}, "create"),
        ({}, "wait"),
        ({"sources": {"t": "6/1"}}, "refresh"),
        ({"sources": {"t": "5/2"}}, "refresh"),
        ({"sources": {"t": "?"}, "seen": {"t": "?"}}, "refresh"),
        ({"sources": {"t": "5/1", "u": "0/3"}}, "refresh"),
        ({"sources": {"t": "6/1"}, "refreshed_at": NOW - timedelta(minutes=4)}, "wait"),
        ({"sources": {"t": "6/1"}, "refreshed_at": NOW - timedelta(minutes=5)}, "refresh"),
        ({"time_dependent": True}, "refresh"),
        ({"digest": "another"}, "redefine"),
        ({"digest": "another", "ours": False}, "wait"),
        ({"populated": False}, "refresh"),
        ({"unique_index": False}, "refuse"),
        ({"refreshed_at": None}, "refresh"),
        # A refresh of 200 s within 5 minutes is stretched to one in 800 s.
        ({"sources": {"t": "6/1"}, "refresh_seconds": 200.0}, "wait"),
        (
            {"sources": {"t": "6/1"}, "refresh_seconds": 200.0, "refreshed_at": NOW - timedelta(seconds=801)},
            "refresh",
        ),
    ],
)
def test_decide(changes: dict[str, object], action: str) -> None:
    decision = rules.decide(VIEW, replace(FRESH, **changes), NOW)  # type: ignore[arg-type]

    assert decision.action == action
    assert decision.reason


def test_white_space_and_a_semicolon_make_no_other_definition() -> None:
    spaced = replace(VIEW, sql="SELECT a, sum(b)\n  FROM t GROUP BY a ;\n")

    assert rules.digest(spaced) == rules.digest(VIEW)
    assert rules.digest(replace(VIEW, unique=["a", "b"])) != rules.digest(VIEW)


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SELECT now() - at FROM t", True),
        ("SELECT * FROM t WHERE day = CURRENT_DATE", True),
        ("SELECT age(at) FROM t", True),
        ("SELECT age(at, born) FROM t", False),
        ("SELECT known FROM t", False),
    ],
)
def test_reads_clock(sql: str, reads: bool) -> None:
    assert rules.reads_clock(sql) is reads


def test_a_view_comes_after_those_it_reads() -> None:
    top = MaterializedView("top", "SELECT * FROM middle", ["a"])
    middle = MaterializedView("app.middle", "SELECT * FROM base_sums", ["a"])
    base = MaterializedView("base_sums", "SELECT * FROM t", ["a"])

    assert rules.ordered([top, middle, base]) == [base, middle, top]


def test_a_name_within_another_name_is_no_dependency() -> None:
    long = MaterializedView("daily_sums", "SELECT 1 FROM t", ["a"])
    short = MaterializedView("sums", "SELECT * FROM t", ["a"])

    assert rules.ordered([long, short]) == [long, short]


@given(st.permutations(range(5)), st.data())
def test_every_view_is_there_once_whatever_they_name(order: list[int], data: st.DataObject) -> None:
    named = st.lists(st.integers(0, 4), max_size=3)
    found = [MaterializedView(f"v{n}", " ".join(f"v{m}" for m in data.draw(named)), ["a"]) for n in order]

    assert sorted(v.name for v in rules.ordered(found)) == [f"v{n}" for n in range(5)]


# --- the ledger's side -------------------------------------------------------------------------------------


def measured(ms: float, **numbers: float) -> Measurement:
    return Measurement("replay", (QueryMeasure("sums", "SELECT", 1, ms),), numbers)


@pytest.mark.parametrize(
    ("before", "after", "keep"),
    [(100.0, 1.0, True), (100.0, 91.0, False), (100.0, 89.0, True), (100.0, 150.0, False), (0.0, 0.0, False)],
)
def test_judge(before: float, after: float, keep: bool) -> None:
    assert view_changes.judge(measured(before), measured(after), Settings()).keep is keep


def test_what_could_not_be_measured_is_not_kept() -> None:
    verdict = view_changes.judge(Measurement("none"), measured(1), Settings())

    assert verdict.keep is False
    assert verdict.reason


def test_a_payload_is_the_declaration() -> None:
    view = MaterializedView("sums", "SELECT 1", ["a", "b"], timedelta(minutes=7), ["trading.PriceTick"])

    assert view_changes.from_payload(view_changes.payload(view)) == view


@pytest.mark.parametrize(
    ("settings", "ours", "dry_run", "refused"),
    [
        (Settings(POLICY={"materialized_view": "auto"}), False, False, False),
        (Settings(), True, False, False),
        (Settings(), False, False, True),
        (Settings(POLICY={"*": "approve"}), False, False, True),
        (Settings(POLICY={"*": "off"}), True, False, True),
        (Settings(KILL_SWITCH=True), True, False, True),
        (Settings(ENABLED=False), True, False, True),
        (Settings(), True, True, True),
    ],
)
def test_who_may_refresh(settings: Settings, ours: bool, dry_run: bool, refused: bool) -> None:
    assert bool(views.refused_because(ViewState(ours=ours), settings, dry_run)) is refused


# --- whether a refresh pays ------------------------------------------------------------------------------

CHANGED = replace(FRESH, sources={"t": "6/1"}, sql_seconds=1.0, seen_reads=100.0)


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"reads": None}, "refresh"),
        ({"reads": 101.0}, "refresh"),
        ({"reads": 100.0}, "wait"),
        ({"reads": 101.0, "refresh_seconds": 3.0}, "wait"),
        ({"reads": 5.0}, "refresh"),
        ({"reads": 100.0, "refreshed_at": NOW - timedelta(minutes=20)}, "refresh"),
        ({"reads": 100.0, "time_dependent": True}, "refresh"),
    ],
)
def test_a_refresh_that_does_not_pay_is_put_off(changes: dict[str, object], action: str) -> None:
    assert rules.decide(VIEW, replace(CHANGED, **changes), NOW).action == action  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "told"), [(300, "5 min"), (5_400, "1 h 30 min"), (90_061, "1 d 1 h 1 min 1 s"), (0, "0 s")]
)
def test_how_often_a_view_is_refreshed_is_told_in_units(seconds, told):
    assert view_changes.in_units(timedelta(seconds=seconds)) == told
