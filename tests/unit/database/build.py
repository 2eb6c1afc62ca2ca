"""Facts with sound defaults, so that a test names only what it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from paiid_perf.database.health_types import (
    ConstraintFact,
    DatabaseFact,
    Health,
    IndexFact,
    Machine,
    Panel,
    PoolFact,
    SequenceFact,
    ServerFact,
    SessionFact,
    SettingFact,
    StatementFact,
    TableFact,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MB = 1024 * 1024


def server(**changes: Any) -> ServerFact:
    fields: dict[str, Any] = {
        "version": 180000,
        "role": "app",
        "login": "app",
        "superuser": False,
        "reads_all_stats": True,
        "in_recovery": False,
        "database": "shop",
        "started_at": NOW - timedelta(days=90),
        "extensions": (),
        "available": (),
        "managed_by": "",
    }
    return ServerFact(**fields | changes)


def database(**changes: Any) -> DatabaseFact:
    fields: dict[str, Any] = dict.fromkeys(
        (
            "bytes",
            "connections",
            "connections_all",
            "commits",
            "rollbacks",
            "deadlocks",
            "blocks_hit",
            "blocks_read",
            "temp_files",
            "temp_bytes",
            "xid_age",
            "multixact_age",
        ),
        0,
    )
    return DatabaseFact(**fields | {"stats_reset": None} | changes)


def session(**changes: Any) -> SessionFact:
    fields: dict[str, Any] = {
        "pid": 100,
        "role": "app",
        "database": "shop",
        "application": "gunicorn",
        "source": "local",
        "state": "active",
        "query": "SELECT ?",
        "transaction_seconds": 0.1,
        "query_seconds": 0.1,
        "state_seconds": 0.1,
        "wait": "",
        "blocked_by": (),
        "xmin_age": 1,
    }
    return SessionFact(**fields | changes)


def table(**changes: Any) -> TableFact:
    fields: dict[str, Any] = dict.fromkeys(
        (
            "dead",
            "writes",
            "updates",
            "hot_updates",
            "seq_scans",
            "index_scans",
            "modified_since_analyze",
            "bytes",
            "heap_bytes",
            "pages",
            "xid_age",
            "blocks_hit",
            "blocks_read",
            "index_blocks_hit",
            "index_blocks_read",
        ),
        0,
    )
    fields |= {
        "schema": "public",
        "name": "orders",
        "live": 10_000,
        "analyzed_at": NOW,
        "vacuumed_at": NOW,
        "rows_estimated": 10_000.0,
        "row_bytes": 40.0,
        "fillfactor": 100,
        "autovacuum": True,
        "vacuum_at": 2_050.0,
    }
    return TableFact(**fields | changes)


def index(**changes: Any) -> IndexFact:
    fields: dict[str, Any] = dict.fromkeys(
        (
            "is_unique",
            "is_primary",
            "is_constraint",
            "is_replica_identity",
            "is_clustered",
            "supports_foreign_key",
            "being_built",
        ),
        False,
    )
    fields |= {
        "schema": "public",
        "table": "orders",
        "name": "orders_a",
        "method": "btree",
        "keys": ("a int4_ops 0",),
        "included": (),
        "predicate": "",
        "definition": "CREATE INDEX orders_a ON public.orders USING btree (a)",
        "is_valid": True,
        "bytes": 20 * MB,
        "scans": 1_000,
        "pages": 2_560,
        "rows_estimated": 10_000.0,
        "key_bytes": 4.0,
        "fillfactor": 90,
    }
    return IndexFact(**fields | changes)


def sequence(last: int, **changes: Any) -> SequenceFact:
    fields: dict[str, Any] = {
        "schema": "public",
        "name": "orders_id_seq",
        "table": "orders",
        "column": "id",
        "column_type": "integer",
        "max_value": 2**31 - 1,
        "cycles": False,
    }
    return SequenceFact(last_value=last, **fields | changes)


def constraint(**changes: Any) -> ConstraintFact:
    fields = {
        "schema": "public",
        "table": "orders",
        "name": "orders_fk",
        "definition": "FOREIGN KEY … NOT VALID",
    }
    return ConstraintFact(**fields | changes)


def statement(**changes: Any) -> StatementFact:
    fields: dict[str, Any] = {
        "queryid": 1,
        "text": "SELECT * FROM orders WHERE a = $1",
        "calls": 1_000,
        "mean_ms": 1.0,
        "total_ms": 1_000.0,
        "rows": 1_000,
        "temp_blocks": 0,
    }
    return StatementFact(**fields | changes)


def setting(name: str, value: str, unit: str = "", context: str = "sighup", **changes: Any) -> SettingFact:
    fields: dict[str, Any] = {"source": "default", "pending_restart": False}
    return SettingFact(name, value, unit, context, **fields | changes)


def pool(**changes: Any) -> PoolFact:
    fields: dict[str, Any] = {
        "min_size": 5,
        "max_size": 20,
        "persistent_seconds": 0,
        "pgbouncer": False,
        "server_side_cursors": True,
        "max_connections": 100,
        "reserved": 3,
        "in_use": 10,
    }
    return PoolFact(**fields | changes)


def health(**panels: Any) -> Health:
    """Health whose panels are given as lists of rows; ``server``, ``machine`` and ``pool`` as they are."""
    whole = {
        name: panels.pop(name)
        for name in ("server", "machine", "pool", "growth", "evidence")
        if name in panels
    }
    rows = {
        name: value if isinstance(value, Panel) else Panel(tuple(value)) for name, value in panels.items()
    }
    return Health(**{"server": server(), "machine": Machine()} | whole | rows)
