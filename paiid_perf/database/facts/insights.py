"""The plans of the statements of weight: run where that is cheap, explained where it is not.

Read-only, under time-outs, and within a budget of expected milliseconds: looking must not cost what it could save.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from django.apps import apps

from paiid_perf.database.facts import catalog as catalog_facts
from paiid_perf.database.facts import workload as workload_facts
from paiid_perf.database.facts.plans import variants_of
from paiid_perf.database.health_types import StatementFact
from paiid_perf.database.index_types import Catalog, Query, Statement
from paiid_perf.database.rules.indexes.parse import Unparsable, parse
from paiid_perf.database.rules.indexes.texts import repaired
from paiid_perf.database.rules.insights import Studied, functions
from paiid_perf.database.session import Session, trusted

#: Statements looked at, the heaviest first, and the share of the whole time under which none is.
STATEMENTS = 15
SHARE = 0.01
#: Milliseconds that one statement may be expected to take when it is run, and all of them together.
EACH_MS, TOGETHER_MS = 250.0, 1_000.0
#: Longer texts have been cut where they were read.
_CUT = 2_000


@dataclass(frozen=True, slots=True)
class Heavy:
    """The statements of weight with their sampled constants, and what the catalogues say of their tables."""

    statements: tuple[Statement, ...]
    catalog: Catalog

    def parsed(self) -> Iterator[tuple[Statement, Query]]:
        """Those that can be read."""
        for statement in self.statements:
            with suppress(Unparsable):
                yield statement, parse(statement.text, self.catalog)


def heavy(session: Session, statements: Sequence[StatementFact]) -> Heavy:
    """The statements that most of the time goes into.

    Raises:
        psycopg.Error: the catalogues cannot be read.
    """
    whole = sum(s.total_ms for s in statements)
    weighty = [s for s in statements if s.total_ms >= whole * SHARE and len(s.text) < _CUT]
    chosen = [Statement(str(s.queryid), s.text, s.calls, s.total_ms, s.rows) for s in weighty[:STATEMENTS]]
    workload = workload_facts.workload_of(chosen, workload_facts.sampled())
    catalog = catalog_facts.read(session, [s.text for s in workload.statements])
    return Heavy(workload.statements, catalog)


def study(session: Session, found: Heavy) -> list[Studied]:
    """The statements with their plans.

    Raises:
        psycopg.Error: the server went away.
    """
    return list(_studied(session, found.statements, found.catalog))


def _studied(session: Session, statements: Sequence[Statement], catalog: Catalog) -> Iterator[Studied]:
    rows = {table.name: max(table.rows, table.live_rows) for table in catalog.tables.values()}
    models = {model._meta.db_table: model._meta.object_name or "" for model in apps.get_models()}
    left = TOGETHER_MS
    for statement in statements:
        runs = statement.mean_ms <= min(EACH_MS, left)
        plan, executed = _plan(session, statement, catalog, run=runs)
        left -= statement.mean_ms if executed else 0.0
        generic = _generic_cost(session, statement, catalog) if plan is not None else None
        yield Studied(
            statement.queryid,
            statement.text,
            statement.calls,
            statement.mean_ms,
            plan,
            executed,
            generic,
            rows,
            models,
        )


def _plan(
    session: Session, statement: Statement, catalog: Catalog, *, run: bool
) -> tuple[Mapping[str, Any] | None, bool]:
    """The plan, and whether it was run: only what reads is, and not for much longer than it takes at other times."""
    text = next(variants_of(session, statement, catalog, 1), None)
    if text is not None and run and _has_no_effects(session, statement.text):
        timeout = timedelta(milliseconds=max(100.0, statement.mean_ms * 10))
        measured = _explain(session, f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {text}", timeout)
        if measured is not None:
            return measured, True
    text = text or next(variants_of(session, statement, catalog, 1, writes=True), None)
    return (_explain(session, f"EXPLAIN (FORMAT JSON) {text}") if text else None), False


# Of all functions of that name: whichever of them is called, it does nothing that is not undone.
_VOLATILE = "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = ANY(%s) AND provolatile = 'v') AS so"


def _has_no_effects(session: Session, text: str) -> bool:
    """Whether running the statement leaves no trace, even where a read-only transaction would let it."""
    called = functions(text)
    return not called or not session.rows(_VOLATILE, [called])[0]["so"]


def _generic_cost(session: Session, statement: Statement, catalog: Catalog) -> float | None:
    """What the plan costs that suits no constant in particular; None where there is none, or it cannot be had."""
    if "$" not in statement.text:
        return None
    text = repaired(statement.text)
    if catalog.version >= 160000:
        plan = _explain(session, f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {text}")
    else:
        plan = _explained_generic(session, text)
    return float(plan["Plan"]["Total Cost"]) if plan is not None else None


def _explained_generic(session: Session, text: str) -> Mapping[str, Any] | None:
    """The generic plan of a server before 16: of a prepared statement that may have no other."""
    try:
        with session.reading() as connection:
            connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            connection.execute(trusted(f"PREPARE {_GENERIC} AS {text}"))
            try:
                return _explain(session, f"EXPLAIN (FORMAT JSON) EXECUTE {_GENERIC}{_nulls(session)}")
            finally:
                connection.execute(f"DEALLOCATE {_GENERIC}")
    except psycopg.Error:
        if session.is_broken:
            raise
        return None


_GENERIC = "paiid_perf_generic"


def _nulls(session: Session) -> str:
    """As many NULLs as the prepared statement has parameters, in brackets."""
    count = session.rows(
        "SELECT coalesce(cardinality(parameter_types), 0) AS count FROM pg_prepared_statements WHERE name = %s",
        [_GENERIC],
    )[0]["count"]
    return f"({', '.join(['NULL'] * count)})" if count else ""


def _explain(session: Session, sql: str, timeout: timedelta | None = None) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = session.rows(trusted(sql), timeout=timeout)[0]["QUERY PLAN"][0]
    except psycopg.Error:
        if session.is_broken:
            raise
        return None
    return found
