"""The closed loop on a real server: built, measured, kept or taken back; nothing half done is left."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, migrations, models
from django.db.migrations.state import ProjectState

from paiid_perf.conf import Settings, get_settings
from paiid_perf.contracts import ChangeContext, Measurement, Proposal
from paiid_perf.database import index_changes
from paiid_perf.database.actions import building
from paiid_perf.database.actions import indexes as actions
from paiid_perf.database.advisor import advise
from paiid_perf.database.facts import machine
from paiid_perf.database.operations import AdoptIndexConcurrently
from paiid_perf.database.session import Session, connect
from paiid_perf.exceptions import ActionFailed, ActionRefused
from tests.integration.database.counters import hand_over

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HANDLERS = {h.name: h for h in index_changes.INDEX_HANDLERS}
QUERY = "SELECT * FROM orders WHERE customer_id = 7 ORDER BY at DESC LIMIT 5"


@pytest.fixture(autouse=True)
def orders() -> Iterator[None]:
    with host() as db:
        db.execute(
            "CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, at timestamptz, note text);"
            "INSERT INTO orders (customer_id, at, note) SELECT i % 2000, timestamptz '2025-01-01' + "
            "i * interval '1 min', repeat('x', 60) FROM generate_series(1, 40000) i"
        )
        db.execute("VACUUM ANALYZE orders")
        db.execute("SELECT pg_stat_statements_reset()")
    yield
    with host() as db:
        db.execute("DROP TABLE IF EXISTS orders CASCADE")


@contextmanager
def host() -> Iterator[psycopg.Connection[Any]]:
    """Another client of the same database."""
    params = connection.get_connection_params()
    wanted = {k: v for k, v in params.items() if k not in {"cursor_factory", "context", "prepare_threshold"}}
    with psycopg.connect(**wanted, autocommit=True) as db:
        yield db


@contextmanager
def session() -> Iterator[Session]:
    with connect("default", statement=timedelta(seconds=10), lock=timedelta(milliseconds=200)) as opened:
        yield opened


def settings(**changes: Any) -> Settings:
    return replace(get_settings(), VERIFY="replay", **changes)


def context(**changes: Any) -> ChangeContext:
    return ChangeContext(settings(**changes), NOW)


def run_queries(times: int = 6) -> None:
    with host() as db:
        for _ in range(times):
            db.execute(QUERY)


def proposed() -> Proposal:
    run_queries()
    proposals = advise(settings(), now=NOW, candidates=()).proposals
    return next(p for p in proposals if p.kind == "index_create")


def index_names(*, valid: bool | None = None) -> list[str]:
    with host() as db:
        rows = db.execute(
            "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE i.indrelid = 'orders'::regclass AND NOT i.indisprimary ORDER BY 1"
        ).fetchall()
    return [name for name, is_valid in rows if valid is None or is_valid == valid]


def test_a_change_survives_being_a_row() -> None:
    proposal = proposed()
    assert json.loads(json.dumps(dict(proposal.payload))) == dict(proposal.payload)
    assert len(proposal.payload["name"]) <= 30


def test_what_pays_is_kept_with_its_numbers() -> None:
    proposal, handler = proposed(), HANDLERS["index_create"]
    before = handler.measure(proposal.payload, context())
    facts = handler.apply(proposal.payload, context())
    after = handler.measure(proposal.payload, context())
    verdict = handler.judge(before, after, settings())
    assert verdict.keep
    assert verdict.gain is not None
    assert verdict.gain > 0.5
    assert facts["bytes"] == pytest.approx(proposal.evidence["size_bytes"], rel=0.4)
    assert Measurement.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_what_does_not_pay_is_taken_back() -> None:
    proposal, handler = proposed(), HANDLERS["index_create"]
    useless = dict(proposal.payload) | {"name": "pf_useless", "body": 'USING btree ("note")'}
    before = handler.measure(useless, context())
    handler.apply(useless, context())
    verdict = handler.judge(before, handler.measure(useless, context()), settings())
    assert verdict.keep is False
    assert handler.revert is not None
    handler.revert(useless, context())
    handler.revert(useless, context())
    assert index_names() == []


def test_what_was_built_is_not_proposed_again_until_its_statements_have_run_again() -> None:
    proposal = proposed()
    HANDLERS["index_create"].apply(proposal.payload, context())
    assert advise(settings(), now=NOW, candidates=()).proposals == ()
    run_queries()
    assert proposal.key not in {p.key for p in advise(settings(), now=NOW, candidates=()).proposals}


def test_building_twice_is_building_once() -> None:
    proposal = proposed()
    first = HANDLERS["index_create"].apply(proposal.payload, context())
    assert HANDLERS["index_create"].apply(proposal.payload, context()) == first
    assert index_names() == [proposal.payload["name"]]


def test_the_running_counters_are_compared_over_the_window() -> None:
    proposal, handler = proposed(), HANDLERS["index_create"]
    window = ChangeContext(replace(settings(), VERIFY="window"), NOW)
    before = handler.measure(proposal.payload, window)
    handler.apply(proposal.payload, window)
    too_soon = handler.judge(before, handler.measure(proposal.payload, window), settings())
    assert too_soon.keep is None
    run_queries(30)
    _flush_statistics()
    assert handler.judge(before, handler.measure(proposal.payload, window), settings()).keep


def _flush_statistics() -> None:
    """Backends hand their counters over when they are idle or leave; the ones above have left."""
    with host() as db:
        db.execute(hand_over())  # type: ignore[call-overload]


# --- what it costs the writes ----------------------------------------------------------------------------------

TOUCH = "UPDATE orders SET note = repeat('y', 60) || at WHERE customer_id < 200"


def written(**changes: Any) -> dict[str, Any]:
    """An index on what the updates change, with the statement that changes it."""
    query = {"queryid": "r", "text": "SELECT id FROM orders WHERE note = $1", "calls": 10, "mean_ms": 5}
    write = {"queryid": "w", "text": TOUCH, "calls": 1000, "mean_ms": 5}
    payload = {
        "alias": "default",
        "schema": "public",
        "table": "orders",
        "name": "pf_note",
        "queries": [query],
    }
    return {**payload, "body": 'USING btree ("note")', "watched": [], "writes": [write], **changes}


def test_a_write_is_run_again_and_rolled_back() -> None:
    with host() as db:
        before = db.execute("SELECT md5(string_agg(note, ',' ORDER BY id)) FROM orders").fetchone()
        found = HANDLERS["index_create"].measure(written(), context())
        assert db.execute("SELECT md5(string_agg(note, ',' ORDER BY id)) FROM orders").fetchone() == before
    assert {q.key for q in found.queries} == {"r", "watched:writes:w"}
    assert {"updates", "hot", "scans"} <= found.numbers.keys()


def test_a_write_is_not_run_where_a_trigger_would_see_it() -> None:
    with host() as db:
        db.execute(
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            "CREATE TRIGGER told BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION tell()"
        )
        found = HANDLERS["index_create"].measure(written(), context())
        db.execute("DROP FUNCTION tell() CASCADE")
    assert {q.key for q in found.queries} == {"r"}


def test_an_index_that_costs_hot_updates_is_taken_back() -> None:
    """Judged by the running counters: the updates of a column that is not indexed are HOT, then none is."""
    handler, window = HANDLERS["index_create"], ChangeContext(replace(settings(), VERIFY="window"), NOW)
    with host() as db:
        db.execute("ALTER TABLE orders SET (fillfactor = 40, autovacuum_enabled = off)")
        db.execute("VACUUM FULL orders")

        def use() -> None:
            db.execute("UPDATE orders SET note = note || '!' WHERE id % 20 = 0")
            for _ in range(30):
                db.execute("SELECT id FROM orders WHERE note = 'z'")
            db.execute(hand_over())  # type: ignore[call-overload]
            db.execute("SELECT 1")

        use()
        queryid = db.execute(
            "SELECT queryid::text FROM pg_stat_statements WHERE query LIKE 'SELECT id FROM orders WHERE note%'"
        ).fetchone()
        assert queryid is not None
        payload = written(queries=[{**written()["queries"][0], "queryid": queryid[0]}])
        before = handler.measure(payload, window)
        handler.apply(payload, window)
        use()
        verdict = handler.judge(before, handler.measure(payload, window), settings())
    assert verdict.keep is False, verdict
    assert "HOT" in verdict.reason


# --- killed half way -----------------------------------------------------------------------------------------


@contextmanager
def held(mode: str = "ROW EXCLUSIVE") -> Iterator[None]:
    """Somebody's transaction on the table, for as long as the block lasts."""
    with host() as db, db.transaction():
        db.execute(f"LOCK TABLE orders IN {mode} MODE")  # type: ignore[call-overload]
        yield


def kill_while_building(proposal: Proposal) -> None:
    """Start the build behind somebody's transaction and kill its server process there."""
    failed: list[BaseException] = []

    def build() -> None:
        try:
            HANDLERS["index_create"].apply(proposal.payload, context(LOCK_TIMEOUT=timedelta(seconds=30)))
        except psycopg.Error as error:
            failed.append(error)
        except (ActionFailed, ActionRefused) as error:
            failed.append(error)
        finally:
            connections.close_all()

    with held(), host() as db:
        builder = threading.Thread(target=build)
        builder.start()
        _until(lambda: bool(index_names(valid=False)))
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%%' "
            "AND application_name = 'paiid_perf'"
        )
        builder.join(30)
    assert failed


def _until(true: Any, seconds: float = 20.0) -> None:
    waiting = threading.Event()
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        waiting.wait(0.02)


def test_a_killed_build_leaves_an_invalid_index_that_is_cleaned_up() -> None:
    proposal = proposed()
    kill_while_building(proposal)
    assert index_names(valid=False) == [proposal.payload["name"]]
    HANDLERS["index_create"].clean_up(proposal.payload, context())
    assert index_names() == []


def test_a_build_after_a_killed_one_replaces_what_was_left() -> None:
    proposal = proposed()
    kill_while_building(proposal)
    HANDLERS["index_create"].apply(proposal.payload, context())
    assert index_names(valid=True) == [proposal.payload["name"]]


def test_a_lock_that_nobody_gives_up_ends_in_a_clean_failure() -> None:
    proposal = proposed()
    pauses: list[float] = []
    with held("ACCESS EXCLUSIVE"), session() as opened, pytest.raises(ActionFailed):
        actions.create(
            opened,
            actions.Build("public", "orders", proposal.payload["name"], proposal.payload["body"]),
            actions.Limits(timedelta(seconds=5), timedelta(milliseconds=20), pauses.append),
        )
    assert len(pauses) == 2
    assert index_names() == []


def test_a_build_in_progress_is_not_swept_away() -> None:
    proposal = proposed()

    def build() -> None:
        HANDLERS["index_create"].apply(proposal.payload, context(LOCK_TIMEOUT=timedelta(seconds=30)))
        connections.close_all()

    builder = threading.Thread(target=build)
    with held():
        builder.start()
        _until(lambda: bool(index_names(valid=False)))
        HANDLERS["index_create"].clean_up(proposal.payload, context())
        assert index_names(valid=False) == [proposal.payload["name"]]
    builder.join(30)
    assert index_names(valid=True) == [proposal.payload["name"]]


def test_cleaning_up_leaves_a_valid_index_alone() -> None:
    proposal = proposed()
    HANDLERS["index_create"].apply(proposal.payload, context())
    HANDLERS["index_create"].clean_up(proposal.payload, context())
    assert index_names(valid=True) == [proposal.payload["name"]]


def test_one_build_at_a_time_on_a_table() -> None:
    proposal = proposed()
    with session() as other, host() as db:
        oid = db.execute("SELECT 'orders'::regclass::oid::bigint").fetchone()
        assert oid is not None
        with actions.alone_on(other, oid[0]), pytest.raises(ActionRefused):
            HANDLERS["index_create"].apply(proposal.payload, context())


def test_a_table_that_is_gone_is_a_refusal() -> None:
    proposal = proposed()
    with host() as db:
        db.execute("DROP TABLE orders")
    with pytest.raises(ActionRefused, match="gone"):
        HANDLERS["index_create"].apply(proposal.payload, context())


# --- drops ---------------------------------------------------------------------------------------------------


def drop_of_narrow() -> Proposal:
    with host() as db:
        db.execute(
            "CREATE INDEX narrow ON orders (customer_id); CREATE INDEX wide ON orders (customer_id, at)"
        )
        db.execute("ANALYZE orders")
    run_queries()
    (found,) = (p for p in advise(settings(), now=NOW, candidates=()).proposals if p.kind == "index_drop")
    return found


def test_a_redundant_index_is_dropped_and_comes_back_as_it_was() -> None:
    proposal, handler = drop_of_narrow(), HANDLERS["index_drop"]
    before = handler.measure(proposal.payload, context())
    handler.apply(proposal.payload, context())
    assert index_names() == ["wide"]
    assert handler.judge(before, handler.measure(proposal.payload, context()), settings()).keep
    assert handler.revert is not None
    handler.revert(proposal.payload, context())
    assert index_names(valid=True) == ["narrow", "wide"]


def test_it_is_not_dropped_where_what_covers_it_went_away() -> None:
    proposal = drop_of_narrow()
    with host() as db:
        db.execute("DROP INDEX wide")
    with pytest.raises(ActionRefused, match="stays"):
        HANDLERS["index_drop"].apply(proposal.payload, context())
    assert index_names() == ["narrow"]


# --- partitions ----------------------------------------------------------------------------------------------


def test_a_partitioned_table_is_indexed_part_by_part() -> None:
    with host() as db:
        db.execute("DROP TABLE orders")
        db.execute(
            "CREATE TABLE orders (id bigint, customer_id int, at date NOT NULL) PARTITION BY RANGE (at);"
            "CREATE TABLE orders_a PARTITION OF orders FOR VALUES FROM ('2025-01-01') TO ('2025-07-01');"
            "CREATE TABLE orders_b PARTITION OF orders FOR VALUES FROM ('2025-07-01') TO ('2026-01-01');"
            "INSERT INTO orders SELECT i, i % 2000, date '2025-01-01' + i % 360 FROM generate_series(1, 40000) i"
        )
        db.execute("ANALYZE")
    try:
        proposal = proposed()
        HANDLERS["index_create"].apply(proposal.payload, context())
        assert index_names(valid=True) == [proposal.payload["name"]]
        HANDLERS["index_create"].revert(proposal.payload, context())  # type: ignore[misc]
        assert index_names() == []
    finally:
        with host() as db:
            db.execute("DROP TABLE IF EXISTS orders CASCADE")


# --- how far it is, and whether there is room -------------------------------------------------------------------


@pytest.mark.usefixtures("looked_at_often")
def test_a_build_tells_how_far_it_is_and_whom_it_waits_for() -> None:
    proposal, told, seen = proposed(), [], threading.Event()

    def tell(share: float, step: str) -> None:
        told.append((share, step))
        if "waiting for writers" in step:
            seen.set()

    builder = threading.Thread(
        target=apply_and_close, args=(proposal, replace(context(LOCK_TIMEOUT=WAIT), progress=tell))
    )
    with held():
        builder.start()
        assert seen.wait(30)
    builder.join(30)
    assert index_names(valid=True) == [proposal.payload["name"]]
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert f"{proposal.payload['name']}: waiting for writers before build (1 to go)" in {s for _, s in told}


@pytest.mark.usefixtures("looked_at_often")
def test_a_build_that_is_interrupted_is_stopped_at_the_server() -> None:
    proposal = proposed()

    def interrupt(share: float, step: str) -> None:
        if "waiting" in step:
            raise KeyboardInterrupt

    with held(), pytest.raises(KeyboardInterrupt):
        HANDLERS["index_create"].apply(
            proposal.payload, replace(context(LOCK_TIMEOUT=WAIT), progress=interrupt)
        )
    with host() as db:
        assert not db.execute("SELECT 1 FROM pg_stat_progress_create_index").fetchall()
    HANDLERS["index_create"].clean_up(proposal.payload, context())
    assert index_names() == []


WAIT = timedelta(seconds=30)


@pytest.fixture
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "EVERY", 0.01)


def apply_and_close(proposal: Proposal, ctx: ChangeContext) -> None:
    try:
        HANDLERS["index_create"].apply(proposal.payload, ctx)
    finally:
        connections.close_all()


def test_an_index_that_the_disk_has_no_room_for_is_not_built() -> None:
    proposal = proposed()
    with session() as opened:
        disk = machine.disk(opened)
    assert disk is not None
    with pytest.raises(ActionRefused, match="free, and the build needs"):
        HANDLERS["index_create"].apply(dict(proposal.payload) | {"bytes": disk.free}, context())
    assert index_names() == []


# --- the migration that follows --------------------------------------------------------------------------------


def adopt() -> None:
    """Run the operation as the migration would, on a model of the table."""
    state = ProjectState()
    fields = [
        ("id", models.BigAutoField(primary_key=True)),
        ("customer_id", models.BigIntegerField()),
        ("at", models.DateTimeField()),
    ]
    migrations.CreateModel("Order", fields, {"db_table": "orders"}).state_forwards("shop", state)
    operation = AdoptIndexConcurrently("order", models.Index(fields=["customer_id", "at"], name="pf_orders"))
    after = state.clone()
    operation.state_forwards("shop", after)
    with connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("shop", editor, state, after)


def test_a_migration_adopts_the_index_that_is_there() -> None:
    with host() as db:
        db.execute("CREATE INDEX pf_orders ON orders (customer_id, at)")
        before = db.execute("SELECT 'pf_orders'::regclass::oid").fetchone()
        adopt()
        assert db.execute("SELECT 'pf_orders'::regclass::oid").fetchone() == before


def test_a_migration_builds_the_index_that_is_not() -> None:
    adopt()
    assert index_names(valid=True) == ["pf_orders"]


def test_a_migration_replaces_an_invalid_one() -> None:
    with host() as db:
        db.execute("CREATE INDEX pf_orders ON orders (customer_id, at)")
        db.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pf_orders'::regclass")
    adopt()
    assert index_names(valid=True) == ["pf_orders"]
