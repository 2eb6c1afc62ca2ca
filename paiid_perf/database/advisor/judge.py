"""Judge: the set of the pool that pays, under the budget, for the whole workload."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from paiid_perf.database.advisor import pool as pools
from paiid_perf.database.advisor import propose
from paiid_perf.database.advisor.types import Look, Pair, Source, Terms
from paiid_perf.database.index_types import Advice, Candidate, Catalog, IndexSpec, Refused, TableKey
from paiid_perf.database.rules.indexes import candidates as candidate_rules
from paiid_perf.database.rules.indexes import names, size, writes
from paiid_perf.database.rules.indexes.select import Item, Problem, Selection, select

#: The storage budget where none is set: a share of the database, and the megabytes that are never too much.
BUDGET_SHARE, BUDGET_MB = 0.50, 64
#: Refusals that are told; the rest repeat them.
REFUSALS = 100


def judge(look: Look, source: Source, terms: Terms) -> Advice:
    """The set that pays as changes, and what was refused and why."""
    catalog = look.catalog
    changes = writes.table_writes(look.pairs, catalog)
    pool = pools.fill(look, source, terms.width, terms.late)
    items = [_item(c, catalog, changes) for c in pool.candidates]
    budget = _budget(terms, catalog)
    reading = [(s, q) for s, q in look.pairs if q.tables]
    problem = Problem(
        [s for s, _ in reading],
        {s.queryid: q.tables for s, q in reading},
        source,
        items,
        budget,
        terms.settings.MIN_GAIN,
        look.workload.whole_ms,
        pool.groups,
        terms.late,
        REFUSALS,
        _matters(reading, source, pool.groups),
        catalog.database_bytes,
    )
    chosen = select(problem)
    proposals = [propose.create(p, look, terms, source.name) for p in chosen.picks]
    proposals += propose.drops(look, source, chosen, terms)
    return Advice(
        tuple(proposals),
        tuple(_refusals(pool.refused, chosen)),
        _summary(look, problem),
        source.name,
        (*look.workload.notes, *_notes(look)),
        out_of_time=look.cut_short or chosen.out_of_time or pool.cut_short or terms.late(1.0),
    )


def _matters(
    pairs: Sequence[Pair], source: Source, groups: Iterable[frozenset[IndexSpec]]
) -> Callable[[str, IndexSpec], bool]:
    """Tells whether a statement could use an index: it names the first key, or the index holds all it reads; and the
    index changes its plan, alone or as one of a group."""
    relations = {s.queryid: [r for b in q.blocks for r in b.relations if r.table] for s, q in pairs}
    grouped = frozenset[IndexSpec]().union(*groups)
    known: dict[tuple[str, IndexSpec], bool] = {}

    def serves(queryid: str, spec: IndexSpec) -> bool:
        if not any(candidate_rules.could_serve(spec, r) for r in relations[queryid]):
            return False
        return spec in grouped or source.cost(queryid, frozenset({spec})) != source.cost(queryid, frozenset())

    def matters(queryid: str, spec: IndexSpec) -> bool:
        key = (queryid, spec)
        if key not in known:
            known[key] = serves(queryid, spec)
        return known[key]

    return matters


def _budget(terms: Terms, catalog: Catalog) -> int:
    """Bytes that new indexes may take: as told, else BUDGET_SHARE of the database, but BUDGET_MB is never too much."""
    told = terms.budget_mb
    megabytes = told if told is not None else terms.settings.INDEX_STORAGE_BUDGET_MB
    return (
        int(megabytes * 2**20)
        if megabytes
        else max(int(catalog.database_bytes * BUDGET_SHARE), BUDGET_MB * 2**20)
    )


def _item(candidate: Candidate, catalog: Catalog, changes: Mapping[TableKey, writes.TableWrites]) -> Item:
    spec = candidate.spec
    table = catalog.tables[spec.table]
    counts = changes.get(spec.table, writes.TableWrites())
    return Item(
        candidate, size.index_bytes(spec, table), writes.write_ms(spec, table, counts, catalog.version)
    )


def _refusals(early: Sequence[Refused], chosen: Selection) -> list[Refused]:
    late = [
        Refused(i.candidate.label or names.describe(i.spec), why, i.candidate.source)
        for i, why in chosen.refused
    ]
    ordered = sorted((*early, *late), key=lambda r: (r.source != "declared", r.candidate))
    return ordered[:REFUSALS]


def _summary(look: Look, problem: Problem) -> dict[str, Any]:
    workload = look.workload
    return {
        "source": workload.source,
        "since": workload.since.isoformat() if workload.since else None,
        "statements": len(workload.statements),
        "judged": len(problem.statements),
        "unread": look.unread,
        "calls": sum(s.calls for s in workload.statements),
        "total_ms": round(sum(s.total_ms for s in workload.statements), 3),
        "left_out": dict(workload.left_out),
        "candidates": len(problem.items),
        "budget_bytes": problem.budget,
    }


def _notes(look: Look) -> list[str]:
    notes = []
    stale = sorted(
        t.key for t in look.catalog.tables.values() if not t.analyzed and t.rows >= candidate_rules.ROW_FLOOR
    )
    if stale:
        notes.append(f"never analyzed, so guessed at: {', '.join(stale[:10])} (run ANALYZE)")
    if look.unread:
        notes.append(
            f"{look.unread} statements could not be read as SQL, or not in time, and are not in this advice"
        )
    patterns = any(
        p.op in {"like", "ilike"}
        for _, q in look.pairs
        for b in q.blocks
        for r in b.relations
        for p in r.predicates
    )
    if patterns and "pg_trgm" not in look.catalog.extensions:
        how = "CREATE EXTENSION pg_trgm" if "pg_trgm" in look.catalog.available else "install pg_trgm"
        notes.append(f"LIKE '%…%' is in the workload; {how}, and the advisor can index it")
    return notes
