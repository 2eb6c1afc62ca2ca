"""Delete old rows in batches, each a transaction of its own under time-outs, paced, within a budget.

Killed at any point, it has deleted whole batches: the next run goes on with what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.db import OperationalError, connections, transaction
from django.db.models import F
from psycopg import errors, sql

from paiid_perf.database.facts import retention as facts
from paiid_perf.database.facts.retention import Target
from paiid_perf.database.rules import retention as rules
from paiid_perf.database.session import Session, trusted
from paiid_perf.exceptions import ActionFailed

# Rows that somebody has locked are left for the next batch or run. By the alias the advisor knows the app's own
# statement: no index is advised for it.
_BY_INDEX = sql.SQL(
    "DELETE FROM ONLY {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM ONLY {table} paiid_perf_old "
    "WHERE {column} < %s ORDER BY {column} LIMIT %s FOR UPDATE SKIP LOCKED))"
)
_BY_BLOCKS = sql.SQL(
    "DELETE FROM ONLY {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM ONLY {table} paiid_perf_old "
    "WHERE ctid >= %s::tid AND ctid < %s::tid AND {column} < %s FOR UPDATE SKIP LOCKED))"
)
_PRESSURE = """
SELECT (SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 FROM pg_stat_replication) AS lag,
       (SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())
           AS waiting
"""

#: Rows of a page of the narrowest table, for one that was never analyzed: rather too small a batch than too large.
_DENSEST = 226.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may spend: rows and seconds. ``statement`` bounds each batch."""

    rows: int
    seconds: float
    statement: timedelta


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, so that tests need not wait."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class Deleted:
    """What one run did with one rule."""

    rows: int = 0
    batches: int = 0
    seconds: float = 0.0
    timeouts: int = 0
    stopped: str = ""
    """Why it stopped before the end; empty where nothing was left to delete."""

    def to_json(self) -> dict[str, Any]:
        return {
            "deleted": self.rows,
            "batches": self.batches,
            "seconds": round(self.seconds, 3),
            "timeouts": self.timeouts,
            "stopped": self.stopped,
        }


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: how many rows it deleted, and whether there may be more."""

    rows: int
    more: bool


#: Deletes up to so many rows in one transaction.
Work = Callable[[int], Batch]


def delete(
    session: Session | None,
    goal: Target,
    before: datetime,
    *,
    method: rules.Method,
    batch: int,
    budget: Budget,
    clock: Clock | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Deleted:
    """Delete what is due, within the budget; ``session`` is None where there is no PostgreSQL.

    Raises:
        ActionFailed: even the smallest batch runs into the time-out.
        psycopg.Error, django.db.Error: the database refuses (a foreign key that Django does not know, say).
    """
    report, watch = Deleted(), clock or Clock()
    began = watch.now()
    for work in _works(session, goal, before, method, budget):
        size, more = batch, True
        while more and not report.stopped:
            started = watch.now()
            size, done = _attempt(work, size, report)
            more = done.more
            report.rows += done.rows
            report.batches += 1
            report.seconds = watch.now() - began
            progress(report.rows)
            if more:
                report.stopped = rules.stop_because(
                    deleted=report.rows, most=budget.rows, seconds=report.seconds, budget=budget.seconds
                )
            if more and not report.stopped:
                watch.sleep(rules.rest(watch.now() - started, _pressure(session)))
    return report


def _attempt(work: Work, size: int, report: Deleted) -> tuple[int, Batch]:
    """One batch, halved until it fits into the time-out; returns the size that did."""
    while True:
        try:
            return size, work(size)
        except (errors.QueryCanceled, errors.LockNotAvailable, OperationalError) as error:
            smaller = rules.halved(size)
            report.timeouts += 1
            if smaller is None:
                raise ActionFailed(
                    f"deleting {size} rows takes longer than STATEMENT_TIMEOUT allows: {error}"
                ) from error
            size = smaller


def _works(
    session: Session | None, goal: Target, before: datetime, method: rules.Method, budget: Budget
) -> Iterator[Work]:
    if session is None or method == "orm":
        yield lambda size: _through_orm(goal, before, size, budget)
        return
    for heap in facts.heaps(session, goal):
        yield (
            _by_index(session, goal, before, heap, budget)
            if method == "index"
            else _by_blocks(session, goal, before, heap, budget)
        )


def _by_index(session: Session, goal: Target, before: datetime, heap: dict[str, Any], budget: Budget) -> Work:
    statement = _for_heap(_BY_INDEX, goal, heap)

    def work(size: int) -> Batch:
        with session.writing(budget.statement) as connection:
            deleted = connection.execute(statement, [goal.value(before), size]).rowcount
        return Batch(deleted, deleted >= size)

    return work


def _by_blocks(
    session: Session, goal: Target, before: datetime, heap: dict[str, Any], budget: Budget
) -> Work:
    statement = _for_heap(_BY_BLOCKS, goal, heap)
    known = heap["rows"] > 0 and heap["pages"] > 0
    rows_a_block = heap["rows"] / heap["pages"] if known else _DENSEST
    block = 0

    def work(size: int) -> Batch:
        nonlocal block
        end = block + max(1, int(size / rows_a_block))
        with session.writing(budget.statement) as connection:
            params = [f"({block},0)", f"({end},0)", goal.value(before)]
            deleted = connection.execute(statement, params).rowcount
        block = end
        return Batch(deleted, block < heap["blocks"])

    return work


def _for_heap(statement: sql.SQL, goal: Target, heap: dict[str, Any]) -> sql.Composed:
    table = sql.Identifier(heap["schema"], heap["name"])
    return statement.format(table=table, column=sql.Identifier(goal.column))


def _through_orm(goal: Target, before: datetime, size: int, budget: Budget) -> Batch:
    rows = goal.old(before)
    with transaction.atomic(using=goal.alias):
        if connections[goal.alias].vendor == "postgresql":
            _limit(goal.alias, budget.statement)
        oldest = rows.order_by(goal.field.name, "pk").annotate(paiid_perf_pk=F("pk"))
        keys = list(oldest.values_list("paiid_perf_pk", flat=True)[:size])
        _total, by_model = goal.model._base_manager.using(goal.alias).filter(pk__in=keys).delete()
    return Batch(by_model.get(goal.model._meta.label, 0), len(keys) >= size)


def _limit(alias: str, statement: timedelta) -> None:
    with connections[alias].cursor() as cursor:
        milliseconds = str(max(1, round(statement.total_seconds() * 1000)))
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [milliseconds])


def _pressure(session: Session | None) -> rules.Pressure:
    """How far the slowest replica is behind, and who waits for a lock; nothing where we may not look."""
    if session is None:
        return rules.Pressure()
    try:
        row = session.rows(_PRESSURE)[0]
    except psycopg.Error:
        if session.is_broken:
            raise
        return rules.Pressure()
    return rules.Pressure(float(row["lag"]), int(row["waiting"]))


_COMMENT = sql.SQL("COMMENT ON TABLE {} IS {}")
_DETACH = sql.SQL("ALTER TABLE {} DETACH PARTITION {}{}")
_DROP = sql.SQL("DROP TABLE {}")


@dataclass(slots=True)
class Dropped:
    """Partitions that went as a whole, and the rows that the statistics knew in them."""

    partitions: list[str]
    rows: int = 0
    refused: str = ""
    """Why the rest did not: its rows are deleted one by one."""


def drop_partitions(
    session: Session, goal: Target, before: datetime, timeout: timedelta, lock: timedelta
) -> Dropped:
    """Detach (concurrently, where there is no default partition) and drop what is old as a whole.

    Each is marked first: one that a killed run has detached is dropped by the next.
    """
    report = Dropped([])
    for part in facts.partitions(session, goal, before):
        try:
            _drop_one(session, goal, part, timeout, lock)
        except psycopg.Error as error:
            if session.is_broken:
                raise
            report.refused = str(error).strip().splitlines()[0]
            break
        report.partitions.append(part["name"])
        report.rows += int(part["rows"])
    return report


def _drop_one(
    session: Session, goal: Target, part: dict[str, Any], timeout: timedelta, lock: timedelta
) -> None:
    name = sql.Identifier(part["schema"], part["name"])
    parent = trusted(goal.quoted_table)
    attached = bool(
        session.rows(
            "SELECT relispartition AS so FROM pg_class WHERE oid = to_regclass(%s)", [name.as_string(None)]
        )[0]["so"]
    )
    if attached:
        with session.writing() as connection:
            connection.execute(_COMMENT.format(name, sql.Literal(facts.mark(goal))))
        how = " FINALIZE" if part["pending"] else "" if part["has_default"] else " CONCURRENTLY"
        session.outside_transaction(_DETACH.format(parent, name, trusted(how)), timeout, lock)
    with session.writing() as connection:
        connection.execute(_DROP.format(name))


def tidy(session: Session, goal: Target, timeout: timedelta) -> None:
    """VACUUM (ANALYZE) the table, so that its space and its statistics are right at once; never waits for a lock."""
    table = trusted(goal.quoted_table)
    session.outside_transaction(sql.SQL("VACUUM (ANALYZE, SKIP_LOCKED) {}").format(table), timeout)
