"""One spelling for equal expressions, however a query or the catalogue wrote them."""

from __future__ import annotations

import sqlglot
from sqlglot import exp

from paiid_perf.database.rules.indexes.parse.trees import TEXT_TYPES, Node, conjuncts_of, folded


def canonical(node: Node) -> str:
    """Expression text without qualifiers, needless parentheses, casts to text or letter case of functions."""

    return str(_tidy(node.copy(), None).sql("postgres"))


def _tidy(node: Node, parent: Node) -> Node:
    """The tree without what two spellings of one expression differ in."""
    while _is_needless_cast(node) or _is_needless_paren(node, parent):
        node = node.this
    if isinstance(node, exp.Column):
        return exp.Column(this=exp.to_identifier(folded(node.this), quoted=True))
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
    return isinstance(node, exp.Cast) and (node.to.this in TEXT_TYPES or isinstance(node.this, exp.Literal))


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
    return tuple(sorted(canonical(c) for c in conjuncts_of(tree)))


def bare(node: Node) -> Node:
    def strip(n: Node) -> Node:
        if isinstance(n, exp.Column):
            return exp.Column(this=exp.to_identifier(n.name, quoted=True))
        return n

    return node.transform(strip)
