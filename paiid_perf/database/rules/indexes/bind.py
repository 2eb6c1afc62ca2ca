"""Putting constants back into a normalised statement, so that it can be explained and run again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from paiid_perf.database.index_types import Catalog, Column, Predicate, Query, Statement, Table
from paiid_perf.database.rules.indexes.parse import Bindings
from paiid_perf.database.rules.indexes.selectivity import scalar
from paiid_perf.database.rules.indexes.texts import repaired

_PARAMETER = re.compile(r"\$(\d+)")
_LIMIT = re.compile(r"\b(LIMIT|OFFSET|FIRST|NEXT)\s+\$(\d+)", re.IGNORECASE)
#: What stands for a parameter whose column nobody knows, by the type that the server infers.
_BY_TYPE: tuple[tuple[str, str], ...] = (
    ("interval", "1 day"),
    ("timestamp", "2024-06-15 12:00:00+00"),
    ("date", "2024-06-15"),
    ("time", "12:00:00"),
    ("bool", "true"),
    ("bigint", "1"),
    ("integer", "1"),
    ("smallint", "1"),
    ("oid", "1"),
    ("numeric", "1"),
    ("double", "1"),
    ("real", "1"),
    ("money", "1"),
    ("jsonpath", "$"),
    ("json", "{}"),
    ("uuid", "00000000-0000-0000-0000-000000000000"),
    ("inet", "127.0.0.1"),
    ("cidr", "127.0.0.1"),
    ("bit", "0"),
    ("varbit", "0"),
    ("regconfig", "simple"),
    ("regclass", "pg_class"),
    ("text", ""),
    ("char", ""),
    ("bpchar", ""),
    ("varchar", ""),
    ("name", ""),
    ("citext", ""),
    ("bytea", ""),
    ("ts", ""),
    ('"char"', ""),
)
#: Where in the histogram a range begins and ends: near the top, as "the latest" does.
_LOW, _HIGH = 0.90, 0.95
#: A column is skewed whose most common value most rows have, and whose rarest these.
_MOST, _FEW = 0.5, 0.1
#: LIMITs that people write; calls that return this share of one on average mostly reach it.
_USUAL_LIMITS = (1, 2, 3, 5, 10, 20, 25, 30, 50, 100, 200, 250, 500, 1000)
_REACHED = 0.9
#: LIMIT where nobody counted what calls return, and what no call reaches.
_DEFAULT_LIMIT, _NO_LIMIT = 10.0, 1_000_000_000
#: A word that is worth searching for has so many letters.
_WORD = re.compile(r"[^\W\d_]{3,}")


def parameters(text: str) -> tuple[int, ...]:
    """The numbers of the parameters in a text, in order."""
    return tuple(sorted({int(n) for n in _PARAMETER.findall(text)}))


def representative(query: Query, catalog: Catalog, statement: Statement, variant: int = 0) -> dict[int, str]:
    """Values for ``$n`` from ``pg_stats`` (text, unquoted): common values and histogram bounds, by what each is
    compared with. ``variant`` picks other values, so that skew is seen. LIMIT is what calls return, where they reach
    it."""
    values: dict[int, str] = {}
    for block in query.blocks:
        for relation in block.relations:
            table = catalog.tables.get(relation.table or "")
            for predicate in (*relation.predicates, *relation.mentioned) if table else ():
                for part in (predicate, *predicate.branches):
                    values |= _for_predicate(part, column_of(part, table), variant)
    for word, number in _LIMIT.findall(statement.text):
        values[int(number)] = "0" if word.upper() == "OFFSET" else str(round(limit(statement) or _NO_LIMIT))
    return values


def rare(query: Query, catalog: Catalog) -> dict[int, str]:
    """For the parameters that a column of few unlike values is compared with, its rarest: of states that nearly every
    row shares, the others are what is asked for as often."""
    values: dict[int, str] = {}
    for block in query.blocks:
        for relation in block.relations:
            table = catalog.tables.get(relation.table or "")
            for predicate in relation.predicates if table else ():
                column = column_of(predicate, table)
                if predicate.op == "eq" and column is not None and _is_skewed(column):
                    values |= {int(n): column.common[-1][0] for n in _PARAMETER.findall(predicate.text)}
    return values


def _is_skewed(column: Column) -> bool:
    frequencies = [share for _, share in column.common]
    return len(frequencies) > 1 and frequencies[0] >= _MOST and frequencies[-1] <= _FEW


def limit(statement: Statement) -> float | None:
    """The rows at which ``LIMIT $n`` stops a statement, from what its calls return; None where it mostly finds fewer,
    so that nothing stops it early."""
    if not statement.calls:
        return _DEFAULT_LIMIT
    rows = statement.rows_per_call
    if statement.calls > 1 and rows >= 1 and rows == round(rows):
        return rows
    return next((float(n) for n in _USUAL_LIMITS if _REACHED * n <= rows <= n), None)


def column_of(predicate: Predicate, table: Table | None) -> Column | None:
    """The column whose values a predicate is about, also inside ``UPPER(…)``."""
    if table is None:
        return None
    name = predicate.key if predicate.is_column else next(iter(predicate.columns), "")
    return table.columns.get(name) if predicate.is_column or len(predicate.columns) == 1 else None


def _for_predicate(predicate: Predicate, column: Column | None, variant: int) -> dict[int, str]:
    if column is None:
        return {}
    numbers = [int(n) for n in _PARAMETER.findall(predicate.text)]
    if predicate.op == "range":
        bounds = (_LOW, _HIGH) if len(numbers) > 1 else (_LOW if predicate.values[0] is None else _HIGH,)
        pairs = zip(numbers, bounds, strict=False)
        return {n: v for n, at in pairs if (v := ordered_at(column, at)) is not None}
    if predicate.op in {"like", "ilike"}:
        return {n: v for k, n in enumerate(numbers) if (v := _pattern(column, variant + k))}
    found = [(n, _value(column, variant + k)) for k, n in enumerate(numbers)]
    if predicate.op in {"eq", "in", "contains", "overlap"}:
        return {n: v for n, v in found if v is not None}
    return {}


def _pattern(column: Column, variant: int) -> str | None:
    """A pattern that finds what people look for: a word that several values have, else a part of one value."""
    texts = (*(v for v, _ in column.common), *column.histogram)
    words = Counter(word for text in texts for word in set(_WORD.findall(text)))
    shared = sorted((w for w, times in words.items() if times > 1), key=lambda w: (-words[w], w))
    if shared:
        return f"%{shared[variant % len(shared)]}%"
    value = _value(column, variant)
    return _infix(value) if value else None


def _infix(value: str) -> str:
    """A pattern that finds the value by five characters of its middle."""
    middle = len(value) // 2
    return f"%{re.sub(r'[%_]', '', value[max(0, middle - 2) : middle + 3])}%"


def _value(column: Column, variant: int) -> str | None:
    bounds = column.histogram
    pool = [v for v, _ in column.common[:3]] + ([bounds[len(bounds) // 2]] if bounds else [])
    return pool[variant % len(pool)] if pool else None


def ordered_at(column: Column, at: float) -> str | None:
    """The value at this share (0 to 1) of the column's values from the least to the greatest."""
    values = column.histogram or _in_line([v for v, _ in column.common])
    return values[min(len(values) - 1, int(at * len(values)))] if values else None


def _in_line(values: Sequence[str]) -> Sequence[str]:
    """The values from the least to the greatest: numbers and times as such, else as text."""
    places = {value: scalar(value) for value in values}
    if any(place is None for place in places.values()):
        return sorted(values)
    return sorted(values, key=lambda v: places[v] or 0.0)


def sampled(statement: Statement, variant: int = 0) -> dict[int, str] | None:
    """A sampled run's constants as SQL literals; None where there is no sample."""
    if not statement.samples:
        return None
    constants = statement.samples[variant % len(statement.samples)]
    numbers = _in_order(statement.text)
    return dict(zip(numbers, constants, strict=True)) if len(numbers) == len(constants) else None


#: A constant that nearly every sampled run had may stand in a partial index's predicate.
STABLE_SHARE = 0.9
STABLE_RUNS = 3


def stable_bindings(statement: Statement) -> Bindings:
    """What the sampled runs say about each ``$n``: the most frequent value, whether it hardly ever differs, and whether
    that can be said of enough runs."""
    numbers = _in_order(statement.text)
    runs = [s for s in statement.samples if len(s) == len(numbers)]
    if not runs:
        return Bindings()
    values: dict[int, str] = {}
    agreed: set[int] = set()
    for position, number in enumerate(numbers):
        ((value, times),) = Counter(run[position] for run in runs).most_common(1)
        values[number] = value
        if times >= STABLE_SHARE * len(runs):
            agreed.add(number)
    return Bindings(values, frozenset(agreed), frozenset(agreed if len(runs) >= STABLE_RUNS else ()))


def _in_order(text: str) -> list[int]:
    return [int(n) for n in _PARAMETER.findall(text)]


def bound(text: str, literals: Mapping[int, str]) -> str:
    """The statement with SQL literals in place of its parameters (a squashed list becomes five times the same)."""
    return _PARAMETER.sub(lambda m: literals.get(int(m[1]), m[0]), repaired(text))


def literals(types: Sequence[str], values: Mapping[int, str]) -> dict[int, str]:
    """Typed SQL literals for every parameter: the value known, or one that fits the type (else NULL)."""
    return {
        n: f"CAST({_literal(values.get(n, _fallback(kind)))} AS {kind})" for n, kind in enumerate(types, 1)
    }


def _literal(value: str | None) -> str:
    return "NULL" if value is None else _quoted(value)


def _fallback(kind: str) -> str | None:
    """A value of the type; none of an enum, a range or a type of the host's own."""
    if kind.endswith("[]"):
        return "{}"
    if kind.endswith("range"):
        return "empty"
    return next((value for prefix, value in _BY_TYPE if kind.startswith(prefix)), None)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def missing(text: str, values: Iterable[int]) -> bool:
    """Whether some parameter has no value."""
    return bool(set(parameters(text)) - set(values))
