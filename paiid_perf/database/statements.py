"""Normalised statements for people: what each took, its plan, and a history that needs no reset of the counters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.core.cache import caches

from paiid_perf.conf import Settings
from paiid_perf.database.facts import workload
from paiid_perf.database.rules.indexes.texts import shape
from paiid_perf.database.session import Session, connect, is_postgresql, trusted
from paiid_perf.models import Metric
from paiid_perf.telemetry import samples
from paiid_perf.telemetry.trace import mark_of

#: The series of a statement's time: count is calls, total milliseconds, subject the query id.
SERIES = "db.statement_ms"
#: Statements whose history is kept at each look: those that took most time since the one before.
KEPT = 100
#: How long the counters of the last look are remembered.
REMEMBERED = timedelta(hours=2)
#: What measuring a plan may take.
MEASURE_TIMEOUT = timedelta(seconds=3)

#: Entry by entry (a statement has one for each role, and for being called inside of others), with what tells a new one.
_ENTRIES = """
SELECT concat_ws(' ', s.queryid, s.userid, {toplevel}) AS key, s.queryid::text AS queryid, s.calls::float AS calls,
       s.total_exec_time::float AS total_ms, {since}::text AS since
  FROM {schema}.pg_stat_statements(false) s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
 WHERE s.queryid IS NOT NULL
"""
#: Columns that came with PostgreSQL 14 and 17, and what stands for them before.
_LATER = {"toplevel": "NULL", "stats_since": "NULL"}
_COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
_SCHEMA = """
SELECT quote_ident(n.nspname) AS name FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = 'pg_stat_statements'
"""
#: Without the texts, which live in a file of their own: thousands of statements take milliseconds.
_NUMBERS = """
SELECT s.queryid::text AS queryid, sum(s.calls)::float AS calls, sum(s.total_exec_time)::float AS total_ms,
       sum(s.rows)::float AS rows, sum(s.shared_blks_hit)::float AS hit, sum(s.shared_blks_read)::float AS read
  FROM {schema}.pg_stat_statements(false) s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
 WHERE s.queryid IS NOT NULL
 GROUP BY s.queryid
"""
#: What the list may be sorted by → how it stands in ``_LIST``.
ORDERS: Mapping[str, str] = {
    "time": "took_ms",
    "calls": "ran",
    "mean": "took_ms / nullif(ran, 0)",
    "rows": "rows / nullif(calls, 0)",
    "hits": "hit / nullif(hit + read, 0)",
}
#: Over a window, what ran in it comes from its history; else it is what was counted.
_LIST = """
SELECT *, count(*) OVER () AS listed, sum(took_ms) OVER () AS whole_ms
  FROM (SELECT c.*, {ran} AS ran, {took} AS took_ms FROM ({numbers}) c {window}) found
 ORDER BY {by} DESC NULLS LAST, queryid LIMIT %(limit)s OFFSET %(offset)s
"""
_WINDOW = (
    "JOIN unnest(%(ids)s::text[], %(ran)s::float[], %(took)s::float[]) w (id, ran, took) ON w.id = c.queryid"
)
_TEXTS = """
SELECT s.queryid::text AS queryid, min(s.query) AS text
  FROM {schema}.pg_stat_statements(true) s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
 WHERE s.queryid = ANY(%s::bigint[])
 GROUP BY s.queryid
"""
_SINCE = "SELECT stats_reset FROM {schema}.pg_stat_statements_info"


@dataclass(frozen=True, slots=True)
class Counted:
    """One normalised statement since the counters began. Times in ms, ``hit`` and ``read`` in shared blocks."""

    queryid: str
    calls: float
    total_ms: float
    rows: float
    hit: float
    read: float

    @property
    def hit_ratio(self) -> float | None:
        """Blocks found in shared buffers ÷ blocks asked for; None where none was."""
        return self.hit / (self.hit + self.read) if self.hit + self.read else None


@dataclass(frozen=True, slots=True)
class Query:
    """A normalised statement, and what it ran and took (ms) over a window, or since the counters began."""

    counted: Counted
    ran: float
    took_ms: float

    @property
    def mean_ms(self) -> float | None:
        return self.took_ms / self.ran if self.ran else None

    @property
    def rows_a_call(self) -> float | None:
        """Since the counters began: a window's history has no rows."""
        return self.counted.rows / self.counted.calls if self.counted.calls else None


@dataclass(frozen=True, slots=True)
class Listed:
    """Some queries in an order; ``count`` is how many there are, ``took_ms`` what all of them took.

    ``because`` says why there is none and what to do about it.
    """

    rows: Sequence[Query] = ()
    count: int = 0
    took_ms: float = 0.0
    since: datetime | None = None
    because: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one entry has counted since ``since`` (None: not known). Times in ms."""

    key: str
    queryid: str
    calls: float
    total_ms: float
    since: str | None


#: Entry's key → (calls, ms, since) at the last look.
Before = Mapping[str, tuple[float, float, str | None]]


@dataclass(frozen=True, slots=True)
class Statements:
    """Every statement that the server counted; ``because`` says why there is none and what to do about it."""

    rows: Sequence[Counted] = ()
    since: datetime | None = None
    because: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a plan, with those below it. Times in ms; None where it was not run."""

    title: str
    condition: str
    cost: float
    rows: float
    actual_rows: float | None
    ms: float | None
    blocks: float | None
    children: Sequence[Node]

    @property
    def off_by(self) -> float | None:
        """How many times the estimate of rows was wrong, at least 1; None where it was not run."""
        if self.actual_rows is None:
            return None
        low, high = sorted((max(self.rows, 1.0), max(self.actual_rows, 1.0)))
        return high / low


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement's plan, or why there is none."""

    root: Node | None = None
    indexes: Sequence[str] = ()
    because: str = ""


def counted(settings: Settings) -> Statements:
    """The statements with their counters, without their texts. Never raises for what the server refuses."""
    if not is_postgresql(settings.DATABASE):
        return Statements(because=NOT_POSTGRESQL)
    try:
        with _session(settings) as session:
            schema = _schema(session)
            if schema is None:
                return Statements(because=workload.NO_STATISTICS)
            rows = session.rows_of(Counted, trusted(_NUMBERS.format(schema=schema)))
            return Statements(rows, _since(session, schema))
    except psycopg.Error as error:
        return Statements(because=str(error).splitlines()[0])


#: queryid → (calls, ms) over a window
Spent = Mapping[str, tuple[int, float]]


def listed(settings: Settings, spent: Spent | None, by: str, limit: int, offset: int) -> Listed:
    """The statements by ``by`` (a key of ORDERS), the largest first: of a window, or (None) since the counters began.

    The server sorts and cuts. Never raises for what it refuses.
    """
    if not is_postgresql(settings.DATABASE):
        return Listed(because=NOT_POSTGRESQL)
    try:
        with _session(settings) as session:
            schema = _schema(session)
            if schema is None:
                return Listed(because=workload.NO_STATISTICS)
            found = session.rows(*_list(schema, spent, by, limit, offset))
            return _listed(found, _since(session, schema))
    except psycopg.Error as error:
        return Listed(because=str(error).splitlines()[0])


def _list(schema: str, spent: Spent | None, by: str, limit: int, offset: int) -> tuple[Any, dict[str, Any]]:
    numbers, params = _NUMBERS.format(schema=schema), {"limit": limit, "offset": offset}
    if spent is None:
        own = {"ran": "c.calls", "took": "c.total_ms", "window": ""}
        return trusted(_LIST.format(numbers=numbers, by=ORDERS[by], **own)), params
    of_window = {"ran": "w.ran", "took": "w.took", "window": _WINDOW}
    ran, took = zip(*spent.values(), strict=True)
    known = {"ids": list(spent), "ran": list(ran), "took": list(took)}
    return trusted(_LIST.format(numbers=numbers, by=ORDERS[by], **of_window)), params | known


def _listed(found: Sequence[Mapping[str, Any]], since: datetime | None) -> Listed:
    names = [field.name for field in fields(Counted)]
    rows = [Query(Counted(*(row[name] for name in names)), row["ran"], row["took_ms"]) for row in found]
    count, took_ms = (found[0]["listed"], found[0]["whole_ms"]) if found else (0, 0.0)
    return Listed(rows, count, took_ms, since)


NOT_POSTGRESQL = "The database is not PostgreSQL: it counts no normalised statements."


_NORMALISED = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*(?:select|insert|update|delete|merge|with|values|table)\b", re.I | re.S
)
_STRING = re.compile(r"'|\$[^\W\d]?\w*\$")


def without_secrets(text: str) -> str:
    """The text up to its first string, unless the server has put parameters in place of what it held.

    It does that to queries; ``CREATE ROLE … PASSWORD '…'`` it keeps as it was written.
    """
    found = None if _NORMALISED.match(text) else _STRING.search(text)
    return text if found is None else f"{text[: found.start()]}'…'"


def texts(settings: Settings, queryids: Sequence[str]) -> dict[str, str]:
    """The normalised texts of some statements."""
    if not queryids or not is_postgresql(settings.DATABASE):
        return {}
    try:
        with _session(settings) as session:
            schema = _schema(session)
            if schema is None:
                return {}
            found = session.rows(trusted(_TEXTS.format(schema=schema)), [list(map(int, queryids))])
            return {row["queryid"]: without_secrets(row["text"]) for row in found}
    except psycopg.Error:
        return {}


def plan(settings: Settings, text: str, *, measure: bool = False) -> Plan:
    """The plan of a normalised SELECT: the generic one, or (``measure``) that of a sampled run, read-only and
    rolled back, within MEASURE_TIMEOUT. Constants are masked."""
    if not text.lstrip("( \n").upper().startswith(("SELECT", "WITH")):
        return Plan(because="Only statements that read are explained here.")
    options, sql = "GENERIC_PLAN", text
    if measure:
        options, sql = "ANALYZE, BUFFERS", _sampled(text)
        if not sql:
            return Plan(because=NO_SAMPLE)
    try:
        with _session(settings) as session:
            statement = trusted(f"EXPLAIN ({options}, FORMAT JSON) {sql}")
            rows = session.rows(statement, timeout=MEASURE_TIMEOUT)
    except psycopg.errors.QueryCanceled:
        return Plan(because=f"It took longer than {MEASURE_TIMEOUT.total_seconds():g} s and was ended.")
    except psycopg.errors.SyntaxError as error:
        return Plan(because=f"The server cannot plan the normalised text ({error.diag.message_primary}).")
    except psycopg.Error as error:
        return Plan(because=str(error).splitlines()[0])
    top = next(iter(rows[0].values()))[0]["Plan"]
    return Plan(node_of(top), sorted(_indexes(top)))


NO_SAMPLE = (
    "No run of it was sampled lately: raise QUERY_SAMPLE_RATE, or wait until it runs again. Only SELECTs of requests "
    "are sampled."
)


def observe(settings: Settings, now: datetime) -> int:
    """Add what ran since the last look to the history; returns how many statements that were.

    The first look, and one after our memory of it was lost, only remembers.
    """
    found = _entries(settings)
    if not found:
        return 0
    cache, key = caches[settings.CACHE], f"{settings.KEY_PREFIX}:entries"
    before: Before | None = cache.get(key)
    cache.set(key, {e.key: (e.calls, e.total_ms, e.since) for e in found}, REMEMBERED.total_seconds())
    spent = [] if before is None else since_then(found, before)
    Metric.objects.bulk_create([_metric(now, *one) for one in spent], ignore_conflicts=True)
    return len(spent)


def _entries(settings: Settings) -> list[Entry]:
    """Every entry of this database; none where the server does not say."""
    if not is_postgresql(settings.DATABASE):
        return []
    try:
        with _session(settings) as session:
            schema = _schema(session)
            return [] if schema is None else _entries_of(session, schema)
    except psycopg.Error:
        return []


def _entries_of(session: Session, schema: str) -> list[Entry]:
    there = {row["attname"] for row in session.rows(_COLUMNS, [f"{schema}.pg_stat_statements"])}
    toplevel, since = (f"s.{name}" if name in there else none for name, none in _LATER.items())
    found = session.rows_of(Entry, trusted(_ENTRIES.format(schema=schema, toplevel=toplevel, since=since)))
    # Where no entry says when it began, all began at the server's last reset (a crash is one, too).
    reset = str(_since(session, schema))
    return [entry if entry.since else replace(entry, since=reset) for entry in found]


def link(settings: Settings) -> int:
    """Find the counted statement of each sampled one, for ``linked``; returns how many were found.

    Requests know a statement by its text with placeholders, the server by the query id; both have one shape.
    """
    known = {shape(one.sql.replace("%s", "$1").replace("%%", "%"))[0]: one.sql for one in samples.read()}
    if not known:
        return 0
    ids = [row.queryid for row in counted(settings).rows]
    shapes = ((queryid, shape(text)[0]) for queryid, text in texts(settings, ids).items())
    found = {mark_of(known[seen]): queryid for queryid, seen in shapes if seen in known}
    caches[settings.CACHE].set(_links(settings), found, REMEMBERED.total_seconds())
    return len(found)


def linked(settings: Settings) -> Mapping[str, str]:
    """``trace.mark_of`` a statement → its query id, as far as it was sampled lately."""
    found: Mapping[str, str] | None = caches[settings.CACHE].get(_links(settings))
    return found or {}


def _links(settings: Settings) -> str:
    return f"{settings.KEY_PREFIX}:linked"


def since_then(entries: Sequence[Entry], before: Before) -> list[tuple[str, float, float]]:
    """(queryid, calls, ms) of what ran since then, those that took most time. Pure.

    An entry that began anew (after a reset, a restart that lost the counters, or when it was evicted and came back)
    counts whole: by when it began, and where the server does not say, by counters that fell.
    """
    spent: dict[str, tuple[float, float]] = {}
    for entry in entries:
        calls, total, since = before.get(entry.key, (0.0, 0.0, entry.since))
        if entry.since != since or entry.calls < calls or entry.total_ms < total:
            calls, total = 0.0, 0.0
        had_calls, had_total = spent.get(entry.queryid, (0.0, 0.0))
        spent[entry.queryid] = had_calls + entry.calls - calls, had_total + entry.total_ms - total
    ran = [(queryid, calls, total) for queryid, (calls, total) in spent.items() if calls > 0]
    return sorted(ran, key=lambda one: -one[2])[:KEPT]


def _metric(now: datetime, queryid: str, calls: float, total: float) -> Metric:
    at = now.replace(second=0, microsecond=0)
    resolution = Metric.Resolution.MINUTE
    return Metric(name=SERIES, subject=queryid, resolution=resolution, at=at, count=int(calls), total=total)


def _session(settings: Settings) -> Any:
    return connect(settings.DATABASE, statement=settings.STATEMENT_TIMEOUT, lock=settings.LOCK_TIMEOUT)


def _schema(session: Session) -> str | None:
    found = session.rows(_SCHEMA)
    return str(found[0]["name"]) if found else None


def _since(session: Session, schema: str) -> datetime | None:
    try:
        rows = session.rows(trusted(_SINCE.format(schema=schema)))
    except psycopg.Error:
        return None
    return rows[0]["stats_reset"] if rows else None


def _sampled(text: str) -> str:
    """A sampled run of the statement, with its constants; empty where there is none."""
    wanted = shape(text)[0]
    return next((text for text in workload.runs() if shape(text)[0] == wanted), "")


# --- a plan as a tree ------------------------------------------------------------------------------------

_CONDITIONS = ("Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter", "Filter", "Sort Key")
_LITERAL = re.compile(r"'(?:[^']|'')*'|(?<![\w$.\"])\d+(?:\.\d+)?\b")


def node_of(found: Mapping[str, Any]) -> Node:
    """A node of EXPLAIN's JSON; constants in its conditions are masked."""
    loops = found.get("Actual Loops", 1)
    blocks = found.get("Shared Hit Blocks"), found.get("Shared Read Blocks")
    return Node(
        title=_title(found),
        condition="; ".join(f"{name}: {masked(found[name])}" for name in _CONDITIONS if name in found),
        cost=found["Total Cost"],
        rows=found["Plan Rows"],
        actual_rows=found.get("Actual Rows") if loops else None,
        ms=found["Actual Total Time"] * loops if "Actual Total Time" in found else None,
        blocks=None if blocks[0] is None else float(blocks[0] + (blocks[1] or 0)),
        children=[node_of(child) for child in found.get("Plans", ())],
    )


def masked(condition: str | Sequence[str]) -> str:
    """A condition without its constants."""
    text = condition if isinstance(condition, str) else ", ".join(condition)
    return _LITERAL.sub("?", text)


def _title(found: Mapping[str, Any]) -> str:
    parts = [found["Node Type"]]
    if "Index Name" in found:
        parts.append(f"using {found['Index Name']}")
    if "Relation Name" in found:
        parts.append(f"on {found['Relation Name']}")
    return " ".join(parts)


def _indexes(found: Mapping[str, Any]) -> set[str]:
    own = {found["Index Name"]} if "Index Name" in found else set()
    return own.union(*(_indexes(child) for child in found.get("Plans", ())))
