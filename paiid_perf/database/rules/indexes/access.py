"""How one index serves one relation of a query: which conditions it checks, what order it gives, what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paiid_perf.database.index_types import (
    IndexSpec,
    KeyPart,
    PlannerSettings,
    Predicate,
    Relation,
    SortKey,
    Table,
)
from paiid_perf.database.rules.indexes import cost, size
from paiid_perf.database.rules.indexes.predicates import implied
from paiid_perf.database.rules.indexes.reckon import RATES, fetch_ns, heap_missed_ns, late, missed_ns
from paiid_perf.database.rules.indexes.selectivity import combined, distinct_values, like_prefix

PATTERN_OPCLASSES = frozenset({"text_pattern_ops", "varchar_pattern_ops", "bpchar_pattern_ops"})
_GIN_OPS = {"contains", "overlap", "search", "like", "ilike"}
#: A B-tree is not considered for a LIKE whose pattern nobody has seen.
_BITMAP_ONLY = {"gin", "gist", "brin", "spgist"}


@dataclass(frozen=True, slots=True)
class Path:
    """A way to produce rows. Costs are the planner's; ``ordered``: in the order that the block asks for."""

    rows: float
    """As many as the planner thinks, which is what its costs and its choice follow."""
    startup: float
    total: float
    ordered: bool = False
    work: float = 0.0
    """Nanoseconds of processor time, as ``reckon`` has it."""
    passing: float = 1.0
    """The share of the rows fetched in order that filters and joins let through."""
    more: float = 1.0
    """How many times as many rows there are, which is what the work follows."""

    @property
    def actual(self) -> float:
        """The rows that there are."""
        return self.rows * self.more

    def fraction(self, share: float) -> float:
        """The cost of the first ``share`` of the rows."""
        return self.startup + (self.total - self.startup) * share

    def waiting(self, share: float) -> float:
        """The cost of what has to be read more where those rows lie late."""
        return (self.total - self.startup) * max(0.0, late(share, self.passing) - share)

    def fraction_work(self, share: float) -> float:
        """The processor time of the first ``share`` of the rows, which may lie late."""
        early = self.startup / self.total if self.total > 0 else 0.0
        return self.work * (early + (1.0 - early) * late(share, self.passing))


@dataclass(frozen=True, slots=True)
class Match:
    """Which of a relation's conditions an index checks. Shares are of the index's tuples."""

    scanned: float
    fetched: float
    conditions: int
    searches: int
    equal: frozenset[str]
    """Keys bound to one value, which no sort order has to mention."""
    bound: bool
    """Whether any condition narrows the scan."""


def match(
    spec: IndexSpec, relation: Relation, table: Table, join_keys: frozenset[str] = frozenset()
) -> Match | None:
    """How a B-tree or hash index serves the relation (btree's boundary conditions); None where it cannot be used.

    ``join_keys`` are columns that the outer side of a nested loop gives a value.
    """
    if not implied(spec, relation.predicates):
        return None
    found = _Matching(table, spec)
    for key in spec.keys:
        if not found.take(key, relation.predicates, join_keys):
            break
    return found.result(relation.predicates)


class _Matching:
    """Walks an index's keys: equalities go on, the first range ends the boundary."""

    def __init__(self, table: Table, spec: IndexSpec) -> None:
        self.table, self.spec = table, spec
        self.used: list[Predicate] = []
        self.joined: list[str] = []
        self.equal: set[str] = set()
        self.searches = 1
        self.open = True

    def take(self, key: KeyPart, predicates: Sequence[Predicate], join_keys: frozenset[str]) -> bool:
        """Consume the conditions on a key; False once no later key can narrow the scan."""
        own = [p for p in predicates if p.key == key.text and p.key]
        equal = [p for p in own if p.op in {"eq", "null"}]
        listed = [p for p in own if p.op == "in"]
        if equal:
            self.used.append(equal[0])
            self.equal.add(key.text)
            return True
        if key.text in join_keys:
            self.joined.append(key.text)
            self.equal.add(key.text)
            return True
        if listed:
            self.used.append(listed[0])
            self.searches *= max(1, len(listed[0].values))
            return True
        self.used += [p for p in own if _bounds(p, key, self.table)]
        return False

    def result(self, predicates: Sequence[Predicate]) -> Match:
        covered = set(self.spec.predicate)
        boundary = combined(self.table, [p for p in self.used if p.text not in covered])
        for key in self.joined:
            boundary /= distinct_values(self.table, key)
        # What is only included is no condition of the index: the row is fetched before it is looked at.
        stored = set(self.spec.key_texts)
        later = [
            p
            for p in predicates
            if p not in self.used and p.text not in covered and _checked_inside(p, stored)
        ]
        fetched = boundary * combined(self.table, later)
        count = len(self.used) + len(self.joined) + len(later)
        bound = bool(self.used or self.joined)
        return Match(boundary, fetched, count, self.searches, frozenset(self.equal), bound)


def _bounds(predicate: Predicate, key: KeyPart, table: Table) -> bool:
    """Whether a condition limits the scan of a B-tree key."""
    if predicate.op in {"range", "notnull"}:
        return key.opclass not in PATTERN_OPCLASSES
    if predicate.op != "like":
        return False
    column = table.columns.get(key.text)
    byte_order = key.opclass in PATTERN_OPCLASSES or bool(column and column.c_collation)
    pattern = predicate.values[0] if predicate.values else None
    return byte_order and bool(like_prefix(pattern))


def _checked_inside(predicate: Predicate, stored: set[str]) -> bool:
    return (
        bool(predicate.key)
        and predicate.key in stored
        and predicate.op in {"eq", "in", "range", "null", "notnull"}
    )


def gives_order(spec: IndexSpec, order: Sequence[SortKey], equal: frozenset[str]) -> bool:
    """Whether a scan of the B-tree, forwards or backwards, yields the order asked for."""
    wanted = [k for k in order if k.key not in equal]
    if spec.method != "btree" or not order:
        return False
    keys = iter(k for k in spec.keys if k.text not in equal)
    backwards: bool | None = None
    for want in wanted:
        key = next(keys, None)
        if key is None or key.text != want.key or key.opclass in PATTERN_OPCLASSES:
            return False
        flipped = key.descending != want.descending
        if (key.nulls_first != want.nulls_first) != flipped:
            return False
        if backwards is not None and flipped != backwards:
            return False
        backwards = flipped
    return True


def covers(spec: IndexSpec, relation: Relation) -> bool:
    """Whether every column that the query reads is in the index (B-tree only)."""
    if relation.star or spec.method != "btree":
        return False
    stored = set(spec.columns)
    expressions = {k.text for k in spec.keys if not k.is_column}
    needed = set(relation.columns) - {
        c for p in relation.predicates if p.key in expressions for c in p.columns
    }
    return needed <= stored


def geometry(spec: IndexSpec, table: Table, known_bytes: int = 0) -> cost.Geometry:
    pages = (known_bytes or size.index_bytes(spec, table)) / size.PAGE
    return cost.Geometry(max(1.0, pages), size.rows_in(spec, table), size.height(pages))


def correlation(spec: IndexSpec, table: Table) -> float:
    """Physical order of the heap along the index (btcostestimate: ¾ of the first key's where there are several)."""
    first = table.columns.get(spec.keys[0].text)
    if first is None:
        return 0.0
    return first.correlation * (0.75 if len(spec.keys) > 1 else 1.0)


def index_path(
    spec: IndexSpec,
    relation: Relation,
    table: Table,
    order: Sequence[SortKey],
    p: PlannerSettings,
    *,
    rows: float,
    known_bytes: int = 0,
    join_keys: frozenset[str] = frozenset(),
    loops: float = 1.0,
) -> list[Path]:
    """Every path that the index offers for the relation: plain, index-only, bitmap. Costs are per loop."""
    if spec.method in _BITMAP_ONLY:
        return _lossy_paths(spec, relation, table, p, rows, known_bytes)
    found = match(spec, relation, table, join_keys)
    if found is None:
        return []
    ordered = gives_order(spec, order, found.equal)
    if not found.bound and not ordered and not spec.predicate and not covers(spec, relation):
        return []
    scan = cost.IndexScan(
        geometry(spec, table, known_bytes),
        found.scanned,
        found.fetched,
        found.conditions,
        max(0, len(relation.predicates) - found.conditions),
        correlation(spec, table),
        1.0 - table.visible_fraction if covers(spec, relation) else 1.0,
        loops,
        found.searches,
    )
    startup, total = cost.index_scan(table, scan, p)
    passing = min(1.0, rows / max(1.0, found.fetched * scan.geometry.tuples))
    paths = [Path(rows, startup, total, ordered and found.searches == 1, _scan_work(table, scan), passing)]
    if found.bound and scan.heap_share == 1.0:
        _, index_total = cost.index_access(scan, p)
        share = found.fetched * scan.geometry.tuples / max(table.rows, 1.0)
        startup, total = cost.bitmap_scan(table, index_total, share, len(relation.predicates), p)
        paths.append(Path(rows, startup, total, False, _bitmap_work(table, share, scan.searches, loops)))
    return paths


def _scan_work(table: Table, scan: cost.IndexScan) -> float:
    """Nanoseconds of an index scan: the way down, the entries, and the heap rows that they lead to."""
    entries = scan.geometry.tuples * scan.scanned * RATES.entry
    heap = scan.geometry.tuples * scan.fetched * scan.heap_share
    order = scan.correlation**2
    filtering = scan.geometry.tuples * scan.fetched * scan.filters * RATES.condition
    missed = heap_missed_ns(table, heap, order, scan.loops)
    return scan.searches * RATES.descent + entries + filtering + heap * fetch_ns(table, order) + missed


def _bitmap_work(table: Table, share: float, searches: int = 1, loops: float = 1.0) -> float:
    fetched = table.rows * share
    missed = heap_missed_ns(table, fetched, 0.0, loops)
    return searches * RATES.descent + fetched * (RATES.bitmap + RATES.entry / 2) + missed


def _lossy_paths(
    spec: IndexSpec, relation: Relation, table: Table, p: PlannerSettings, rows: float, known_bytes: int
) -> list[Path]:
    if not implied(spec, relation.predicates):
        return []
    served = [q for q in relation.predicates if serves_lossy(spec, q, table)]
    if not served:
        return []
    share = combined(table, served)
    pages = geometry(spec, table, known_bytes).pages
    if spec.method == "brin":
        return [_brin(table, served, share, pages, rows, p)]
    return [_gin(spec, table, share, pages, rows, p)]


def serves_lossy(spec: IndexSpec, predicate: Predicate, table: Table) -> bool:
    """Whether a GIN, GiST or BRIN index answers the condition."""
    key = next((k for k in spec.keys if k.text == predicate.key), None)
    if key is None:
        return False
    if spec.method == "brin":
        return predicate.op in {"range", "eq", "in"}
    if predicate.op in {"like", "ilike"}:
        return "trgm" in key.opclass and _long_enough(predicate)
    return predicate.op in _GIN_OPS and "trgm" not in key.opclass


def _long_enough(predicate: Predicate) -> bool:
    """A trigram index needs three characters in a row; a pattern nobody has seen is taken to have them."""
    pattern = predicate.values[0] if predicate.values else None
    if pattern is None:
        return True
    return any(len(piece) >= 3 for piece in pattern.replace("_", "%").split("%"))


def _brin(
    table: Table, served: Sequence[Predicate], share: float, pages: float, rows: float, p: PlannerSettings
) -> Path:
    """brincostestimate: whole page ranges, more of them the less the heap follows the column."""
    column = table.columns.get(served[0].key)
    order = max(abs(column.correlation) if column else 0.0, 0.01)
    touched = min(table.pages, max(128.0, table.pages * share / order**2))
    tuples = table.rows * touched / max(table.pages, 1.0)
    startup = pages * p.seq_page_cost + 0.1 * p.cpu_operator_cost * touched
    total = startup + touched * p.seq_page_cost + tuples * (p.cpu_tuple_cost + p.cpu_operator_cost)
    return Path(rows, startup, total, False, tuples * (RATES.row + RATES.condition))


def _gin(spec: IndexSpec, table: Table, share: float, pages: float, rows: float, p: PlannerSettings) -> Path:
    """gincostestimate in short: a descent per search entry, its posting list, then a bitmap heap scan."""
    entries = 8.0 if any("trgm" in k.opclass for k in spec.keys) else 2.0
    lists = max(1.0, pages * min(1.0, share * entries))
    index_total = (entries + lists) * p.random_page_cost + table.rows * share * entries * p.cpu_operator_cost
    startup, total = cost.bitmap_scan(table, index_total, share, 2, p)
    return Path(rows, startup, total, False, _bitmap_work(table, share, int(entries)))


def sequential_path(relation: Relation, table: Table, rows: float, p: PlannerSettings) -> Path:
    total = cost.sequential_scan(table, max(1, len(relation.predicates)), p)
    work = table.rows * (RATES.row + RATES.condition * len(relation.predicates))
    return Path(rows, 0.0, total, False, work + missed_ns(table, table.pages))


def or_path(
    relation: Relation, table: Table, specs: Iterable[tuple[IndexSpec, int]], rows: float, p: PlannerSettings
) -> Path | None:
    """A BitmapOr over one index per branch of an OR; None where a branch has no index."""
    available = tuple(specs)
    for predicate in relation.predicates:
        if predicate.op == "or":
            parts = [_branch(b, relation, table, available, p) for b in predicate.branches]
            known = [part for part in parts if part is not None]
            if len(known) == len(parts) and known:
                share = combined(table, [predicate])
                startup, total = cost.bitmap_scan(table, sum(known), share, 2, p)
                return Path(rows, startup, total, False, _bitmap_work(table, share, len(known)))
    return None


def _branch(
    branch: Predicate,
    relation: Relation,
    table: Table,
    specs: Iterable[tuple[IndexSpec, int]],
    p: PlannerSettings,
) -> float | None:
    alone = Relation(relation.alias, relation.table, (branch,), relation.columns, relation.star)
    costs = []
    for spec, known_bytes in specs:
        found = match(spec, alone, table) if spec.method == "btree" else None
        if found is not None and found.bound:
            scan = cost.IndexScan(geometry(spec, table, known_bytes), found.scanned, found.fetched, 1, 0, 0.0)
            costs.append(cost.index_access(scan, p)[1])
    return min(costs, default=None)
