"""Tables of the console's own pages: sorted and paged by their address, so that they need no script. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from django.utils.functional import Promise

from paiid_perf.admin.figures import number

Row = TypeVar("Row")
PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A heading, what its cell shows, and what it is sorted by (None: not sortable)."""

    key: str
    label: str | Promise
    show: Callable[[Row], object]
    by: Callable[[Row], Any] | None = None
    is_number: bool = True


@dataclass(frozen=True, slots=True)
class Heading:
    """A column's heading as it is drawn; ``url`` sorts by it."""

    label: str | Promise
    url: str
    is_number: bool
    sorted: str
    """``aria-sort``'s value; empty where it is not the one sorted by."""


@dataclass(frozen=True, slots=True)
class Table:
    """What the template draws."""

    label: str
    headings: Sequence[Heading]
    rows: Sequence[Sequence[tuple[object, bool]]]
    """Cells as (content, is a number); the first one is the row's heading."""
    total: int
    page: int
    pages: int
    before: str
    after: str


def figure(
    key: str, label: str | Promise, value: Callable[[Any], float | None], unit: str = ""
) -> Column[Any]:
    """A column that shows the figure that it is sorted by."""
    return Column(key, label, lambda row: number(value(row), unit), value)


def number_of(params: Mapping[str, str], name: str = "p") -> int:
    """A positive number from the address; 1 for anything else."""
    text = params.get(name, "")
    return max(1, int(text)) if text.isdecimal() and len(text) < 7 else 1


def ordered(
    columns: Sequence[Column[Row]], rows: Iterable[Row], params: Mapping[str, str], first: str
) -> list[Row]:
    """The rows by the column that the address names (``first`` if none): largest first, text from A on."""
    by = next((c for c in columns if c.key == params.get("o", first) and c.by), None)
    by = by or next(c for c in columns if c.key == first)
    assert by.by is not None
    known = [(by.by(row), row) for row in rows]
    there = sorted((pair for pair in known if pair[0] is not None), key=lambda p: p[0], reverse=by.is_number)
    return [row for _key, row in there] + [row for key, row in known if key is None]


def paged(rows: Sequence[Row], params: Mapping[str, str]) -> list[Row]:
    """The rows of the page that the address asks for."""
    page = min(number_of(params), _pages(len(rows)))
    return list(rows[(page - 1) * PER_PAGE : page * PER_PAGE])


def table(
    label: str,
    columns: Sequence[Column[Row]],
    shown: Iterable[Row],
    params: Mapping[str, str],
    first: str,
    total: int,
) -> Table:
    """The rows of one page as a table whose headings sort it."""
    chosen, pages = params.get("o", first), _pages(total)
    page = min(number_of(params), pages)
    return Table(
        label=label,
        headings=[
            Heading(
                column.label,
                _address(params, o=column.key, p="") if column.by else "",
                column.is_number,
                ("descending" if column.is_number else "ascending") if column.key == chosen else "",
            )
            for column in columns
        ],
        rows=[[(column.show(row), column.is_number) for column in columns] for row in shown],
        total=total,
        page=page,
        pages=pages,
        before=_address(params, p=str(page - 1)) if page > 1 else "",
        after=_address(params, p=str(page + 1)) if page < pages else "",
    )


def _pages(total: int) -> int:
    return max(1, -(-total // PER_PAGE))


def _address(params: Mapping[str, str], **changed: str) -> str:
    kept = {name: value for name, value in ({**params} | changed).items() if value}
    return "?" + urlencode(kept)
