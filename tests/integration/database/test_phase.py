"""The database phase from end to end, on the real ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from paiid_perf.conf import get_settings
from paiid_perf.contracts import ADVICE, Proposal
from paiid_perf.database import phase as phase_module
from paiid_perf.database.index_types import Advice, Refused
from paiid_perf.database.phase import PHASE
from paiid_perf.database.types import MaterializedView, RetentionRule
from paiid_perf.models import Recommendation, SecurityEvent
from paiid_perf.registry import registry
from tests.integration.database.conftest import Context

State = Recommendation.State
VIEW = MaterializedView(
    "planted.sums",
    "SELECT symbol, count(*) AS n FROM planted.ticks GROUP BY symbol",
    ["symbol"],
    timedelta(0),
)
RULE = RetentionRule("paiid_perf.SecurityEvent", timedelta(days=90), "at", batch_size=50)


@pytest.fixture
def ticks(plant: Any, monkeypatch: Any) -> Any:
    """A table worth a view, rows worth deleting, and only the declarations of these tests; no index advice."""
    monkeypatch.setattr(phase_module, "advise", lambda *_, **__: Advice())
    kept = {
        key: item for key, item in registry._items.items() if key[0] not in {MaterializedView, RetentionRule}
    }
    monkeypatch.setattr(registry, "_items", kept)
    registry.register(VIEW, RULE)
    plant(
        "CREATE TABLE ticks (id serial PRIMARY KEY, symbol int NOT NULL)",
        "INSERT INTO ticks (symbol) SELECT i % 50 FROM generate_series(1, 50000) i",
        "ANALYZE ticks",
    )
    old = timezone.now() - timedelta(days=100)
    SecurityEvent.objects.bulk_create(SecurityEvent(at=old, kind="x", severity="low") for _ in range(120))
    return plant


def auto(**values: Any) -> Context:
    return Context(settings=replace(get_settings(), POLICY={"*": "auto"}, VERIFY="replay"), **values)


def an_index(columns: str) -> Proposal:
    payload = {"schema": "planted", "table": "ticks"}
    key = f"planted.ticks ({columns})"
    return Proposal("database", "index_create", key, "Index", "slow", how="CREATE INDEX …;", payload=payload)


def states(kind: str) -> list[str]:
    return list(Recommendation.objects.filter(kind=kind).order_by("pk").values_list("state", flat=True))


def test_under_auto_it_makes_the_view_deletes_what_is_old_and_says_so(ticks: Any) -> None:
    context = auto()

    result = PHASE.run(context)

    assert result.status == "succeeded"
    assert states("materialized_view") == [State.KEPT]
    assert states("retention") == [State.KEPT]
    assert ticks("SELECT count(*) FROM planted.sums") == [(50,)]
    assert not SecurityEvent.objects.exists()
    assert result.details["settled"]["kept"] == 2
    assert context.steps[-1] == (1.0, "done")
    json.dumps(result.details)


def test_a_second_run_has_nothing_to_do_and_says_so(ticks: Any) -> None:
    PHASE.run(auto())

    result = PHASE.run(auto())

    assert "nothing to do" in result.summary
    assert result.details["settled"] == {}
    assert {view["action"] for view in result.details["views"]} == {"waiting"}
    assert states("materialized_view") == [State.KEPT]
    refusals = {one["change"]: one["because"] for one in result.details["refused"]}
    assert refusals["retention paiid_perf.SecurityEvent"] == "no row is that old"


def test_a_view_is_refreshed_when_its_table_changed(ticks: Any) -> None:
    PHASE.run(auto())
    ticks("INSERT INTO ticks (symbol) VALUES (777)")

    result = PHASE.run(auto(now=timezone.now() + timedelta(minutes=1)))

    assert [view["action"] for view in result.details["views"]] == ["refreshed"]
    assert "1 views refreshed" in result.summary
    assert ticks("SELECT n FROM planted.sums WHERE symbol = 777") == [(1,)]


def test_under_report_it_proposes_and_changes_nothing(ticks: Any) -> None:
    result = PHASE.run(Context(settings=replace(get_settings(), POLICY={})))

    assert result.status == "succeeded"
    assert states("materialized_view") == [State.PROPOSED]
    assert states("retention") == [State.PROPOSED]
    assert ticks("SELECT to_regclass('planted.sums')") == [(None,)]
    assert SecurityEvent.objects.count() == 120
    retention = Recommendation.objects.get(kind="retention")
    assert retention.title.startswith("Delete 120 rows")
    assert retention.evidence["index"] == "perf_event_at"


def test_a_dry_run_changes_nothing_under_auto(ticks: Any) -> None:
    PHASE.run(auto(dry_run=True))

    assert ticks("SELECT to_regclass('planted.sums')") == [(None,)]
    assert SecurityEvent.objects.count() == 120


def test_what_the_advisor_says_is_proposed_and_what_it_refuses_is_told(ticks: Any, monkeypatch: Any) -> None:
    index = an_index("symbol")
    given = Advice((index,), (Refused("planted.ticks (id)", "the primary key serves it"),), {"calls": 5})
    monkeypatch.setattr(phase_module, "advise", lambda *_, **__: given)

    result = PHASE.run(Context(settings=replace(get_settings(), POLICY={})))

    assert states("index_create") == [State.PROPOSED]
    assert {"change": "planted.ticks (id)", "because": "the primary key serves it"} in result.details[
        "refused"
    ]
    assert result.details["workload"] == {"calls": 5}
    assert {check.name: check.value for check in result.checks}["missing_indexes"] == 1


def test_a_table_rests_after_its_indexes_were_changed(ticks: Any, monkeypatch: Any) -> None:
    given = Advice((an_index("id, symbol"),))
    monkeypatch.setattr(phase_module, "advise", lambda *_, **__: given)
    hour = get_settings().INDEX_REST
    now = timezone.now()
    Recommendation.objects.create(
        area="database",
        kind="index_create",
        key="planted.ticks (symbol)",
        fingerprint="1",
        state=State.REVERTED,
        payload=given.proposals[0].payload,
        created_at=now,
        confirmed_at=now,
        applied_at=now,
    )

    early = PHASE.run(Context(settings=replace(get_settings(), POLICY={})))
    assert "rests for INDEX_REST" in early.details["refused"][-1]["because"]
    assert states("index_create") == [State.REVERTED]

    PHASE.run(Context(settings=replace(get_settings(), POLICY={}), now=timezone.now() + hour))
    assert states("index_create") == [State.REVERTED, State.PROPOSED]


def test_an_advisor_that_cannot_look_leaves_the_rest_standing(ticks: Any, monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> Advice:
        raise psycopg.errors.InsufficientPrivilege("permission denied")

    monkeypatch.setattr(phase_module, "advise", fail)

    result = PHASE.run(Context())

    assert result.status == "succeeded"
    assert "GRANT pg_monitor" in result.details["missing"]["index advice"]


def test_the_real_advisor_is_asked_in_a_full_run(plant: Any) -> None:
    result = PHASE.run(Context(settings=replace(get_settings(), POLICY={})))

    assert result.status == "succeeded"
    assert result.details["workload"]


def test_advice_is_a_recommendation_and_passing_trouble_is_not(ticks: Any, another: Any) -> None:
    ticks("CREATE INDEX twin_1 ON ticks (symbol)", "CREATE INDEX twin_2 ON ticks (symbol)")

    result = PHASE.run(Context(settings=replace(get_settings(), POLICY={})))

    told = Recommendation.objects.filter(kind=ADVICE)
    twin = told.get(key="duplicate_index: planted.twin_2")
    assert twin.how == 'DROP INDEX CONCURRENTLY "planted"."twin_2";'
    assert "twin_2" in twin.undo
    assert any(rec.key.startswith("pool: ") for rec in told)
    assert not told.filter(key__startswith="slow_query").exists()
    assert "duplicate_index" in {finding["check"] for finding in result.details["findings"]}


def test_checks_are_those_of_the_database_and_each_says_how_to_win_points(ticks: Any) -> None:
    result = PHASE.run(Context())

    names = {check.name: check for check in result.checks}
    assert {"cache_hit_ratio", "workload_mean", "missing_indexes", "dead_rows", "connections"} <= set(names)
    assert {check.area for check in result.checks} == {"database"}
    assert all(check.hint for check in result.checks)


def test_a_rule_that_names_nothing_is_refused_and_the_others_are_followed(ticks: Any) -> None:
    registry.register(RetentionRule("paiid_perf.Nothing", timedelta(days=1), "at"))

    result = PHASE.run(auto())

    assert states("retention") == [State.KEPT]
    refused = {one["change"]: one["because"] for one in result.details["refused"]}
    assert "Nothing" in refused["retention paiid_perf.Nothing"]


def test_a_view_whose_sql_is_wrong_fails_alone(ticks: Any) -> None:
    registry.register(MaterializedView("planted.wrong", "SELECT nonsense FROM planted.ticks", ["nonsense"]))

    result = PHASE.run(auto())

    assert result.status == "succeeded"
    assert states("materialized_view") == [State.KEPT, State.FAILED]
    failed = Recommendation.objects.get(kind="materialized_view", state=State.FAILED)
    assert "nonsense" in failed.outcome


def test_rows_that_arrive_later_are_a_new_change(ticks: Any) -> None:
    PHASE.run(auto())
    SecurityEvent.objects.create(at=timezone.now() - timedelta(days=200), kind="x", severity="low")

    PHASE.run(auto())

    assert states("retention") == [State.KEPT, State.KEPT]
    assert not SecurityEvent.objects.exists()


def test_a_quick_run_scores_and_refreshes_but_makes_no_view(ticks: Any) -> None:
    result = PHASE.run(auto(quick=True))

    assert result.checks
    assert ticks("SELECT to_regclass('planted.sums')") == [(None,)]


def test_as_a_role_that_may_only_read(ticks: Any, plant: Any) -> None:
    plant('CREATE ROLE "only reads"')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connections["default"].settings_dict["OPTIONS"], "assume_role", "only reads")
        result = PHASE.run(Context(settings=replace(get_settings(), POLICY={})))
    plant('DROP OWNED BY "only reads"', 'DROP ROLE "only reads"')

    assert result.status == "succeeded"
    assert 'GRANT pg_monitor TO "only reads";' in result.details["missing"]["sessions"]
    assert {c.name: c.value for c in result.checks}["longest_transaction"] is None


def test_other_databases_are_skipped_with_the_reason(ticks: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(phase_module, "is_postgresql", lambda alias: False)

    result = PHASE.run(Context(dry_run=True))

    assert result.status == "skipped"
    assert "PostgreSQL" in result.summary


def test_a_dead_server_fails_the_phase_with_the_reason(ticks: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connections["default"].settings_dict, "PORT", "1")

        with pytest.raises(psycopg.OperationalError, match="refused"):
            PHASE.run(Context())
