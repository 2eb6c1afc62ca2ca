"""The scored facts, the gauges, and how findings become advice."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.contracts import ADVICE, Proposal
from paiid_perf.database import advice
from paiid_perf.database.facts.metrics import Sample, gauges
from paiid_perf.database.health_types import Evidence, Health, KeyFact, Panel
from paiid_perf.database.rules import health as rules
from paiid_perf.database.rules import scoring
from paiid_perf.database.rules.health import indexes
from tests.unit.database import build
from tests.unit.database.build import NOW


def values(health: Health, missing: int | None = 0) -> dict[str, float | None]:
    return {scored.name: scored.value for scored in scoring.scored(health, missing)}


def test_missing_data_is_insufficient_data_never_full_marks() -> None:
    away: Panel[Any] = Panel(unavailable="no rights")
    blind = build.health(**dict.fromkeys(("tables", "sessions", "indexes", "sequences", "statements"), away))

    assert set(values(blind, None).values()) == {None}


def test_what_a_role_sees_only_in_part_is_not_scored() -> None:
    partly = Panel((build.session(),), limited="only its own")

    assert values(build.health(sessions=partly))["longest_transaction"] is None


def test_values() -> None:
    health = build.health(
        database=[build.database(blocks_hit=95_000, blocks_read=5_000, xid_age=2**30)],
        statements=[build.statement(calls=100, total_ms=500), build.statement(calls=300, total_ms=1_500)],
        tables=[build.table(live=5_000, dead=5_000), build.table(live=1, dead=99)],
        sessions=[build.session(transaction_seconds=90.0), build.session(transaction_seconds=None)],
        indexes=[build.index(is_valid=False)],
        sequences=[build.sequence(2**30)],
        pool=build.pool(in_use=97),
    )

    assert values(health, 3) == {
        "cache_hit_ratio": 0.95,
        "workload_mean": 5.0,
        "dead_rows": 0.5,
        "stale_statistics": 0.0,
        "connections": 100.0,
        "longest_transaction": 90.0,
        "blocked": 0.0,
        "index_faults": 1.0,
        "wraparound": 50.0,
        "sequences": pytest.approx(50.0),
        "missing_indexes": 3.0,
    }


def test_every_scored_fact_can_win_and_lose_its_points() -> None:
    for scored in scoring.scored(build.health(), 0):
        assert scored.target != scored.worst
        assert scored.weight > 0
        assert scored.label
        assert scored.hint


@pytest.mark.parametrize(
    ("baseline", "left"),
    [
        ({}, (100, 5_000.0, 50.0)),
        ({1: (60, 4_800.0)}, (40, 200.0, 5.0)),
        ({1: (100, 5_000.0)}, (0, 0.0, 0.0)),
        ({1: (500, 9_000.0)}, (100, 5_000.0, 50.0)),
        ({2: (60, 4_800.0)}, (100, 5_000.0, 50.0)),
    ],
)
def test_what_ran_since_the_indexes_changed(
    baseline: dict[int, tuple[float, float]], left: tuple[int, float, float]
) -> None:
    (found,) = scoring.since([build.statement(calls=100, total_ms=5_000.0, mean_ms=50.0)], baseline)

    assert (found.calls, found.total_ms, found.mean_ms) == left


# --- advice -----------------------------------------------------------------------------------------------


def test_what_passes_by_itself_is_no_recommendation() -> None:
    sick = build.health(sessions=[build.session(query_seconds=100)], indexes=[build.index(is_valid=False)])
    found = rules.judge(sick, NOW)

    assert {f.check for f in found} == {"long_running", "invalid_index"}
    (proposal,) = advice.proposals(found)
    assert proposal.kind == ADVICE
    assert proposal.key == "invalid_index: public.orders_a"
    json.dumps(dict(proposal.evidence))


def test_an_index_that_the_advisor_drops_is_not_advised_twice() -> None:
    twins = build.health(indexes=[build.index(name="one", scans=5), build.index(name="two", scans=50)])
    found = list(indexes.duplicate_indexes(twins, NOW))
    drop = Proposal(
        "database", "index_drop", "one", "Drop", "twin", how='DROP INDEX CONCURRENTLY "public"."one";'
    )

    assert len(advice.proposals(found)) == 1
    assert advice.proposals(found, [drop]) == []


def test_the_gravest_comes_first() -> None:
    findings = rules.judge(
        build.health(
            sequences=[build.sequence(2**31 - 2)],
            indexes=[build.index(scans=0), build.index(is_valid=False)],
            evidence=Evidence(NOW - timedelta(days=40), {"public.orders_a": NOW - timedelta(days=40)}),
        ),
        NOW,
    )

    assert [f["severity"] for f in advice.shown(findings)] == ["critical", "warning", "info"]


def test_the_overview_counts_connections_by_state_and_source() -> None:
    sessions = [build.session(), build.session(), build.session(state=None, application="", role="ada")]

    seen = advice.overview(build.health(sessions=sessions))

    assert seen["connections"] == {"active": 2, "?": 1}
    assert seen["connections_by_source"] == {"gunicorn local": 2, "ada local": 1}
    json.dumps(seen)


# --- gauges ---------------------------------------------------------------------------------------------------

BASE = {
    "hit": 900,
    "read": 100,
    "transactions": 1_000,
    "deadlocks": 2,
    "temp_bytes": 0,
    "bytes": 5_000,
    "connections": 25,
    "most": 100,
    "oldest": 1.5,
    "rollbacks": 10,
    "temp_files": 0,
    "blocked": 1,
    "active": 3,
    "idle": 20,
    "idle_in_transaction": 2,
    "txid_percent": Decimal("9.5"),
    "lag": None,
    "dead_percent": None,
}


def test_the_first_reading_has_no_rates() -> None:
    assert gauges(Sample(0, BASE), None) == {
        "db.connections_percent": 25.0,
        "db.bytes": 5_000.0,
        "db.longest_transaction_s": 1.5,
        "db.hit_ratio": 0.9,
        "db.blocked_sessions": 1.0,
        "db.sessions_active": 3.0,
        "db.sessions_idle": 20.0,
        "db.sessions_idle_in_transaction": 2.0,
        "db.txid_age_percent": 9.5,
    }


def test_ratios_and_rates_are_of_the_time_between() -> None:
    later = BASE | {"hit": 950, "read": 150, "transactions": 1_600, "deadlocks": 3, "bytes": 6_000, "lag": 2}

    found = gauges(Sample(60, later), Sample(0, BASE))

    assert found["db.hit_ratio"] == 0.5
    assert found["db.transactions_per_s"] == 10.0
    assert found["db.deadlocks_per_h"] == 60.0
    assert found["db.growth_bytes_per_h"] == pytest.approx(60_000)
    assert found["db.replication_lag_s"] == 2.0


def test_counters_that_began_anew_give_no_rates() -> None:
    restarted = BASE | {"hit": 9, "read": 1, "transactions": 5}

    found = gauges(Sample(60, restarted), Sample(0, BASE))

    assert found["db.hit_ratio"] == 0.9
    assert "db.transactions_per_s" not in found


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_hit_ratio_stays_a_ratio(hit: int, read: int, more_hit: int, more_read: int) -> None:
    before = Sample(0, BASE | {"hit": hit, "read": read})
    after = Sample(60, BASE | {"hit": hit + more_hit, "read": read + more_read})

    assert 0 <= gauges(after, before).get("db.hit_ratio", 0) <= 1


def test_the_fullest_key_counts_whether_a_sequence_feeds_it_or_not() -> None:
    key = KeyFact("public", "line", "order_id", "integer", 2**30, 2**31 - 1)
    health = build.health(sequences=[build.sequence(1_000)], keys=[key])

    (found,) = [s for s in scoring.scored(health, 0) if s.name == "sequences"]

    assert found.value == pytest.approx(50.0)
