"""The index advisor: workload and catalogue → candidates → what-if costs → a set that pays → proposals.

It only reads, and works where none of our tables was ever migrated.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from paiid_perf.conf import Settings
from paiid_perf.database.advisor import look
from paiid_perf.database.advisor.judge import judge
from paiid_perf.database.advisor.types import WATCHED, Deadline, Look, Source, Terms
from paiid_perf.database.facts import workload as workload_facts
from paiid_perf.database.facts.whatif import HypotheticalCosts
from paiid_perf.database.health_types import Evidence
from paiid_perf.database.index_types import Advice, Statement
from paiid_perf.database.rules.indexes.sources import EstimatedCosts
from paiid_perf.database.session import Session, connect
from paiid_perf.database.types import IndexCandidate
from paiid_perf.registry import registry

__all__ = ["WATCHED", "advise"]

#: The time limit where none is set: the last minutes of a search improve little.
SECONDS = 100.0


def advise(
    settings: Settings,
    *,
    now: datetime,
    alias: str = "default",
    storage_budget_mb: float | None = None,
    max_width: int | None = None,
    time_limit: float | None = None,
    candidates: Sequence[IndexCandidate] | None = None,
    statements: Iterable[Statement] | None = None,
    watched: int = WATCHED,
    evidence: Evidence | None = None,
) -> Advice:
    """Indexes to create and to drop for what the database really runs, and the candidates refused with reasons.

    ``watched``: how many neighbours and writes of a table a change is judged by, besides the statements it is for.
    ``statements`` takes the place of pg_stat_statements (a file of SQL, say). ``time_limit`` is in seconds; past it
    the best set so far is returned. ``evidence`` of what nothing uses is read where it is not handed over.

    Raises:
        psycopg.Error: the server does not answer, or not in time.
    """
    clock = time.monotonic
    began = clock()
    limit = min(SECONDS, settings.PHASE_TIMEOUT.total_seconds() / 3) if time_limit is None else time_limit
    late = Deadline(limit, clock)
    declared = tuple(candidates) if candidates is not None else registry.all(IndexCandidate)
    terms = Terms(
        settings, alias, now, storage_budget_mb, max_width or settings.INDEX_MAX_WIDTH, late, watched
    )
    with connect(alias, statement=settings.STATEMENT_TIMEOUT, lock=settings.LOCK_TIMEOUT) as session:
        found = look.read(session, terms, declared, statements, evidence)
        if found is None:
            return Advice(notes=(workload_facts.NO_STATISTICS,), seconds=clock() - began)
        with _costs(session, found) as source:
            advice = judge(found, source, terms)
    return replace(advice, seconds=clock() - began)


@contextmanager
def _costs(session: Session, found: Look) -> Iterator[Source]:
    """HypoPG where it is installed, else the cost model."""
    model = EstimatedCosts(found.pairs, found.catalog)
    if "hypopg" not in found.catalog.extensions:
        yield model
        return
    source = HypotheticalCosts(session, found.pairs, found.catalog, model)
    with source.opened():
        yield source
