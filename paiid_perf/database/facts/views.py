"""The declared materialized views as the database has them, and what reading them or their SQL costs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from django.apps import apps
from django.db import connections
from psycopg import Error, errors, sql

from paiid_perf.database.rules.aggregates import Column
from paiid_perf.database.rules.views import UNCOUNTED, cleaned, reads_clock
from paiid_perf.database.session import Session, trusted
from paiid_perf.database.types import MaterializedView, ViewState
from paiid_perf.exceptions import ConfigurationError

#: What we remember of a view is kept in its comment, after this: it lives and dies with the view.
MARK = "paiid_perf: "

# A view's rule depends on every relation that it reads; plain views are looked through, partitions gone down to.
# Writes are counted by the statistics; a TRUNCATE or a rewrite shows as another file; a materialized view that we
# refresh says so in its comment at once, while the statistics of that refresh come a moment later.
STATE = """
WITH RECURSIVE sources(oid) AS (
    SELECT d.refobjid FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
         AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
    WHERE r.ev_class = to_regclass(%(name)s)
    UNION
    SELECT below.oid FROM sources s CROSS JOIN LATERAL (
        SELECT d.refobjid AS oid FROM pg_class v JOIN pg_rewrite r ON r.ev_class = v.oid
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
             AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
        WHERE v.oid = s.oid AND v.relkind = 'v'
        UNION ALL
        SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = s.oid
    ) below
)
SELECT c.relispopulated AS populated,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
               AND i.indpred IS NULL AND i.indexprs IS NULL) AS unique_index,
       coalesce(obj_description(c.oid, 'pg_class'), '') AS comment,
       pg_get_viewdef(c.oid) AS definition,
       pg_total_relation_size(c.oid) AS bytes,
       (SELECT coalesce(jsonb_object_agg(t.oid::regclass::text,
                    CASE WHEN t.relkind = 'f' THEN '?'
                         WHEN t.relkind = 'm' AND obj_description(t.oid, 'pg_class') ~ 'paiid_perf: '
                         THEN concat(md5(obj_description(t.oid, 'pg_class')), '/', t.relfilenode)
                         ELSE concat(s.n_tup_ins + s.n_tup_upd + s.n_tup_del, '/', t.relfilenode) END), '{}')
        FROM sources x JOIN pg_class t ON t.oid = x.oid AND t.relkind IN ('r', 'm', 'f')
        LEFT JOIN pg_stat_all_tables s ON s.relid = t.oid) AS sources
FROM pg_class c WHERE c.oid = to_regclass(%(name)s) AND c.relkind = 'm'
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """One reading, measured: ms (the median), buffers, and whether the time-out cut it short."""

    milliseconds: float
    blocks: float
    timed_out: bool = False


def identifier(name: str) -> sql.Identifier:
    """The quoted name of a view, with its schema where the declaration names one."""
    return sql.Identifier(*name.split("."))


def state(session: Session, view: MaterializedView) -> ViewState:
    """The view as it is; ``exists`` False where there is none of that name."""
    rows = session.rows(STATE, {"name": identifier(view.name).as_string(None)})
    return _state(rows[0], view) if rows else ViewState()


def _state(row: Mapping[str, Any], view: MaterializedView) -> ViewState:
    known = memory(row["comment"])
    refreshed = known.get("refreshed_at")
    return ViewState(
        exists=True,
        ours=bool(known.get("ours")),
        populated=row["populated"],
        unique_index=row["unique_index"],
        digest=known.get("digest", ""),
        refreshed_at=datetime.fromisoformat(refreshed) if refreshed else None,
        refresh_seconds=known.get("refresh_seconds"),
        read_seconds=known.get("read_seconds"),
        seen=known.get("seen", {}),
        sources=_relevant(row["sources"], view.depends_on),
        time_dependent=reads_clock(row["definition"]),
        bytes=row["bytes"],
        sql_seconds=known.get("sql_seconds"),
        seen_reads=known.get("reads"),
    )


_EXTENSION = """
SELECT n.nspname AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
"""
_READS = sql.SQL(
    "SELECT coalesce(sum(s.calls), 0)::float8 AS reads FROM {}.pg_stat_statements s "
    "JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database() "
    "WHERE s.query LIKE %(like)s AND s.query ~* %(word)s AND s.query ~* '^\\s*(/\\*.*?\\*/\\s*)?(select|with)'"
)


def reads(session: Session, view: MaterializedView) -> float | None:
    """How often statements that name the view were called since the counters began; None where nobody counts."""
    bare = view.name.rpartition(".")[2]
    word = r"\m" + re.escape(bare) + r"\M"
    try:
        found = session.rows(_EXTENSION)
        if not found:
            return None
        counted = _READS.format(sql.Identifier(found[0]["schema"]))
        return float(session.rows(counted, {"like": f"%{bare}%", "word": word})[0]["reads"])
    except Error:
        if session.is_broken:
            raise
        return None


def _relevant(sources: Mapping[str, str], labels: Sequence[str]) -> dict[str, str]:
    """The sources that the declaration says matter; all of them where it says nothing."""
    tables = {_table(label) for label in labels}
    picked = {name: counted for name, counted in sources.items() if _bare(name) in tables}
    return picked if tables and picked else dict(sources)


def _table(label: str) -> str:
    try:
        return str(apps.get_model(label)._meta.db_table)
    except (LookupError, ValueError) as error:
        raise ConfigurationError(f"MaterializedView(depends_on=[{label!r}]): {error}") from error


def _bare(name: str) -> str:
    return name.rpartition(".")[2].strip('"')


def memory(comment: str) -> dict[str, Any]:
    """What we noted in a view's comment; empty where we never did."""
    _before, mark, text = comment.partition(MARK)
    try:
        known = json.loads(text) if mark else {}
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def comment(session: Session, name: str) -> str:
    """The view's comment without our note."""
    statement = "SELECT coalesce(obj_description(to_regclass(%s), 'pg_class'), '') AS text"
    text: str = session.rows(statement, [identifier(name).as_string(None)])[0]["text"]
    return text.partition(MARK)[0].rstrip()


def columns(session: Session, text: str, alias: str) -> list[Column]:
    """The columns of a SELECT with the Django fields that hold them; empty where the server does not accept it."""
    query = sql.SQL("SELECT * FROM ({}) paiid_perf_view LIMIT 0").format(trusted(cleaned(text)))
    wrapper: Any = connections[alias]
    try:
        with session.reading() as connection:
            described = connection.execute(query).description or []
    except Error:
        if session.is_broken:
            raise
        return []
    return [Column(item.name, _field(wrapper.introspection, item)) for item in described]


def _field(introspection: Any, item: Any) -> str:
    kind = introspection.data_types_reverse.get(item.type_code, "TextField")
    if kind == "DecimalField":
        return f"DecimalField(max_digits={item.precision or 30}, decimal_places={item.scale or 10})"
    return f"{_UNKEYED.get(kind, kind)}()"


#: What introspection says of columns that are keys or have a length; a view's have neither.
_UNKEYED = {"AutoField": "IntegerField", "BigAutoField": "BigIntegerField", "CharField": "TextField"}


def cost_of_sql(session: Session, text: str, timeout: timedelta, runs: int = 3) -> Cost:
    """What running a view's SQL costs: EXPLAIN (ANALYZE), read-only, the median of ``runs``."""
    return _cost(session, trusted(cleaned(text)), timeout, runs)


def cost_of_reading(session: Session, name: str, timeout: timedelta, runs: int = 3) -> Cost:
    """What reading the whole view costs."""
    return _cost(session, sql.SQL("SELECT * FROM {}").format(identifier(name)), timeout, runs)


def _cost(session: Session, query: sql.SQL | sql.Composed, timeout: timedelta, runs: int) -> Cost:
    statement = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {}").format(query)
    try:
        plans = [session.rows(statement, timeout=timeout)[0]["QUERY PLAN"][0] for _run in range(runs)]
    except errors.QueryCanceled:
        return Cost(timeout.total_seconds() * 1000, 0.0, timed_out=True)
    times = [plan["Planning Time"] + plan["Execution Time"] for plan in plans]
    root = plans[-1]["Plan"]
    return Cost(median(times), float(root.get("Shared Hit Blocks", 0) + root.get("Shared Read Blocks", 0)))


__all__ = [
    "MARK",
    "UNCOUNTED",
    "Cost",
    "columns",
    "comment",
    "cost_of_reading",
    "cost_of_sql",
    "identifier",
    "memory",
    "reads",
    "state",
]
