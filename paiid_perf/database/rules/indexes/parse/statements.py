"""Whole statements: SELECT and set operations, and the reading half of those that write."""

from __future__ import annotations

import logging

import sqlglot
from sqlglot import exp

from paiid_perf.database.index_types import Catalog, JoinKind, Query, TableKey, Write
from paiid_perf.database.rules.indexes.parse.draft import Bindings, Draft, Scope, Unparsable
from paiid_perf.database.rules.indexes.parse.select_list import SelectList
from paiid_perf.database.rules.indexes.parse.trees import Node, assigned, name_of, unwrapped, without_places
from paiid_perf.database.rules.indexes.texts import repaired

logging.getLogger("sqlglot").setLevel(logging.ERROR)

_MAX_DEPTH = 12


def parse(text: str, catalog: Catalog, bindings: Bindings | None = None) -> Query:
    """What the statement reads and writes.

    Raises:
        Unparsable: sqlglot cannot read it, or it is no SELECT, INSERT, UPDATE, DELETE or MERGE.
    """
    try:
        tree = without_places(sqlglot.parse_one(repaired(text), read="postgres"))
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise Unparsable(str(error).splitlines()[0]) from error
    if not isinstance(tree, exp.Query | exp.Values | exp.Insert | exp.Update | exp.Delete | exp.Merge):
        raise Unparsable(f"{type(tree).__name__} is not a statement that indexes serve")
    try:
        return Reader(catalog, bindings or Bindings()).statement(tree)
    except RecursionError as error:
        raise Unparsable("nested too deeply") from error


class Reader(SelectList):
    """Reads one statement."""

    def statement(self, tree: Node) -> Query:
        write = None
        self.named.update(name_of(t.this) for t in tree.find_all(exp.Table) if not t.args.get("db"))
        if isinstance(tree, exp.Query):
            self.query(tree, None, {}, None)
        elif not isinstance(tree, exp.Values):
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
        if isinstance(tree, exp.Merge):
            return self._merge(tree, table)
        self._modify(tree)
        if table is None:
            return None
        if isinstance(tree, exp.Delete):
            return Write(table, "delete")
        return Write(table, "update", frozenset(assigned(tree)))

    def _table(self, node: exp.Table) -> TableKey | None:
        key = self.catalog.resolve(name_of(node.args.get("db")), name_of(node.this))
        return key if key in self.catalog.tables else None

    def _merge(self, tree: Node, table: TableKey | None) -> Write | None:
        """A MERGE reads its source, joined with the target: on the outer side where it may insert."""
        scope = self._new_scope(None, self._ctes(tree, {}), None)
        whens = tree.args["whens"].expressions
        kind: JoinKind = "inner" if all(w.args.get("matched") for w in whens) else "left"
        self._source(tree.args["using"], scope, "inner")
        before = set(self.drafts[scope.block].tables)
        self._source(tree.this, scope, kind)
        added = set(self.drafts[scope.block].tables) - before
        self._conditions(tree.args["on"], scope, kind, added)
        for when in whens:
            self._note_columns(when, scope)
        if table is None:
            return None
        updates = [w.args["then"] for w in whens if isinstance(w.args["then"], exp.Update)]
        if updates:
            return Write(table, "update", frozenset(name for u in updates for name in assigned(u)))
        deletes = any(w.args["then"].name == "DELETE" for w in whens)
        return Write(table, "delete" if deletes else "insert")

    def _modify(self, tree: Node) -> None:
        """The reading half of an UPDATE or DELETE, as a SELECT."""
        scope = self._new_scope(None, self._ctes(tree, {}), None)
        self._source(tree.this, scope, "inner")
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

    def _new_scope(self, parent: Scope | None, ctes: dict[str, Node], per_row_of: int | None) -> Scope:
        self.drafts.append(Draft(per_row_of=per_row_of))
        return Scope(len(self.drafts) - 1, parent, ctes)

    def query(self, tree: Node, parent: Scope | None, ctes: dict[str, Node], per_row_of: int | None) -> int:
        """Read a SELECT or set operation into blocks of its own; returns the first one's number."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Unparsable("nested too deeply")
        try:
            tree = unwrapped(tree)
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

    def select(self, tree: exp.Select, scope: Scope) -> None:
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
