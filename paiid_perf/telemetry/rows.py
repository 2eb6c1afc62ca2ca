"""What recording hands over: one series in one minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

#: How the subject of requests that failed ends.
FAILED = " 5xx"


class Series(NamedTuple):
    """A named series in one minute (``minute`` is the epoch second that it starts at)."""

    minute: int
    name: str
    subject: str


@dataclass(slots=True)
class Cell:
    """What was seen of a series: how many, their sum, and for a histogram how many in each bucket."""

    count: int = 0
    total: float = 0.0
    buckets: dict[int, int] = field(default_factory=dict)

    def merge(self, other: Cell) -> None:
        """Add what another process or thread saw."""
        self.add(other.count, other.total, other.buckets)

    def add(self, count: int, total: float, buckets: Mapping[int, int]) -> None:
        """Add so many, their sum, and how many there are in each bucket."""
        self.count += count
        self.total += total
        own = self.buckets
        for bucket, seen in buckets.items():
            own[bucket] = own.get(bucket, 0) + seen


@dataclass(frozen=True, slots=True)
class Row:
    """A series' minute as it is stored: the fields of ``models.Metric`` at minute resolution."""

    name: str
    subject: str
    at: datetime
    count: int
    total: float
    buckets: Mapping[int, int]


def row(series: Series, cell: Cell) -> Row:
    """The row of a series and what was seen of it."""
    at = datetime.fromtimestamp(series.minute, UTC)
    return Row(series.name, series.subject, at, cell.count, cell.total, cell.buckets)
