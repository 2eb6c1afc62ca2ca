"""Materialized views on a real server: made, proven, refreshed when it pays, undone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import models
from django.utils import timezone

from paiid_perf.conf import Settings
from paiid_perf.contracts import Measurement
from paiid_perf.database import view_changes, views
from paiid_perf.database.actions import views as actions
from paiid_perf.database.facts import views as facts
from paiid_perf.database.rules import aggregates
from paiid_perf.database.rules.views import UNCOUNTED, digest
from paiid_perf.database.types import MaterializedView, ViewDecision, ViewState
from paiid_perf.registry import registry

NOW = timezone.now()
LATER = NOW + timedelta(hours=1)
TICKS = """
CREATE TABLE ticks (id serial PRIMARY KEY, symbol int NOT NULL, price float NOT NULL);
INSERT INTO ticks (symbol, price) SELECT i % 50, i FROM generate_series(1, 50000) i;
ANALYZE ticks;
"""
SUMS = MaterializedView(
    "planted.sums",
    "SELECT symbol, count(*) AS n, '100%' AS share FROM planted.ticks GROUP BY symbol;",
    ["symbol"],
)
TOP = MaterializedView("planted.top", "SELECT max(n) AS n FROM planted.sums", ["n"])


@pytest.fixture
def ticks(plant: Any) -> Any:
    plant(TICKS)
    return plant


def apply(view: MaterializedView, context: Any) -> Any:
    return view_changes.HANDLER.apply(view_changes.payload(view), context)


def keep_up(*declared: MaterializedView, now: Any = LATER, **values: Any) -> dict[str, views.Upkeep]:
    with registry.temporarily(*declared):
        return {one.name: one for one in views.refresh_due(Settings(), now, **values)}


# --- the life of a change ----------------------------------------------------------------------------


def test_it_is_made_filled_and_uniquely_indexed(ticks: Any, session: Any, change: Any) -> None:
    result = apply(SUMS, change(NOW))

    assert ticks("SELECT count(*), min(share) FROM planted.sums") == [(50, "100%")]
    state = facts.state(session, SUMS)
    assert (state.exists, state.ours, state.populated, state.unique_index) == (True, True, True, True)
    assert (state.digest, state.refreshed_at) == (digest(SUMS), NOW)
    assert list(state.sources) == ["planted.ticks"]
    assert state.seen == state.sources
    assert result["bytes"] > 0


def test_reading_it_beats_its_sql_and_so_it_stays(ticks: Any, change: Any) -> None:
    payload, context = view_changes.payload(SUMS), change(NOW)
    before = view_changes.HANDLER.measure(payload, context)
    apply(SUMS, context)
    after = view_changes.HANDLER.measure(payload, context)

    verdict = view_changes.HANDLER.judge(before, after, context.settings)

    assert before.queries[0].key == after.queries[0].key
    assert after.queries[0].blocks < before.queries[0].blocks
    assert verdict.keep is True
    assert verdict.gain > 0.5
    assert Measurement.from_json(before.to_json()) == before


def test_sql_that_outlasts_the_time_out_counts_as_at_least_that(ticks: Any, change: Any) -> None:
    slow = MaterializedView("planted.slow", "SELECT pg_sleep(5)::text AS a", ["a"])

    measured = view_changes.HANDLER.measure(
        view_changes.payload(slow), change(STATEMENT_TIMEOUT=timedelta(milliseconds=100))
    )

    assert measured.queries[0].mean_ms == 100
    assert measured.numbers["timed_out"] == 1


def test_applying_twice_changes_nothing_and_reverting_twice_drops_once(ticks: Any, change: Any) -> None:
    payload = view_changes.payload(SUMS)
    apply(SUMS, change(NOW))
    ticks("COMMENT ON TABLE ticks IS 'still here'")
    first = ticks("SELECT 'planted.sums'::regclass::oid")

    apply(SUMS, change(LATER))
    assert ticks("SELECT 'planted.sums'::regclass::oid") == first

    view_changes.HANDLER.revert(payload, change())
    view_changes.HANDLER.revert(payload, change())
    view_changes.HANDLER.clean_up(payload, change())
    assert ticks("SELECT to_regclass('planted.sums')") == [(None,)]


def test_columns_that_are_not_unique_leave_nothing_behind(ticks: Any, change: Any) -> None:
    wrong = MaterializedView("planted.wrong", "SELECT symbol, price FROM planted.ticks", ["symbol"])

    with pytest.raises(psycopg.errors.UniqueViolation):
        apply(wrong, change())

    assert ticks("SELECT to_regclass('planted.wrong')") == [(None,)]


def test_killed_in_the_middle_nothing_is_left_and_the_next_try_works(ticks: Any, change: Any) -> None:
    deadly = replace(SUMS, sql="SELECT symbol, pg_terminate_backend(pg_backend_pid()) FROM planted.ticks")

    with pytest.raises(psycopg.OperationalError):
        apply(deadly, change())
    view_changes.HANDLER.clean_up(view_changes.payload(deadly), change())

    assert ticks("SELECT to_regclass('planted.sums')") == [(None,)]
    apply(SUMS, change())
    assert ticks("SELECT count(*) FROM planted.sums") == [(50,)]


def test_a_changed_declaration_replaces_the_view(ticks: Any, session: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    other = MaterializedView(
        SUMS.name, "SELECT symbol, sum(price) AS total FROM planted.ticks GROUP BY symbol", ["symbol"]
    )

    with registry.temporarily(other):
        ((_view, _state, decision),) = [f for f in views.look(session, NOW) if f[0].name == SUMS.name]
    assert decision.action == "redefine"

    apply(other, change(NOW))
    assert ticks("SELECT count(total) FROM planted.sums") == [(50,)]


def test_a_view_that_the_host_made_is_never_dropped(ticks: Any, session: Any, change: Any) -> None:
    ticks(
        "CREATE MATERIALIZED VIEW sums AS SELECT 1 AS symbol",
        "COMMENT ON MATERIALIZED VIEW sums IS 'by hand'",
    )

    apply(SUMS, change())
    view_changes.HANDLER.revert(view_changes.payload(SUMS), change())

    assert ticks("SELECT symbol FROM sums") == [(1,)]
    assert not facts.state(session, SUMS).ours


def test_names_that_need_quoting(ticks: Any, change: Any) -> None:
    odd = MaterializedView('planted.Odd "Name"', 'SELECT 1 AS "Select"', ["Select"])

    apply(odd, change())

    assert ticks('SELECT * FROM planted."Odd ""Name"""') == [(1,)]


def test_the_migration_adopts_what_a_run_has_made_and_makes_what_is_not_there(
    ticks: Any, change: Any
) -> None:
    decided = ViewDecision("create", "it is declared and not there")
    text = view_changes.proposal(SUMS, ViewState(), decided).migration
    namespace: dict[str, Any] = {}
    exec(text, namespace)
    (operation,) = namespace["Migration"].operations

    apply(SUMS, change(NOW))
    first = ticks("SELECT 'planted.sums'::regclass::oid")
    ticks(operation.sql)
    assert ticks("SELECT 'planted.sums'::regclass::oid") == first

    ticks(operation.reverse_sql)
    ticks(operation.sql)
    assert ticks("SELECT count(*) FROM planted.sums") == [(50,)]


# --- upkeep ------------------------------------------------------------------------------------------------


def test_it_is_refreshed_when_due_and_its_tables_changed_and_not_otherwise(ticks: Any, change: Any) -> None:
    apply(SUMS, change(NOW))

    assert keep_up(SUMS)["planted.sums"].action == "waiting"

    ticks("INSERT INTO ticks (symbol, price) VALUES (777, 1)")
    assert keep_up(SUMS, now=NOW)["planted.sums"].action == "waiting"
    assert ticks("SELECT n FROM sums WHERE symbol = 777") == []

    done = keep_up(SUMS)["planted.sums"]
    assert (done.action, ticks("SELECT n FROM sums WHERE symbol = 777")) == ("refreshed", [(1,)])
    assert "planted.ticks" in done.reason

    assert keep_up(SUMS, now=LATER + timedelta(hours=1))["planted.sums"].action == "waiting"


def test_a_truncated_table_is_a_changed_one(ticks: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    ticks("TRUNCATE ticks")

    assert keep_up(SUMS)["planted.sums"].action == "refreshed"
    assert ticks("SELECT count(*) FROM sums") == [(0,)]


def test_a_view_upon_a_view_is_refreshed_after_it(ticks: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    apply(TOP, change(NOW))
    ticks("INSERT INTO ticks (symbol, price) SELECT 1, 1 FROM generate_series(1, 5000)")

    done = keep_up(TOP, SUMS)

    assert [name for name, one in done.items() if one.action == "refreshed"] == [
        "planted.sums",
        "planted.top",
    ]
    assert ticks("SELECT n FROM planted.top") == [(6000,)]


def test_sources_are_found_through_views_and_down_to_partitions(
    ticks: Any, session: Any, change: Any
) -> None:
    ticks(
        "CREATE TABLE parts (at date) PARTITION BY RANGE (at)",
        "CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        "CREATE VIEW between_us AS SELECT at FROM parts",
    )
    deep = MaterializedView(
        "planted.deep", "SELECT count(*) AS n FROM planted.between_us, planted.ticks", ["n"]
    )

    apply(deep, change())

    assert set(facts.state(session, deep).sources) == {"planted.part_1", "planted.ticks"}


def test_declared_sources_are_the_ones_that_matter(ticks: Any, session: Any, change: Any) -> None:
    both = MaterializedView(
        "planted.both",
        "SELECT count(*) AS n FROM planted.ticks, public.paiid_perf_alertrule",
        ["n"],
        depends_on=["paiid_perf.AlertRule"],
    )

    apply(both, change())

    assert [name.rpartition(".")[2] for name in facts.state(session, both).sources] == [
        "paiid_perf_alertrule"
    ]


def test_a_declared_source_that_is_no_model_is_refused_with_the_label(ticks: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    wrong = replace(SUMS, depends_on=["trading.Nothing"])

    found = keep_up(wrong)["planted.sums"]

    assert found.action == "refused"
    assert "trading.Nothing" in found.reason


def test_a_comment_of_a_person_survives_a_refresh(ticks: Any, session: Any) -> None:
    ticks(
        "CREATE MATERIALIZED VIEW sums AS SELECT symbol, count(*) AS n FROM ticks GROUP BY symbol",
        "CREATE UNIQUE INDEX ON sums (symbol)",
        "COMMENT ON MATERIALIZED VIEW sums IS 'Ask Ada before dropping'",
    )

    for at in (NOW, LATER):
        actions.refresh(session, SUMS, facts.state(session, SUMS), timedelta(seconds=10), at)

    ((comment,),) = ticks("SELECT obj_description('planted.sums'::regclass)")
    assert comment.startswith("Ask Ada before dropping\n")
    assert comment.count(facts.MARK) == 1
    assert facts.state(session, SUMS).refreshed_at == LATER


def test_one_that_lacks_a_unique_index_is_refused_with_the_reason(ticks: Any) -> None:
    ticks("CREATE MATERIALIZED VIEW sums AS SELECT 1 AS symbol")

    found = keep_up(SUMS)["planted.sums"]

    assert found.action == "refused"
    assert "unique index" in found.reason


def test_one_that_was_never_filled_is_filled(ticks: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    ticks("REFRESH MATERIALIZED VIEW sums WITH NO DATA")

    assert keep_up(SUMS, now=NOW)["planted.sums"].action == "refreshed"
    assert ticks("SELECT count(*) FROM sums") == [(50,)]


def test_readers_are_not_locked_out_and_do_not_stop_it(ticks: Any, another: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    ticks("INSERT INTO ticks (symbol, price) VALUES (777, 1)")
    reader = another()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sums")

    assert keep_up(SUMS)["planted.sums"].action == "refreshed"


def test_a_lock_in_the_way_is_a_failure_of_that_view_only(ticks: Any, another: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    fine = MaterializedView("planted.fine", "SELECT symbol FROM planted.ticks GROUP BY symbol", ["symbol"])
    apply(fine, change(NOW))
    ticks("INSERT INTO ticks (symbol, price) VALUES (777, 1)")
    holder = another()
    holder.execute("BEGIN; REFRESH MATERIALIZED VIEW CONCURRENTLY planted.sums")

    with registry.temporarily(SUMS, fine):
        settings = Settings(LOCK_TIMEOUT=timedelta(milliseconds=50))
        done = {one.name: one.action for one in views.refresh_due(settings, LATER)}

    assert (done["planted.sums"], done["planted.fine"]) == ("failed", "refreshed")


def test_two_processes_do_not_refresh_one_view_at_once(ticks: Any, another: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    ticks("INSERT INTO ticks (symbol, price) VALUES (777, 1)")
    other = another()
    other.execute("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('paiid_perf planted.sums', 0))")

    assert keep_up(SUMS)["planted.sums"].reason == "another process is refreshing it"


@pytest.mark.parametrize("settings", [Settings(KILL_SWITCH=True), Settings(POLICY={"*": "off"})])
def test_the_kill_switch_and_policy_off_stop_refreshing(ticks: Any, change: Any, settings: Settings) -> None:
    apply(SUMS, change(NOW))
    ticks("INSERT INTO ticks (symbol, price) VALUES (777, 1)")

    with registry.temporarily(SUMS):
        done = {one.name: one.action for one in views.refresh_due(settings, LATER)}

    assert done["planted.sums"] == "waiting"


def test_a_dry_run_refreshes_nothing(ticks: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    ticks("INSERT INTO ticks (symbol, price) VALUES (777, 1)")

    assert keep_up(SUMS, dry_run=True)["planted.sums"].action == "waiting"
    assert ticks("SELECT n FROM sums WHERE symbol = 777") == []


def test_a_foreign_table_always_counts_as_changed(ticks: Any, session: Any, change: Any) -> None:
    ticks(
        "CREATE EXTENSION IF NOT EXISTS file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE FOREIGN TABLE far (line text) SERVER files OPTIONS (program 'echo 1', format 'text')",
    )
    view = MaterializedView("planted.far_sums", "SELECT count(*) AS n FROM planted.far", ["n"])
    try:
        apply(view, change(NOW))

        assert set(facts.state(session, view).sources.values()) == {UNCOUNTED}
        assert keep_up(view)["planted.far_sums"].action == "refreshed"
    finally:
        ticks("DROP EXTENSION file_fdw CASCADE")


# --- whether it pays, and how it is read -------------------------------------------------------------------


def test_reads_are_counted_and_a_view_that_nobody_reads_waits(ticks: Any, session: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    read = facts.state(session, SUMS).seen_reads
    assert facts.reads(session, SUMS) == read
    ticks("INSERT INTO ticks (symbol, price) VALUES (1, 1)")

    soon = NOW + timedelta(minutes=6)
    assert keep_up(SUMS, now=soon)["planted.sums"].action == "waiting"

    ticks(*["SELECT count(*) FROM planted.sums"] * 50)
    assert facts.reads(session, SUMS) == read + 50
    assert keep_up(SUMS, now=soon)["planted.sums"].action == "refreshed"


def test_the_model_reads_the_view(ticks: Any, session: Any, change: Any) -> None:
    apply(SUMS, change(NOW))
    columns = facts.columns(session, SUMS.sql, "default")
    text = aggregates.model(SUMS.name, SUMS.unique, columns)
    names: dict[str, Any] = {"models": models}
    body = text.replace("class Meta:", "class Meta:\n        app_label = 'paiid_perf_test_views'")
    exec("class Sums" + body[body.index("(") :], names | {"__name__": "tests"}, names)

    assert names["Sums"].objects.get(symbol=7).n == 1000
    assert names["Sums"]._meta.managed is False


@pytest.mark.parametrize(
    ("text", "unique"),
    [
        ("SELECT symbol, sum(price) AS total FROM planted.ticks GROUP BY symbol ORDER BY 2", ("symbol",)),
        ("SELECT sum(price) FROM planted.ticks WHERE symbol = $1", ("symbol",)),
        ("SELECT max(price) FROM planted.ticks t WHERE t.symbol = $1 AND t.price > 3", ("symbol",)),
    ],
)
def test_an_aggregate_and_its_view_give_the_same_answer(
    ticks: Any, session: Any, text: str, unique: Any
) -> None:
    view = aggregates.view_of(text)

    assert view is not None
    assert view.unique == unique
    with_seven = text.replace("$1", "7").replace(" ORDER BY 2", "")
    name = facts.columns(session, view.sql, "default")[-1].name
    answer = ticks(f"SELECT {name} FROM ({view.sql}) v WHERE symbol = 7")
    direct = [row[-1:] for row in ticks(with_seven) if len(row) == 1 or row[0] == 7]
    assert answer == direct
    assert "perf.MaterializedView(" in aggregates.declaration(view)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM planted.ticks WHERE symbol = $1",
        "SELECT sum(price) FROM planted.ticks",
        "SELECT sum(price) FROM planted.ticks WHERE price > $1",
        "SELECT symbol, sum(price) FROM planted.ticks GROUP BY symbol LIMIT $1",
        "SELECT symbol, sum(price) FROM planted.ticks GROUP BY symbol HAVING sum(price) > $1",
        "SELECT symbol % 3, sum(price) FROM planted.ticks GROUP BY symbol % 3",
        "SELECT sum(price * $1) FROM planted.ticks WHERE symbol = $2",
        "UPDATE planted.ticks SET price = 1",
    ],
)
def test_what_no_view_could_answer_gets_none(text: str) -> None:
    assert aggregates.view_of(text) is None
