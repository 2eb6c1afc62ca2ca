"""Tables of the console's own pages: their address says how they are sorted and which page is shown, so that they
need no script; the database sorts and cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode

from django.utils.functional import Promise

from paiid_perf.admin.figures import number

Row = TypeVar("Row")
PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A heading, what its cell shows, and whether the list can be sorted by it."""

    key: str
    label: str | Promise
    show: Callable[[Row], object]
    is_sortable: bool = False
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
    """A column that shows a figure, which the list can be sorted by."""
    return Column(key, label, lambda row: number(value(row), unit), is_sortable=True)


def number_of(params: Mapping[str, str], name: str = "p") -> int:
    """A positive number from the address; 1 for anything else."""
    text = params.get(name, "")
    return max(1, int(text)) if text.isdecimal() and len(text) < 7 else 1


class Part(Protocol):
    """Some rows of a list, and how many the whole of it has."""

    @property
    def rows(self) -> Sequence[Any]: ...

    @property
    def count(self) -> int: ...


P = TypeVar("P", bound=Part)


def part_of(ask: Callable[[int, int], P], params: Mapping[str, str]) -> P:
    """The page that the address names (past the last one, the last); ``ask`` is given a limit and an offset."""
    page = number_of(params)
    found = ask(PER_PAGE, (page - 1) * PER_PAGE)
    if found.rows or page == 1:
        return found
    return ask(PER_PAGE, (_pages(ask(1, 0).count) - 1) * PER_PAGE)


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
                _address(params, o=column.key, p="") if column.is_sortable else "",
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
