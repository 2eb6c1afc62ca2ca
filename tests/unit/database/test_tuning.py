"""Advice on settings and on the way to the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from paiid_perf.database.health_types import CheckpointFact, Machine
from paiid_perf.database.rules import pool as pool_rules
from paiid_perf.database.rules import tuning
from paiid_perf.database.types import Finding
from tests.unit.database import build
from tests.unit.database.build import MB, NOW

GB = 1024 * MB
LARGE = build.database(bytes=50 * GB)
SPILLS = build.database(bytes=50 * GB, temp_bytes=400 * GB, stats_reset=NOW - timedelta(hours=10))


def advised(settings: list[Any], database: Any = LARGE, **facts: Any) -> dict[str, str]:
    whole = {"machine": Machine(memory=16 * GB, cores=4)} | facts
    found = tuning.advise(build.health(settings=settings, database=[database], **whole), NOW)
    return {f.subject: f.numbers["advised"] for f in found if f.check == "setting"}


@pytest.mark.parametrize(
    ("name", "value", "unit", "advice"),
    [
        ("shared_buffers", "16384", "8kB", "4096MB"),
        ("shared_buffers", str(4 * GB // 8192), "8kB", None),
        ("effective_cache_size", str(4 * GB // 8192), "8kB", "10649MB"),
        ("effective_cache_size", str(8 * GB // 8192), "8kB", None),
        ("effective_cache_size", str(64 * GB // 8192), "8kB", "10649MB"),
        ("maintenance_work_mem", str(64 * 1024), "kB", "1024MB"),
        ("maintenance_work_mem", str(600 * 1024), "kB", None),
        ("random_page_cost", "4", "", "1.1"),
        ("random_page_cost", "1.1", "", None),
        ("fsync", "off", "", "on"),
        ("fsync", "on", "", None),
        ("autovacuum", "off", "", "on"),
        ("track_io_timing", "off", "", "on"),
        ("compute_query_id", "off", "", "auto"),
        ("checkpoint_completion_target", "0.5", "", "0.9"),
        ("idle_in_transaction_session_timeout", "0", "ms", "5min"),
        ("idle_in_transaction_session_timeout", "60000", "ms", None),
        ("shared_preload_libraries", "auto_explain", "", "auto_explain,pg_stat_statements"),
        ("shared_preload_libraries", "pg_stat_statements", "", None),
    ],
)
def test_setting(name: str, value: str, unit: str, advice: str | None) -> None:
    assert advised([build.setting(name, value, unit)]).get(name) == advice


def test_buffers_that_hold_the_database_are_large_enough() -> None:
    small = build.setting("shared_buffers", str(128 * MB // 8192), "8kB")

    assert advised([small], build.database(bytes=100 * MB)) == {}


def test_memory_that_is_not_known_gives_no_advice_on_memory() -> None:
    small = build.setting("shared_buffers", "16", "8kB")

    assert advised([small], machine=Machine()) == {}


def test_a_disk_that_turns_keeps_its_price() -> None:
    cost = build.setting("random_page_cost", "4")

    assert advised([cost], machine=Machine(rotational=True)) == {}


def test_work_mem_only_where_sorts_spill() -> None:
    settings = [build.setting("work_mem", "4096", "kB"), build.setting("max_connections", "100")]

    assert advised(settings) == {}
    assert advised(settings, SPILLS) == {"work_mem": "16MB"}


@pytest.mark.parametrize(
    ("context", "ends"),
    [("postmaster", "-- then restart the server"), ("sighup", "SELECT pg_reload_conf();")],
)
def test_it_says_whether_a_reload_is_enough(context: str, ends: str) -> None:
    (found,) = tuning.advise(build.health(settings=[build.setting("fsync", "off", context=context)]), NOW)

    assert found.how == f"ALTER SYSTEM SET fsync = 'on';\n{ends}"
    assert found.undo == f"ALTER SYSTEM RESET fsync;\n{ends}"
    assert found.severity == "critical"


def test_on_a_managed_service_it_goes_into_the_parameter_group() -> None:
    server = build.server(managed_by="rds")
    (found,) = tuning.advise(build.health(server=server, settings=[build.setting("fsync", "off")]), NOW)

    assert "parameter group" in found.how
    assert "ALTER SYSTEM" not in found.how + found.undo


def test_pending_restarts_and_extensions_for_the_taking() -> None:
    server = build.server(available=("hypopg", "pg_stat_statements"), extensions=("pg_stat_statements",))
    waiting = build.setting("max_connections", "100", pending_restart=True)

    found = {f.check: f for f in tuning.advise(build.health(server=server, settings=[waiting]), NOW)}

    assert found["pending_restart"].subject == "max_connections"
    assert found["extension"].how == "CREATE EXTENSION hypopg;"


def test_every_rule_says_why_and_where_from() -> None:
    assert all(rule.why() and rule.source for rule in tuning.RULES)
    assert len({rule.name for rule in tuning.RULES}) == len(tuning.RULES)


# --- pool ------------------------------------------------------------------------------------------------


def subjects(**changes: Any) -> list[str]:
    return [finding.subject for finding in pool_rules.advise(build.pool(**changes))]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"min_size": None, "max_size": None}, ["none"]),
        ({"min_size": 1}, ["size"]),
        ({"max_size": 50}, ["size"]),
        ({"max_connections": 20}, ["too large"]),
        ({"max_connections": 1_000}, ["max_connections"]),
        ({"queued": 0.04, "waited_ms": 3.0}, []),
        ({"queued": 0.2, "waited_ms": 3.0, "max_size": 8}, ["waits"]),
        ({"queued": 0.2, "waited_ms": 3.0}, ["waits"]),
        ({"pgbouncer": True, "min_size": None, "max_size": None}, ["server-side cursors"]),
        ({"pgbouncer": True, "server_side_cursors": False}, ["two pools"]),
    ],
)
def test_pool(changes: dict[str, Any], found: list[str]) -> None:
    assert subjects(**changes) == found


def test_no_pool_no_advice_where_nothing_could_be_read() -> None:
    assert list(pool_rules.advise(None)) == []


def test_the_advice_can_be_pasted_and_taken_back() -> None:
    (found,) = pool_rules.advise(
        build.pool(min_size=None, max_size=None, persistent_seconds=600, alias="default")
    )
    databases: dict[str, Any] = {"default": {"OPTIONS": {}, "CONN_MAX_AGE": 600}}

    exec(found.how, {"DATABASES": databases})
    assert databases["default"]["OPTIONS"]["pool"] == {"min_size": 5, "max_size": 20, "timeout": 10}
    assert databases["default"]["CONN_MAX_AGE"] == 0

    exec(found.undo, {"DATABASES": databases})
    assert databases == {"default": {"OPTIONS": {}, "CONN_MAX_AGE": 600}}


def test_processes_that_fit_leave_room() -> None:
    assert pool_rules.processes_that_fit(build.pool(max_connections=103), 20) == 4
    assert isinstance(next(pool_rules.advise(build.pool(max_size=None))), Finding)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 5),
        ({"busy": 4.2}, 9),
        ({"busy": 400.0}, 20),
        ({"queued": 0.5, "max_size": 8}, 12),
        ({"queued": 0.01, "max_size": 8}, 5),
    ],
)
def test_a_pools_size_follows_from_what_is_busy_and_what_waits(changes: dict[str, Any], size: int) -> None:
    assert pool_rules.wanted_size(build.pool(**changes)) == size


def test_a_pool_that_is_as_large_as_pays_is_not_enlarged() -> None:
    (found,) = pool_rules.advise(build.pool(queued=0.5, waited_ms=9.0))

    assert '"max_size"' not in found.how
    assert not found.undo


@pytest.mark.parametrize(
    ("counts", "advice"),
    [
        ((10, 30), {"max_wal_size": "4096MB", "wal_compression": "on"}),
        ((30, 10), {}),
        ((1, 3), {}),
    ],
)
def test_room_for_wal_where_it_forces_checkpoints(counts: tuple[int, int], advice: dict[str, str]) -> None:
    settings = [build.setting("max_wal_size", "1024", "MB"), build.setting("wal_compression", "off")]

    assert advised(settings, checkpoints=[CheckpointFact(*counts)]) == advice


@pytest.mark.parametrize(
    ("calls", "total_ms", "advice"), [(1_000, 5_000, {"jit": "off"}), (1_000, 50_000, {}), (10, 10, {})]
)
def test_no_jit_where_queries_are_short(calls: int, total_ms: float, advice: dict[str, str]) -> None:
    statement = build.statement(calls=calls, total_ms=total_ms)

    assert advised([build.setting("jit", "on", context="user")], statements=[statement]) == advice
