"""What monitoring talks about: thresholds, recorders, facts and decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True, slots=True)
class AlertThreshold:
    """An alert rule declared in code: it becomes an AlertRule row that the admin can edit."""

    metric: str
    above: float | None = None
    below: float | None = None
    for_: timedelta = timedelta(minutes=5)
    severity: Literal["info", "warning", "critical"] = "warning"
    clear: float | None = None
    """Where an open alert resolves (hysteresis); None: at the threshold."""
    unit: str = ""

    @property
    def name(self) -> str:
        return self.metric


@dataclass(frozen=True, slots=True)
class Recorder:
    """A fact that is read each minute: ``read()`` yields (subject, value) pairs of a gauge."""

    name: str
    read: Callable[[], Iterable[tuple[str, float]]]
    unit: str = ""
