"""FROM items: tables, views, CTEs and sub-queries, flattened where the planner does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import sqlglot
from sqlglot import exp

from paiid_perf.database.index_types import JoinKind, TableKey
from paiid_perf.database.rules.indexes.parse.draft import Scope, Source, apart
from paiid_perf.database.rules.indexes.parse.trees import (
    Node,
    column_of,
    folded,
    folded_name,
    is_flat,
    name_of,
    reads,
    unwrapped,
)
from paiid_perf.database.rules.indexes.parse.where_clause import WhereClause


class FromClause(WhereClause):
    """Brings sources into a scope."""

    @abstractmethod
    def _modify(self, tree: Node) -> None: ...

    def _from(self, tree: exp.Select, scope: Scope) -> None:
        from_ = tree.args.get("from_") or tree.args.get("from")
        if from_ is not None:
            self._source(from_.this, scope, "inner")
        for join in tree.args.get("joins") or []:
            self._joined(join, scope)
        for lateral in tree.args.get("laterals") or []:
            self._source(lateral, scope, "inner")

    def _ctes(self, tree: Node, known: dict[str, Node]) -> dict[str, Node]:
        with_ = tree.args.get("with_") or tree.args.get("with")
        found = dict(known)
        for cte in with_.expressions if with_ is not None else []:
            if isinstance(cte.this, exp.Query):
                found[name_of(cte.args["alias"].this)] = cte.this
            elif isinstance(cte.this, exp.Update | exp.Delete):
                self._modify(cte.this)
        return found

    def _joined(self, join: exp.Join, scope: Scope) -> None:
        side = (join.args.get("side") or "").upper()
        kind: JoinKind = "left" if side in {"LEFT", "RIGHT", "FULL"} else "inner"
        before, known = set(self.drafts[scope.block].tables), list(scope.sources.values())
        self._source(join.this, scope, kind)
        added = set(self.drafts[scope.block].tables) - before
        new = [source for source in scope.sources.values() if source not in known]
        on = join.args.get("on")
        if on is not None:
            self._conditions(on, scope, kind, added)
        for column in join.args.get("using") or []:
            sides = [self._first_with(name_of(column), sources) for sources in (known, new)]
            if all(sides):
                self._equi_join(exp.EQ(this=sides[0], expression=sides[1]), scope, kind, added)

    def _first_with(self, column: str, sources: Iterable[Source]) -> Node | None:
        """What ``USING (column)`` means on one side of the join."""
        found = (self._column_of(source, column, explicit=False) for source in sources)
        return next((node.copy() for node in found if node is not None), None)

    def _source(self, node: Node, scope: Scope, kind: JoinKind) -> None:
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

    def _table_source(self, node: exp.Table, scope: Scope) -> None:
        name, schema = name_of(node.this), name_of(node.args.get("db"))
        alias = folded(node.args["alias"].this) if node.args.get("alias") else name
        if not schema and name in scope.ctes:
            inner = {k: v for k, v in scope.ctes.items() if k != name}
            if self.named[name] > 1:
                self._computed_once(scope.ctes[name], alias, apart(scope, inner), into=scope)
            else:
                self._derived(scope.ctes[name], alias, apart(scope, inner), into=scope)
            return
        key = self.catalog.resolve(schema, name)
        if key is not None and key in self.catalog.views:
            self._view(key, alias, scope)
        elif key is None:
            self._opaque(alias, scope)
        else:
            own = self._unique(scope.prefix + alias, scope)
            self.drafts[scope.block].add(own, key)
            scope.sources[alias] = Source(own, key)

    def _view(self, key: TableKey, alias: str, scope: Scope) -> None:
        try:
            tree = sqlglot.parse_one(self.catalog.views[key].rstrip().rstrip(";"), read="postgres")
        except sqlglot.errors.SqlglotError:
            self._opaque(alias, scope)
            return
        self._derived(tree, alias, apart(scope, {}), into=scope)

    def _opaque(self, alias: str, scope: Scope) -> None:
        """A function, VALUES, or a relation that the catalogue does not know."""
        own = self._unique(scope.prefix + (alias or "unnamed"), scope)
        self.drafts[scope.block].add(own, None)
        scope.sources[alias or own] = Source(own)

    def _derived(
        self,
        tree: Node,
        alias: str,
        scope: Scope,
        *,
        into: Scope | None = None,
        lateral: bool = False,
        kind: JoinKind = "inner",
    ) -> None:
        into = into or scope
        tree = unwrapped(tree)
        if isinstance(tree, exp.Select) and kind == "inner" and is_flat(tree) and not lateral:
            into.sources[alias] = self._flattened(tree, alias, scope, into)
            return
        parent = scope if lateral else scope.parent
        child = self.query(tree, parent, scope.ctes, into.block if lateral else None) if reads(tree) else None
        own = self._unique(into.prefix + (alias or "derived"), into)
        self.drafts[into.block].add(own, None, child)
        into.sources[alias or own] = Source(own, None, self._child_outputs(tree, child), child)

    def _computed_once(self, tree: Node, alias: str, scope: Scope, into: Scope) -> None:
        """A CTE that is named several times: no filter of those who name it goes into it."""
        if id(tree) not in self.shared and reads(tree):
            self.shared[id(tree)] = self.query(tree, scope.parent, scope.ctes, None)
        own, child = self._unique(into.prefix + alias, into), self.shared.get(id(tree))
        self.drafts[into.block].add(own, None, child)
        outputs = self._child_outputs(unwrapped(tree), child)
        into.sources[alias] = Source(own, None, outputs, child, pushes=False)

    def _flattened(self, tree: exp.Select, alias: str, scope: Scope, into: Scope) -> Source:
        inner = Scope(into.block, scope.parent, self._ctes(tree, scope.ctes), {}, f"{into.prefix}{alias}.")
        self._from(tree, inner)
        where = tree.args.get("where")
        if where is not None:
            self._conditions(where.this, inner)
        outputs: dict[str, Node] = {}
        for item in tree.expressions:
            outputs |= self._flat_outputs(item, inner)
        return Source(alias, None, outputs)

    def _flat_outputs(self, item: Node, inner: Scope) -> dict[str, Node]:
        if isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star)):
            return self._starred(item, inner)
        body = item.this if isinstance(item, exp.Alias) else item
        name = folded(item.args["alias"]) if isinstance(item, exp.Alias) else folded_name(item)
        return {name: self._resolved(body, inner)}

    def _starred(self, item: Node, inner: Scope) -> dict[str, Node]:
        wanted = folded(item.args.get("table")) if isinstance(item, exp.Column) else ""
        outputs: dict[str, Node] = {}
        for alias, source in inner.sources.items():
            if wanted and alias != wanted:
                continue
            if source.table:
                columns = self.catalog.tables[source.table].columns
                outputs |= {c: column_of(source.alias, c) for c in columns}
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
                name = folded(item.args["alias"]) if isinstance(item, exp.Alias) else folded_name(item)
                outputs[name] = body
        return outputs
