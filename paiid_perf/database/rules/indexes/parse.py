"""From SQL text to blocks of relations, predicates, joins and sort orders.

sqlglot (MIT) parses; names are resolved here against the catalogue. Sub-queries, CTEs and views are flattened where
PostgreSQL's planner flattens them (prepjointree.c), so that a predicate lands on the table that it filters.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import sqlglot
from sqlglot import exp

from paiid_perf.database.index_types import (
    Block,
    Catalog,
    Join,
    JoinKind,
    Op,
    Predicate,
    Query,
    Relation,
    SortKey,
    TableKey,
    Write,
)
from paiid_perf.database.rules.indexes.texts import repaired

logging.getLogger("sqlglot").setLevel(logging.ERROR)

#: A node of sqlglot's tree: its class hierarchy differs between the versions that we accept.
Node: TypeAlias = Any

_MAX_DEPTH = 12
_RANGES: dict[type[Any], tuple[bool, bool]] = {
    # operator → (bounds below, bounds above)
    exp.GT: (True, False),
    exp.GTE: (True, False),
    exp.LT: (False, True),
    exp.LTE: (False, True),
}
_OPS: dict[type[Any], Op] = {
    exp.ArrayContainsAll: "contains",
    exp.ArrayContainedBy: "other",
    exp.ArrayOverlaps: "overlap",
    exp.JSONBContainsTopKey: "other",
    exp.MatchAgainst: "search",
    exp.Like: "like",
    exp.ILike: "ilike",
}
_TEXT_TYPES = {exp.DataType.Type.TEXT, exp.DataType.Type.VARCHAR, exp.DataType.Type.CHAR}


@dataclass(frozen=True, slots=True)
class Bindings:
    """What sampled runs say about ``$n``: a value seen, and whether every sample had it."""

    values: Mapping[int, str] = field(default_factory=dict)
    stable: frozenset[int] = frozenset()


class Unparsable(ValueError):
    """The text is not SQL that the advisor can read."""


@dataclass(slots=True)
class _Source:
    """A FROM item while it is read: a base table, or the outputs of a derived one."""

    alias: str
    table: TableKey | None = None
    outputs: dict[str, Node] = field(default_factory=dict)
    """Output column → expression over aliases of the enclosing block (flattened) or of the child block."""
    child: int | None = None


@dataclass(slots=True)
class _Scope:
    """The names one SELECT can see, and the block it fills."""

    block: int
    parent: _Scope | None
    ctes: dict[str, Node]
    sources: dict[str, _Source] = field(default_factory=dict)
    prefix: str = ""


@dataclass(slots=True)
class _Draft:
    """A block while it grows."""

    tables: dict[str, TableKey | None] = field(default_factory=dict)
    children: dict[str, int] = field(default_factory=dict)
    predicates: dict[str, list[Predicate]] = field(default_factory=dict)
    columns: dict[str, set[str]] = field(default_factory=dict)
    stars: set[str] = field(default_factory=set)
    joins: list[Join] = field(default_factory=list)
    order: list[SortKey] = field(default_factory=list)
    sorts: bool = False
    group: list[SortKey] = field(default_factory=list)
    aggregates: bool = False
    distinct: bool = False
    limit: float | None = None
    per_row_of: int | None = None

    def add(self, alias: str, table: TableKey | None, child: int | None = None) -> None:
        self.tables[alias] = table
        self.predicates.setdefault(alias, [])
        self.columns.setdefault(alias, set())
        if child is not None:
            self.children[alias] = child

    def finished(self) -> Block:
        relations = tuple(
            Relation(
                alias,
                table,
                tuple(dict.fromkeys(self.predicates[alias])),
                frozenset(self.columns[alias]),
                alias in self.stars,
                self.children.get(alias),
            )
            for alias, table in self.tables.items()
        )
        return Block(
            relations,
            tuple(dict.fromkeys(self.joins)),
            tuple(self.order),
            self.sorts,
            tuple(self.group),
            self.aggregates,
            self.distinct,
            self.limit,
            self.per_row_of,
        )


def parse(text: str, catalog: Catalog, bindings: Bindings | None = None) -> Query:
    """What the statement reads and writes.

    Raises:
        Unparsable: sqlglot cannot read it, or it is no SELECT, INSERT, UPDATE, DELETE or MERGE.
    """
    try:
        tree = sqlglot.parse_one(repaired(text), read="postgres")
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise Unparsable(str(error).splitlines()[0]) from error
    if not isinstance(tree, exp.Query | exp.Insert | exp.Update | exp.Delete):
        raise Unparsable(f"{type(tree).__name__} is not a statement that indexes serve")
    try:
        return _Reader(catalog, bindings or Bindings()).statement(tree)
    except RecursionError as error:
        raise Unparsable("nested too deeply") from error


class _Reader:
    """Reads one statement; holds the blocks found so far."""

    def __init__(self, catalog: Catalog, bindings: Bindings) -> None:
        self.catalog = catalog
        self.bindings = bindings
        self.drafts: list[_Draft] = []
        self.notes: list[str] = []
        self.depth = 0
        self.correlated: set[int] = set()
        """Blocks that read a column of an enclosing one."""

    # --- statements ------------------------------------------------------------------------------------

    def statement(self, tree: Node) -> Query:
        write = None
        if isinstance(tree, exp.Query):
            self.query(tree, None, {}, None)
        else:
            write = self._write(tree)
        blocks = tuple(d.finished() for d in self.drafts)
        return Query(blocks, write, tuple(dict.fromkeys(self.notes)))

    def _write(self, tree: Node) -> Write | None:
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        table = self._table(target) if isinstance(target, exp.Table) else None
        if isinstance(tree, exp.Insert):
            source = tree.args.get("expression")
            if isinstance(source, exp.Query):
                self.query(source, None, self._ctes(tree, {}), None)
            return Write(table, "insert") if table else None
        self._modify(tree, target)
        if table is None:
            return None
        if isinstance(tree, exp.Delete):
            return Write(table, "delete")
        return Write(table, "update", frozenset(_assigned(tree)))

    def _table(self, node: exp.Table) -> TableKey | None:
        key = self.catalog.resolve(_name(node.args.get("db")), _name(node.this))
        return key if key in self.catalog.tables else None

    def _modify(self, tree: Node, target: Node) -> None:
        """The reading half of an UPDATE or DELETE, as a SELECT."""
        scope = self._new_scope(None, self._ctes(tree, {}), None)
        self._source(target, scope, "inner")
        from_ = tree.args.get("from_") or tree.args.get("from")
        for item in [from_.this] if from_ is not None else []:
            self._source(item, scope, "inner")
        for item in tree.args.get("using") or []:
            self._source(item, scope, "inner")
        where = tree.args.get("where")
        if where is not None:
            self._conditions(where.this, scope)
        for value in tree.args.get("expressions") or []:
            self._note_columns(value, scope)

    # --- queries ---------------------------------------------------------------------------------------

    def _new_scope(self, parent: _Scope | None, ctes: dict[str, Node], per_row_of: int | None) -> _Scope:
        self.drafts.append(_Draft(per_row_of=per_row_of))
        return _Scope(len(self.drafts) - 1, parent, ctes)

    def _ctes(self, tree: Node, known: dict[str, Node]) -> dict[str, Node]:
        with_ = tree.args.get("with_") or tree.args.get("with")
        found = dict(known)
        for cte in with_.expressions if with_ is not None else []:
            if isinstance(cte.this, exp.Query):
                found[_name(cte.args["alias"].this)] = cte.this
            else:
                self.notes.append("a CTE that writes is costed without its reads")
        return found

    def query(self, tree: Node, parent: _Scope | None, ctes: dict[str, Node], per_row_of: int | None) -> int:
        """Read a SELECT or set operation into blocks of its own; returns the first one's number."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Unparsable("nested too deeply")
        try:
            tree = _unwrapped(tree)
            ctes = self._ctes(tree, ctes)
            if isinstance(tree, exp.SetOperation):
                first = self.query(tree.left, parent, ctes, per_row_of)
                self.query(tree.right, parent, ctes, per_row_of)
                return first
            scope = self._new_scope(parent, ctes, per_row_of)
            if isinstance(tree, exp.Select):
                self.select(tree, scope)
            return scope.block
        finally:
            self.depth -= 1

    def select(self, tree: exp.Select, scope: _Scope) -> None:
        self._from(tree, scope)
        draft = self.drafts[scope.block]
        for clause in ("where", "having"):
            node = tree.args.get(clause)
            if node is not None and clause == "where":
                self._conditions(node.this, scope)
            elif node is not None:
                self._note_columns(node.this, scope)
        self._outputs(tree, scope)
        self._grouping(tree, scope, draft)
        self._ordering(tree, scope, draft)
        self._limit(tree, draft)

    def _from(self, tree: exp.Select, scope: _Scope) -> None:
        from_ = tree.args.get("from_") or tree.args.get("from")
        if from_ is not None:
            self._source(from_.this, scope, "inner")
        for join in tree.args.get("joins") or []:
            self._joined(join, scope)
        for lateral in tree.args.get("laterals") or []:
            self._source(lateral, scope, "inner")

    def _joined(self, join: exp.Join, scope: _Scope) -> None:
        side = (join.args.get("side") or "").upper()
        kind: JoinKind = "left" if side in {"LEFT", "RIGHT", "FULL"} else "inner"
        before = set(self.drafts[scope.block].tables)
        self._source(join.this, scope, kind)
        added = set(self.drafts[scope.block].tables) - before
        on = join.args.get("on")
        if on is not None:
            self._conditions(on, scope, kind, added)
        for column in join.args.get("using") or []:
            self._using(_name(column), before, added, scope, kind)

    def _using(self, column: str, before: set[str], added: set[str], scope: _Scope, kind: JoinKind) -> None:
        left = next((a for a in before if self._has_column(a, column, scope)), None)
        right = next((a for a in added if self._has_column(a, column, scope)), None)
        if left and right:
            self._join(left, column, right, column, scope, kind)

    def _has_column(self, alias: str, column: str, scope: _Scope) -> bool:
        table = self.drafts[scope.block].tables[alias]
        return table is not None and column in self.catalog.tables[table].columns

    # --- FROM ------------------------------------------------------------------------------------------

    def _source(self, node: Node, scope: _Scope, kind: JoinKind) -> None:
        if isinstance(node, exp.Paren):
            self._source(node.this, scope, kind)
        elif isinstance(node, exp.Table):
            self._table_source(node, scope)
        elif isinstance(node, exp.Lateral):
            self._derived(node.this, node.alias, scope, lateral=True)
        elif isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            self._source(node.this, scope, kind)
        elif isinstance(node, exp.Subquery):
            self._derived(node.this, node.alias, scope, kind=kind)
        else:
            self._opaque(node.alias_or_name, scope)
        for join in node.args.get("joins") or []:
            self._joined(join, scope)

    def _table_source(self, node: exp.Table, scope: _Scope) -> None:
        name, schema = _name(node.this), _name(node.args.get("db"))
        alias = _folded(node.args["alias"].this) if node.args.get("alias") else name
        if not schema and name in scope.ctes:
            inner = {k: v for k, v in scope.ctes.items() if k != name}
            self._derived(scope.ctes[name], alias, replace_ctes(scope, inner), into=scope)
            return
        key = self.catalog.resolve(schema, name)
        if key is not None and key in self.catalog.views:
            self._view(key, alias, scope)
        elif key is None:
            self._opaque(alias, scope)
        else:
            own = self._unique(scope.prefix + alias, scope)
            self.drafts[scope.block].add(own, key)
            scope.sources[alias] = _Source(own, key)

    def _view(self, key: TableKey, alias: str, scope: _Scope) -> None:
        try:
            tree = sqlglot.parse_one(self.catalog.views[key].rstrip().rstrip(";"), read="postgres")
        except sqlglot.errors.SqlglotError:
            self._opaque(alias, scope)
            return
        self._derived(tree, alias, replace_ctes(scope, {}), into=scope)

    def _opaque(self, alias: str, scope: _Scope) -> None:
        """A function, VALUES, or a relation that the catalogue does not know."""
        own = self._unique(scope.prefix + (alias or "unnamed"), scope)
        self.drafts[scope.block].add(own, None)
        scope.sources[alias or own] = _Source(own)

    def _derived(
        self,
        tree: Node,
        alias: str,
        scope: _Scope,
        *,
        into: _Scope | None = None,
        lateral: bool = False,
        kind: JoinKind = "inner",
    ) -> None:
        into = into or scope
        tree = _unwrapped(tree)
        if isinstance(tree, exp.Select) and kind == "inner" and _is_flat(tree) and not lateral:
            into.sources[alias] = self._flattened(tree, alias, scope, into)
            return
        parent = scope if lateral else scope.parent
        child = (
            self.query(tree, parent, scope.ctes, into.block if lateral else None) if _reads(tree) else None
        )
        own = self._unique(into.prefix + (alias or "derived"), into)
        self.drafts[into.block].add(own, None, child)
        into.sources[alias or own] = _Source(own, None, self._child_outputs(tree, child), child)

    def _flattened(self, tree: exp.Select, alias: str, scope: _Scope, into: _Scope) -> _Source:
        inner = _Scope(into.block, scope.parent, self._ctes(tree, scope.ctes), {}, f"{into.prefix}{alias}.")
        self._from(tree, inner)
        where = tree.args.get("where")
        if where is not None:
            self._conditions(where.this, inner)
        outputs: dict[str, Node] = {}
        for item in tree.expressions:
            outputs |= self._flat_outputs(item, inner)
        return _Source(alias, None, outputs)

    def _flat_outputs(self, item: Node, inner: _Scope) -> dict[str, Node]:
        if isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star)):
            return self._starred(item, inner)
        body = item.this if isinstance(item, exp.Alias) else item
        name = _folded(item.args["alias"]) if isinstance(item, exp.Alias) else _folded_name(item)
        return {name: self._resolved(body, inner)}

    def _starred(self, item: Node, inner: _Scope) -> dict[str, Node]:
        wanted = _folded(item.args.get("table")) if isinstance(item, exp.Column) else ""
        outputs: dict[str, Node] = {}
        for alias, source in inner.sources.items():
            if wanted and alias != wanted:
                continue
            if source.table:
                columns = self.catalog.tables[source.table].columns
                outputs |= {c: _column(source.alias, c) for c in columns}
            outputs |= source.outputs
        return outputs

    def _child_outputs(self, tree: Node, child: int | None) -> dict[str, Node]:
        """Outputs of a derived table that are plain columns of its own block and may be filtered there."""
        if child is None or not isinstance(tree, exp.Select):
            return {}
        outputs: dict[str, Node] = {}
        for item in tree.expressions:
            body = item.this if isinstance(item, exp.Alias) else item
            if isinstance(body, exp.Column) and not isinstance(body.this, exp.Star):
                name = _folded(item.args["alias"]) if isinstance(item, exp.Alias) else _folded_name(item)
                outputs[name] = body
        return outputs

    def _unique(self, alias: str, scope: _Scope) -> str:
        taken, own, n = self.drafts[scope.block].tables, alias, 1
        while own in taken:
            n += 1
            own = f"{alias}#{n}"
        return own

    # --- names -----------------------------------------------------------------------------------------

    def _find(self, column: exp.Column, scope: _Scope) -> tuple[_Scope, Node] | None:
        """The scope that knows the column, and what it means there (a column of a block's alias, or an expression)."""
        table, name = _folded(column.args.get("table")), _folded(column.this)
        at: _Scope | None = scope
        crossed: set[int] = set()
        while at is not None:
            found = self._in_scope(at, table, name)
            if found is not None:
                self.correlated |= crossed - {at.block}
                return at, found
            crossed.add(at.block)
            at = at.parent
        return None

    def _in_scope(self, scope: _Scope, table: str, name: str) -> Node | None:
        for alias, source in scope.sources.items():
            if not table or alias == table:
                found = self._column_of(source, name, explicit=bool(table))
                if found is not None:
                    return found
        return None

    def _column_of(self, source: _Source, name: str, *, explicit: bool) -> Node | None:
        if source.table is not None:
            known = name in self.catalog.tables[source.table].columns
            return _column(source.alias, name) if known else None
        if name in source.outputs and source.child is None:
            return source.outputs[name]
        return _column(source.alias, name) if explicit or name in source.outputs else None

    def _resolved(self, node: Node, scope: _Scope) -> Node:
        """A copy in which each column carries its block's alias; outer columns become parameters."""

        def swap(n: Node) -> Node:
            if isinstance(n, exp.Query) and not isinstance(n, exp.Subquery):
                return exp.Placeholder(this="subquery")
            if not isinstance(n, exp.Column) or isinstance(n.this, exp.Star) or n.meta.get("own"):
                return n
            found = self._find(n, scope)
            if found is None:
                return n
            if found[0].block != scope.block:
                return exp.Placeholder(this="outer")
            self._use(found[1], scope.block)
            return found[1].copy()

        return node.copy().transform(swap)

    def _use(self, node: Node, block: int) -> None:
        for column in node.find_all(exp.Column):
            alias = column.table
            if alias in self.drafts[block].columns:
                self.drafts[block].columns[alias].add(column.name)

    def _nested(self, tree: Node, scope: _Scope) -> int:
        """A sub-query in an expression: run once, or once a row where it reads the row."""
        block = self.query(tree, scope, scope.ctes, scope.block)
        if block not in self.correlated:
            self.drafts[block].per_row_of = None
        return block

    def _note_columns(self, node: Node, scope: _Scope) -> None:
        """Record the columns that an expression reads, and read the sub-queries inside it."""
        for inner in _outermost_queries(node):
            self._nested(inner, scope)
        for column in _own_columns(node):
            if isinstance(column.this, exp.Star):
                self._star(_folded(column.args.get("table")), scope)
                continue
            found = self._find(column, scope)
            if found is not None and found[0].block == scope.block:
                self._use(found[1], scope.block)

    def _star(self, table: str, scope: _Scope) -> None:
        for alias, source in scope.sources.items():
            if not table or alias == table:
                self.drafts[scope.block].stars.add(source.alias)

    # --- conditions ------------------------------------------------------------------------------------

    def _conditions(
        self, node: Node, scope: _Scope, kind: JoinKind = "inner", inner: set[str] | None = None
    ) -> None:
        for conjunct in _conjuncts(node):
            self._condition(conjunct, scope, kind, inner or set())

    def _condition(self, node: Node, scope: _Scope, kind: JoinKind, inner: set[str]) -> None:
        if self._subquery_condition(node, scope):
            return
        self._note_columns(node, scope)
        resolved = self._resolved(node, scope)
        aliases = _aliases(resolved)
        if (
            isinstance(resolved, exp.EQ)
            and len(aliases) == 2
            and self._equi_join(resolved, scope, kind, inner)
        ):
            return
        if len(aliases) != 1:
            return
        alias = next(iter(aliases))
        predicate = self._predicate(resolved)
        if kind == "left" and alias not in inner:
            return
        self._place(alias, predicate, scope)

    def _place(self, alias: str, predicate: Predicate, scope: _Scope) -> None:
        draft = self.drafts[scope.block]
        child = draft.children.get(alias)
        if child is None or not predicate.is_column:
            draft.predicates[alias].append(predicate)
            return
        self._push_down(alias, predicate, scope, child)

    def _push_down(self, alias: str, predicate: Predicate, scope: _Scope, child: int) -> None:
        """A filter on a grouped sub-query's key filters the sub-query's table (subquery_push_qual)."""
        source = next(s for s in scope.sources.values() if s.alias == alias)
        body, inner = source.outputs.get(predicate.key), self.drafts[child]
        if body is None or inner.limit is not None:
            return
        name = body.name
        owner = next((a for a, cols in inner.columns.items() if name in cols and inner.tables[a]), None)
        keys = {k.key for k in inner.group}
        if owner is not None and (not inner.aggregates or name in keys):
            moved = replace(predicate, key=name, columns=frozenset({name}))
            inner.predicates[owner].append(moved)

    def _equi_join(self, node: exp.EQ, scope: _Scope, kind: JoinKind, inner: set[str]) -> bool:
        sides = [_aliases(node.left), _aliases(node.right)]
        if any(len(s) != 1 for s in sides) or sides[0] == sides[1]:
            return False
        left, right = (next(iter(s)) for s in sides)
        left_key, right_key = self._key(node.left)[0], self._key(node.right)[0]
        if left in inner and right not in inner:
            left, left_key, right, right_key = right, right_key, left, left_key
        self._join(left, left_key, right, right_key, scope, kind)
        return True

    def _join(
        self, left: str, left_key: str, right: str, right_key: str, scope: _Scope, kind: JoinKind
    ) -> None:
        draft = self.drafts[scope.block]
        draft.joins.append(Join(left, left_key, right, right_key, kind))
        for alias, key in ((left, left_key), (right, right_key)):
            draft.columns[alias].add(key)

    def _subquery_condition(self, node: Node, scope: _Scope) -> bool:
        """EXISTS, IN (SELECT …) and their negations, as semi and anti joins where the planner makes them so."""
        negated = isinstance(node, exp.Not)
        body = _unparenthesised(node.this if negated else node)
        if isinstance(body, exp.Exists):
            return self._semi(body.this, None, scope, "anti" if negated else "semi")
        body = _any_as_in(body)
        if isinstance(body, exp.In) and body.args.get("query") is not None:
            if negated:
                self.notes.append("NOT IN (SELECT …) cannot become an anti join: use NOT EXISTS")
                self._nested(body.args["query"], scope)
                self._note_columns(body.this, scope)
                return True
            return self._semi(body.args["query"], body.this, scope, "semi")
        return False

    def _semi(self, tree: Node, outer: Node | None, scope: _Scope, kind: JoinKind) -> bool:
        tree = _unwrapped(tree)
        if not isinstance(tree, exp.Select) or not _is_flat(tree, semi=True):
            return self._hashed(tree, outer, scope)
        draft = self.drafts[scope.block]
        before = set(draft.tables)
        inner = _Scope(
            scope.block, scope, self._ctes(tree, scope.ctes), {}, f"{scope.prefix}in{len(before)}."
        )
        self._from(tree, inner)
        added = set(draft.tables) - before
        where = tree.args.get("where")
        self._conditions(where.this, inner) if where is not None else None
        if outer is not None and tree.expressions:
            self._in_join(outer, tree.expressions[0], scope, inner, kind)
        draft.joins = [_as_kind(j, before, added, kind) for j in draft.joins]
        return True

    def _in_join(self, outer: Node, item: Node, scope: _Scope, inner: _Scope, kind: JoinKind) -> None:
        body = item.this if isinstance(item, exp.Alias) else item
        left, right = self._resolved(outer, scope), self._resolved(body, inner)
        ours, theirs = _aliases(left), _aliases(right)
        if len(ours) == 1 and len(theirs) == 1:
            pair = next(iter(ours)), self._key(left)[0], next(iter(theirs)), self._key(right)[0]
            self._join(*pair, scope, kind)

    def _hashed(self, tree: Node, outer: Node | None, scope: _Scope) -> bool:
        """``IN`` over a query that is not flattened: its own block, joined as a derived table."""
        child = self._nested(tree, scope)
        if outer is None:
            return True
        own = self._unique(f"{scope.prefix}in", scope)
        self.drafts[scope.block].add(own, None, child)
        left = self._resolved(outer, scope)
        if len(_aliases(left)) == 1:
            self._join(next(iter(_aliases(left))), self._key(left)[0], own, "?", scope, "semi")
        return True

    # --- predicates ------------------------------------------------------------------------------------

    def _predicate(self, node: Node) -> Predicate:
        """One conjunct whose columns are all of one alias."""
        node = _unparenthesised(node)
        text, columns = self.canonical(node), _columns(node)
        found = self._or(node) or self._comparison(node) or self._boolean(node)
        if found is None:
            return Predicate("", False, "other", (), text, columns)
        return replace(found, text=text, columns=columns)

    def _or(self, node: Node) -> Predicate | None:
        if not isinstance(node, exp.Or):
            return None
        branches = tuple(self._strongest(b) for b in node.flatten())
        keys = {b.key for b in branches}
        if len(keys) == 1 and all(b.op in {"eq", "in"} for b in branches):
            values = tuple(v for b in branches for v in b.values)
            return replace(branches[0], op="in", values=values)
        return Predicate("", False, "or", branches=branches)

    def _strongest(self, node: Node) -> Predicate:
        """The conjunct of an OR's branch that an index would serve: equality before range."""
        rank = {"eq": 0, "in": 1, "contains": 2, "search": 2, "range": 3, "like": 4, "ilike": 4}
        found = [self._predicate(c) for c in _conjuncts(node)]
        return min(found, key=lambda p: rank.get(p.op, 9))

    def _comparison(self, node: Node) -> Predicate | None:
        if isinstance(node, exp.Escape):
            return self._comparison(node.this)
        if isinstance(node, exp.In):
            return self._listed(node)
        if isinstance(node, exp.Between):
            bounds = (self._literal(node.args["low"]), self._literal(node.args["high"]))
            return self._keyed(node.this, "range", bounds)
        if isinstance(node, exp.Is):
            return self._is(node)
        if isinstance(node, exp.EQ | exp.NullSafeEQ) or type(node) in _RANGES or type(node) in _OPS:
            return self._binary(node)
        return None

    def _listed(self, node: exp.In) -> Predicate | None:
        if isinstance(node.this, exp.Tuple):
            return None
        values = tuple(self._literal(v) for v in node.expressions)
        return self._keyed(node.this, "eq" if len(values) == 1 else "in", values)

    def _is(self, node: exp.Is) -> Predicate | None:
        negated = bool(node.args.get("negate"))
        if isinstance(node.expression, exp.Null):
            return self._keyed(node.this, "notnull" if negated else "null", ())
        if isinstance(node.expression, exp.Boolean) and not negated:
            return self._keyed(node.this, "eq", (str(node.expression.this).lower(),))
        return None

    def _binary(self, node: Node) -> Predicate | None:
        left, right, kind = (*_sides(node), type(node))
        if isinstance(left, exp.Tuple):
            return self._row_comparison(node)
        if not _aliases(left):
            if kind in _OPS:
                return None
            left, right, kind = right, left, _MIRROR.get(kind, kind)
        if _aliases(right):
            return None
        if kind in _RANGES:
            value = self._literal(right)
            below, above = _RANGES[kind]
            return self._keyed(left, "range", (value if below else "", value if above else ""))
        if isinstance(right, exp.Any):
            return self._keyed(left, "in", (None,) * 5)
        return self._keyed(left, _OPS.get(kind, "eq"), (self._literal(right),))

    def _row_comparison(self, node: Node) -> Predicate | None:
        """``(a, b) > (x, y)``: an index on (a, b) bounds it; its first column stands for it."""
        if type(node) not in _RANGES:
            return None
        below, above = _RANGES[type(node)]
        return self._keyed(node.left.expressions[0], "range", (None if below else "", None if above else ""))

    def _boolean(self, node: Node) -> Predicate | None:
        negated = isinstance(node, exp.Not)
        body = _unparenthesised(node.this if negated else node)
        if isinstance(body, exp.Column):
            return self._keyed(body, "eq", ("false" if negated else "true",))
        if negated and isinstance(body, exp.Is) and isinstance(body.expression, exp.Null):
            return self._keyed(body.this, "notnull", ())
        return None

    def _keyed(self, node: Node, op: Op, values: tuple[str | None, ...]) -> Predicate | None:
        key, is_column = self._key(node)
        if not key:
            return None
        sql = "" if is_column else self.index_sql(node)
        return Predicate(key, is_column, op, values, expression_sql=sql)

    def _key(self, node: Node) -> tuple[str, bool]:
        node = _without_text_cast(_unparenthesised(node))
        if isinstance(node, exp.Column):
            return node.name, True
        return self.canonical(node), False

    # --- outputs, grouping, order, limit -----------------------------------------------------------------

    def _outputs(self, tree: exp.Select, scope: _Scope) -> None:
        draft = self.drafts[scope.block]
        for item in tree.expressions:
            if isinstance(item, exp.Star):
                self._star("", scope)
            else:
                self._note_columns(item, scope)
        draft.aggregates = bool(tree.args.get("group")) or any(_aggregates(e) for e in tree.expressions)
        self._extreme(tree, scope, draft)

    def _extreme(self, tree: exp.Select, scope: _Scope, draft: _Draft) -> None:
        """``SELECT max(x)`` alone is the first row in the order of x (planagg.c)."""
        if tree.args.get("group") or len(tree.expressions) != 1:
            return
        body = tree.expressions[0].unalias()
        if (
            isinstance(body, exp.Max | exp.Min)
            and isinstance(body.this, exp.Column)
            and len(draft.tables) == 1
        ):
            descending = isinstance(body, exp.Max)
            key = self._sort_key(body.this, scope, descending, descending)
            if key is not None:
                draft.order, draft.sorts, draft.limit, draft.aggregates = [key], True, 1.0, False
                key_column = Predicate(key.key, key.is_column, "notnull", columns=frozenset({key.key}))
                draft.predicates[key.alias].append(key_column)

    def _grouping(self, tree: exp.Select, scope: _Scope, draft: _Draft) -> None:
        group, distinct = tree.args.get("group"), tree.args.get("distinct")
        keys = list(group.expressions) if group is not None else []
        if distinct is not None:
            draft.distinct = True
            on = distinct.args.get("on")
            keys = keys or (list(on.expressions) if on is not None else [])
        named = [self._output(k, tree) for k in keys]
        found = [self._sort_key(k, scope, False, False) for k in named]
        draft.group = [k for k in found if k is not None] if all(found) else []
        for node in named:
            self._note_columns(node, scope)

    def _output(self, node: Node, tree: exp.Select) -> Node:
        """``ORDER BY 1`` and ``ORDER BY name`` mean an output column."""
        if isinstance(node, exp.Literal) and not node.is_string:
            position = int(node.this) - 1
            return tree.expressions[position].unalias() if 0 <= position < len(tree.expressions) else node
        if isinstance(node, exp.Column) and not node.table:
            for item in tree.expressions:
                if isinstance(item, exp.Alias) and _folded(item.args["alias"]) == _folded(node.this):
                    return item.this
        return node

    def _ordering(self, tree: exp.Select, scope: _Scope, draft: _Draft) -> None:
        order = tree.args.get("order")
        if order is None:
            return
        draft.sorts = True
        keys: list[SortKey] = []
        for item in order.expressions:
            body = self._output(item.this, tree) if isinstance(item, exp.Ordered) else item
            self._note_columns(body, scope)
            descending = bool(item.args.get("desc"))
            key = self._sort_key(body, scope, descending, bool(item.args.get("nulls_first")))
            if key is None:
                return
            keys.append(key)
        draft.order = keys

    def _sort_key(self, node: Node, scope: _Scope, descending: bool, nulls_first: bool) -> SortKey | None:
        if any(True for _ in node.find_all(exp.AggFunc, exp.Window, exp.Query)):
            return None
        resolved = self._resolved(node, scope)
        aliases = _aliases(resolved)
        if len(aliases) != 1:
            return None
        key, is_column = self._key(resolved)
        sql = "" if is_column else self.index_sql(resolved)
        return SortKey(next(iter(aliases)), key, is_column, descending, nulls_first, sql)

    def _limit(self, tree: exp.Select, draft: _Draft) -> None:
        limit = tree.args.get("limit")
        if limit is None:
            return
        count = limit.args.get("expression") or limit.args.get("count")
        value = self._number(count)
        offset = tree.args.get("offset")
        skipped = self._number(offset.expression) if offset is not None else 0.0
        draft.limit = value + skipped if value else 0.0
        if offset is not None:
            self.notes.append("OFFSET reads and throws away every skipped row: page by the last key seen")

    def _number(self, node: Node | None) -> float:
        literal = self._literal(node) if node is not None else None
        try:
            return float(literal) if literal is not None else 0.0
        except ValueError:
            return 0.0

    # --- texts -----------------------------------------------------------------------------------------

    def _literal(self, node: Node) -> str | None:
        """The value as text where it is a literal or was sampled; None for a parameter."""
        node = _unparenthesised(node)
        if isinstance(node, exp.Cast | exp.Upper | exp.Lower):
            return self._literal(node.this)
        if isinstance(node, exp.Literal):
            return str(node.this)
        if isinstance(node, exp.Boolean):
            return str(node.this).lower()
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal):
            return f"-{node.this.this}"
        number = _parameter(node)
        return _unquoted(self.bindings.values.get(number)) if number else None

    def canonical(self, node: Node) -> str:
        """Text that is equal for equal expressions, however the query or the catalogue spelled them."""
        return canonical(self._bound(node))

    def index_sql(self, node: Node) -> str:
        """What CREATE INDEX takes for an expression; empty where a parameter inside it is not constant."""
        bound = self._bound(node)
        if any(True for _ in bound.find_all(exp.Parameter, exp.Placeholder)):
            return ""
        return str(_bare(bound).sql("postgres"))

    def _bound(self, node: Node) -> Node:
        def swap(n: Node) -> Node:
            number = _parameter(n)
            literal = self.bindings.values.get(number) if number in self.bindings.stable else None
            return sqlglot.parse_one(literal, read="postgres") if literal is not None else n

        return node.copy().transform(swap) if self.bindings.stable else node


def _sides(node: Node) -> tuple[Node, Node]:
    """Both operands; those of ``@@`` with the document first."""
    if not isinstance(node, exp.MatchAgainst):
        return node.left, node.right
    first, second = node.this, node.expressions[0]
    return (first, second) if isinstance(first, exp.Column) else (second, first)


_MIRROR: dict[type[Any], type[Any]] = {
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
}


# --- small helpers over trees ----------------------------------------------------------------------------


def canonical(node: Node) -> str:
    """Expression text without qualifiers, needless parentheses, casts to text or letter case of functions."""

    return str(_tidy(node.copy(), None).sql("postgres"))


def _tidy(node: Node, parent: Node) -> Node:
    """The tree without what two spellings of one expression differ in."""
    while _is_needless_cast(node) or _is_needless_paren(node, parent):
        node = node.this
    if isinstance(node, exp.Column):
        return exp.Column(this=exp.to_identifier(_folded(node.this), quoted=True))
    for name, value in list(node.args.items()):
        if isinstance(value, list):
            node.set(name, [_tidy(v, node) if isinstance(v, exp.Expression) else v for v in value])
        elif isinstance(value, exp.Expression):
            node.set(name, _tidy(value, node))
    return node


def _is_needless_paren(node: Node, parent: Node) -> bool:
    """Parentheses count only between operators."""
    if not isinstance(node, exp.Paren):
        return False
    inner = isinstance(node.this, exp.Binary | exp.Unary | exp.Between | exp.In | exp.Is)
    outer = isinstance(parent, exp.Binary | exp.Unary | exp.Cast | exp.Between | exp.In | exp.Is)
    return not (inner and outer and not isinstance(parent, exp.Paren))


def _is_needless_cast(node: Node) -> bool:
    return isinstance(node, exp.Cast) and (node.to.this in _TEXT_TYPES or isinstance(node.this, exp.Literal))


def canonical_sql(text: str) -> str:
    """``canonical`` of an expression as the catalogue prints it; the text itself where it does not parse."""
    try:
        return canonical(sqlglot.parse_one(text, read="postgres"))
    except sqlglot.errors.SqlglotError:
        return text


def canonical_conjuncts(text: str) -> tuple[str, ...]:
    """The conjuncts of a partial index's predicate, canonical and sorted."""
    if not text:
        return ()
    try:
        tree = sqlglot.parse_one(text, read="postgres")
    except sqlglot.errors.SqlglotError:
        return (text,)
    return tuple(sorted(canonical(c) for c in _conjuncts(tree)))


def _bare(node: Node) -> Node:
    def strip(n: Node) -> Node:
        if isinstance(n, exp.Column):
            return exp.Column(this=exp.to_identifier(n.name, quoted=True))
        return n

    return node.copy().transform(strip)


def replace_ctes(scope: _Scope, ctes: dict[str, Node]) -> _Scope:
    """A scope for reading a CTE's or view's own text: it sees no source of the query that names it."""
    return _Scope(scope.block, scope.parent, ctes, {}, scope.prefix)


def _name(node: Node) -> str:
    return node if isinstance(node, str) else _folded(node)


def _folded(node: Node) -> str:
    """An identifier as the catalogue spells it: folded to lower case unless quoted."""
    if node is None or isinstance(node, str):
        return node or ""
    if isinstance(node, exp.TableAlias):
        return _folded(node.this)
    quoted = bool(node.args.get("quoted")) or bool(node.meta.get("own"))
    name = str(node.name)
    return name if quoted else name.lower()


def _folded_name(item: Node) -> str:
    return _folded(item.this) if isinstance(item, exp.Column) else str(item.alias_or_name).lower()


def _column(alias: str, name: str) -> exp.Column:
    column = exp.Column(
        this=exp.to_identifier(name, quoted=True), table=exp.to_identifier(alias, quoted=True)
    )
    column.meta["own"] = True
    return column


def _unwrapped(tree: Node) -> Node:
    while isinstance(tree, exp.Subquery | exp.Paren):
        tree = tree.this
    return tree


def _any_as_in(node: Node) -> Node:
    """``x = ANY (SELECT …)`` is ``x IN (SELECT …)``."""
    if isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
        inner = _unwrapped(node.expression.this)
        if isinstance(inner, exp.Query):
            return exp.In(this=node.this.copy(), query=exp.Subquery(this=inner.copy()))
    return node


def _unparenthesised(node: Node) -> Node:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _without_text_cast(node: Node) -> Node:
    """``(name)::text`` of a varchar is no expression: the types are binary-compatible."""
    while (
        isinstance(node, exp.Cast)
        and node.to.this in _TEXT_TYPES
        and isinstance(_unparenthesised(node.this), exp.Column)
    ):
        node = _unparenthesised(node.this)
    return node


def _conjuncts(node: Node) -> Iterator[Node]:
    node = _unparenthesised(node)
    if isinstance(node, exp.And):
        yield from _conjuncts(node.left)
        yield from _conjuncts(node.right)
    elif isinstance(node, exp.Not) and isinstance(_unparenthesised(node.this), exp.Or):
        for branch in _unparenthesised(node.this).flatten():
            yield from _conjuncts(exp.Not(this=branch.copy()))
    else:
        yield node


def _aliases(node: Node) -> set[str]:
    return {c.table for c in node.find_all(exp.Column) if c.table}


def _columns(node: Node) -> frozenset[str]:
    return frozenset(c.name for c in node.find_all(exp.Column))


def _outermost_queries(node: Node) -> list[Node]:
    found: list[Node] = []
    stack: list[Node] = [node]
    while stack:
        n = stack.pop()
        if isinstance(n, exp.Query) and not isinstance(n, exp.Subquery):
            found.append(n)
        else:
            stack += list(n.iter_expressions())
    return found


def _own_columns(node: Node) -> Iterable[exp.Column]:
    stack: list[Node] = [node]
    while stack:
        n = stack.pop()
        if isinstance(n, exp.Column):
            yield n
        elif not (isinstance(n, exp.Query) and not isinstance(n, exp.Subquery)):
            stack += list(n.iter_expressions())


def _aggregates(node: Node) -> bool:
    """Whether an aggregate of this SELECT is in it (not of a sub-query, not a window function)."""
    stack: list[Node] = [node]
    while stack:
        n = stack.pop()
        if isinstance(n, exp.AggFunc) and not isinstance(n.parent, exp.Window):
            return True
        if not isinstance(n, exp.Query):
            stack += list(n.iter_expressions())
    return False


def _is_flat(tree: exp.Select, *, semi: bool = False) -> bool:
    """Whether the planner pulls this sub-query up into its parent (is_simple_subquery)."""
    stops = ["group", "having", "limit", "offset", "windows"] + ([] if semi else ["distinct"])
    if any(tree.args.get(s) for s in stops) or any(_aggregates(e) for e in tree.expressions):
        return False
    return not any(True for e in tree.expressions for _ in e.find_all(exp.Window, exp.Query))


def _reads(tree: Node) -> bool:
    return isinstance(tree, exp.Query) and not isinstance(tree, exp.Values)


def _as_kind(join: Join, before: set[str], added: set[str], kind: JoinKind) -> Join:
    """Joins that cross into a sub-query's tables are semi or anti joins with those inside."""
    if join.left in before and join.right in added and join.kind == "inner":
        return replace(join, kind=kind)
    if join.right in before and join.left in added and join.kind == "inner":
        return Join(join.right, join.right_key, join.left, join.left_key, kind)
    return join


def _assigned(tree: Node) -> Iterator[str]:
    for item in tree.args.get("expressions") or []:
        if isinstance(item, exp.EQ):
            yield _folded_name(item.this)


def _parameter(node: Node) -> int:
    if isinstance(node, exp.Parameter) and isinstance(node.this, exp.Literal) and node.this.this.isdigit():
        return int(node.this.this)
    return 0


def _unquoted(literal: str | None) -> str | None:
    if literal is None:
        return None
    match = re.fullmatch(r"[Ee]?'((?:[^']|'')*)'(?:::[\w ]+)?", literal)
    return match.group(1).replace("''", "'") if match else literal
