"""Looks at sqlglot's nodes: names as the catalogue folds them, conjuncts, columns, what stands inside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from sqlglot import exp

#: A node of sqlglot's tree: its class hierarchy differs between the versions that we accept.
Node: TypeAlias = Any


TEXT_TYPES = {exp.DataType.Type.TEXT, exp.DataType.Type.VARCHAR, exp.DataType.Type.CHAR}


def name_of(node: Node) -> str:
    return node if isinstance(node, str) else folded(node)


def is_own(node: Node) -> bool:
    """Whether the column is one that ``column_of`` made (asking ``meta`` would give every node a dict to copy)."""
    return bool(node._meta) and bool(node.meta.get("own"))


def without_places(tree: Node) -> Node:
    """The tree without where each name stood in the text: to copy that takes longer than to copy the tree."""
    for node in tree.walk():
        node._meta = None
    return tree


def folded(node: Node) -> str:
    """An identifier as the catalogue spells it: folded to lower case unless quoted."""
    if node is None or isinstance(node, str):
        return node or ""
    if isinstance(node, exp.TableAlias):
        return folded(node.this)
    quoted = bool(node.args.get("quoted")) or is_own(node)
    name = str(node.name)
    return name if quoted else name.lower()


def folded_name(item: Node) -> str:
    return folded(item.this) if isinstance(item, exp.Column) else str(item.alias_or_name).lower()


def column_of(alias: str, name: str) -> exp.Column:
    column = exp.Column(
        this=exp.to_identifier(name, quoted=True), table=exp.to_identifier(alias, quoted=True)
    )
    column.meta["own"] = True
    return column


def unwrapped(tree: Node) -> Node:
    while isinstance(tree, exp.Subquery | exp.Paren):
        tree = tree.this
    return tree


def any_as_in(node: Node) -> Node:
    """``x = ANY (SELECT …)`` is ``x IN (SELECT …)``."""
    if isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
        inner = unwrapped(node.expression.this)
        if isinstance(inner, exp.Query):
            return exp.In(this=node.this.copy(), query=exp.Subquery(this=inner.copy()))
    return node


def unparenthesised(node: Node) -> Node:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def without_text_cast(node: Node) -> Node:
    """``(name)::text`` of a varchar is no expression: the types are binary-compatible."""
    while (
        isinstance(node, exp.Cast)
        and node.to.this in TEXT_TYPES
        and isinstance(unparenthesised(node.this), exp.Column)
    ):
        node = unparenthesised(node.this)
    return node


def conjuncts_of(node: Node) -> Iterator[Node]:
    node = unparenthesised(node)
    if isinstance(node, exp.And):
        yield from conjuncts_of(node.left)
        yield from conjuncts_of(node.right)
    elif isinstance(node, exp.Not) and isinstance(unparenthesised(node.this), exp.Or):
        for branch in disjuncts_of(node.this):
            yield from conjuncts_of(exp.Not(this=branch.copy()))
    else:
        yield node


def disjuncts_of(node: Node) -> Iterator[Node]:
    """The branches of an OR, however they are bracketed."""
    node = unparenthesised(node)
    if isinstance(node, exp.Or):
        yield from disjuncts_of(node.left)
        yield from disjuncts_of(node.right)
    else:
        yield node


def denied_by(node: Node) -> Node | None:
    """What a negation denies; None where it is none. Of ``NOT LIKE`` sqlglot makes a ``Like`` that is negated."""
    if isinstance(node, exp.Not):
        return node.this
    if isinstance(node, exp.NEQ):
        return exp.EQ(this=node.this.copy(), expression=node.expression.copy())
    if isinstance(node, exp.Escape) and node.this.args.get("negate"):
        return denied_by(node.this)
    if isinstance(node, exp.Like | exp.ILike) and node.args.get("negate"):
        plain = node.copy()
        plain.set("negate", None)
        return plain
    return None


def leaves_of(node: Node) -> Iterator[Node]:
    """The comparisons that AND and OR are made of."""
    node = unparenthesised(node)
    if isinstance(node, exp.And | exp.Or):
        yield from leaves_of(node.left)
        yield from leaves_of(node.right)
    else:
        yield node


def aliases_of(node: Node) -> set[str]:
    return {c.table for c in node.find_all(exp.Column) if c.table}


def columns_of(node: Node) -> frozenset[str]:
    return frozenset(c.name for c in node.find_all(exp.Column))


def outermost_queries(node: Node) -> list[Node]:
    found: list[Node] = []
    stack: list[Node] = [node]
    while stack:
        n = stack.pop()
        if isinstance(n, exp.Query) and not isinstance(n, exp.Subquery):
            found.append(n)
        else:
            stack += list(n.iter_expressions())
    return found


def own_columns(node: Node) -> Iterable[exp.Column]:
    stack: list[Node] = [node]
    while stack:
        n = stack.pop()
        if isinstance(n, exp.Column):
            yield n
        elif not (isinstance(n, exp.Query) and not isinstance(n, exp.Subquery)):
            stack += list(n.iter_expressions())


def has_aggregate(node: Node) -> bool:
    """Whether an aggregate of this SELECT is in it (not of a sub-query, not a window function)."""
    stack: list[Node] = [node]
    while stack:
        n = stack.pop()
        if isinstance(n, exp.AggFunc) and not isinstance(n.parent, exp.Window):
            return True
        if not isinstance(n, exp.Query):
            stack += list(n.iter_expressions())
    return False


def is_flat(tree: exp.Select, *, semi: bool = False) -> bool:
    """Whether the planner pulls this sub-query up into its parent (is_simple_subquery)."""
    stops = ["group", "having", "limit", "offset", "windows"] + ([] if semi else ["distinct"])
    if any(tree.args.get(s) for s in stops) or any(has_aggregate(e) for e in tree.expressions):
        return False
    return not any(True for e in tree.expressions for _ in e.find_all(exp.Window, exp.Query))


def reads(tree: Node) -> bool:
    return isinstance(tree, exp.Query) and not isinstance(tree, exp.Values)


def operands(node: Node) -> tuple[Node, Node]:
    """Both operands; those of ``@@`` with the document first."""
    if not isinstance(node, exp.MatchAgainst):
        return node.left, node.right
    first, second = node.this, node.expressions[0]
    return (first, second) if isinstance(first, exp.Column) else (second, first)


def assigned(tree: Node) -> Iterator[str]:
    for item in tree.args.get("expressions") or []:
        if isinstance(item, exp.EQ):
            yield folded_name(item.this)


def parameter_number(node: Node) -> int:
    if isinstance(node, exp.Parameter) and isinstance(node.this, exp.Literal) and node.this.this.isdigit():
        return int(node.this.this)
    return 0


def unquoted(literal: str | None) -> str | None:
    if literal is None:
        return None
    match = re.fullmatch(r"[Ee]?'((?:[^']|'')*)'(?:::[\w ]+)?", literal)
    return match.group(1).replace("''", "'") if match else literal
