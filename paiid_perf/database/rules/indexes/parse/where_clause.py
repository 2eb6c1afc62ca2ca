"""Conditions: filters on one table, joins of two, and sub-queries as semi and anti joins."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import reduce

from sqlglot import exp

from paiid_perf.database.index_types import Join, JoinKind, Predicate
from paiid_perf.database.rules.indexes.parse.draft import Scope, Source, as_kind
from paiid_perf.database.rules.indexes.parse.predicates import Predicates
from paiid_perf.database.rules.indexes.parse.trees import (
    Node,
    aliases_of,
    any_as_in,
    conjuncts_of,
    disjuncts_of,
    is_flat,
    leaves_of,
    unparenthesised,
    unwrapped,
)


class WhereClause(Predicates):
    """Places conditions in the block that they filter."""

    @abstractmethod
    def _from(self, tree: exp.Select, scope: Scope) -> None: ...

    @abstractmethod
    def _ctes(self, tree: Node, known: dict[str, Node]) -> dict[str, Node]: ...

    def _conditions(
        self, node: Node, scope: Scope, kind: JoinKind = "inner", inner: set[str] | None = None
    ) -> None:
        for conjunct in conjuncts_of(node):
            self._condition(conjunct, scope, kind, inner or set())

    def _condition(self, node: Node, scope: Scope, kind: JoinKind, inner: set[str]) -> None:
        first = len(self.drafts)
        if self._subquery_condition(node, scope):
            self._filtering(first, scope)
            return
        self._note_columns(node, scope)
        asked = self._filtering(first, scope)
        resolved = self._resolved(node, scope)
        aliases = aliases_of(resolved)
        if asked and self._asked_condition(resolved, aliases, asked, scope, first):
            return
        if (
            isinstance(resolved, exp.EQ)
            and len(aliases) == 2
            and self._equi_join(resolved, scope, kind, inner)
        ):
            return
        if isinstance(resolved, exp.Or):
            self._mention(resolved, scope)
        own = {next(iter(aliases)): resolved} if len(aliases) == 1 else _restrictions(resolved)
        for alias, part in own.items():
            if kind != "left" or alias in inner:
                self._place(alias, self._predicate(part), scope)

    def _filtering(self, first: int, scope: Scope) -> set[str]:
        """Say of the sub-queries read since ``first`` that they filter; returns the aliases whose rows they read."""
        asked: set[str] = set()
        for block in range(first, len(self.drafts)):
            self.drafts[block].filters = True
            asked |= self.asked.get((block, scope.block), set())
        return asked

    def _asked_condition(
        self, node: Node, aliases: set[str], asked: set[str], scope: Scope, first: int
    ) -> bool:
        """A comparison with what a sub-query says of the row: of the same table's, no index can check it; of another
        table's, it joins the two. False where it is read as any other."""
        if len(aliases) != 1:
            return False
        own = next(iter(aliases))
        if own in asked:
            predicate = self._predicate(node)
            self._place(own, Predicate("", False, "asked", (), predicate.text, branches=(predicate,)), scope)
            return True
        if not isinstance(node, exp.Binary) or len(asked) != 1:
            return False
        key, is_column = self._key(node.left if aliases_of(node.left) else node.right)
        if not is_column:
            return False
        other = next(iter(asked))
        self.drafts[first].compared = (own, key, other)
        if isinstance(node, exp.EQ):
            self._join(own, key, other, f"?{first}", scope, "inner")
        return isinstance(node, exp.EQ)

    def _mention(self, node: exp.Or, scope: Scope) -> None:
        """Note what is compared in the branches of an OR."""
        for leaf in leaves_of(node):
            aliases = aliases_of(leaf)
            if len(aliases) == 1:
                mentioned = self.drafts[scope.block].mentioned.setdefault(next(iter(aliases)), [])
                mentioned.append(self._predicate(leaf))

    def _place(self, alias: str, predicate: Predicate, scope: Scope) -> None:
        draft = self.drafts[scope.block]
        if alias not in draft.predicates:
            return  # an expression that a sub-query computed: its alias is of another block
        child = draft.children.get(alias)
        if child is None or not predicate.is_column:
            draft.predicates[alias].append(predicate)
            return
        self._push_down(alias, predicate, scope, child)

    def _push_down(self, alias: str, predicate: Predicate, scope: Scope, child: int) -> None:
        """A filter on a grouped sub-query's key filters the sub-query's table (subquery_push_qual)."""
        source, inner = _source_of(alias, scope), self.drafts[child]
        body = source.outputs.get(predicate.key) if source else None
        if source is None or body is None or inner.limit is not None or not source.pushes:
            return
        name = body.name
        owner = next((a for a, cols in inner.columns.items() if name in cols and inner.tables[a]), None)
        keys = {k.key for k in inner.group}
        if owner is not None and (not inner.aggregates or name in keys):
            moved = replace(predicate, key=name, columns=frozenset({name}))
            inner.predicates[owner].append(moved)

    def _equi_join(self, node: exp.EQ, scope: Scope, kind: JoinKind, inner: set[str]) -> bool:
        sides = [aliases_of(node.left), aliases_of(node.right)]
        if any(len(s) != 1 for s in sides) or sides[0] == sides[1]:
            return False
        left, right = (next(iter(s)) for s in sides)
        left_key, right_key = self._key(node.left)[0], self._key(node.right)[0]
        if left in inner and right not in inner:
            left, left_key, right, right_key = right, right_key, left, left_key
        self._join(left, left_key, right, right_key, scope, kind)
        return True

    def _join(
        self, left: str, left_key: str, right: str, right_key: str, scope: Scope, kind: JoinKind
    ) -> None:
        draft = self.drafts[scope.block]
        draft.joins.append(Join(left, left_key, right, right_key, kind))
        for alias, key in ((left, left_key), (right, right_key)):
            draft.columns[alias].add(key)

    def _subquery_condition(self, node: Node, scope: Scope) -> bool:
        """EXISTS, IN (SELECT …) and their negations, as semi and anti joins where the planner makes them so."""
        negated = isinstance(node, exp.Not)
        body = unparenthesised(node.this if negated else node)
        if isinstance(body, exp.Exists):
            return self._semi(body.this, None, scope, "anti" if negated else "semi")
        body = any_as_in(body)
        if isinstance(body, exp.In) and body.args.get("query") is not None:
            if negated:
                self.notes.append("NOT IN (SELECT …) cannot become an anti join: use NOT EXISTS")
                self._nested(body.args["query"], scope)
                self._note_columns(body.this, scope)
                return True
            return self._semi(body.args["query"], body.this, scope, "semi")
        return False

    def _semi(self, tree: Node, outer: Node | None, scope: Scope, kind: JoinKind) -> bool:
        tree = unwrapped(tree)
        if not isinstance(tree, exp.Select) or not is_flat(tree, semi=True):
            return self._hashed(tree, outer, scope)
        draft = self.drafts[scope.block]
        before = set(draft.tables)
        inner = Scope(scope.block, scope, self._ctes(tree, scope.ctes), {}, f"{scope.prefix}in{len(before)}.")
        self._from(tree, inner)
        added = set(draft.tables) - before
        where = tree.args.get("where")
        self._conditions(where.this, inner) if where is not None else None
        if outer is not None and tree.expressions:
            self._in_join(outer, tree.expressions[0], scope, inner, kind)
        draft.joins = [as_kind(j, before, added, kind) for j in draft.joins]
        return True

    def _in_join(self, outer: Node, item: Node, scope: Scope, inner: Scope, kind: JoinKind) -> None:
        body = item.this if isinstance(item, exp.Alias) else item
        left, right = self._resolved(outer, scope), self._resolved(body, inner)
        ours, theirs = aliases_of(left), aliases_of(right)
        if len(ours) == 1 and len(theirs) == 1:
            pair = next(iter(ours)), self._key(left)[0], next(iter(theirs)), self._key(right)[0]
            self._join(*pair, scope, kind)

    def _hashed(self, tree: Node, outer: Node | None, scope: Scope) -> bool:
        """``IN`` over a query that is not flattened: its own block, joined as a derived table."""
        child = self._nested(tree, scope)
        if outer is None:
            return True
        own = self._unique(f"{scope.prefix}in", scope)
        self.drafts[scope.block].add(own, None, child)
        left = self._resolved(outer, scope)
        if len(aliases_of(left)) == 1:
            self._join(next(iter(aliases_of(left))), self._key(left)[0], own, "?", scope, "semi")
        return True


def _source_of(alias: str, scope: Scope) -> Source | None:
    """Where an alias was brought in: here, or in an enclosing query that this one is part of."""
    at: Scope | None = scope
    while at is not None:
        found = next((s for s in at.sources.values() if s.alias == alias), None)
        if found is not None:
            return found
        at = at.parent
    return None


def _restrictions(node: Node) -> dict[str, Node]:
    """What an OR over several tables demands of each of them alone: ``(a.x = 1 AND b.y = 2) OR (a.x = 3 AND b.y = 4)``
    demands ``a.x = 1 OR a.x = 3`` (extract_restriction_or_clauses)."""
    if not isinstance(node, exp.Or):
        return {}
    branches = [list(conjuncts_of(b)) for b in disjuncts_of(node)]
    found: dict[str, Node] = {}
    for alias in sorted(aliases_of(node)):
        own = [[c.copy() for c in branch if aliases_of(c) == {alias}] for branch in branches]
        if all(own):
            found[alias] = reduce(_or, [reduce(_and, branch) for branch in own])
    return found


def _and(a: Node, b: Node) -> Node:
    return exp.And(this=a, expression=b)


def _or(a: Node, b: Node) -> Node:
    return exp.Or(this=a, expression=exp.paren(b, copy=False))
