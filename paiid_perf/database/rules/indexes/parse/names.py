"""What a column or a literal means where it stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Set

import sqlglot
from sqlglot import exp

from paiid_perf.database.index_types import Catalog
from paiid_perf.database.rules.indexes.parse.canonical import bare, canonical
from paiid_perf.database.rules.indexes.parse.draft import Bindings, Draft, Scope, Source
from paiid_perf.database.rules.indexes.parse.trees import (
    Node,
    aliases_of,
    column_of,
    folded,
    is_own,
    outermost_queries,
    own_columns,
    parameter_number,
    unparenthesised,
    unquoted,
    without_text_cast,
)


class Names(ABC):
    """Reads one statement; holds the blocks found so far."""

    def __init__(self, catalog: Catalog, bindings: Bindings) -> None:
        self.catalog = catalog
        self.bindings = bindings
        self.drafts: list[Draft] = []
        self.notes: list[str] = []
        self.depth = 0
        self.correlated: set[int] = set()
        """Blocks that read a column of an enclosing one."""
        self.named: Counter[str] = Counter()
        """How often the statement names each table: a CTE that it names once is planned where it stands."""
        self.shared: dict[int, int] = {}
        """The id of a CTE's tree that is named several times → the block that computes it once for all."""
        self.asked: dict[tuple[int, int], set[str]] = {}
        """(block, enclosing block) → aliases of the enclosing one that the block reads."""

    @abstractmethod
    def query(self, tree: Node, parent: Scope | None, ctes: dict[str, Node], per_row_of: int | None) -> int:
        """Read a SELECT or set operation into blocks of its own; returns the first one's number."""

    def _find(self, column: exp.Column, scope: Scope) -> tuple[Scope, Node] | None:
        """The scope that knows the column, and what it means there (a column of a block's alias, or an expression)."""
        table, name = folded(column.args.get("table")), folded(column.this)
        at: Scope | None = scope
        crossed: set[int] = set()
        while at is not None:
            found = self._in_scope(at, table, name)
            if found is not None:
                self.correlated |= crossed - {at.block}
                for block in crossed - {at.block}:
                    self.asked.setdefault((block, at.block), set()).update(aliases_of(found))
                return at, found
            crossed.add(at.block)
            at = at.parent
        return None

    def _in_scope(self, scope: Scope, table: str, name: str) -> Node | None:
        for alias, source in scope.sources.items():
            if not table or alias == table:
                found = self._column_of(source, name, explicit=bool(table))
                if found is not None:
                    return found
        return None

    def _column_of(self, source: Source, name: str, *, explicit: bool) -> Node | None:
        if source.table is not None:
            known = name in self.catalog.tables[source.table].columns
            return column_of(source.alias, name) if known else None
        if name in source.outputs and source.child is None:
            return source.outputs[name]
        return column_of(source.alias, name) if explicit or name in source.outputs else None

    def _resolved(self, node: Node, scope: Scope) -> Node:
        """A copy in which each column carries its block's alias; outer columns become parameters."""

        def swap(n: Node) -> Node:
            if isinstance(n, exp.Query) and not isinstance(n, exp.Subquery):
                return exp.Placeholder(this="subquery")
            if not isinstance(n, exp.Column) or isinstance(n.this, exp.Star) or is_own(n):
                return n
            found = self._find(n, scope)
            if found is None:
                return exp.Placeholder(
                    this="unknown"
                )  # a function's row, say: no constant, and no column of ours
            if found[0].block != scope.block:
                return exp.Placeholder(this="outer")
            self._use(found[1], scope.block)
            return found[1].copy()

        return node.transform(swap)

    def _use(self, node: Node, block: int) -> None:
        for column in node.find_all(exp.Column):
            alias = column.table
            if alias in self.drafts[block].columns:
                self.drafts[block].columns[alias].add(column.name)

    def _unique(self, alias: str, scope: Scope) -> str:
        taken, own, n = self.drafts[scope.block].tables, alias, 1
        while own in taken:
            n += 1
            own = f"{alias}#{n}"
        return own

    def _nested(self, tree: Node, scope: Scope) -> int:
        """A sub-query in an expression: run once, or once a row where it reads the row."""
        block = self.query(tree, scope, scope.ctes, scope.block)
        if block not in self.correlated:
            self.drafts[block].per_row_of = None
        return block

    def _note_columns(self, node: Node, scope: Scope) -> None:
        """Record the columns that an expression reads, and read the sub-queries inside it."""
        for inner in outermost_queries(node):
            self._nested(inner, scope)
        for column in own_columns(node):
            if isinstance(column.this, exp.Star):
                self._star(folded(column.args.get("table")), scope)
                continue
            found = self._find(column, scope)
            if found is not None and found[0].block == scope.block:
                self._use(found[1], scope.block)

    def _star(self, table: str, scope: Scope) -> None:
        for alias, source in scope.sources.items():
            if not table or alias == table:
                self.drafts[scope.block].stars.add(source.alias)

    def _literal(self, node: Node) -> str | None:
        """The value as text where it is a literal or was sampled; None for a parameter."""
        node = unparenthesised(node)
        if isinstance(node, exp.Cast | exp.Upper | exp.Lower):
            return self._literal(node.this)
        if isinstance(node, exp.Literal):
            return str(node.this)
        if isinstance(node, exp.Boolean):
            return str(node.this).lower()
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal):
            return f"-{node.this.this}"
        number = parameter_number(node)
        return unquoted(self.bindings.values.get(number)) if number else None

    def _number(self, node: Node | None) -> float:
        literal = self._literal(node) if node is not None else None
        try:
            return float(literal) if literal is not None else 0.0
        except ValueError:
            return 0.0

    def canonical(self, node: Node) -> str:
        """Text that is equal for equal expressions, however the query or the catalogue spelled them."""
        return canonical(self._bound(node, self.bindings.stable))

    def index_sql(self, node: Node) -> str:
        """What CREATE INDEX takes for an expression; empty where a parameter inside it is not constant."""
        bound = self._bound(node, self.bindings.agreed)
        if any(True for _ in bound.find_all(exp.Parameter, exp.Placeholder)):
            return ""
        return str(bare(bound.transform(_as_called)).sql("postgres"))

    def _bound(self, node: Node, numbers: Set[int]) -> Node:
        def swap(n: Node) -> Node:
            number = parameter_number(n)
            literal = self.bindings.values.get(number) if number in numbers else None
            return sqlglot.parse_one(literal, read="postgres") if literal is not None else n

        return node.transform(swap) if numbers else node

    def _key(self, node: Node) -> tuple[str, bool]:
        node = unparenthesised(node)
        column = without_text_cast(node)
        if isinstance(column, exp.Column) and (column is node or self._is_text(column)):
            return column.name, True
        # What stands beside a column, a JSON key or a function's argument, is part of what is asked; what the whole is
        # compared with is one call's value. So one run's word is enough for the first.
        return canonical(self._bound(node, self.bindings.agreed)), False

    def _is_text(self, column: exp.Column) -> bool:
        """Whether reading the column as text changes nothing; a number's index does not find its digits."""
        tables = (draft.tables.get(column.table) for draft in reversed(self.drafts))
        table = self.catalog.tables.get(next((t for t in tables if t), ""))
        found = table.columns.get(column.name) if table else None
        return found is None or found.family == "text"


def _as_called(node: Node) -> Node:
    """``date_part('month', x)`` again, which is read as EXTRACT, and is another function to the planner."""
    if isinstance(node, exp.Extract) and isinstance(node.this, exp.Literal):
        return exp.Anonymous(this="DATE_PART", expressions=[node.this, node.expression])
    return node
