"""What a workload of the advisor's benchmark is: its tables, its data and its queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

#: Without it the counters know nothing of a statement that ran into its time-out.
TRACK_PLANNING = ("SET pg_stat_statements.track_planning = on",)


@dataclass(frozen=True)
class Template:
    """One query; ``make`` gives it new constants."""

    name: str
    make: Callable[[Random], str]


@dataclass(frozen=True)
class Workload:
    """Tables with primary keys only, their data, and what is asked of them."""

    name: str
    ddl: Sequence[str]
    load: Callable[[float], Sequence[str]]
    """Statements that fill the tables at a scale."""
    queries: Sequence[Template]
    foreign_keys: Sequence[tuple[str, str]] = ()
    """(table, column) as Django would index them."""
    settings: Sequence[str] = ()
    timeout_ms: int = 15_000
    """A query slower than this is cancelled, and counts with this."""
