"""What the phases, the ledger and the runner say to each other.

Domains return these values; ``optimization`` acts on them. Neither imports the other's insides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from django.utils.functional import Promise

from paiid_perf.conf import Policy, Settings

Json = Mapping[str, Any]
Risk = Literal["low", "medium", "high"]

#: A recommendation of this kind has nothing that the app could apply by itself.
ADVICE = "advice"


# --- what a phase proposes -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proposal:
    """One recommendation before it is a row. ``(kind, key)`` says whether two are the same change."""

    area: str
    kind: str
    """A name of ``conf.CHANGE_KINDS`` with a ChangeHandler, or ADVICE."""
    key: str
    """Stable across runs, e.g. ``public.trading_order (portfolio_id, created_at DESC)``."""
    title: str
    why: str
    evidence: Json = field(default_factory=dict)
    """Facts that a person can check: queries, calls, milliseconds, rows. JSON types only."""
    expected_gain: float | None = None
    """Fraction of the affected time that goes away (0–1); None where nothing was estimated."""
    cost: str = ""
    risk: Risk = "low"
    how: str = ""
    """The exact SQL, setting or code."""
    undo: str = ""
    migration: str = ""
    """Text of a Django migration file that makes the same change, where there is one."""
    payload: Json = field(default_factory=dict)
    """All that the ChangeHandler needs, JSON types only: the row alone must be enough after a crash."""


# --- what measuring says ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueryMeasure:
    """One normalised query's cost. Times in ms per call, blocks in buffers per call."""

    key: str
    text: str
    calls: float
    mean_ms: float
    blocks: float | None = None
    stddev_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a change's handler saw at one moment. An empty one means that there is nothing to compare."""

    method: str
    """``replay``, ``window`` or ``none``."""
    queries: tuple[QueryMeasure, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Other figures to keep beside the times (bytes, rows, hit ratio …)."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> Measurement:
        queries = tuple(QueryMeasure(**q) for q in value.get("queries", ()))
        return cls(value["method"], queries, dict(value.get("numbers", {})))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on an applied change. ``keep`` is None while more calls have to be seen."""

    keep: bool | None
    reason: str
    gain: float | None = None
    """1 - after / before over the affected queries, weighted by calls."""


# --- how a kind of change is carried out ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """Handed to every function of a ChangeHandler."""

    settings: Settings
    now: datetime
    progress: Callable[[float, str], None] = lambda fraction, step: None


@dataclass(frozen=True, slots=True)
class ChangeHandler:
    """How one kind of change is made, measured, judged and undone. Registered like any declaration.

    Each function takes the recommendation's payload. ``apply``, ``revert`` and ``clean_up`` are idempotent;
    ``clean_up`` puts right what a killed ``apply`` left (an invalid index, say). ``judge`` is pure.
    """

    name: str
    apply: Callable[[Json, ChangeContext], Json]
    """Returns facts to keep on the row (bytes built, rows deleted …)."""
    revert: Callable[[Json, ChangeContext], None] | None
    """None: the change cannot be undone (rows deleted by a retention rule)."""
    measure: Callable[[Json, ChangeContext], Measurement]
    judge: Callable[[Measurement, Measurement, Settings], Verdict]
    clean_up: Callable[[Json, ChangeContext], None]


# --- how a phase runs --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """One scored fact: full marks up to ``target``, none from ``worst`` on, linear between.

    ``value`` None means insufficient data: it earns nothing and lowers the confidence, never the target.
    ``target < worst`` for what should be low, ``target > worst`` for what should be high.
    """

    area: str
    name: str
    label: str
    value: float | None
    target: float
    worst: float
    weight: float
    unit: str = ""
    hint: str = ""
    """What would win the points back."""


PhaseStatus = Literal["succeeded", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """What a phase tells the runner. ``details`` is shown on the run's page (JSON types only)."""

    status: PhaseStatus
    summary: str
    checks: tuple[Check, ...] = ()
    details: Json = field(default_factory=dict)


class PhaseContext(Protocol):
    """What the runner lends to a phase."""

    @property
    def settings(self) -> Settings: ...
    @property
    def now(self) -> datetime: ...
    @property
    def quick(self) -> bool:
        """A quick run reads, scores and warms; it builds no index."""
        ...

    @property
    def dry_run(self) -> bool: ...
    def policy(self, kind: str) -> Policy:
        """The policy of that kind of change in this run; a person at the keyboard may have raised it to ``auto``."""
        ...

    def progress(self, fraction: float, step: str) -> None:
        """Say how far this phase is (0–1) and what it does now."""
        ...

    def propose(self, proposals: Iterable[Proposal]) -> Sequence[int]:
        """Write recommendations (idempotent), return their ids; what the policy allows becomes appliable."""
        ...

    def settle(self, area: str) -> Json:
        """Apply, measure and judge what policy allows in that area; returns counts by new state."""
        ...

    def out_of_time(self) -> bool:
        """True once the phase's time budget is spent; a phase then stops starting new work."""
        ...


@dataclass(frozen=True, slots=True)
class Phase:
    """One of the phases of a run. Registered like any declaration; ``order`` sorts them."""

    name: str
    label: str | Promise
    order: int
    run: Callable[[PhaseContext], PhaseResult]
    quick: bool = True
    """Whether a quick run includes it."""
