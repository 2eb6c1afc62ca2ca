"""Which share of a table's rows a predicate keeps, from ``pg_stats``.

The formulas and default selectivities are PostgreSQL's (``selfuncs.c``, ``selfuncs.h``); where a parameter's value
is not known, the estimate is the one that a generic plan would use.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from paiid_perf.database.index_types import Column, Op, Predicate, Table

DEFAULT_EQ = 0.005
DEFAULT_INEQ = 0.3333333333
DEFAULT_RANGE = 0.005
DEFAULT_MATCH = 0.005
DEFAULT_OTHER = 0.3333333333
#: Where the bounds or the pattern are parameters, PostgreSQL takes 0.5 % for a generic plan: to advise by that would be
#: to bet on constants that hardly anybody asks with.
UNKNOWN_RANGE = 0.15
UNKNOWN_MATCH = 0.04
#: Operators whose estimate needs no statistics of ours (contsel, matchingsel, tsmatchsel).
_FIXED: dict[Op, float] = {
    "contains": 0.005,
    "overlap": 0.01,
    "search": 0.005,
    "like": DEFAULT_MATCH,
    "ilike": DEFAULT_MATCH,
    "other": DEFAULT_OTHER,
}


def distinct_values(table: Table, key: str) -> float:
    """Distinct values of a column (at least 1); 200, as ``get_variable_numdistinct``, where nothing is known."""
    column = table.columns.get(key)
    if column is None:
        return max(1.0, min(200.0, table.rows))
    if column.distinct > 0:
        return max(1.0, min(column.distinct, max(table.rows, 1.0)))
    if column.family == "bool":
        return 2.0
    if any(i.unique and i.spec.key_texts == (key,) and not i.spec.predicate for i in table.indexes):
        return max(1.0, table.rows)
    return max(1.0, min(200.0, table.rows))


def combined(table: Table, predicates: Iterable[Predicate]) -> float:
    """The share of rows that all predicates keep, taken as independent; two bounds of one key as one range."""
    ranges: dict[str, list[Predicate]] = defaultdict(list)
    share = 1.0
    for predicate in predicates:
        if predicate.op == "range":
            ranges[predicate.key].append(predicate)
        else:
            share *= selectivity(table, predicate)
    for same_key in ranges.values():
        share *= _range(table, _intersected(same_key))
    return min(1.0, max(share, 1e-10))


def selectivity(table: Table, predicate: Predicate) -> float:
    """The share of rows that one predicate keeps, 0–1."""
    column = table.columns.get(predicate.key)
    match predicate.op:
        case "eq":
            return _equal(table, column, predicate, predicate.values[0] if predicate.values else None)
        case "in":
            shares = (_equal(table, column, predicate, v) for v in predicate.values)
            return min(1.0, sum(shares))
        case "range":
            return _range(table, predicate)
        case "null":
            return max(column.null_fraction, 1e-6) if column else DEFAULT_EQ
        case "notnull":
            return 1.0 - column.null_fraction if column else 1.0 - DEFAULT_EQ
        case "or":
            return _any_of(selectivity(table, b) for b in predicate.branches)
        case "asked":
            return selectivity(table, predicate.branches[0])
        case "not":
            return _none_of(table, predicate.branches)
        case op:
            return _pattern(column, predicate) if op == "like" else _FIXED[op]


def _any_of(shares: Iterable[float]) -> float:
    none = 1.0
    for share in shares:
        none *= 1.0 - share
    return 1.0 - none


def _none_of(table: Table, branches: Iterable[Predicate]) -> float:
    """What a negation keeps: neither what it denies nor what is NULL (``neqsel``, ``nlikesel``)."""
    share = 1.0
    for branch in branches:
        column = table.columns.get(branch.key)
        share *= max(0.0, 1.0 - selectivity(table, branch) - (column.null_fraction if column else 0.0))
    return share


def _equal(table: Table, column: Column | None, predicate: Predicate, value: str | None) -> float:
    """``var_eq_const`` where the value is known, ``var_eq_non_const`` where it is a parameter."""
    if column is None:
        return _equal_expression(table, predicate)
    not_null = 1.0 - column.null_fraction
    distinct = distinct_values(table, column.name)
    if value is None:
        share = not_null / distinct
        return min(share, column.common[0][1]) if column.common else share
    for common, frequency in column.common:
        if _same(common, value):
            return frequency
    rest = not_null - sum(f for _, f in column.common)
    others = distinct - len(column.common)
    share = max(rest, 0.0) / others if others >= 1 else max(rest, 0.0)
    return min(share, column.common[-1][1]) if column.common else share


def _equal_expression(table: Table, predicate: Predicate) -> float:
    """An expression of one column is taken to have as many values as the column; else 200."""
    columns = [c for c in predicate.columns if c in table.columns]
    if predicate.key.upper().startswith(("UPPER(", "LOWER(")) and len(columns) == 1:
        return 1.0 / distinct_values(table, columns[0])
    return DEFAULT_EQ


def _same(a: str, b: str) -> bool:
    return a == b or _boolean(a) == _boolean(b) != ""


def _boolean(text: str) -> str:
    return {"t": "true", "f": "false", "true": "true", "false": "false"}.get(text, "")


def _intersected(predicates: Sequence[Predicate]) -> Predicate:
    lows = [p.values[0] for p in predicates if p.values[0] != ""]
    highs = [p.values[1] for p in predicates if p.values[1] != ""]
    values = (lows[0] if lows else "", highs[0] if highs else "")
    return Predicate(predicates[0].key, predicates[0].is_column, "range", values)


def _range(table: Table, predicate: Predicate) -> float:
    low, high = predicate.values
    column = table.columns.get(predicate.key)
    if low is None or high is None:
        return UNKNOWN_RANGE if low != "" and high != "" else DEFAULT_INEQ
    if column is None or not column.histogram:
        return DEFAULT_RANGE if low != "" and high != "" else DEFAULT_INEQ
    below = _position(column.histogram, high) if high != "" else 1.0
    above = _position(column.histogram, low) if low != "" else 0.0
    if below is None or above is None:
        return DEFAULT_RANGE if low != "" and high != "" else DEFAULT_INEQ
    return min(1.0, max(below - above, 1.0 / max(table.rows, 1.0)))


def _position(histogram: tuple[str, ...], value: str) -> float | None:
    """The share of the histogram below a value, interpolated in its bucket; None where it cannot be compared."""
    bounds, at = _scalars(histogram), scalar(value)
    if bounds is None or at is None:
        return None
    n = bisect_left(bounds, at)
    if n == 0:
        return 0.0
    if n == len(bounds):
        return 1.0
    width = bounds[n] - bounds[n - 1]
    inside = (at - bounds[n - 1]) / width if width > 0 else 0.5
    return (n - 1 + inside) / (len(bounds) - 1)


@lru_cache(maxsize=2048)
def _scalars(histogram: tuple[str, ...]) -> list[float] | None:
    values = [scalar(v) for v in histogram]
    return None if any(v is None for v in values) else [v for v in values if v is not None]


def scalar(text: str) -> float | None:
    """A number, date or timestamp as a float; None for what cannot be put on a line."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _pattern(column: Column | None, predicate: Predicate) -> float:
    """A LIKE without wildcards is an equality; each fixed character of a prefix keeps a fifth (FIXED_CHAR_SEL)."""
    value = predicate.values[0] if predicate.values else None
    prefix = like_prefix(value)
    if prefix is None:
        return UNKNOWN_MATCH if column is not None else DEFAULT_MATCH
    if not prefix:
        return DEFAULT_MATCH
    return max(0.20 ** len(prefix), 1e-5) * (1.0 if value and "%" in value else 0.5)


def like_prefix(pattern: str | None) -> str | None:
    """The fixed start of a LIKE pattern (empty where it starts with a wildcard); None for a parameter."""
    if pattern is None:
        return None
    for n, char in enumerate(pattern):
        if char in "%_\\":
            return pattern[:n]
    return pattern
