"""CREATE and DROP INDEX CONCURRENTLY: one at a time per table, bounded waits, nothing left half done.

A build that fails or is killed leaves an INVALID index of the same name behind (the manual, "Building Indexes
Concurrently"); the name is ours and in the ledger, so that it can be dropped again without guessing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from paiid_perf.database.actions import building
from paiid_perf.database.rules.indexes.partitions import index_name
from paiid_perf.database.session import Session, trusted
from paiid_perf.exceptions import ActionFailed, ActionRefused

#: Namespace of our advisory locks: one build per table at a time, whichever process asks.
LOCK_CLASS = 0x70667831
ATTEMPTS = 3
BACK_OFF = (0.5, 2.0)
"""Seconds before the second and third attempt at a lock that somebody holds."""
PATIENCE = (1, 5, 15)
"""Multiples of the lock time-out: what waits here (ShareUpdateExclusive) holds up no read or write."""

_STATE = """
SELECT i.indisvalid AND i.indisready AND i.indislive AS valid, pg_get_indexdef(i.indexrelid) AS definition,
       pg_relation_size(i.indexrelid) AS bytes, t.relname AS table,
       EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid OR
               (p.index_relid = 0 AND p.relid = i.indrelid)) AS building
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class t ON t.oid = i.indrelid
 WHERE n.nspname = %s AND c.relname = %s
"""
_TABLE = """
SELECT c.oid::bigint AS oid, c.relkind::text AS kind, pg_has_role(c.relowner, 'USAGE') AS owned
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
"""
_PARTITIONS = """
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind
  FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE h.inhparent = %s ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Build:
    """An index to be built. ``body`` is what follows ``ON table`` (``USING btree ("a")``): made by the advisor from
    catalogue names, quoted."""

    schema: str
    table: str
    name: str
    body: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a build may take and wait for a lock, and to whom it is told how far it is."""

    timeout: timedelta
    lock: timedelta
    pause: Callable[[float], None] = time.sleep
    tell: building.Tell = building.nobody


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index as the catalogue has it now."""

    valid: bool
    definition: str
    bytes: int
    table: str
    building: bool


def state(session: Session, schema: str, name: str) -> IndexState | None:
    """The index of that name, or None."""
    rows = session.rows(_STATE, [schema, name])
    return IndexState(**rows[0]) if rows else None


def table_state(session: Session, schema: str, table: str) -> dict[str, Any]:
    """oid, kind and whether we may index it.

    Raises:
        ActionRefused: there is no such table, or it belongs to somebody else.
    """
    rows = session.rows(_TABLE, [schema, table])
    if not rows:
        raise ActionRefused(f"{schema}.{table} is gone: there is nothing to index.")
    if not rows[0]["owned"]:
        raise ActionRefused(
            f"only the owner of {schema}.{table} may index it: run as that role, or GRANT it."
        )
    return dict(rows[0])


@contextmanager
def alone_on(session: Session, table_oid: int) -> Iterator[None]:
    """Hold the advisory lock of a table; it ends with the connection whatever happens.

    Raises:
        ActionRefused: another build on the table holds it.
    """
    if session.behind_pgbouncer:
        # A session lock would stay on a server connection that others share; the run lock must do.
        yield
        return
    key = table_oid % 2**31
    if not session.rows("SELECT pg_try_advisory_lock(%s, %s) AS got", [LOCK_CLASS, key])[0]["got"]:
        raise ActionRefused("another index of the same table is being built; the next run tries again.")
    try:
        yield
    finally:
        session.rows("SELECT pg_advisory_unlock(%s, %s)", [LOCK_CLASS, key])


def create(session: Session, build: Build, limits: Limits) -> IndexState:
    """Build the index unless it is there and valid; returns it.

    Raises:
        ActionFailed: it could not be built; nothing of it is left.
        ActionRefused: the table is gone, not ours, or being indexed by another process.
    """
    target = table_state(session, build.schema, build.table)
    with alone_on(session, target["oid"]):
        found = state(session, build.schema, build.name)
        if found is not None and found.valid:
            return found
        if found is not None:
            remove_invalid(session, build.schema, build.name, timeout=limits.timeout, lock=limits.lock)
        _build(session, target, build, limits)
        built = state(session, build.schema, build.name)
    if built is None or not built.valid:
        raise ActionFailed(f"{build.name} was built but is not valid.")
    return built


def _build(session: Session, target: dict[str, Any], build: Build, limits: Limits) -> None:
    if target["kind"] == "p":
        _build_partitioned(session, target["oid"], build, limits)
        return
    statement = sql.SQL("CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON {} {}").format(
        sql.Identifier(build.name), sql.Identifier(build.schema, build.table), trusted(build.body)
    )
    _persist(session, statement, build, limits)


def _build_partitioned(session: Session, oid: int, build: Build, limits: Limits) -> None:
    """A partitioned parent cannot be indexed concurrently: ON ONLY it, then each partition, then ATTACH."""
    with session.writing(limits.timeout) as connection:
        connection.execute(
            sql.SQL("CREATE INDEX IF NOT EXISTS {} ON ONLY {} {}").format(
                sql.Identifier(build.name), sql.Identifier(build.schema, build.table), trusted(build.body)
            )
        )
    parts = session.rows(_PARTITIONS, [oid])
    for number, part in enumerate(parts):
        child = Build(part["schema"], part["name"], index_name(build.name, part["name"]), build.body)
        told = replace(limits, tell=building.part_of(limits.tell, number, len(parts)))
        _build(session, table_state(session, child.schema, child.table), child, told)
        with session.writing(limits.timeout) as connection:
            connection.execute(
                sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(
                    sql.Identifier(build.schema, build.name), sql.Identifier(child.schema, child.name)
                )
            )


def _persist(session: Session, statement: sql.Composed, build: Build, limits: Limits) -> None:
    """Run a build; on a lock time-out clean up, wait and try again, ATTEMPTS times at the most."""
    for attempt in range(ATTEMPTS):
        run = partial(session.outside_transaction, statement, limits.timeout, limits.lock * PATIENCE[attempt])
        try:
            building.watched(session, run, (build.schema, build.table), limits.tell)
            return
        except psycopg.Error as error:
            if not session.is_broken:
                remove_invalid(session, build.schema, build.name, timeout=limits.timeout, lock=limits.lock)
            if not isinstance(error, psycopg.errors.LockNotAvailable) or attempt + 1 == ATTEMPTS:
                raise ActionFailed(f"{build.name} could not be built: {str(error).strip()}") from error
            limits.pause(BACK_OFF[attempt])


def remove_invalid(session: Session, schema: str, name: str, *, timeout: timedelta, lock: timedelta) -> bool:
    """Drop what a failed or killed build left; an index that is valid or still being built is let be."""
    found = state(session, schema, name)
    if found is None or found.valid or found.building:
        return False
    return drop(session, schema=schema, name=name, timeout=timeout, lock=lock)


def clean_up(
    session: Session, schema: str, table: str, name: str, *, timeout: timedelta, lock: timedelta
) -> None:
    """Drop what a killed build left: the invalid index, and with a partitioned table's those of its partitions.

    What is valid, or still being built by somebody, is let be.
    """
    ours = list(_family(session, schema, table, name))
    states = [(where, own, state(session, where, own)) for where, own in ours]
    top = states[0][2]
    if any(s is not None and s.building for _, _, s in states) or (top is not None and top.valid):
        return
    for where, own, found in states:
        if found is not None:
            drop(session, schema=where, name=own, timeout=timeout, lock=lock)


def _family(session: Session, schema: str, table: str, name: str) -> Iterator[tuple[str, str]]:
    """(schema, name) of the index and of its parts on the partitions, the parent's first."""
    yield schema, name
    for row in session.rows(_TABLE, [schema, table]):
        if row["kind"] == "p":
            for part in session.rows(_PARTITIONS, [row["oid"]]):
                yield from _family(session, part["schema"], part["name"], index_name(name, part["name"]))


def drop(session: Session, *, schema: str, name: str, timeout: timedelta, lock: timedelta) -> bool:
    """Drop an index concurrently, if it is there; returns whether it was.

    Raises:
        ActionFailed: somebody holds the table for longer than the lock time-out; the index is still there.
    """
    found = session.rows(_RELKIND, [schema, name])
    if not found:
        return False
    statement = sql.SQL("DROP INDEX {} IF EXISTS {}").format(
        sql.SQL("") if found[0]["kind"] == "I" else sql.SQL("CONCURRENTLY"), sql.Identifier(schema, name)
    )
    try:
        session.outside_transaction(statement, timeout, lock * PATIENCE[-1])
    except psycopg.Error as error:
        raise ActionFailed(f"{schema}.{name} could not be dropped: {str(error).strip()}") from error
    return True


_RELKIND = """
SELECT c.relkind::text AS kind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('i', 'I')
"""


def analyze(session: Session, schema: str, table: str, timeout: timedelta) -> None:
    """Gather the statistics that an expression index adds; without them the planner guesses."""
    session.outside_transaction(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)), timeout)
