"""EXPLAIN under time-outs in read-only transactions: parameter types, estimated costs, measured runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean, pstdev
from typing import Any

import psycopg

from paiid_perf.contracts import QueryMeasure
from paiid_perf.database.index_types import Catalog, Query, Statement
from paiid_perf.database.rules.indexes import bind, draw, retype
from paiid_perf.database.rules.indexes.bind import bound, literals
from paiid_perf.database.rules.indexes.parse import Unparsable, parse
from paiid_perf.database.rules.indexes.retype import Complaint
from paiid_perf.database.session import Session, trusted

_NAME = "paiid_perf_what_if"
_PREPARE = f"PREPARE {_NAME} AS "
_TYPES = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'paiid_perf_what_if'"
#: Runs of a statement with one set of constants, at most: the two fastest agree before, on a quiet machine.
REPETITIONS, AGREED = 4, 0.02
#: Constants tried per statement when it is run again, and others in a trial.
VARIANTS, OTHERS = 3, 6


@dataclass(frozen=True, slots=True)
class Run:
    """One measured execution: milliseconds, shared buffers touched, whether it ran into the time-out."""

    ms: float
    blocks: float
    timed_out: bool = False


def _asked(session: Session, text: str) -> tuple[str, ...] | Complaint | None:
    """What the server makes of a text: its parameters' types, or where it stops understanding."""
    try:
        with session.reading() as connection:
            cursor = connection.execute(trusted(f"{_PREPARE}{text}\n;{_TYPES};DEALLOCATE {_NAME}"))
            cursor.nextset()
            row = cursor.fetchone()
        return tuple(row[0]) if row else None
    except psycopg.Error as error:
        if session.is_broken:
            raise
        at = error.diag.statement_position
        return Complaint(int(at) - len(_PREPARE) - 1) if at else None


def runnable(session: Session, text: str, *values: Mapping[int, str]) -> Sequence[str]:
    """The statement with typed constants for its parameters, once for each set of them; none where the server does not
    accept it."""
    numbered, numbers = retype.prepared_text(text)
    found = retype.casts(numbered, lambda t: _asked(session, t))
    if found is None:
        return ()
    accepted, types = found
    kinds = [retype.sql_type(t) for t in types]
    fitting = (
        retype.fitting({numbers[n]: v for n, v in own.items() if n in numbers}, types) for own in values
    )
    return [bound(accepted, literals(kinds, fits)) for fits in fitting]


def explain(session: Session, sql: str, timeout: timedelta | None = None) -> Mapping[str, Any] | None:
    """The plan that the planner chooses (its top node), without running it; None where it cannot."""
    try:
        rows = session.rows(trusted(f"EXPLAIN (FORMAT JSON) {sql}"), timeout=timeout)
    except psycopg.Error:
        if session.is_broken:
            raise
        return None
    return _plan(rows)["Plan"]  # type: ignore[no-any-return]


def _plan(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    value = next(iter(rows[0].values()))
    found = json.loads(value) if isinstance(value, str) else value
    return dict(found[0])


def run_once(session: Session, sql: str, timeout: timedelta, *, writes: bool = False) -> Run | None:
    """Run a statement under EXPLAIN (ANALYZE, BUFFERS); None where it fails.

    Read-only; with ``writes`` in a transaction that may write and is rolled back (sequences go on all the same).
    """
    statement = trusted(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}")
    try:
        found = _plan(
            _rolled_back(session, statement, timeout) if writes else session.rows(statement, timeout=timeout)
        )
    except psycopg.errors.QueryCanceled:
        return Run(timeout.total_seconds() * 1000, 0.0, True)
    except psycopg.Error:
        if session.is_broken:
            raise
        return None
    top = found["Plan"]
    blocks = top.get("Shared Hit Blocks", 0) + top.get("Shared Read Blocks", 0)
    return Run(found["Execution Time"], float(blocks))


def _rolled_back(session: Session, statement: Any, timeout: timedelta) -> list[Any]:
    with session.writing(timeout) as connection, connection.transaction(force_rollback=True):
        return session.rows(statement)


#: What runs took, by the statement with its constants and its plan: what is planned the same way runs the same way.
Runs = dict[tuple[str, str], Run | None]


def measure(
    session: Session,
    key: str,
    text: str,
    calls: float,
    variants: Sequence[str],
    timeout: timedelta,
    *,
    writes: bool = False,
    known: Runs | None = None,
) -> QueryMeasure | None:
    """What a statement costs now: per variant the fastest of up to REPETITIONS runs, averaged over the variants. After
    one that runs into the time-out no other is tried.

    With ``known``, a variant that is planned as it was when it was run before is not run again; what is run is added.
    """
    fastest: list[Run] = []
    for sql in variants:
        run = _fastest_known(session, sql, timeout, writes, known)
        fastest += [run] if run else []
        if run and run.timed_out:
            break
    if not fastest:
        return None
    times = [r.ms for r in fastest]
    blocks = None if any(r.timed_out for r in fastest) else fmean(r.blocks for r in fastest)
    spread = pstdev(times) if len(times) > 2 else None
    return QueryMeasure(key, text, calls, fmean(times), blocks, None if spread is None else 0.0)


def _fastest_known(
    session: Session, sql: str, timeout: timedelta, writes: bool, known: Runs | None
) -> Run | None:
    # A write's plan says nothing of the indexes that it has to keep.
    plan = None if known is None or writes else _shape(session, sql)
    if known is None or plan is None:
        return _fastest(session, sql, timeout, writes)
    if (sql, plan) not in known:
        known[sql, plan] = _fastest(session, sql, timeout, writes)
    return known[sql, plan]


def _shape(session: Session, sql: str) -> str | None:
    """The plan without its figures; None where the server has none."""
    try:
        rows = session.rows(trusted(f"EXPLAIN (COSTS OFF, FORMAT JSON) {sql}"))
    except psycopg.Error:
        if session.is_broken:
            raise
        return None
    return json.dumps(_plan(rows), sort_keys=True)


def _fastest(session: Session, sql: str, timeout: timedelta, writes: bool) -> Run | None:
    """What runs into the time-out is not run again."""
    runs: list[Run] = []
    for _ in range(REPETITIONS):
        run = run_once(session, sql, timeout, writes=writes)
        runs += [run] if run else []
        if run is None or run.timed_out or _agree(runs):
            break
    return min(runs, key=lambda r: r.ms, default=None)


def _agree(runs: Sequence[Run]) -> bool:
    fast = sorted(r.ms for r in runs)[:2]
    return len(fast) > 1 and fast[1] <= fast[0] * (1.0 + AGREED)


def variants_of(
    session: Session, statement: Statement, catalog: Catalog, count: int = VARIANTS, *, writes: bool = False
) -> Iterator[str]:
    """The statement with constants, ready to run: sampled ones where there are any, else from ``pg_stats``.

    Statements that write are left out unless ``writes``: they may be explained, never run.
    """
    seen: set[str] = set()
    for variant in range(count):
        text = _variant(session, statement, catalog, variant, writes)
        if text is not None and text not in seen:
            seen.add(text)
            yield text


def others_of(session: Session, statement: Statement, catalog: Catalog) -> Iterator[str]:
    """The statement with constants that ``variants_of`` leaves out, ready to run: the sampled ones beyond, or where
    nobody sampled it, what rows drawn at random have. Statements that write are left out."""
    if statement.samples:
        later = (bind.sampled(statement, n) for n in range(VARIANTS, len(statement.samples))[:OTHERS])
        yield from dict.fromkeys(bound(statement.text, sample) for sample in later if sample is not None)
        return
    try:
        query = parse(statement.text, catalog)
        simpler = parse(retype.simplified(statement.text), catalog)
    except Unparsable:
        return
    if query.write is None and "$" in statement.text:
        usual = _with_ranges(statement, query, catalog, bind.representative(query, catalog, statement))
        values = [usual | draw.drawn(simpler, catalog, turn) for turn in range(OTHERS)]
        yield from dict.fromkeys(runnable(session, statement.text, *values))


def texts_of(session: Session, statement: Statement, query: Query, catalog: Catalog) -> Sequence[str]:
    """The statement with the constants that it is usually asked with, and, where what it compares is skewed and nobody
    sampled it, with rare ones as well; none where the server does not accept it."""
    sample = bind.sampled(statement)
    if sample is not None:
        return [bind.bound(statement.text, sample)]
    usual = _with_ranges(statement, query, catalog, bind.representative(query, catalog, statement))
    rare = bind.rare(query, catalog)
    return runnable(session, statement.text, usual, *([{**usual, **rare}] if rare else []))


def _variant(
    session: Session, statement: Statement, catalog: Catalog, variant: int, writes: bool
) -> str | None:
    sample = bind.sampled(statement, variant)
    if sample is not None:
        return bind.bound(statement.text, sample)
    try:
        query = parse(statement.text, catalog)
    except Unparsable:
        return None
    if query.write is not None and not writes:
        return None
    values = _with_ranges(statement, query, catalog, bind.representative(query, catalog, statement, variant))
    return next(iter(runnable(session, statement.text, values)), None)


def _with_ranges(
    statement: Statement, query: Query, catalog: Catalog, values: Mapping[int, str]
) -> dict[int, str]:
    """The values, with bounds of ranges that are spans of time or open on one side."""
    simpler = retype.simplified(statement.text)
    try:
        return {
            **values,
            **retype.ranges(parse(simpler, catalog) if simpler != statement.text else query, catalog),
        }
    except Unparsable:
        return dict(values)
