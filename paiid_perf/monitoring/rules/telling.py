"""Whether people are told of an alert now. Pure.

An alert is told when it opens and when it resolves. A silenced one is told of once the silence ends, if it is still
there; one that flaps, not more often than the cool-down allows, and only where it then stands elsewhere than told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from paiid_perf.monitoring.rules.alerts import calm
from paiid_perf.monitoring.types import Standing

RESOLVED = "resolved"
#: Somebody is at work on it: only its end is news.
ACKNOWLEDGED = "acknowledged"


def is_news(alert: Standing, cool_down: timedelta, now: datetime) -> bool:
    """Whether to tell of the alert's status now; what is no news now may be at the next look."""
    if alert.silenced or alert.status in (alert.told, ACKNOWLEDGED):
        return False
    if alert.told_at is None:
        return alert.status != RESOLVED
    first_end = alert.status == RESOLVED and not alert.flaps
    return first_end or now - alert.told_at >= calm(cool_down, alert.flaps)


def route(notifiers: Sequence[str] | Mapping[str, Sequence[str]], severity: str) -> tuple[str, ...]:
    """The notifiers of a severity: all of a sequence, or those that a mapping has for it (``"*"``: for the rest)."""
    if isinstance(notifiers, Mapping):
        return tuple(notifiers.get(severity, notifiers.get("*", ())))
    return tuple(notifiers)
