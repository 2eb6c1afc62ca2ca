"""Look: what the database runs, and what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from paiid_perf.database.advisor.types import Look, Pair, Terms
from paiid_perf.database.facts import catalog as catalog_facts
from paiid_perf.database.facts import evidence as evidence_facts
from paiid_perf.database.facts import models as model_facts
from paiid_perf.database.facts import workload as workload_facts
from paiid_perf.database.health_types import Evidence
from paiid_perf.database.index_types import Catalog, Query, Statement, Workload
from paiid_perf.database.rules.indexes.bind import stable_bindings
from paiid_perf.database.rules.indexes.factor import factored
from paiid_perf.database.rules.indexes.parse import Unparsable, parse
from paiid_perf.database.rules.indexes.texts import repaired
from paiid_perf.database.session import Session
from paiid_perf.database.types import IndexCandidate

#: Milliseconds that a statement is taken to need which was never seen to finish.
UNFINISHED_MS = 10_000.0
#: Share of the time left after the catalog by which the statements are parsed.
PARSED = 0.25


def read(
    session: Session,
    terms: Terms,
    declared: Sequence[IndexCandidate],
    statements: Iterable[Statement] | None,
    evidence: Evidence | None,
) -> Look | None:
    """What runs in the database, parsed, and what it is made of; none where nothing counts its statements."""
    workload = workload_facts.chosen(session, statements)
    if workload is None:
        return None
    texts = [s.text for s in workload.statements]
    catalog = catalog_facts.read(session, texts, model_facts.table_names(declared))
    workload = workload_facts.timed(session, with_unfinished(workload), catalog)
    terms.late.share_out()
    pairs, unread = _parsed(workload, catalog, terms.late)
    return Look(
        catalog,
        workload,
        pairs,
        unread,
        model_facts.declared(declared, catalog),
        model_facts.owners(catalog),
        cut_short=unread > 0 and terms.late(PARSED),
        evidence=evidence_facts.read(session, terms.settings) if evidence is None else evidence,
    )


def with_unfinished(workload: Workload) -> Workload:
    """The workload with a time for statements that were planned and never finished (``track_planning`` counts those
    that a time-out cancelled): as slow as the slowest that did, and at least UNFINISHED_MS."""
    slowest = max((s.mean_ms for s in workload.statements), default=0.0)
    assumed = max(slowest, UNFINISHED_MS)
    statements = tuple(
        s if s.calls else replace(s, calls=1.0, total_ms=assumed, rows=1.0) for s in workload.statements
    )
    ordered = tuple(sorted(statements, key=lambda s: (-s.total_ms, s.queryid)))
    return replace(workload, statements=ordered)


def _parsed(workload: Workload, catalog: Catalog, late: Callable[[float], bool]) -> tuple[list[Pair], int]:
    """The statements that read or write a table here, parsed, the heaviest first; and how many were not."""
    pairs: list[Pair] = []
    unread = 0
    for statement in workload.statements:
        query = None if late(PARSED) else _query(statement, catalog)
        unread += query is None
        if query is not None and (query.tables or query.write):
            pairs.append((statement, query))
    return pairs, unread


def _query(statement: Statement, catalog: Catalog) -> Query | None:
    try:
        return parse(factored(repaired(statement.text)), catalog, stable_bindings(statement))
    # One statement that is beyond the parser must not cost the advice on all the others.
    except (Unparsable, LookupError, RecursionError):
        return None
