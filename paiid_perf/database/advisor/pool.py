"""The pool: each statement's best few candidates, those declared, and one in place of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from paiid_perf.database.advisor.types import Look, Source
from paiid_perf.database.index_types import Candidate, Catalog, IndexSpec, Query, Refused, Statement, TableKey
from paiid_perf.database.rules.indexes import candidates as candidate_rules
from paiid_perf.database.rules.indexes import names

#: Candidates of one statement that go into the selection, cheapest plans first: so many plain, so many covering.
PER_STATEMENT = 5
#: Candidates of one statement that are tried all at once.
MOST_TOGETHER = 40
#: Milliseconds a call from which an existing index is worth a copy that covers the statement.
COVER_MS = 1.0
#: Share of the time left after the catalog by which the candidates are found.
POOLED = 0.5


@dataclass(slots=True)
class Pool:
    """Candidates worth selecting from."""

    found: dict[IndexSpec, Candidate] = field(default_factory=dict)
    groups: list[frozenset[IndexSpec]] = field(default_factory=list)
    """Sets that help a statement only together."""
    told: dict[str, Refused] = field(default_factory=dict)
    cut_short: bool = False

    @property
    def candidates(self) -> list[Candidate]:
        return list(self.found.values())

    @property
    def refused(self) -> list[Refused]:
        return list(self.told.values())

    def refuse(self, what: str, why: str, source: str = "workload") -> None:
        self.told.setdefault(what, Refused(what, why, source))


def fill(look: Look, source: Source, width: int, late: Callable[[float], bool]) -> Pool:
    """Each statement's best few candidates, and the declared ones; those refused out of hand with why."""
    pool = Pool()
    _add_declared(pool, look, width)
    for table in look.catalog.tables.values():
        why = candidate_rules.why_not_table(table)
        if why and table.key in look.by_table:
            pool.refuse(table.key, why)
    for statement, query in look.pairs:
        if late(POOLED):
            pool.cut_short = True
            break
        _add_best(pool, statement, query, look.catalog, source, width)
    _add_merged(pool, look.catalog, width)
    return pool


def _add_merged(pool: Pool, catalog: Catalog, width: int) -> None:
    """One index in place of several of the pool."""
    by_table: dict[TableKey, list[IndexSpec]] = {}
    for spec in pool.found:
        by_table.setdefault(spec.table, []).append(spec)
    for specs in by_table.values():
        for spec in candidate_rules.merged(specs):
            if not _out_of_hand(spec, catalog, width):
                pool.found.setdefault(spec, Candidate(spec, "merged"))


def _add_declared(pool: Pool, look: Look, width: int) -> None:
    for candidate, spec in look.declared.items():
        why = spec if isinstance(spec, str) else _out_of_hand(spec, look.catalog, width)
        if why:
            pool.refuse(candidate.name, why, "declared")
        elif isinstance(spec, IndexSpec):
            pool.found[spec] = Candidate(spec, "declared", candidate.name)


def _add_best(
    pool: Pool, statement: Statement, query: Query, catalog: Catalog, source: Source, width: int
) -> None:
    """A statement's candidates that make it cheaper, the best PER_STATEMENT, and those that do so only together."""
    before = source.cost(statement.queryid, frozenset())
    possible: list[IndexSpec] = []
    for spec in dict.fromkeys(candidate_rules.candidates(query, catalog, width)):
        why = _out_of_hand(spec, catalog, width) or _only_covers(spec, statement, catalog)
        if why:
            pool.refuse(names.describe(spec), why)
        else:
            possible.append(spec)
    promising = source.promising(statement.queryid, possible)
    costs = {spec: source.cost(statement.queryid, frozenset({spec})) for spec in promising}
    useful = sorted((s for s, c in costs.items() if c < 0.98 * before), key=lambda s: (costs[s], repr(s)))
    together = _together(statement, costs, source)
    if together:
        pool.groups.append(frozenset(together))
    # What covers costs more to keep, and may be refused for it: the plain ones must be there then.
    plain = [s for s in useful if not s.include][:PER_STATEMENT]
    covering = [s for s in useful if s.include][:PER_STATEMENT]
    for spec in (*plain, *covering, *together):
        pool.found.setdefault(spec, Candidate(spec, "workload"))


def _together(statement: Statement, costs: Mapping[IndexSpec, float], source: Source) -> list[IndexSpec]:
    """What helps only beside other candidates (both sides of a join, both branches of an OR): of all at once, one of
    each kind whose absence is felt."""
    if len(costs) < 2:
        return []
    kept = sorted(costs, key=lambda s: (costs[s], len(s.keys) + len(s.include), repr(s)))[:MOST_TOGETHER]
    best = source.cost(statement.queryid, frozenset(kept))
    if best >= 0.9 * min(source.cost(statement.queryid, frozenset()), *costs.values()):
        return []
    for spec in reversed(tuple(kept)):
        fewer = frozenset(kept) - {spec}
        if source.cost(statement.queryid, fewer) <= 1.02 * best:
            kept.remove(spec)
    return kept if len(kept) <= 4 else []


def _out_of_hand(spec: IndexSpec, catalog: Catalog, width: int) -> str:
    """Why a candidate is refused before any cost is reckoned; empty where it is not."""
    table = catalog.tables[spec.table]
    why = candidate_rules.why_not_table(table)
    if why:
        return why
    if len(spec.keys) > width:
        return f"it has {len(spec.keys)} columns; {width} are allowed"
    if candidate_rules.permutes_primary_key(spec, table):
        return "it is the primary key in another order"
    server = next((i for i in table.indexes if i.valid and candidate_rules.prefix_of(spec, i.spec)), None)
    return f"{server.name} serves it already" if server else ""


def _only_covers(spec: IndexSpec, statement: Statement, catalog: Catalog) -> str:
    """Why an existing index is not copied for the sake of INCLUDE alone; empty where the statement is slow enough."""
    if not spec.include or statement.mean_ms >= COVER_MS:
        return ""
    bare = replace(spec, include=())
    served = (i for i in catalog.tables[spec.table].indexes if i.valid)
    there = next((i.name for i in served if candidate_rules.prefix_of(bare, i.spec)), "")
    return f"{there} finds the rows already; the columns alone would not pay" if there else ""
