"""One conjunct on one table: which column or expression, compared how, with what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlglot import exp

from paiid_perf.database.index_types import Op, Predicate
from paiid_perf.database.rules.indexes.parse.names import Names
from paiid_perf.database.rules.indexes.parse.trees import (
    Node,
    aliases_of,
    columns_of,
    conjuncts_of,
    denied_by,
    disjuncts_of,
    operands,
    unparenthesised,
)

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
_MIRROR: dict[type[Any], type[Any]] = {
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
}


class Predicates(Names):
    """Reads conjuncts."""

    def _predicate(self, node: Node) -> Predicate:
        """One conjunct whose columns are all of one alias."""
        node = unparenthesised(node)
        text, columns = self.canonical(node), columns_of(node)
        found = self._or(node) or self._comparison(node) or self._boolean(node) or self._negation(node)
        if found is None:
            return Predicate("", False, "other", (), text, columns)
        return replace(found, text=text, columns=columns)

    def _or(self, node: Node) -> Predicate | None:
        if not isinstance(node, exp.Or):
            return None
        branches = tuple(self._strongest(b) for b in disjuncts_of(node))
        keys = {b.key for b in branches}
        if len(keys) == 1 and all(b.op in {"eq", "in"} for b in branches):
            values = tuple(v for b in branches for v in b.values)
            return replace(branches[0], op="in", values=values)
        return Predicate("", False, "or", branches=branches)

    def _strongest(self, node: Node) -> Predicate:
        """The conjunct of an OR's branch that an index would serve: equality before range."""
        rank = {"eq": 0, "in": 1, "contains": 2, "search": 2, "range": 3, "like": 4, "ilike": 4}
        found = [self._predicate(c) for c in conjuncts_of(node)]
        return min(found, key=lambda p: rank.get(p.op, 9))

    def _comparison(self, node: Node) -> Predicate | None:
        if isinstance(node, exp.Escape):
            return self._comparison(node.this)
        if node.args.get("negate") and not isinstance(node, exp.Is):
            return None
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
        left, right, kind = (*operands(node), type(node))
        if isinstance(left, exp.Tuple):
            return self._row_comparison(node)
        if not aliases_of(left):
            if kind in _OPS:
                return None
            left, right, kind = right, left, _MIRROR.get(kind, kind)
        if aliases_of(right) or _is_quantified(left):
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
        body = unparenthesised(node.this if negated else node)
        if isinstance(body, exp.Column):
            return self._keyed(body, "eq", ("false" if negated else "true",))
        if negated and isinstance(body, exp.Is) and isinstance(body.expression, exp.Null):
            return self._keyed(body.this, "notnull", ())
        return None

    def _negation(self, node: Node) -> Predicate | None:
        """``a <> 1``, ``a NOT LIKE 'x%'``, ``a NOT IN (…)``: what they deny."""
        body = denied_by(node)
        denied = self._predicate(body) if body is not None else None
        return (
            None
            if denied is None or denied.op in {"other", "not", "asked"}
            else Predicate("", False, "not", branches=(denied,))
        )

    def _keyed(self, node: Node, op: Op, values: tuple[str | None, ...]) -> Predicate | None:
        key, is_column = self._key(node)
        if not key:
            return None
        sql = "" if is_column else self.index_sql(node)
        return Predicate(key, is_column, op, values, expression_sql=sql)


def _is_quantified(node: Node) -> bool:
    """``ANY(column)``, ``SOME(…)``, ``ALL(…)``: no value of the row."""
    return isinstance(node, exp.Any | exp.All) or (
        isinstance(node, exp.Anonymous) and node.name.upper() in {"ALL", "SOME"}
    )
