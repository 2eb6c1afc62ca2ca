"""Evidence and details (JSON of any shape) as facts that a template can lay out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from django.utils.translation import gettext as _

from paiid_perf.admin.figures import number, unit_of
from paiid_perf.admin.labels import heading

#: What says nothing.
NOTHING: tuple[Any, ...] = (None, "", [], {})
#: Rows of a table that are shown; more of them say the same.
ROWS = 40
#: The database keeps no order of an object's keys: what names a thing stands first, what explains it last.
FIRST = ("title", "name", "key", "table", "index", "strategy", "query", "text", "subject", "check")
LAST = ("why", "because", "numbers", "how", "undo")
_CODE = ("SELECT ", "CREATE ", "DROP ", "UPDATE ", "INSERT ", "DELETE ", "ALTER ", "WITH ")


@dataclass(frozen=True, slots=True)
class Cell:
    """One value as text."""

    text: str
    is_code: bool = False
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """A named value: one cell, a list of cells, a table, or facts of its own, as ``kind`` says."""

    label: str
    kind: Literal["cell", "list", "table", "facts"]
    cell: Cell | None = None
    cells: Sequence[Cell] = ()
    columns: Sequence[Cell] = ()
    rows: Sequence[Sequence[Cell]] = ()
    facts: Sequence[Fact] = ()
    more: int = 0
    """How many rows or values are left out."""


def facts_of(evidence: Mapping[str, Any]) -> list[Fact]:
    """Every entry that says something, what names the thing first."""
    return [fact_of(name, evidence[name]) for name in in_order(evidence) if evidence[name] not in NOTHING]


def in_order(names: Iterable[str]) -> list[str]:
    """The names as a person reads them: FIRST, the rest as they come, LAST."""
    places = {name: place - len(FIRST) for place, name in enumerate(FIRST)}
    places |= {name: place + 1 for place, name in enumerate(LAST)}
    return sorted(names, key=lambda name: places.get(name, 0))


def fact_of(name: str, value: Any) -> Fact:
    """One entry; a list of objects becomes a table whose columns are their keys."""
    label = heading(name)
    if isinstance(value, Mapping):
        return Fact(label, "facts", facts=facts_of(value))
    if not isinstance(value, list | tuple):
        return Fact(label, "cell", cell=cell_of(name, value))
    shown, more = value[:ROWS], max(0, len(value) - ROWS)
    if all(isinstance(item, Mapping) for item in shown):
        names = in_order(dict.fromkeys(key for item in shown for key in item))
        rows = [[cell_of(key, item.get(key)) for key in names] for item in shown]
        columns = [
            Cell(heading(key), is_number=any(row[n].is_number for row in rows)) for n, key in enumerate(names)
        ]
        return Fact(label, "table", columns=columns, rows=rows, more=more)
    return Fact(label, "list", cells=[cell_of(name, item) for item in shown], more=more)


def cell_of(name: str, value: Any) -> Cell:
    """A value as text: figures with the unit that their name ends with, SQL as code."""
    if isinstance(value, bool):
        return Cell(_("yes") if value else _("no"))
    if isinstance(value, int | float):
        return Cell(number(float(value), unit_of(name)), is_number=True)
    if isinstance(value, Mapping):
        return Cell(", ".join(f"{heading(key)} {cell_of(key, item).text}" for key, item in value.items()))
    if isinstance(value, list | tuple):
        return Cell(", ".join(cell_of(name, item).text for item in value))
    text = "–" if value is None else str(value)
    return Cell(text, is_code=text.lstrip().upper().startswith(_CODE))


# --- before and after ------------------------------------------------------------------------------------

#: What a handler puts before the key of a neighbour that is only watched for getting slower.
WATCHED = "watched:"


@dataclass(frozen=True, slots=True)
class Compared:
    """One normalised query before and after a change; times in ms a call (``after_ms`` None: not seen since)."""

    text: str
    calls: float
    before_ms: float
    after_ms: float | None
    watched: bool

    @property
    def gain(self) -> float | None:
        """1 - after / before."""
        if self.after_ms is None or not self.before_ms:
            return None
        return 1 - self.after_ms / self.before_ms


def compared(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Compared]:
    """Each query of a Measurement (as JSON) beside itself in the other; the ones changed for first."""
    seen = {query["key"]: query["mean_ms"] for query in after.get("queries", ())}
    rows = [
        Compared(
            text=" ".join(query["text"].split()),
            calls=query["calls"],
            before_ms=query["mean_ms"],
            after_ms=seen.get(query["key"]),
            watched=query["key"].startswith(WATCHED),
        )
        for query in before.get("queries", ())
    ]
    return sorted(rows, key=lambda row: (row.watched, -row.calls * row.before_ms))


def won(rows: Iterable[Compared]) -> tuple[float, float] | None:
    """Mean ms a call before and after, weighted by calls, of the queries that a change was made for; None
    where nothing was compared."""
    both = [(row.calls, row.before_ms, row.after_ms) for row in rows if not row.watched]
    known = [(calls, before, after) for calls, before, after in both if after is not None]
    calls = sum(weight for weight, _before, _after in known)
    if not calls:
        return None
    return (
        sum(weight * before for weight, before, _after in known) / calls,
        sum(weight * after for weight, _before, after in known) / calls,
    )
