"""What monitoring talks about: thresholds, recorders, facts and decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Severity = Literal["info", "warning", "critical"]
Kind = Literal["gauge", "counter", "histogram"]
Comparison = Literal["above", "below"]


@dataclass(frozen=True, slots=True)
class AlertThreshold:
    """An alert rule declared in code: it becomes an AlertRule row that the admin can edit."""

    metric: str
    above: float | None = None
    below: float | None = None
    for_: timedelta = timedelta(minutes=5)
    severity: Severity = "warning"
    clear: float | None = None
    """Where an open alert resolves (hysteresis); None: at the threshold."""
    unit: str = ""
    subjects: str = ""
    """Label filter: patterns of subjects apart by ``;`` (``"web-*; !web-9"``); "": all."""
    no_data: timedelta | None = None
    """A subject that was there and has sent nothing for this long is an alert; None: only a state of the rule."""
    label: str = ""
    """The rule's name where one metric has several rules; "": the metric."""

    @property
    def name(self) -> str:
        return self.label or self.metric


@dataclass(frozen=True, slots=True)
class Recorder:
    """A fact that is read each minute: ``read()`` yields (subject, value) pairs.

    Of a gauge, the value now; of a counter, what came since the last reading; of a histogram, each observation.
    """

    name: str
    read: Callable[[], Iterable[tuple[str, float]]]
    unit: str = ""
    kind: Kind = "gauge"
    on_each_host: bool = False
    """Whether each process reads it of its own host, and not only the one that collects."""


@dataclass(frozen=True, slots=True)
class Point:
    """A series in one bucket of time; several subjects may be merged in it."""

    at: datetime
    count: int
    total: float
    buckets: Mapping[int, int] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """total ÷ count; None where nothing was seen."""
        return self.total / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class Sample:
    """A metric's value at one minute; ``why`` is kept with the alert that it opens (JSON types, its line in "text")."""

    at: datetime
    value: float
    why: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert rule as the pure rules see it."""

    comparison: Comparison
    threshold: float
    clear: float
    lasting: timedelta
    unit: str = ""


Decision = Literal["open", "keep", "resolve", "none", "no data"]
RuleState = Literal["ok", "firing", "no data"]


@dataclass(frozen=True, slots=True)
class Standing:
    """An alert as it stands, and what people were told of it last."""

    status: str
    told: str
    told_at: datetime | None
    flaps: int
    silenced: bool


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of a window, and how many of them were answered from 500 on."""

    total: int
    failed: int


@dataclass(frozen=True, slots=True)
class Band:
    """What a forecast expects at one step: 90 % of the back-test's errors lie within low to high."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Steps ahead of a series, by the method that forecast its own past best."""

    method: str
    error: float
    """Mean absolute error of the back-test, in the series' unit."""
    naive_error: float
    """The same of the seasonal-naive forecast, which is the yardstick."""
    ahead: tuple[Band, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """When a forecast reaches a limit, in steps; ``latest`` None: perhaps never within the horizon."""

    earliest: int
    latest: int | None


@dataclass(frozen=True, slots=True)
class Load:
    """Work that comes: arrivals a second, seconds that one takes, and how many do it now (None: not known)."""

    name: str
    arrivals: float
    service_s: float
    have: int | None = None


@dataclass(frozen=True, slots=True)
class Staffing:
    """``factor`` times a load: how many are busy on average, how many are needed, and the share that would wait."""

    load: Load
    factor: float
    busy: float
    needed: int
    waits: float | None


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a resource is in use: bytes, or workers."""

    resource: str
    amount: float


@dataclass(frozen=True, slots=True)
class Expense:
    """What a use costs a day."""

    use: Use
    per_day: float
