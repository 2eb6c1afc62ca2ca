"""What runs out, and when: forecasts of the metrics that have an end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from paiid_perf.contracts import ADVICE, Proposal
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.rules import forecast as rules
from paiid_perf.monitoring.types import Forecast, Reach

#: The past that is looked at: long enough for its points to be days.
PAST = timedelta(days=90)
WEEK = 7
DAYS_AHEAD = 60
#: Advice comes this many days before the earliest end.
WARN_DAYS = 30
#: metric → (label, where it ends, what to do)
ENDS: dict[str, tuple[str | Promise, float, str | Promise]] = {
    "system.disk_percent": (
        _("Disk"),
        100.0,
        _("Set retention rules for the tables that grow, or add disk before then."),
    ),
    "system.memory_percent": (_("Memory"), 100.0, _("Look for what grows, or add memory before then.")),
    "db.connections_percent": (
        _("Database connections"),
        100.0,
        _("Put a pool in each process, or raise max_connections before then."),
    ),
    "cache.memory_percent": (
        _("Cache memory"),
        100.0,
        _("Shorten TTLs, compress, or raise maxmemory before then."),
    ),
}


@dataclass(frozen=True, slots=True)
class Outlook:
    """A metric's forecast by days, and when it ends."""

    metric: str
    subject: str
    forecast: Forecast
    reach: Reach | None

    def text(self) -> str:
        """``full in 18–25 days``, ``full in 18 days or later`` or ``no trend``."""
        if self.reach is None:
            trend = rules.trends(self.forecast)
            days = len(self.forecast.ahead)
            return str(_("not full within %d days") % days if trend else _("no trend"))
        if self.reach.latest is None:
            return str(_("full in %d days or later") % self.reach.earliest)
        return str(_("full in %(from)d–%(to)d days") % {"from": self.reach.earliest, "to": self.reach.latest})

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "subject": self.subject,
            "text": self.text(),
            "method": self.forecast.method,
            "error": round(self.forecast.error, 3),
            "naive_error": round(self.forecast.naive_error, 3),
        }


def outlooks(now: datetime) -> list[Outlook]:
    """The forecast of each metric in ENDS and each of its subjects that has past enough. Two weeks are."""
    found = []
    for metric, (_label, limit, _hint) in ENDS.items():
        for subject, samples in queries.gauges_by_subject(metric, now - PAST, now).items():
            ahead = rules.forecast([sample.value for sample in samples], WEEK, DAYS_AHEAD)
            if ahead is not None:
                found.append(Outlook(metric, subject, ahead, _reach(ahead, limit)))
    return found


def _reach(ahead: Forecast, limit: float) -> Reach | None:
    """Noise around a level that ends nowhere is no end."""
    return rules.reach(ahead, limit) if rules.trends(ahead) else None


def advice(found: Iterable[Outlook]) -> Iterator[Proposal]:
    """A recommendation for each end that may come within WARN_DAYS."""
    for outlook in found:
        if outlook.reach is None or outlook.reach.earliest > WARN_DAYS:
            continue
        label, _limit, hint = ENDS[outlook.metric]
        yield Proposal(
            area="monitoring",
            kind=ADVICE,
            key=f"outlook {outlook.metric} {outlook.subject}".strip(),
            title=str(format_lazy("{} ({}): {}", label, outlook.subject, outlook.text())),
            why=str(hint),
            evidence=outlook.to_json(),
            risk="low",
        )
