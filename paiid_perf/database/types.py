"""What the database domain talks about: the host's declarations, the facts, the decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class MaterializedView:
    """A host's materialized view, created by the database phase and refreshed when its sources changed.

    ``unique`` names the columns of the unique index that ``REFRESH … CONCURRENTLY`` needs.
    """

    name: str
    sql: str
    unique: Sequence[str]
    refresh_every: timedelta = timedelta(minutes=5)
    depends_on: Sequence[str] = ()
    """Model labels (``trading.PriceTick``) whose unchanged tables make a refresh needless."""


@dataclass(frozen=True, slots=True)
class IndexCandidate:
    """An index that a person thinks may pay. The advisor decides whether it does."""

    model: str
    fields: Sequence[str]
    condition: str = ""

    def __post_init__(self) -> None:
        # A host writes a list as gladly as a tuple; candidates are keys.
        object.__setattr__(self, "fields", tuple(self.fields))

    @property
    def name(self) -> str:
        return f"{self.model}({','.join(self.fields)}){' where ' + self.condition if self.condition else ''}"


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Rows of ``model`` whose ``field`` is older than ``older_than`` are deleted, in batches."""

    model: str
    older_than: timedelta
    field: str
    batch_size: int = 5_000

    @property
    def name(self) -> str:
        return self.model


# --- what the rules say ------------------------------------------------------------------------------

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """One number that a check compares with, and where it comes from."""

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found wrong, and what to do about it."""

    check: str
    subject: str
    severity: Severity
    title: str
    why: str
    how: str = ""
    undo: str = ""
    source: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    change: Mapping[str, Any] = field(default_factory=dict)
    """The payload of a change that the ledger can make, with its ``kind``; empty where a person has to act."""

    @property
    def key(self) -> str:
        return f"{self.check}: {self.subject}"


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored fact, before the phase dresses it as a contracts.Check; the words mean the same."""

    name: str
    label: str
    value: float | None
    target: float
    worst: float
    weight: float
    unit: str = ""
    hint: str = ""


# --- materialized views --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ViewState:
    """A declared view as the database has it. ``sources`` counts what would change if its tables did."""

    exists: bool = False
    ours: bool = False
    """Whether we created it: only then may we drop or redefine it."""
    populated: bool = False
    unique_index: bool = False
    digest: str = ""
    """Of the SQL that it was created from."""
    refreshed_at: datetime | None = None
    refresh_seconds: float | None = None
    read_seconds: float | None = None
    seen: Mapping[str, str] = field(default_factory=dict)
    """source → its counters at the last refresh"""
    sources: Mapping[str, str] = field(default_factory=dict)
    """source → its counters now; a source that has none says ``?`` and always counts as changed"""
    time_dependent: bool = False
    bytes: int = 0
    sql_seconds: float | None = None
    """What its SQL took when the view was filled first."""
    seen_reads: float | None = None
    """How often statements had read it by the last refresh …"""
    reads: float | None = None
    """… and by now; None where pg_stat_statements does not say."""


ViewAction = Literal["create", "redefine", "refresh", "wait", "refuse"]


@dataclass(frozen=True, slots=True)
class ViewDecision:
    """What is to be done with one declared view, and why."""

    action: ViewAction
    reason: str


# --- retention -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RetentionFact:
    """What one retention rule would delete."""

    due: int
    """Rows; capped at the counting limit."""
    capped: bool
    total: int
    """Rows of the table, estimated where exact counting is dear."""
    oldest: datetime | None
    index: str
    """Name of the index that gives the rows in order, empty where there is none."""
    method: Literal["index", "blocks", "orm"]
    reason: str
    """Why that method."""
    partitions: Sequence[str] = ()
    """Quoted names of the partitions in which every row is due: they go as a whole."""
    partitioned: bool = False
    bytes: int | None = None
    """What the rows that are due hold, by their share of the table with its indexes and TOAST; None: not known."""
