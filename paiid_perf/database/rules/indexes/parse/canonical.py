"""One spelling for equal expressions, however a query or the catalogue wrote them."""

from __future__ import annotations

import sqlglot
from sqlglot import exp

from paiid_perf.database.rules.indexes.parse.trees import TEXT_TYPES, Node, conjuncts_of, folded


def canonical(node: Node) -> str:
    """Expression text without qualifiers, needless parentheses, casts to text or letter case of functions."""

    return str(_tidy(node.copy(), None).sql("postgres"))


def _tidy(node: Node, parent: Node, place: str = "") -> Node:
    """The tree without what two spellings of one expression differ in; ``place``: which operand of its parent it is."""
    while _is_needless_cast(node) or _is_needless_paren(node, parent, place):
        node = node.this
    if isinstance(node, exp.Column):
        return exp.Column(this=exp.to_identifier(folded(node.this), quoted=True))
    for name, value in list(node.args.items()):
        if isinstance(value, list):
            node.set(name, [_tidy(v, node) if isinstance(v, exp.Expression) else v for v in value])
        elif isinstance(value, exp.Expression):
            node.set(name, _tidy(value, node, name))
    return node


_JSON = (exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar)
#: Operators that are read from the left: of a chain of one of them, PostgreSQL writes the parentheses.
_CHAINS: tuple[tuple[type[exp.Expression], ...], ...] = (
    _JSON,
    (exp.DPipe,),
    (exp.Add, exp.Sub),
    (exp.Mul, exp.Div),
)


def _is_needless_paren(node: Node, parent: Node, place: str) -> bool:
    """Parentheses count only between operators, and not around the beginning of a chain."""
    if not isinstance(node, exp.Paren):
        return False
    if place == "this" and any(isinstance(node.this, c) and isinstance(parent, c) for c in _CHAINS):
        return True
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
