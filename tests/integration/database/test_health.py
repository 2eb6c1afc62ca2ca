"""Trouble planted on a real server, and what the facts and the checks say of it."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from paiid_perf.database import recorders
from paiid_perf.database.facts import bloat, machine
from paiid_perf.database.facts import health as facts
from paiid_perf.database.facts.metrics import Meter
from paiid_perf.database.health_types import Health, Panel
from paiid_perf.database.rules import health as rules
from paiid_perf.database.rules import pool as pool_rules
from paiid_perf.database.rules import scoring, sizes, storage, tuning
from paiid_perf.database.session import connect
from paiid_perf.models import Metric

SECONDS = timedelta(seconds=10)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def look(session: Any) -> Any:
    return lambda: facts.read(session, "default")


def found(health: Health, check: str) -> dict[str, Any]:
    return {f.subject: f for f in rules.judge(health, timezone.now()) if f.check == check}


# --- indexes, constraints, tables -------------------------------------------------------------------------


def test_every_panel_is_read(plant: Any, look: Any) -> None:
    health = look()

    assert health.missing() == {}
    assert health.database.first().bytes > 0
    assert health.settings.rows
    assert health.pool.max_connections > 0
    assert len(scoring.scored(health, 0)) > 10


def test_index_facts(plant: Any, look: Any) -> None:
    plant(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES parent, name text, body jsonb)",
        "CREATE INDEX t_p ON t (p) INCLUDE (name) WHERE p > 0",
        "CREATE INDEX t_up ON t (upper(name) text_pattern_ops DESC NULLS LAST)",
        "CREATE INDEX t_gin ON t USING gin (body jsonb_path_ops)",
        "INSERT INTO parent VALUES (1); INSERT INTO t VALUES (1, 1, 'x', '{}')",
        "ANALYZE t",
    )

    indexes = {i.name: i for i in look().indexes.rows if i.schema == "planted"}

    assert indexes["t_pkey"].is_primary
    assert indexes["t_pkey"].is_constraint
    assert indexes["t_p"].supports_foreign_key
    assert (indexes["t_p"].predicate, list(indexes["t_p"].included)) == ("(p > 0)", ["name"])
    assert indexes["t_up"].keys[0].startswith("upper(name) text_pattern_ops")
    assert indexes["t_gin"].method == "gin"
    assert indexes["t_pkey"].key_bytes == 4
    assert indexes["t_up"].key_bytes is not None


def test_duplicate_indexes(plant: Any, look: Any) -> None:
    plant(
        "CREATE TABLE t (a int, b int, c text)",
        "CREATE INDEX twin_1 ON t (a, b)",
        "CREATE INDEX twin_2 ON t (a, b)",
        "CREATE INDEX descending ON t (a DESC, b)",
        "CREATE INDEX partial ON t (a, b) WHERE a > 0",
        "CREATE INDEX patterns ON t (c text_pattern_ops)",
        "CREATE INDEX words ON t (c)",
    )

    assert set(found(look(), "duplicate_index")) == {"planted.twin_2"}


def test_a_large_prefix_index_is_redundant(plant: Any, look: Any) -> None:
    plant(
        "CREATE TABLE t (a int, b int)",
        "INSERT INTO t SELECT i, i FROM generate_series(1, 100000) i",
        "CREATE INDEX narrow ON t (a)",
        "CREATE INDEX wide ON t (a, b)",
    )

    (finding,) = found(look(), "duplicate_index").values()
    assert finding.subject == "planted.narrow"
    plant(finding.how, finding.undo)


def test_an_invalid_index_is_found_and_its_remedy_works(plant: Any, look: Any) -> None:
    plant("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        plant("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (a)")

    (finding,) = found(look(), "invalid_index").values()

    assert finding.subject == "planted.broken"
    plant("DELETE FROM t", finding.how)
    assert found(look(), "invalid_index") == {}


def test_an_invalid_constraint(plant: Any, look: Any) -> None:
    plant(
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (p int)",
        "ALTER TABLE child ADD CONSTRAINT child_p FOREIGN KEY (p) REFERENCES parent NOT VALID",
    )

    (finding,) = found(look(), "invalid_constraint").values()
    plant(finding.how)

    assert found(look(), "invalid_constraint") == {}


def test_dead_rows_stale_statistics_and_autovacuum_switched_off(plant: Any, look: Any) -> None:
    plant(
        "CREATE TABLE churn (a int) WITH (autovacuum_enabled = off)",
        "INSERT INTO churn SELECT i FROM generate_series(1, 10000) i",
        "ANALYZE churn",
    )
    plant("DELETE FROM churn WHERE a % 2 = 0")

    health = look()

    (table,) = (t for t in health.tables.rows if t.name == "churn")
    assert (table.live, table.dead, table.vacuum_at) == (5_000, 5_000, 2_050)
    assert "planted.churn" in found(health, "dead_rows")
    assert "planted.churn" in found(health, "stale_statistics")
    assert "planted.churn" in {f.subject for f in storage.advise(health, timezone.now())}
    assert {s.name: s.value for s in scoring.scored(health, 0)}["dead_rows"] >= 0.5

    for statement in found(health, "dead_rows")["planted.churn"].how.split("\n"):
        plant(statement)
    assert "planted.churn" not in found(look(), "dead_rows")


def test_bloat_is_seen_and_a_fresh_table_has_none(plant: Any, look: Any) -> None:
    plant(
        "CREATE TABLE fat (a int, b text) WITH (autovacuum_enabled = off)",
        "INSERT INTO fat SELECT i, repeat('x', 50) FROM generate_series(1, 50000) i",
        "CREATE INDEX fat_a ON fat (a)",
        "VACUUM ANALYZE fat",
    )
    sound = next(t for t in look().tables.rows if t.name == "fat")
    plant("DELETE FROM fat WHERE a % 10 <> 0", "VACUUM ANALYZE fat")
    holed = next(t for t in look().tables.rows if t.name == "fat")

    assert sizes.table_bloat(sound) < sound.heap_bytes * 0.1
    assert sizes.table_bloat(holed) > holed.heap_bytes * 0.8
    index = next(i for i in look().indexes.rows if i.name == "fat_a")
    assert sizes.index_bloat(index) > index.bytes * 0.5


def test_a_sequence_near_its_columns_end(plant: Any, look: Any) -> None:
    plant(
        "CREATE TABLE small (id smallserial PRIMARY KEY); CREATE TABLE large (id bigserial PRIMARY KEY)",
        "CREATE TABLE identity (id int GENERATED ALWAYS AS IDENTITY)",
        "SELECT setval('small_id_seq', 31000), setval('large_id_seq', 31000), setval('identity_id_seq', 2000000000)",
    )

    sequences = found(look(), "sequence")

    assert set(sequences) == {"planted.small.id", "planted.identity.id"}
    assert sequences["planted.small.id"].severity == "critical"


def test_schemas_and_names_that_need_quoting(plant: Any, look: Any) -> None:
    plant('CREATE TABLE "Odd ""Table" ("Col" int)', 'CREATE INDEX "I 1" ON "Odd ""Table" ("Col")')
    plant('CREATE INDEX "I 2" ON "Odd ""Table" ("Col")')

    (finding,) = found(look(), "duplicate_index").values()

    plant(finding.how)
    assert found(look(), "duplicate_index") == {}


def test_reading_does_not_queue_behind_ddl(plant: Any, another: Any, look: Any) -> None:
    plant("CREATE TABLE busy (a int)", "CREATE INDEX busy_a ON busy (a)")
    holder = another()
    holder.execute("BEGIN")
    holder.execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")

    health = look()

    assert health.missing() == {}
    assert any(t.name == "busy" for t in health.tables.rows)
    assert health.indexes.rows
    assert all(i.name != "busy_a" for i in health.indexes.rows)


# --- sessions --------------------------------------------------------------------------------------------------


def test_a_blocked_query_and_the_one_that_blocks_it(plant: Any, another: Any, look: Any, until: Any) -> None:
    plant("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    holder, waiter = another(), another()
    holder.execute("BEGIN")
    holder.execute("UPDATE t SET a = 2")
    waiter.pgconn.send_query(b"UPDATE t SET a = 3 WHERE a = 987654 OR 'a secret' = '' OR true")

    def waiting() -> Any:
        return next((s for s in look().sessions.rows if s.blocked_by), None)

    session = until(waiting)
    health = look()

    assert session.pid == waiter.info.backend_pid
    assert list(session.blocked_by) == [holder.info.backend_pid]
    assert "secret" not in session.query
    assert "987654" not in session.query
    assert {s.name: s.value for s in scoring.scored(health, 0)}["blocked"] == 1

    late = [replace(s, query_seconds=9.0) for s in health.sessions.rows]
    (finding,) = found(replace(health, sessions=Panel(tuple(late))), "blocked").values()
    assert finding.how == f"SELECT pg_terminate_backend({holder.info.backend_pid});"
    holder.execute("ROLLBACK")


def test_an_idle_transaction(plant: Any, another: Any, look: Any) -> None:
    holder = another()
    holder.execute("BEGIN")
    holder.execute("SELECT 1")

    health = look()

    (session,) = (s for s in health.sessions.rows if s.pid == holder.info.backend_pid)
    assert session.state == "idle in transaction"
    assert session.transaction_seconds >= 0
    late = Panel((replace(session, state_seconds=120.0),))
    (finding,) = found(replace(health, sessions=late), "idle_in_transaction").values()
    assert "pg_terminate_backend" in finding.how


def test_our_own_connections_are_not_counted_among_the_hosts(plant: Any, look: Any, session: Any) -> None:
    assert all(s.application != "paiid_perf" for s in look().sessions.rows)


def test_a_slot_that_nobody_reads(plant: Any, look: Any) -> None:
    plant("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        assert set(found(look(), "inactive_slot")) == {"forgotten"}
    finally:
        plant("SELECT pg_drop_replication_slot('forgotten')")


def test_settings_advice_can_be_carried_out(plant: Any, look: Any) -> None:
    advice = {f.subject: f for f in tuning.advise(look(), timezone.now()) if f.check == "setting"}

    assert "idle_in_transaction_session_timeout" in advice
    try:
        for statement in advice["idle_in_transaction_session_timeout"].how.split("\n"):
            plant(statement)
    finally:
        for statement in advice["idle_in_transaction_session_timeout"].undo.split("\n"):
            plant(statement)


def test_the_way_to_the_database(plant: Any, look: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        options = connections["default"].settings_dict["OPTIONS"]
        patch.setitem(options, "pool", {"min_size": 2, "max_size": 40})
        pool = look().pool

    assert (pool.min_size, pool.max_size, pool.pgbouncer) == (2, 40, False)
    assert "size" in {f.subject for f in pool_rules.advise(pool)}


def test_pgbouncer_is_noticed_and_no_setting_is_left_on_its_connections(
    plant: Any, look: Any, session: Any, monkeypatch: Any
) -> None:
    """PgBouncer tells its clients a process id of its own; a session setting would stay on a shared connection."""
    asked = session.rows

    def behind(statement: Any, *args: Any, **kwargs: Any) -> Any:
        return (
            [{"pid": -1}]
            if statement == "SELECT pg_backend_pid() AS pid"
            else asked(statement, *args, **kwargs)
        )

    monkeypatch.setattr(session, "rows", behind)

    pool = look().pool
    session.outside_transaction("VACUUM", timedelta(milliseconds=1))

    assert pool.pgbouncer
    assert {f.subject for f in pool_rules.advise(pool)} == {"server-side cursors"}


# --- degrading -----------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(plant: Any) -> Any:
    """A role that may only connect; the session of the test is its."""
    plant('CREATE ROLE "only reads"')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connections["default"].settings_dict["OPTIONS"], "assume_role", "only reads")
        session = connect("default", statement=SECONDS, lock=SECONDS)
        opened = session.__enter__()
    yield opened
    session.__exit__(None, None, None)
    plant('DROP OWNED BY "only reads"', 'DROP ROLE "only reads"')


def test_a_role_without_rights_loses_panels_and_is_told_the_grant(
    plant: Any, reader: Any, another: Any
) -> None:
    plant("CREATE TABLE t (a int)", "CREATE INDEX i1 ON t (a)", "CREATE INDEX i2 ON t (a)")
    another().execute("SELECT 1")

    health = facts.read(reader, "default")

    assert health.server.role == "only reads"
    assert not health.server.superuser
    assert 'GRANT pg_monitor TO "only reads";' in health.missing()["sessions"]
    assert set(found(health, "duplicate_index")) == {"planted.i2"}
    values = {s.name: s.value for s in scoring.scored(health, None)}
    assert values["longest_transaction"] is None
    assert values["index_faults"] == 1
    assert all(isinstance(getattr(health, f.name), object) for f in fields(health))


def test_the_grant_that_is_named_is_the_one_that_helps(plant: Any, reader: Any) -> None:
    plant('GRANT pg_monitor TO "only reads"')

    assert facts.read(reader, "default").missing() == {}


def test_one_query_that_fails_takes_only_its_panel(session: Any, monkeypatch: Any) -> None:
    broken = replace(facts.SEQUENCES, sql="SELECT * FROM no_such_view")
    denied = replace(facts.SLOTS, sql="SELECT pg_sleep(60)")
    queries = [{"sequences": broken, "slots": denied}.get(q.panel, q) for q in facts.QUERIES]
    monkeypatch.setattr(facts, "QUERIES", tuple(queries))
    monkeypatch.setattr(session, "_statement", timedelta(milliseconds=500))

    health = facts.read(session, "default")

    assert set(health.missing()) == {"sequences", "slots"}
    assert "no_such_view" in health.sequences.unavailable
    assert "STATEMENT_TIMEOUT" in health.slots.unavailable
    assert {s.name: s.value for s in scoring.scored(health, 0)}["sequences"] is None


def test_without_pg_stat_statements_the_panel_says_what_to_do(plant: Any, session: Any) -> None:
    plant("DROP EXTENSION IF EXISTS pg_stat_statements")
    try:
        health = facts.read(session, "default")
        assert "CREATE EXTENSION pg_stat_statements" in health.statements.unavailable
        assert {s.name: s.value for s in scoring.scored(health, 0)}["workload_mean"] is None
        assert "pg_stat_statements" in {f.subject for f in tuning.advise(health, timezone.now())}
    finally:
        plant("CREATE EXTENSION pg_stat_statements SCHEMA public")


def test_a_server_that_goes_away_is_an_error_not_an_empty_report(session: Any, plant: Any) -> None:
    pid = session.rows("SELECT pg_backend_pid() AS pid")[0]["pid"]
    plant(f"SELECT pg_terminate_backend({pid}, 5000)")

    with pytest.raises(psycopg.OperationalError):
        facts.read(session, "default")


def test_reading_cannot_write(session: Any) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        session.rows("CREATE TABLE planted_by_mistake (a int)")


def test_timeouts_do_not_outlive_a_statement(session: Any) -> None:
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.rows("SELECT pg_sleep(10)", timeout=timedelta(milliseconds=20))

    with session.writing() as connection:
        row = connection.execute("SELECT current_setting('transaction_read_only')").fetchone()
    assert row[0] == "off"
    assert not session.behind_pgbouncer


# --- gauges ---------------------------------------------------------------------------------------------------------


def test_gauges(transactional_db: None) -> None:
    moments = iter([0.0, 5.0, 70.0])
    meter = Meter(every=10.0, clock=lambda: next(moments))

    first = meter.read("default", SECONDS, SECONDS)
    assert meter.read("default", SECONDS, SECONDS) is first
    later = meter.read("default", SECONDS, SECONDS)

    assert 0 < first["db.connections_percent"] <= 100
    assert later["db.transactions_per_s"] >= 0
    assert {"db.rollbacks_per_s", "db.temp_files_per_h", "db.growth_bytes_per_h"} <= set(later)
    assert 0 <= later["db.txid_age_percent"] < 100
    assert later["db.blocked_sessions"] == 0
    assert "db.replication_lag_s" not in later  # it has no replica


def test_recorders_name_the_alias(transactional_db: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(recorders, "meter", Meter())

    read = {name: list(reader()) for name, reader, _unit in recorders.RECORDERS}

    ((alias, value),) = read["db.connections_percent"]
    assert alias == "default"
    assert 0 < value <= 100


def test_gauges_of_a_dead_server_are_none_and_logged(transactional_db: None, caplog: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connections["default"].settings_dict, "PORT", "1")

        assert Meter().read("default", SECONDS, SECONDS) == {}
    assert "no database metrics" in caplog.text


# --- keys, growth, measured bloat ---------------------------------------------------------------------------


def test_a_foreign_key_narrower_than_what_it_refers_to(plant: Any, look: Any) -> None:
    plant(
        "CREATE TABLE parent (id bigint PRIMARY KEY)",
        "INSERT INTO parent SELECT 1900000000 + i FROM generate_series(1, 200) i",
        "CREATE TABLE child (id serial PRIMARY KEY, parent_id int REFERENCES parent)",
        "INSERT INTO child (parent_id) SELECT id FROM parent",
        "ANALYZE parent, child",
    )

    health = look()

    assert [(k.column, k.largest) for k in health.keys.rows if k.schema == "planted"] == [
        ("parent_id", 1900000200)
    ]
    assert found(health, "integer_key")["planted.child.parent_id"].severity == "warning"


def test_growth_is_read_from_the_history(plant: Any, look: Any) -> None:
    now = timezone.now()
    for days, size in ((4, 10e9), (2, 20e9), (0, 50e9)):
        at = now - timedelta(days=days)
        Metric.objects.create(
            name="db.bytes", subject="default", resolution=3600, at=at, count=2, total=size * 2
        )

    health = look()

    assert health.growth.per_day == 10e9
    assert "growth" in {f.check for f in rules.judge(health, now)}


def test_bloat_is_measured_where_pgstattuple_is(plant: Any, session: Any) -> None:
    if "pgstattuple" not in {row["name"] for row in session.rows("SELECT name FROM pg_available_extensions")}:
        assert bloat.wasted(session, "table_bloat", "planted.t") is None
        return
    plant(
        "CREATE EXTENSION IF NOT EXISTS pgstattuple SCHEMA public",
        "CREATE TABLE t (id int PRIMARY KEY, pad text)",
        "INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 10000) i",
        "DELETE FROM t WHERE id % 10 <> 0",
    )
    try:
        size = plant("SELECT pg_relation_size('t')")[0][0]
        assert bloat.wasted(session, "table_bloat", "planted.t") > size * 0.7
        assert bloat.wasted(session, "index_bloat", "planted.t_pkey") >= 0
        assert bloat.wasted(session, "dead_rows", "planted.t") is None
        assert bloat.wasted(session, "table_bloat", "planted.nothing") is None
    finally:
        plant("DROP EXTENSION pgstattuple")


@pytest.mark.django_db(transaction=True)
def test_the_pools_of_all_processes_tell_how_their_requests_waited() -> None:
    for name, count in (("pool.requests", 500), ("pool.waits", 50), ("pool.wait_ms", 400)):
        for hours in (1, 2, 40):
            Metric.objects.create(
                name=name, subject="default", resolution=60, at=NOW - timedelta(hours=hours), count=count
            )

    assert machine._waits("default", True, NOW) == {"queued": 0.1, "waited_ms": 8.0}


def test_the_pool_of_this_process_tells_how_its_requests_waited(plant: Any, monkeypatch: Any) -> None:
    wrapper = connections["default"]
    monkeypatch.setitem(wrapper.settings_dict, "CONN_MAX_AGE", 0)
    monkeypatch.setitem(wrapper.settings_dict["OPTIONS"], "pool", {"min_size": 1, "max_size": 2})
    wrapper.close()
    try:
        for _request in range(120):
            with wrapper.cursor() as cursor:
                cursor.execute("SELECT 1")
            wrapper.close()

        waits = machine._waits("default", True, NOW)

        assert 0 <= waits["queued"] <= 1
        assert machine._waits("default", False, NOW) == {}
    finally:
        wrapper.close_pool()
        wrapper.close()
