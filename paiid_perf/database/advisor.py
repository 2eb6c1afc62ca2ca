"""The index advisor: workload and catalogue → candidates → what-if costs → a set that pays → proposals.

It only reads, and works where none of our tables was ever migrated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from paiid_perf.conf import Settings
from paiid_perf.contracts import Proposal
from paiid_perf.database.facts import catalog as catalog_facts
from paiid_perf.database.facts import evidence as evidence_facts
from paiid_perf.database.facts import models as model_facts
from paiid_perf.database.facts import workload as workload_facts
from paiid_perf.database.facts.whatif import HypotheticalCosts
from paiid_perf.database.index_changes import payload_query
from paiid_perf.database.index_types import (
    Advice,
    Candidate,
    Catalog,
    IndexSpec,
    ModelFact,
    Pick,
    Query,
    Refused,
    Statement,
    Table,
    TableKey,
    Workload,
)
from paiid_perf.database.rules.indexes import candidates as candidate_rules
from paiid_perf.database.rules.indexes import drops, model_index, names, partitions, size, writes
from paiid_perf.database.rules.indexes.bind import stable_bindings
from paiid_perf.database.rules.indexes.factor import factored
from paiid_perf.database.rules.indexes.parse import Unparsable, parse
from paiid_perf.database.rules.indexes.select import Item, Problem, Selection, select
from paiid_perf.database.rules.indexes.sources import EstimatedCosts
from paiid_perf.database.rules.indexes.texts import repaired
from paiid_perf.database.session import Session, connect
from paiid_perf.database.types import Evidence, IndexCandidate
from paiid_perf.registry import registry

AREA = "database"
#: The time limit where none is set: the last minutes of a search improve little.
SECONDS = 100.0
#: Candidates of one statement that go into the selection, cheapest plans first: so many plain, so many covering.
PER_STATEMENT = 5
#: Candidates of one statement that are tried all at once.
MOST_TOGETHER = 40
#: Milliseconds a call from which an existing index is worth a copy that covers the statement.
COVER_MS = 1.0
#: Shares of the time limit by which the statements are parsed and their candidates found.
PARSED, POOLED = 0.25, 0.5
#: Statements whose replay a change is judged by, and neighbours watched for regressions.
AFFECTED = 8
WATCHED = 4
#: Statements of other tables, which tell the load under which it was judged.
CONTROLS = 10
#: The storage budget where none is set.
BUDGET_SHARE, BUDGET_MB = 0.40, 64
#: Milliseconds that a statement is taken to need which was never seen to finish.
UNFINISHED_MS = 10_000.0
#: Refusals that are told; the rest repeat them.
REFUSALS = 100
Pair = tuple[Statement, Query]
Source = EstimatedCosts | HypotheticalCosts


@dataclass(frozen=True, slots=True)
class _Terms:
    """Under which terms advice is given."""

    settings: Settings
    alias: str
    now: datetime
    budget_mb: float | None
    width: int
    late: Callable[[float], bool]
    watched: int = WATCHED


@dataclass(frozen=True)
class _Look:
    """What one look at the database found."""

    catalog: Catalog
    workload: Workload
    pairs: Sequence[Pair]
    unread: int
    declared: Mapping[IndexCandidate, IndexSpec | str]
    models: Mapping[TableKey, ModelFact]
    cut_short: bool
    """Whether there was no time to parse every statement."""
    evidence: Evidence
    """Of what nothing uses."""

    @cached_property
    def by_table(self) -> Mapping[TableKey, Sequence[Pair]]:
        """The statements that read a table, the heaviest first."""
        found: dict[TableKey, list[Pair]] = {}
        for pair in self.pairs:
            for table in pair[1].tables:
                found.setdefault(table, []).append(pair)
        return found

    @cached_property
    def rows(self) -> Mapping[str, float]:
        """Rows that each statement returned in the window."""
        return {s.queryid: s.rows_per_call * s.calls for s, _ in self.pairs}


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
) -> Advice:
    """Indexes to create and to drop for what the database really runs, and the candidates refused with reasons.

    ``watched``: how many neighbours and writes of a table a change is judged by, besides the statements it is for.
    ``statements`` takes the place of pg_stat_statements (a file of SQL, say). ``time_limit`` is in seconds; past it
    the best set so far is returned.

    Raises:
        psycopg.Error: the server does not answer, or not in time.
    """
    clock = time.monotonic
    began = clock()
    limit = min(SECONDS, settings.PHASE_TIMEOUT.total_seconds() / 3) if time_limit is None else time_limit
    late = _deadline(clock, began, limit)
    declared = tuple(candidates) if candidates is not None else registry.all(IndexCandidate)
    terms = _Terms(
        settings, alias, now, storage_budget_mb, max_width or settings.INDEX_MAX_WIDTH, late, watched
    )
    with connect(alias, statement=settings.STATEMENT_TIMEOUT, lock=settings.LOCK_TIMEOUT) as session:
        look = _look(session, declared, statements, late, settings)
        if look is None:
            return Advice(notes=(workload_facts.NO_STATISTICS,), seconds=clock() - began)
        with _costs(session, look) as source:
            advice = _judged(look, source, terms)
    return replace(advice, seconds=clock() - began)


@contextmanager
def _costs(session: Session, look: _Look) -> Iterator[Source]:
    """HypoPG where it is installed, else the cost model."""
    model = EstimatedCosts(look.pairs, look.catalog)
    if "hypopg" not in look.catalog.extensions:
        yield model
        return
    source = HypotheticalCosts(session, look.pairs, look.catalog, model)
    with source.opened():
        yield source


def _deadline(clock: Callable[[], float], began: float, limit: float) -> Callable[[float], bool]:
    """Says whether a share of the time limit is spent."""
    return lambda share: clock() >= began + share * limit


# --- look --------------------------------------------------------------------------------------------------


def _look(
    session: Session,
    declared: Sequence[IndexCandidate],
    statements: Iterable[Statement] | None,
    late: Callable[[float], bool],
    settings: Settings,
) -> _Look | None:
    workload = workload_facts.chosen(session, statements)
    if workload is None:
        return None
    texts = [s.text for s in workload.statements]
    catalog = catalog_facts.read(session, texts, model_facts.table_names(declared))
    workload = workload_facts.timed(session, with_unfinished(workload), catalog)
    pairs, unread = _parsed(workload, catalog, late)
    declarations = model_facts.declared(declared, catalog)
    owners = model_facts.owners(catalog)
    evidence = evidence_facts.read(session, settings)
    return _Look(
        catalog, workload, pairs, unread, declarations, owners, unread > 0 and late(PARSED), evidence
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


# --- judge -------------------------------------------------------------------------------------------------


def _judged(look: _Look, source: Source, terms: _Terms) -> Advice:
    catalog = look.catalog
    changes = writes.table_writes(look.pairs, catalog)
    pool = _pool(look, source, terms.width, terms.late)
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
    proposals = [_create(p, look, terms, source.name) for p in chosen.picks]
    proposals += _drops(look, source, chosen, terms)
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


def _budget(terms: _Terms, catalog: Catalog) -> int:
    """Bytes that new indexes may take: as told, else BUDGET_SHARE of the database, but BUDGET_MB is never too much."""
    told = terms.budget_mb
    megabytes = told if told is not None else terms.settings.INDEX_STORAGE_BUDGET_MB
    return (
        int(megabytes * 2**20)
        if megabytes
        else max(int(catalog.database_bytes * BUDGET_SHARE), BUDGET_MB * 2**20)
    )


@dataclass(slots=True)
class _Pool:
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


def _pool(look: _Look, source: Source, width: int, late: Callable[[float], bool]) -> _Pool:
    """Each statement's best few candidates, and the declared ones; those refused out of hand with why."""
    pool = _Pool()
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
        source.forget(statement.queryid)
    _add_merged(pool, look.catalog, width)
    return pool


def _add_merged(pool: _Pool, catalog: Catalog, width: int) -> None:
    """One index in place of several of the pool."""
    by_table: dict[TableKey, list[IndexSpec]] = {}
    for spec in pool.found:
        by_table.setdefault(spec.table, []).append(spec)
    for specs in by_table.values():
        for spec in candidate_rules.merged(specs):
            if not _out_of_hand(spec, catalog, width):
                pool.found.setdefault(spec, Candidate(spec, "merged"))


def _add_declared(pool: _Pool, look: _Look, width: int) -> None:
    for candidate, spec in look.declared.items():
        why = spec if isinstance(spec, str) else _out_of_hand(spec, look.catalog, width)
        if why:
            pool.refuse(candidate.name, why, "declared")
        elif isinstance(spec, IndexSpec):
            pool.found[spec] = Candidate(spec, "declared", candidate.name)


def _add_best(
    pool: _Pool, statement: Statement, query: Query, catalog: Catalog, source: Source, width: int
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


def _summary(look: _Look, problem: Problem) -> dict[str, Any]:
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


def _notes(look: _Look) -> list[str]:
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


# --- propose -----------------------------------------------------------------------------------------------


def _create(pick: Pick, look: _Look, terms: _Terms, costs: str) -> Proposal:
    spec, table = pick.candidate.spec, look.catalog.tables[pick.candidate.spec.table]
    name = names.index_name(spec)
    model = look.models.get(spec.table)
    affected = sum(e.calls * e.mean_ms for e in pick.effects)
    sql = partitions.create_sql(spec, name, table)
    return Proposal(
        area=AREA,
        kind="index_create",
        key=names.describe(spec),
        title=f"Index {names.describe(spec)}",
        why=_why(pick, affected),
        evidence=_evidence(pick, spec, name, table, model) | {"costs": costs},
        expected_gain=min(0.999, pick.saved_ms / affected) if affected else None,
        cost=_cost(pick),
        risk="low" if table.owned else "medium",
        how=sql,
        undo=names.drop_sql(table.schema, name, concurrently=table.kind != "partitioned"),
        migration=model_index.migration(spec, name, model) if model else "",
        payload={
            "alias": terms.alias,
            "schema": table.schema,
            "table": table.name,
            "name": name,
            "body": names.body_sql(spec),
            "bytes": pick.bytes,
            "analyze": any(not k.is_column for k in spec.keys),
            "queries": [
                payload_query(e.queryid, e.text, e.calls, e.mean_ms, _rows(look, e.queryid))
                for e in pick.effects[: max(AFFECTED, terms.watched)]
            ],
            "watched": _neighbours(look, spec.table, {e.queryid for e in pick.effects}, terms.watched),
            "writes": _writers(look, spec.table, terms.watched),
            "control": _elsewhere(look, spec.table),
        },
    )


def _why(pick: Pick, affected: float) -> str:
    top = pick.effects[0]
    share = pick.saved_ms / affected if affected else 0.0
    text = " ".join(top.text.split())
    others = f" and {len(pick.effects) - 1} more" if len(pick.effects) > 1 else ""
    return (
        f"{len(pick.effects)} statements spend {affected:,.0f} ms; with it about {share:.0%} less (estimated). "
        f"Most of it: “{text[:160]}” ({top.calls:,.0f} calls, {top.mean_ms:.2f} ms each){others}."
    )


def _cost(pick: Pick) -> str:
    text = f"about {pick.bytes / 2**20:.1f} MB"
    return f"{text}, {pick.write_ms:.0f} ms more of writes in the same time" if pick.write_ms >= 0.5 else text


def _evidence(
    pick: Pick, spec: IndexSpec, name: str, table: Table, model: ModelFact | None
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "table": table.key,
        "rows": table.rows,
        "size_bytes": pick.bytes,
        "saved_ms": round(pick.saved_ms, 3),
        "write_ms": round(pick.write_ms, 3),
        "source": pick.candidate.source,
        "queries": [
            {
                "queryid": e.queryid,
                "query": e.text[:500],
                "calls": e.calls,
                "mean_ms": round(e.mean_ms, 3),
                "cost_before": round(e.cost_before, 1),
                "cost_after": round(e.cost_after, 1),
            }
            for e in pick.effects[:20]
        ],
    }
    if model is not None and model.app_label:
        facts |= {"app": model.app_label, "model": model.name, "latest_migration": model.latest_migration}
        facts["django_index"] = model_index.model_index(spec, name, model) or ""
    return facts


def _rows(look: _Look, queryid: str) -> float:
    return look.rows.get(queryid, 0.0)


def _neighbours(
    look: _Look, table: TableKey, affected: set[str], most: int = WATCHED
) -> list[dict[str, Any]]:
    """The heaviest other statements on the table: what must not get slower."""
    reading = look.by_table.get(table, ())
    others = [s for s, q in reading if s.queryid not in affected and q.write is None]
    return [payload_query(s.queryid, s.text, s.calls, s.mean_ms, s.rows) for s in others[:most]]


def _elsewhere(look: _Look, table: TableKey) -> list[dict[str, Any]]:
    """The most called statements that have nothing to do with the table: they tell the machine's load."""
    others = sorted(
        (s for s, q in look.pairs if q.write is None and q.tables and table not in q.tables),
        key=lambda s: (-s.calls, s.queryid),
    )
    return [payload_query(s.queryid, s.text, s.calls, s.mean_ms, s.rows) for s in others[:CONTROLS]]


def _writers(look: _Look, table: TableKey, most: int) -> list[dict[str, Any]]:
    """The statements that write to the table most: each of its indexes makes them dearer."""
    found = [s for s, q in look.pairs if q.write is not None and q.write.table == table]
    return [payload_query(s.queryid, s.text, s.calls, s.mean_ms, s.rows) for s in found[:most]]


# --- drops -------------------------------------------------------------------------------------------------


def _drops(look: _Look, source: Source, chosen: Selection, terms: _Terms) -> list[Proposal]:
    coming = {p.candidate.spec: names.index_name(p.candidate.spec) for p in chosen.picks}
    found: list[Proposal] = []
    # On a small table an index costs nothing worth a change.
    for table in (t for t in look.catalog.tables.values() if t.rows >= candidate_rules.ROW_FLOOR):
        thought_of = (*drops.redundant(table, coming), *drops.unused(table, look.evidence, terms.now))
        found += [
            _drop(d, look, terms.alias) for d in thought_of if _harmless(d, look, source, frozenset(coming))
        ]
    return found


def _harmless(drop: drops.Drop, look: _Look, source: Source, added: frozenset[IndexSpec]) -> bool:
    """No statement gets more than a twentieth dearer without it."""
    for statement, query in look.by_table.get(drop.table.key, ()):
        if query.blocks:
            relevant = frozenset(s for s in added if s.table in query.tables)
            having = source.cost(statement.queryid, relevant)
            if source.cost_without(statement.queryid, relevant, drop.index.spec) > 1.05 * having + 1.0:
                return False
    return True


def _drop(drop: drops.Drop, look: _Look, alias: str) -> Proposal:
    index, table = drop.index, drop.table
    _, _, body = index.definition.partition(" USING ")
    return Proposal(
        area=AREA,
        kind="index_drop",
        key=f"{table.schema}.{index.name}",
        title=f"Drop {index.name} of {table.key}",
        why=f"It only costs: {drop.because}.",
        evidence={
            "table": table.key,
            "size_bytes": index.bytes,
            "scans": index.scans,
            "definition": index.definition,
            "covered_by": drop.covered_by,
        },
        cost="",
        risk="medium",
        how=names.drop_sql(table.schema, index.name, concurrently=table.kind != "partitioned"),
        undo=index.definition,
        payload={
            "alias": alias,
            "schema": table.schema,
            "table": table.name,
            "name": index.name,
            "body": f"USING {body}",
            "bytes": index.bytes,
            "definition": index.definition,
            "covered_by": drop.covered_by,
            "queries": _neighbours(look, table.key, set()),
        },
    )
