"""The workload: what pg_stat_statements counted, since the last snapshot or since its counters began.

The counters are never reset: other tools read them too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
from django.db import DatabaseError

from paiid_perf.database.facts import plans
from paiid_perf.database.index_types import Catalog, Statement, Workload
from paiid_perf.database.rules.indexes import script
from paiid_perf.database.rules.indexes.texts import reason_to_leave_out, shape, without_comments
from paiid_perf.database.rules.indexes.window import Counters, merged, subtract
from paiid_perf.database.session import Session
from paiid_perf.models import StatementSnapshot
from paiid_perf.telemetry import samples

#: A sampled statement: its shape and its constants.
SampledRun = tuple[str, tuple[str, ...]]

#: Where the extension lives and which columns it has (1.8+ is PostgreSQL 13+; ours are all in it).
_WHERE = """
SELECT n.nspname AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = 'pg_stat_statements'
"""

#: Per queryid, over users and over top-level and nested calls; our own role's EXPLAINs are utility statements.
_STATEMENTS = """
SELECT s.queryid::text AS queryid, min(s.query) AS text, count(*) AS entries, sum(s.calls)::float AS calls,
       sum(s.total_exec_time)::float AS total_ms,
       sum(s.rows)::float AS rows, sum(s.shared_blks_hit + s.shared_blks_read)::float AS blocks,
       coalesce(sqrt(sum(s.calls * s.stddev_exec_time ^ 2) / nullif(sum(s.calls), 0)), 0)::float AS stddev_ms
  FROM {schema}.pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
 GROUP BY s.queryid
"""
_INFO = "SELECT dealloc, stats_reset FROM {schema}.pg_stat_statements_info"


def counters(session: Session) -> Counters | None:
    """Every normalised statement with its counters; None where pg_stat_statements is not to be had.

    Raises:
        psycopg.Error: the server does not answer in time.
    """
    found = session.rows(_WHERE)
    if not found:
        return None
    schema = psycopg.sql.Identifier(found[0]["schema"])
    try:
        rows = session.rows(psycopg.sql.SQL(_STATEMENTS).format(schema=schema))
    except (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.InsufficientPrivilege):
        return None
    info = _info(session, schema)
    readable = [r for r in rows if r["queryid"] and r["text"] and r["text"] != "<insufficient privilege>"]
    statements = {r["queryid"]: _statement(r) for r in readable}
    # Those of other roles come without text and number, all in one group.
    hidden = sum(r["entries"] for r in rows) - sum(r["entries"] for r in readable)
    return Counters(statements, info.get("stats_reset"), info.get("dealloc", 0), hidden)


def _info(session: Session, schema: psycopg.sql.Identifier) -> Mapping[str, Any]:
    try:
        return dict(session.rows(psycopg.sql.SQL(_INFO).format(schema=schema))[0])
    except psycopg.errors.UndefinedTable:
        return {}


def _statement(row: Mapping[str, Any]) -> Statement:
    return Statement(
        row["queryid"],
        row["text"],
        row["calls"],
        row["total_ms"],
        row["rows"],
        row["blocks"],
        row["stddev_ms"],
    )


def read(session: Session, sampled_runs: Sequence[SampledRun] = ()) -> Workload | None:
    """What ran since its tables' indexes were last changed by us (or since the counters began), linked to sampled runs.

    Returns None where pg_stat_statements is not there or not preloaded.
    """
    now = counters(session)
    if now is None:
        return None
    before, taken = last_snapshot()
    window = subtract(now, before)
    whole = sum(s.total_ms for s in now.statements.values() if _reads(s.text))
    found = workload_of(window.statements.values(), sampled_runs, since=now.reset, notes=window.notes)
    return replace(found, whole_ms=whole, since=now.reset or taken)


NO_STATISTICS = (
    "pg_stat_statements is not available: add it to shared_preload_libraries, restart, and "
    "CREATE EXTENSION pg_stat_statements"
)


def chosen(session: Session, told: Iterable[Statement] | None = None) -> Workload | None:
    """The statements told (a file's), else what pg_stat_statements counted, else what the app itself sampled.

    Returns None where none of them is to be had.
    """
    runs = sampled()
    if told is not None:
        return workload_of(told, runs, source="file")
    counted = read(session, runs)
    if counted is not None:
        return counted
    seen = recorded()
    note = f"{NO_STATISTICS}; until then the {len(seen)} statements that the app sampled are the workload"
    return workload_of(seen, (), source="samples", notes=(note,)) if seen else None


#: Milliseconds that one unit of the planner's cost stands for: a page read in sequence, from memory.
MS_PER_COST = 0.01


def timed(session: Session, workload: Workload, catalog: Catalog) -> Workload:
    """The workload with a time for each statement: what nobody measured gets what the planner reckons with."""
    if all(s.total_ms > 0 for s in workload.statements):
        return workload
    statements = [s if s.total_ms > 0 else _reckoned(session, s, catalog) for s in workload.statements]
    ordered = tuple(sorted(statements, key=lambda s: (-s.total_ms, s.queryid)))
    return replace(workload, statements=ordered, whole_ms=sum(s.total_ms for s in ordered))


def _reckoned(session: Session, statement: Statement, catalog: Catalog) -> Statement:
    sql = next(plans.variants_of(session, statement, catalog, 1, writes=True), None)
    plan = plans.explain(session, sql) if sql is not None else None
    if plan is None:
        return statement
    calls = max(statement.calls, 1.0)
    rows = statement.rows or calls * float(plan["Plan Rows"])
    return replace(
        statement, calls=calls, total_ms=calls * MS_PER_COST * float(plan["Total Cost"]), rows=rows
    )


def _reads(text: str) -> bool:
    """Whether indexes could make the statement faster: a bulk load must not dwarf the rest of the workload."""
    return not reason_to_leave_out(text) and without_comments(text)[:6].lower() != "insert"


def workload_of(
    statements: Iterable[Statement],
    sampled_runs: Sequence[SampledRun] = (),
    *,
    source: str = "pg_stat_statements",
    since: datetime | None = None,
    notes: tuple[str, ...] = (),
) -> Workload:
    """The statements that indexes could serve, one per text, with what was left out and why."""
    left_out: Counter[str] = Counter()
    kept: list[Statement] = []
    for statement in statements:
        reason = reason_to_leave_out(statement.text)
        if reason:
            left_out[reason] += 1
        else:
            kept.append(statement)
    whole = sum(s.total_ms for s in kept)
    return Workload(merged(kept, sampled_runs), source, since, dict(left_out), whole, notes)


#: Snapshots kept; only the newest is read, the others are history.
SNAPSHOTS = 5
_FIELDS = ("text", "calls", "total_ms", "rows", "blocks", "stddev_ms")


def last_snapshot() -> tuple[Counters | None, datetime | None]:
    """The newest StatementSnapshot; none where our tables were never migrated."""
    try:
        found = StatementSnapshot.objects.order_by("-taken_at", "-pk").first()
    except DatabaseError:
        return None, None
    if found is None:
        return None, None
    statements = {q: Statement(q, *(s[f] for f in _FIELDS)) for q, s in found.statements.items()}
    return Counters(statements, found.stats_reset), found.taken_at


def remember(session: Session, table: str, now: datetime) -> None:
    """Note where the counters of a table's statements stand: its indexes have changed, what they took before says
    nothing of what they take now. Does nothing where our tables were never migrated."""
    current = counters(session)
    if current is None:
        return
    before, _ = last_snapshot()
    kept = dict(before.statements) if before is not None and before.reset == current.reset else {}
    kept |= {q: s for q, s in current.statements.items() if table.lower() in s.text.lower()}
    rows = {q: {f: getattr(s, f) for f in _FIELDS} for q, s in kept.items() if q in current.statements}
    try:
        StatementSnapshot.objects.create(taken_at=now, stats_reset=current.reset, statements=rows)
        old = StatementSnapshot.objects.order_by("-taken_at", "-pk").values_list("pk", flat=True)[SNAPSHOTS:]
        StatementSnapshot.objects.filter(pk__in=list(old)).delete()
    except DatabaseError:
        return


def recorded() -> list[Statement]:
    """The sampled statements with their constants, each run one call of a time that nobody knows."""
    return [script.statement(f"sample:{n}", text) for n, text in enumerate(runs(), 1)]


def runs() -> list[str]:
    """The sampled statements with their constants in place, as they could be run again."""
    texts = (_inlined(sample.sql, sample.params) for sample in samples.read())
    return [text for text in texts if text]


def sampled() -> list[SampledRun]:
    """Sampled statements as (shape, constants), newest first; none where nothing samples."""
    found = []
    for sample in samples.read():
        text = _inlined(sample.sql, sample.params)
        if text:
            found.append(shape(text))
    return found


def _inlined(sql: str, params: Any) -> str:
    """The statement as PostgreSQL saw it; empty where the parameters do not fit the text."""
    try:
        literals = [psycopg.sql.Literal(p).as_string() for p in params or ()]
        return sql % tuple(literals) if literals else sql
    except (TypeError, ValueError, psycopg.Error):
        return ""
