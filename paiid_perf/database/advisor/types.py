"""What the rooms of the advisor hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from paiid_perf.conf import Settings
from paiid_perf.database.facts.whatif import HypotheticalCosts
from paiid_perf.database.health_types import Evidence
from paiid_perf.database.index_types import (
    Catalog,
    IndexSpec,
    ModelFact,
    Query,
    Statement,
    TableKey,
    Workload,
)
from paiid_perf.database.rules.indexes.sources import EstimatedCosts
from paiid_perf.database.types import IndexCandidate

Pair = tuple[Statement, Query]
Source = EstimatedCosts | HypotheticalCosts
#: Neighbours and writes of a table that a change is judged by.
WATCHED = 4


class Deadline:
    """Says whether a share of the time that there is has been spent. ``clock`` gives seconds."""

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._from = clock()
        self._until = self._from + limit

    def share_out(self) -> None:
        """Reckon shares of what is left from now on: what came before had to be, however long it took."""
        self._from = min(self._clock(), self._until)

    def __call__(self, share: float) -> bool:
        return self._clock() >= self._from + share * (self._until - self._from)


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms advice is given."""

    settings: Settings
    alias: str
    now: datetime
    budget_mb: float | None
    width: int
    late: Deadline
    watched: int = WATCHED


@dataclass(frozen=True)
class Look:
    """What one look at the database found."""

    catalog: Catalog
    workload: Workload
    pairs: Sequence[Pair]
    unread: int
    declared: Mapping[IndexCandidate, IndexSpec | str]
    models: Mapping[TableKey, ModelFact]
    cut_short: bool
    """Whether there was no time to parse every statement."""
    evidence: Evidence
    """Of what nothing uses."""

    @cached_property
    def by_table(self) -> Mapping[TableKey, Sequence[Pair]]:
        """The statements that read a table, the heaviest first."""
        found: dict[TableKey, list[Pair]] = {}
        for pair in self.pairs:
            for table in pair[1].tables:
                found.setdefault(table, []).append(pair)
        return found

    @cached_property
    def rows(self) -> Mapping[str, float]:
        """Rows that each statement returned in the window."""
        return {s.queryid: s.rows_per_call * s.calls for s, _ in self.pairs}
