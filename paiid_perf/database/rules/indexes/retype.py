"""Normalised statements made fit to be explained: what the server must be told of ``$n`` before it accepts them.

Where a constant's type was plain from its spelling (``3 - 0.5``, ``interval '1' year``, ``substring(x from 1 for 2)``),
the parameter in its place has none. Some are put back by what stands around them; the rest by trying types where the
server points at (``casts``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from paiid_perf.database.index_types import Catalog, Column, Predicate, Query, Table
from paiid_perf.database.rules.indexes.texts import repaired

_PARAMETER = re.compile(r"\$(\d+)")
_UNITS = "year|month|week|day|hour|minute|second"
#: How many of each unit people ask for, in the middle of what is usual.
_USUAL = {"year": 1, "month": 2, "week": 2, "day": 30, "hour": 12, "minute": 30, "second": 30}
#: What stands for a span of time of which not even the unit is known.
SPAN = "60 days"

#: (pattern, replacement), tried in order on the text as it was counted.
_SIMPLER: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        *(
            (
                rf"\binterval\s+\$\d+\s+{unit}s?\b(?:\s+to\s+(?:{_UNITS})\b)?(?:\s*\(\d+\))?",
                f"interval '{count} {unit}'",
            )
            for unit, count in _USUAL.items()
        ),
        (r"\binterval\s+\$\d+", f"interval '{SPAN}'"),
        (r"\$\d+\s*::\s*interval\b", f"interval '{SPAN}'"),
        (r"\bextract\s*\(\s*\$\d+\s+from\b", "extract(year from"),
        (r"\bfrom\s+(\$\d+)\s+for\s+(\$\d+)\s*\)", r"from CAST(\1 AS integer) for CAST(\2 AS integer))"),
        # What is added to a constant or taken from it only shifts it.
        (r"(\$\d+)\s*[-+]\s*\$\d+(?!\s*(?:::|\())", r"\1"),
    )
)


def simplified(text: str) -> str:
    """The statement with literals where a parameter can stand for nothing else."""
    for pattern, replacement in _SIMPLER:
        text = pattern.sub(replacement, text)
    return text


def renumbered(text: str) -> tuple[str, Mapping[int, int]]:
    """The statement with its parameters counted from 1 without gaps (the server types each number that there is),
    and old → new numbers."""
    numbers = {int(n): k for k, n in enumerate(dict.fromkeys(_PARAMETER.findall(text)), 1)}
    return _PARAMETER.sub(lambda m: f"${numbers[int(m[1])]}", text), numbers


# --- casts -------------------------------------------------------------------------------------------------

#: Types tried for a parameter that the server cannot make sense of.
TYPES = ("numeric", "integer", "date", "interval", "text")
MOST_TRIES = 200
#: Characters around the place that the server points at.
_NEAR = 160


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a text was not accepted, and where (character offset)."""

    at: int


Ask = Callable[[str], tuple[str, ...] | Complaint | None]
"""Prepares a text: the parameters' types, or what is wrong with it; None where nothing will help."""


def casts(text: str, ask: Ask) -> tuple[str, tuple[str, ...]] | None:
    """The text with casts where the server wanted them, and its parameters' types; None where none help."""
    tries = iter(range(MOST_TRIES))
    for _ in tries:
        said = ask(text)
        if said is None:
            return None
        if not isinstance(said, Complaint):
            return text, said
        better = _cast_one(text, said, ask, tries)
        if better is None:
            return None
        text = better
    return None


def _cast_one(text: str, complaint: Complaint, ask: Ask, tries: Iterator[int]) -> str | None:
    """The text with the one more cast that takes the server furthest; None where none takes it further."""
    best, furthest = None, complaint.at
    for place in _places(text, complaint.at):
        for kind in TYPES:
            if next(tries, None) is None:
                return best
            cast = f"CAST({place.group()} AS {kind})"
            attempt = text[: place.start()] + cast + text[place.end() :]
            said = ask(attempt)
            if isinstance(said, tuple):
                return attempt
            if said is not None and said.at - len(cast) > furthest:
                best, furthest = attempt, said.at - len(cast)
    return best


def _places(text: str, at: int) -> list[re.Match[str]]:
    """Parameters without a cast near a place, those after it first."""
    bare = [m for m in _PARAMETER.finditer(text) if not re.match(r"\s+AS\s", text[m.end() : m.end() + 8])]
    near = [m for m in bare if abs(m.start() - at) <= _NEAR]
    return sorted(near, key=lambda m: (m.start() < at, abs(m.start() - at)))[:4]


# --- values ------------------------------------------------------------------------------------------------

#: Where in the histogram an open range begins (or ends), so that it keeps a third (DEFAULT_INEQ_SEL), and a span.
OPEN_LOW, OPEN_HIGH, SPAN_LOW = 0.67, 0.33, 0.50

_FITS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("interval", r"^(?!)"),
        ("int", r"^\s*-?\d+\s*$"),
        ("numeric", r"^\s*-?\d+(\.\d+)?([eE][-+]?\d+)?\s*$"),
        ("double", r"^\s*-?\d+(\.\d+)?([eE][-+]?\d+)?\s*$"),
        ("real", r"^\s*-?\d+(\.\d+)?([eE][-+]?\d+)?\s*$"),
        ("bool", r"^(t|f|true|false)$"),
        ("timestamp", r"^\d{4}-\d\d-\d\d"),
        ("date", r"^\d{4}-\d\d-\d\d"),
    )
)


def fitting(values: Mapping[int, str], types: tuple[str, ...]) -> dict[int, str]:
    """The values that can be read as the type that the server gave their parameter."""
    return {n: v for n, v in values.items() if n <= len(types) and _fits(v, types[n - 1])}


def _fits(value: str, kind: str) -> bool:
    pattern = next((p for prefix, p in _FITS if kind.startswith(prefix)), None)
    return pattern is None or kind.endswith("[]") or bool(pattern.match(value))


def sql_type(kind: str) -> str:
    """The type without a length of one (``character`` alone is ``character(1)``)."""
    return {"character": "bpchar", "bit": "varbit"}.get(kind, kind)


def ranges(query: Query, catalog: Catalog) -> dict[int, str]:
    """Values for the bounds of ranges that are open on one side, or a span of time long."""
    found: dict[int, str] = {}
    for block in query.blocks:
        for relation in block.relations:
            table = catalog.tables.get(relation.table or "")
            if table is not None:
                found |= _bounds(table, [p for p in relation.predicates if p.op == "range"])
    return found


def _bounds(table: Table, predicates: list[Predicate]) -> dict[int, str]:
    found: dict[int, str] = {}
    spans = {p.key for p in predicates if _is_span(p)}
    for predicate in predicates:
        numbers = [int(n) for n in _PARAMETER.findall(predicate.text)]
        column = table.columns.get(predicate.key)
        if len(numbers) != 1 or column is None or "" not in predicate.values:
            continue
        paired = sum(p.key == predicate.key for p in predicates) > 1
        at = _place(predicate, predicate.key in spans, paired)
        value = _quantile(column, at)
        if value is not None:
            found[numbers[0]] = value
    return found


def _is_span(predicate: Predicate) -> bool:
    return "interval" in predicate.text.lower()


def _place(predicate: Predicate, spans: bool, paired: bool) -> float:
    lower = predicate.values[1] == ""
    if spans and paired:
        return SPAN_LOW
    if paired:
        return SPAN_LOW if lower else SPAN_LOW + 0.05
    return OPEN_LOW if lower else OPEN_HIGH


def _quantile(column: Column, at: float) -> str | None:
    values = column.histogram or tuple(sorted(v for v, _ in column.common))
    return values[min(len(values) - 1, int(at * len(values)))] if values else None


def prepared_text(text: str) -> tuple[str, Mapping[int, int]]:
    """The statement repaired, simplified and its parameters renumbered; and old → new numbers."""
    return renumbered(repaired(simplified(text)))
