"""What all branches of an OR demand, demanded once: ``(a AND b) OR (a AND c)`` is ``a AND (b OR c)``.

PostgreSQL does so before it plans (``find_duplicate_ors``); a join condition repeated in each branch is then a join.
"""

from __future__ import annotations

import re
from functools import reduce
from typing import cast

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

_OR = re.compile(r"\bor\b", re.IGNORECASE)


def factored(text: str) -> str:
    """The statement with the common conjuncts of its ORs taken out; as it was where it has none or does not parse."""
    if not _OR.search(text):
        return text
    try:
        tree = parse_one(text, dialect="postgres")
    except SqlglotError:
        return text
    changed = [_factor(node) for node in list(tree.find_all(exp.Or)) if not isinstance(node.parent, exp.Or)]
    return tree.sql(dialect="postgres") if any(changed) else text


def _factor(node: exp.Or) -> bool:
    """Rewrite one OR in its tree; says whether there was anything to take out."""
    branches = [_conjuncts(b) for b in _flat(node, exp.Or)]
    common = [c for c in branches[0] if all(c in other for other in branches[1:])]
    if not common:
        return False
    rests = [[c for c in branch if c not in common] for branch in branches]
    parts = [c.copy() for c in common]
    if all(rests):
        parts.append(exp.paren(reduce(_or, (reduce(_and, (c.copy() for c in rest)) for rest in rests))))
    target = node.parent if isinstance(node.parent, exp.Paren) else node
    target.replace(exp.paren(reduce(_and, parts)))
    return True


def _and(a: exp.Expression, b: exp.Expression) -> exp.Expression:
    return exp.And(this=a, expression=b)


def _or(a: exp.Expression, b: exp.Expression) -> exp.Expression:
    return exp.Or(this=exp.paren(a), expression=exp.paren(b))


def _flat(node: exp.Expression, kind: type[exp.Connector]) -> list[exp.Expression]:
    bare = node.unnest()
    if not isinstance(bare, kind):
        return [cast(exp.Expression, bare)]
    return [*_flat(bare.this, kind), *_flat(bare.expression, kind)]


def _conjuncts(node: exp.Expression) -> list[exp.Expression]:
    return _flat(node, exp.And)
