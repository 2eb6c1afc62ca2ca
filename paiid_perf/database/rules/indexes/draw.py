"""Constants as a row drawn at random has them: what a statement may be asked with besides what is usual.

``bind`` gives the constants that stand for a statement's calls; a trial wants to know of the others, too, whether an
index makes one of them slower.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random

from paiid_perf.database.index_types import Catalog, Column, Predicate, Query
from paiid_perf.database.rules.indexes.bind import column_of, ordered_at

_PARAMETER = re.compile(r"\$(\d+)")
#: The widest range between two bounds, as a share of the column's values.
_WIDEST = 0.3


def drawn(query: Query, catalog: Catalog, turn: int) -> dict[int, str]:
    """Values for the ``$n`` that columns are compared with (text, unquoted), by the columns' statistics: each value as
    often as rows have it, ranges of any place and width. The same for the same ``turn``; where nothing is known of a
    column, its parameters are left out."""
    values: dict[int, str] = {}
    for block in query.blocks:
        for relation in block.relations:
            table = catalog.tables.get(relation.table or "")
            for predicate in (*relation.predicates, *relation.mentioned) if table else ():
                for part in (predicate, *predicate.branches):
                    column = column_of(part, table)
                    if column is not None:
                        # One draw for each column: the two bounds of a range must fit each other.
                        draw = Random(f"{turn} {relation.table} {column.name}")  # noqa: S311 # no secret
                        values |= _for_predicate(part, column, draw)
    return values


def _for_predicate(predicate: Predicate, column: Column, draw: Random) -> dict[int, str]:
    numbers = [int(n) for n in _PARAMETER.findall(predicate.text)]
    found: Iterable[str | None] = ()
    if predicate.op == "range":
        found = (ordered_at(column, at) for at in _places(predicate, len(numbers), draw))
    elif predicate.op in {"eq", "in"}:
        found = (_of_a_row(column, draw.random()) for _ in numbers)
    return {n: value for n, value in zip(numbers, found, strict=False) if value is not None}


def _places(predicate: Predicate, count: int, draw: Random) -> tuple[float, ...]:
    width = draw.random() * _WIDEST
    low = draw.random() * (1.0 - width)
    if count > 1:
        return low, low + width
    # A bound that a span of time is added to or taken from names the moment that the other bound names.
    is_low = predicate.values[1] == "" or "interval" in predicate.text.lower()
    return (low if is_low else low + width,)


def _of_a_row(column: Column, at: float) -> str | None:
    """What the row at this share (0 to 1) of the rows has, the rows of common values first."""
    for value, share in column.common:
        if at < share:
            return value
        at -= share
    if not column.histogram:
        return column.common[-1][0] if column.common else None
    rest = max(1.0 - sum(share for _, share in column.common), 1e-9)
    return column.histogram[min(len(column.histogram) - 1, int(at / rest * len(column.histogram)))]
