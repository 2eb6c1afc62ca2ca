"""What a query would cost with a given set of indexes: a small System R planner over PostgreSQL's cost formulas.

Row counts do not depend on the indexes, so each is estimated once; the paths of one relation depend only on the
indexes of its table, so they are kept; a set of indexes is then a matter of putting paths together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from paiid_perf.database.index_types import (
    Block,
    Catalog,
    IndexSpec,
    Join,
    PlannerSettings,
    Predicate,
    Query,
    Relation,
    Statement,
    Table,
    TableKey,
)
from paiid_perf.database.rules.indexes import access, bind, cost
from paiid_perf.database.rules.indexes.access import Path
from paiid_perf.database.rules.indexes.equalities import closed, spanning
from paiid_perf.database.rules.indexes.partners import is_key
from paiid_perf.database.rules.indexes.reckon import RATES
from paiid_perf.database.rules.indexes.selectivity import combined, distinct_values

_BEAM = 8
_OPAQUE_ROWS = 100.0
_DEFAULT_LIMIT = 10.0
#: What stands for a sub-query in a predicate's text.
_SUBQUERY = "(subquery)"

Config = Mapping[TableKey, tuple[IndexSpec, ...]]
"""The indexes that a plan may use, by table."""


@dataclass(frozen=True, slots=True, order=True)
class Outcome:
    """What the chosen plan costs."""

    cost: float
    """In the planner's units."""
    work: float
    """Nanoseconds of processor time (see ``reckon``)."""
    waiting: float = 0.0
    """Of the planner's units, what a LIMIT may have to read more than the planner thinks."""

    @property
    def doubted(self) -> float:
        return self.cost + self.waiting


@dataclass(frozen=True, slots=True)
class Rows:
    """What a join returns: as the planner reckons, and as keys have it."""

    planned: float
    actual: float

    @property
    def more(self) -> float:
        return self.actual / self.planned


class QueryPlanner:
    """Costs one query under any set of indexes. Each block remembers what it cost with those on its tables."""

    def __init__(self, query: Query, statement: Statement, catalog: Catalog) -> None:
        self.query = query
        self.tables = query.tables
        limits = _limits(query, statement)
        hints = [1.0] * len(query.blocks)
        self.blocks = [
            BlockPlanner(block, catalog, limit, hint)
            for block, limit, hint in zip(query.blocks, limits, hints, strict=True)
        ]
        if self.blocks:
            self.blocks[0].calibrate(statement)
        self._link()

    def _link(self) -> None:
        """Hand derived tables the row counts of the blocks that make them."""
        for planner in self.blocks:
            for relation in planner.block.relations:
                if relation.child is not None:
                    planner.derived_rows[relation.alias] = self.blocks[relation.child].output_rows

    def cost(self, config: Config) -> float:
        """The planner's cost of one execution, sub-queries included as often as they run."""
        return self.outcome(config).cost

    def forget(self) -> None:
        """Drop what was remembered of paths and costs."""
        for planner in self.blocks:
            planner.forget()

    def outcome(self, config: Config) -> Outcome:
        """What the plan that the planner would choose costs, in its own units and in processor time."""
        total = work = waiting = 0.0
        runs: list[float] = []
        for n, planner in enumerate(self.blocks):
            parent = planner.block.per_row_of
            times = 1.0
            if parent is not None and parent < n:
                times = max(1.0, runs[parent] * self.blocks[parent].asking(planner.block, config))
            runs.append(times)
            best = planner.outcome(config, times)
            total += times * best.cost
            work += times * best.work
            waiting += times * best.waiting
        return Outcome(total, work, waiting)


def _limits(query: Query, statement: Statement) -> list[float | None]:
    """LIMIT $n of the outermost block is what calls return, where they reach it."""
    measured = bind.limit(statement)
    return [
        block.limit if block.limit != 0 else (measured if n == 0 else _DEFAULT_LIMIT)
        for n, block in enumerate(query.blocks)
    ]


class BlockPlanner:
    """Costs one block: base paths, a beam of left-deep join orders, then sort, group and limit."""

    def __init__(self, block: Block, catalog: Catalog, limit: float | None, hint: float) -> None:
        self.block = block
        self.catalog = catalog
        self.p: PlannerSettings = catalog.planner
        self.limit = limit
        self.hint = hint
        """Measured over estimated rows of the only relation."""
        self.derived_rows: dict[str, float] = {}
        self.relations = {r.alias: r for r in block.relations}
        self.joins_of: dict[str, list[Join]] = {a: [] for a in self.relations}
        self.joins = closed(block.joins)
        for join in self.joins:
            for alias in {join.left, join.right} & self.relations.keys():
                self.joins_of[alias].append(join)
        self._paths: dict[object, list[Path]] = {}
        self._outcomes: dict[object, Outcome] = {}
        self._bases: dict[object, list[Path]] = {}
        """Ways into one relation, under the set of indexes at hand."""
        self._subset_rows: dict[frozenset[str], float] = {}
        self._actual_rows: dict[frozenset[str], float] = {}

    def forget(self) -> None:
        """Drop what was remembered of paths and costs."""
        for memory in (self._paths, self._outcomes, self._bases):
            memory.clear()

    # --- rows ------------------------------------------------------------------------------------------

    def calibrate(self, statement: Statement) -> None:
        """Where a call's rows are the rows of the only relation, the measured count replaces the guess."""
        block = self.block
        plain = len(block.relations) == 1 and self.limit is None and not (block.aggregates or block.distinct)
        if not plain or statement.calls < 1 or block.per_row_of is not None:
            return
        guessed = self.base_rows(block.relations[0].alias)
        self.hint = max(statement.rows_per_call, 0.5) / guessed
        self._subset_rows.clear()
        self._actual_rows.clear()

    def base_rows(self, alias: str) -> float:
        """Rows of one relation after its own predicates."""
        relation = self.relations[alias]
        table = self._table(relation)
        if table is None:
            return max(1.0, self.derived_rows.get(alias, _OPAQUE_ROWS))
        return max(1.0, table.rows * combined(table, relation.predicates) * self.hint)

    def _table(self, relation: Relation) -> Table | None:
        return self.catalog.tables.get(relation.table) if relation.table else None

    def rows(self, subset: frozenset[str]) -> float:
        """Rows of a join of some relations as the planner reckons them, the same for every join order."""
        if subset not in self._subset_rows:
            self._subset_rows[subset] = self._join_rows(subset, self.joins, self._foreseen_share)
        return self._subset_rows[subset]

    def actual(self, subset: frozenset[str]) -> float:
        """Rows of a join of some relations where a row finds one partner by a key, however its columns depend on each
        other. The planner knows that only of declared foreign keys; its choice follows ``rows``, its time these."""
        if subset not in self._actual_rows:
            self._actual_rows[subset] = self._join_rows(subset, self.joins, self._key_share)
        return self._actual_rows[subset]

    def _join_rows(
        self, subset: frozenset[str], joins: Iterable[Join], at_least: Callable[[Sequence[Join]], float]
    ) -> float:
        inside = spanning(j for j in joins if {j.left, j.right} <= subset)
        halves = {j.right: j for j in inside if j.kind in {"semi", "anti"}}
        rows = 1.0
        for alias in sorted(subset - halves.keys()):
            rows *= self.base_rows(alias)
        for pair in _by_pair(j for j in inside if j.kind in {"inner", "left"}):
            share = math.prod(self._join_share(join) for join in pair)
            rows *= max(share, at_least(pair))
        for join in halves.values():
            matched = min(
                1.0,
                self._distinct_after(join.right, join.right_key) / self._distinct(join.left, join.left_key),
            )
            rows *= matched if join.kind == "semi" else max(0.05, 1.0 - matched)
        return max(1.0, rows)

    def _join_share(self, join: Join) -> float:
        share = 1.0 / max(
            self._distinct(join.left, join.left_key), self._distinct(join.right, join.right_key)
        )
        if join.kind == "left":
            return max(share, 1.0 / self.base_rows(join.right))
        return share

    def _foreseen_share(self, joins: Sequence[Join]) -> float:
        """``_key_share`` where a foreign key of all the columns is declared (get_foreign_key_join_selectivity)."""
        sides = {joins[0].left: {j.left_key for j in joins}, joins[0].right: {j.right_key for j in joins}}
        declared = any(
            columns == set(key)
            for alias, columns in sides.items()
            if (table := self._table(self.relations[alias]))
            for key in table.foreign_keys
        )
        return self._key_share(joins) if declared else 0.0

    def _key_share(self, joins: Sequence[Join]) -> float:
        """The share of pairs that a join on all columns of a unique key keeps: each row of the other side has one
        partner, however the columns depend on each other. 0 where it is no such join."""
        keys = {
            joins[0].left: {j.left_key for j in joins},
            joins[0].right: {j.right_key for j in joins},
        }
        tables = [(self._table(self.relations[alias]), columns) for alias, columns in keys.items()]
        rows = [table.rows for table, columns in tables if table and is_key(columns, table)]
        return 1.0 / max(*rows, 1.0) if rows else 0.0

    def _distinct(self, alias: str, key: str) -> float:
        table = self._table(self.relations[alias])
        return distinct_values(table, key) if table else self.base_rows(alias)

    def _distinct_after(self, alias: str, key: str) -> float:
        return min(self._distinct(alias, key), self.base_rows(alias))

    @cached_property
    def output_rows(self) -> float:
        """Rows that the block returns."""
        rows = self.actual(frozenset(self.relations)) if self.relations else 1.0
        if self.block.group:
            rows = min(rows, self._groups())
        elif self.block.aggregates:
            rows = 1.0
        return min(rows, self.limit) if self.limit is not None else rows

    def asking(self, inner: Block, config: Config) -> float:
        """Rows for which a correlated sub-query runs: where an index checks what it is compared with, it runs once
        for each row that the index is asked for."""
        if not inner.filters:
            return self.output_rows
        if inner.compared and self._is_checked(*inner.compared, config):
            return self.base_rows(inner.compared[2])
        return self.asking_rows

    def _is_checked(self, alias: str, column: str, other: str, config: Config) -> bool:
        """Whether an index has the column right after those that join the table to the other."""
        tied = {
            j.left_key if j.left == alias else j.right_key
            for j in self.joins_of[alias]
            if {j.left, j.right} == {alias, other}
        }
        keys = (spec.key_texts for spec in config.get(self.relations[alias].table or "", ()))
        return any(
            column in k and tied.issuperset(k[: k.index(column)]) and k.index(column) > 0 for k in keys
        )

    @cached_property
    def asking_rows(self) -> float:
        """Rows for which the sub-queries of its WHERE run: those that are left before they have had their say."""
        kept = 1.0
        for relation in self.block.relations:
            table = self._table(relation)
            asked = [p for p in relation.predicates if _SUBQUERY in p.text]
            kept *= combined(table, asked) if table and asked else 1.0
        joins = [j for j in self.joins if not (j.right_key.startswith("?") and j.kind == "inner")]
        return self._join_rows(frozenset(self.relations), joins, self._key_share) / kept

    def _groups(self) -> float:
        groups = 1.0
        for key in self.block.group:
            groups *= self._distinct(key.alias, key.key)
        return groups

    # --- paths -----------------------------------------------------------------------------------------

    def cost(self, config: Config, loops: float = 1.0) -> float:
        """The cheapest plan's cost for one run of the block."""
        return self.outcome(config, loops).cost

    def outcome(self, config: Config, loops: float = 1.0) -> Outcome:
        """The cheapest plan for one run of the block."""
        if not self.relations:
            return Outcome(self.p.cpu_tuple_cost, RATES.row)
        tables = {r.table for r in self.block.relations if r.table}
        key = (frozenset(s for t in tables for s in config.get(t, ())), round(loops))
        if key not in self._outcomes:
            self._bases.clear()
            self._outcomes[key] = min(self._finished(path) for path in self._joined(config, loops))
        return self._outcomes[key]

    @cached_property
    def _share(self) -> float:
        """The share of the join's rows that LIMIT lets the plan stop at."""
        if self.limit is None or self.block.aggregates or (self.block.distinct and not self.block.order):
            return 1.0
        return min(1.0, self.limit / self.rows(frozenset(self.relations)))

    def _finished(self, path: Path) -> Outcome:
        rows = self.rows(frozenset(self.relations))
        if self.block.aggregates or (self.block.distinct and not self.block.sorts):
            groups = self._groups() if self.block.group else 1.0
            total = (
                path.total + rows * 2 * self.p.cpu_operator_cost + min(groups, rows) * self.p.cpu_tuple_cost
            )
            after = cost.sort(min(groups, rows), 32, self.p) if self.block.sorts else 0.0
            return Outcome(total + after, path.work + path.actual * RATES.aggregate)
        if self.block.sorts and not path.ordered:
            total = path.total + cost.sort(rows, self._width(), self.p, self.limit)
            sorting = path.actual * math.log2(max(path.actual, 2.0)) * RATES.compare
            return Outcome(total + rows * self.p.cpu_operator_cost, path.work + sorting)
        share = self._share
        return Outcome(path.fraction(share), path.fraction_work(share), path.waiting(share))

    def _width(self) -> float:
        return 32.0 * len(self.relations)

    def _joined(self, config: Config, loops: float) -> list[Path]:
        level: dict[frozenset[str], list[Path]] = {}
        for alias in self.relations:
            if self._may_start(alias):
                level[frozenset({alias})] = self._kept(self._base(alias, config, frozenset(), loops))
        for _ in range(len(self.relations) - 1):
            level = self._extended(level, config)
        return next(iter(level.values()))

    def _may_start(self, alias: str) -> bool:
        return not any(j.right == alias and j.kind in {"left", "anti"} for j in self.joins_of[alias])

    def _extended(
        self, level: dict[frozenset[str], list[Path]], config: Config
    ) -> dict[frozenset[str], list[Path]]:
        grown: dict[frozenset[str], list[Path]] = {}
        for subset, paths in level.items():
            for alias in self._neighbours(subset):
                bigger = subset | {alias}
                found = [j for path in paths for j in self._join_paths(path, subset, alias, config)]
                grown[bigger] = self._kept(grown.get(bigger, []) + found)
        best = sorted(grown.items(), key=lambda item: (min(p.total for p in item[1]), sorted(item[0])))
        return dict(best[:_BEAM])

    def _neighbours(self, subset: frozenset[str]) -> list[str]:
        outside = [a for a in self.relations if a not in subset and self._allowed(a, subset)]
        linked = [a for a in outside if any({j.left, j.right} - {a} <= subset for j in self.joins_of[a])]
        return linked or outside or [a for a in self.relations if a not in subset]

    def _allowed(self, alias: str, subset: frozenset[str]) -> bool:
        """A left or anti join's right side comes after its left side."""
        return all(
            j.left in subset for j in self.joins_of[alias] if j.right == alias and j.kind in {"left", "anti"}
        )

    def _kept(self, paths: list[Path]) -> list[Path]:
        """The cheapest path, and the one that is cheapest when LIMIT stops it early in the right order."""
        keep = [min(paths, key=lambda q: q.total)]
        useful = [q for q in paths if q.ordered] if self.block.sorts else paths
        if useful:
            keep.append(min(useful, key=lambda q: q.fraction(self._share)))
        return list(dict.fromkeys(keep))

    def _join_paths(self, outer: Path, subset: frozenset[str], alias: str, config: Config) -> list[Path]:
        joins = [j for j in self.joins_of[alias] if {j.left, j.right} - {alias} <= subset]
        rows = Rows(self.rows(subset | {alias}), self.actual(subset | {alias}))
        plain = min(self._base(alias, config, frozenset(), 1.0), key=lambda q: q.total)
        paths = [self._nested(outer, plain, rows)]
        if joins:
            paths.append(self._hashed(outer, plain, rows))
            keys = frozenset(j.right_key if j.right == alias else j.left_key for j in joins)
            paths += [
                self._looped(outer, inner, rows, joins, alias)
                for inner in self._base(alias, config, keys, self._loops(joins, alias))
                if inner.total < plain.total
            ]
        return paths

    def _loops(self, joins: Iterable[Join], alias: str) -> float:
        """How often the planner takes an inner scan to be repeated: as the smallest relation that gives it values has
        rows of its own (get_loop_count), whatever has been joined to that before."""
        return min(self.base_rows(j.left if j.right == alias else j.right) for j in joins)

    def _hashed(self, outer: Path, inner: Path, rows: Rows) -> Path:
        small, large = sorted((outer, inner), key=lambda path: path.rows)
        own = cost.hash_join(large.rows, small.rows, 32, self.p) + rows.planned * self.p.cpu_tuple_cost
        work = small.actual * RATES.build + large.actual * RATES.probe + rows.actual * RATES.aggregate
        return Path(
            rows.planned,
            inner.total + outer.startup,
            outer.total + inner.total + own,
            False,
            outer.work + inner.work + work,
            more=rows.more,
        )

    def _nested(self, outer: Path, inner: Path, rows: Rows) -> Path:
        """A nested loop over a materialised inner side."""
        compared = outer.rows * inner.rows * self.p.cpu_operator_cost
        total = outer.total + inner.total + compared + rows.planned * self.p.cpu_tuple_cost
        work = outer.actual * inner.actual * RATES.condition + rows.actual * RATES.join
        startup = outer.startup + inner.total
        return _passed_on(outer, rows, startup, total, outer.work + inner.work + work)

    def _looped(self, outer: Path, inner: Path, rows: Rows, joins: list[Join], alias: str) -> Path:
        """A nested loop with an index look-up per outer row; a semi join stops at the first match."""
        each, work = inner.total, inner.work
        if any(j.kind in {"semi", "anti"} and j.right == alias for j in joins):
            share = min(1.0, 2.0 / (inner.rows + 1.0))
            each, work = inner.fraction(share), max(RATES.descent, inner.fraction_work(share))
        unforeseen = max(0.0, rows.actual - outer.actual * inner.rows) * (RATES.entry + RATES.far)
        work = outer.work + outer.actual * work + unforeseen + (outer.actual + rows.actual) * RATES.join
        total = outer.total + outer.rows * each + rows.planned * self.p.cpu_tuple_cost
        return _passed_on(outer, rows, outer.startup + inner.startup, total, work)

    def _base(self, alias: str, config: Config, join_keys: frozenset[str], loops: float) -> list[Path]:
        key = (alias, join_keys, loops)
        if key not in self._bases:
            self._bases[key] = self._found_base(alias, config, join_keys, loops)
        return self._bases[key]

    def _found_base(self, alias: str, config: Config, join_keys: frozenset[str], loops: float) -> list[Path]:
        relation = self.relations[alias]
        table = self._table(relation)
        if table is None:
            rows = self.base_rows(alias)
            return [Path(rows, 0.0, rows * self.p.cpu_tuple_cost, False, rows * RATES.row)]
        specs = config.get(table.key, ())
        rows = self._rows_per_loop(alias, table, join_keys)
        paths = [] if join_keys else [access.sequential_path(relation, table, rows, self.p)]
        for spec in specs:
            paths += self._index_paths(relation, table, spec, join_keys, loops, rows)
        either = access.or_path(relation, table, ((s, 0) for s in specs), rows, self.p)
        return [*paths, either] if either else paths

    def _rows_per_loop(self, alias: str, table: Table, join_keys: frozenset[str]) -> float:
        rows = self.base_rows(alias)
        for key in join_keys:
            rows /= distinct_values(table, key)
        return max(1.0, rows)

    def _index_paths(
        self,
        relation: Relation,
        table: Table,
        spec: IndexSpec,
        join_keys: frozenset[str],
        loops: float,
        rows: float,
    ) -> list[Path]:
        key = (relation.alias, spec, join_keys, round(loops))
        if key not in self._paths:
            own_order = all(k.alias == relation.alias for k in self.block.order)
            order = self.block.order if own_order else ()
            self._paths[key] = access.index_path(
                spec,
                relation,
                table,
                order,
                self.p,
                rows=rows,
                join_keys=join_keys,
                loops=max(1.0, loops),
            )
        return self._paths[key]


def _passed_on(outer: Path, rows: Rows, startup: float, total: float, work: float) -> Path:
    """A nested loop: in the order of its outer side, of whose rows the join's filters let a share through."""
    passing = outer.passing * min(1.0, rows.actual / max(1.0, outer.actual))
    return Path(rows.planned, startup, total, outer.ordered, work, passing, rows.more)


def _by_pair(joins: Iterable[Join]) -> Iterable[list[Join]]:
    """The joins of each two relations, those written the other way round turned about."""
    found: dict[tuple[str, str], list[Join]] = {}
    for join in joins:
        turned = (join.right, join.left) in found
        same = replace(
            join, left=join.right, right=join.left, left_key=join.right_key, right_key=join.left_key
        )
        found.setdefault((join.right, join.left) if turned else (join.left, join.right), []).append(
            same if turned else join
        )
    return found.values()


def existing(catalog: Catalog, without: Iterable[str] = ()) -> dict[TableKey, tuple[IndexSpec, ...]]:
    """The valid indexes that are there, by table; ``without`` names some to leave out."""
    gone = set(without)
    return {
        t.key: tuple(i.spec for i in t.indexes if i.valid and i.name not in gone)
        for t in catalog.tables.values()
    }


def with_indexes(config: Config, specs: Iterable[IndexSpec]) -> dict[TableKey, tuple[IndexSpec, ...]]:
    """A configuration with more indexes, in an order that does not depend on how they were found."""
    grown = dict(config)
    for spec in sorted(specs, key=repr):
        grown[spec.table] = (*grown.get(spec.table, ()), spec)
    return grown


def weakened(predicates: Iterable[Predicate], op: str) -> tuple[Predicate, ...]:
    """The predicates without those of one operator (what an index cannot be asked)."""
    return tuple(replace(p) for p in predicates if p.op != op)
