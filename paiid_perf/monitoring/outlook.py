"""What runs out, and when: forecasts of the metrics that have an end, and of those that say how much work comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.contracts import ADVICE, Proposal
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.rules import forecast as rules
from paiid_perf.monitoring.rules import holt_winters
from paiid_perf.monitoring.types import Forecast, Reach, Sample

Series = Mapping[str, Sequence[Sample]]
Read = Callable[[datetime, datetime], Series]

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
#: Advice comes this many days before the earliest end.
WARN = timedelta(days=30)
#: Forecasts of one metric: of its largest subjects (tables, hosts).
MOST_SUBJECTS = 10


@dataclass(frozen=True, slots=True)
class Grain:
    """Steps of a forecast: the past that is read for it, the season in steps, and how far ahead it looks at most."""

    step: timedelta
    past: timedelta
    season: int
    ahead: int


#: By days where there are two weeks of them; before that by hours.
GRAINS = (Grain(DAY, timedelta(days=90), 7, 60), Grain(HOUR, timedelta(days=14), 24, 168))


@dataclass(frozen=True, slots=True)
class Watched:
    """A metric that is forecast; ``limit`` is where it ends (None: nowhere), ``hint`` what to do before."""

    label: str | Promise
    unit: str
    read: Read
    limit: float | None = None
    hint: str | Promise = ""
    by_hours: bool = True


def _gauge(name: str) -> Read:
    return partial(queries.gauges_by_subject, name)


def _rate(start: datetime, end: datetime) -> Series:
    seconds = queries.resolution_for(start, end)
    return {"": [Sample(p.at, p.count / seconds) for p in queries.sums("api.latency_ms", start, end)]}


def _p95(start: datetime, end: datetime) -> Series:
    return {"": queries.percentiles("api.latency_ms", start, end, 0.95)}


WATCHED: Mapping[str, Watched] = {
    "system.disk_percent": Watched(
        gettext_lazy("Disk"),
        "%",
        _gauge("system.disk_percent"),
        100.0,
        gettext_lazy("Set retention rules for the tables that grow, or add disk before then."),
    ),
    "system.memory_percent": Watched(
        gettext_lazy("Memory"),
        "%",
        _gauge("system.memory_percent"),
        100.0,
        gettext_lazy("Look for what grows, or add memory before then."),
    ),
    "db.connections_percent": Watched(
        gettext_lazy("Database connections"),
        "%",
        _gauge("db.connections_percent"),
        100.0,
        gettext_lazy("Put a pool in each process, or raise max_connections before then."),
    ),
    "db.txid_age_percent": Watched(
        gettext_lazy("Transaction ids"),
        "%",
        _gauge("db.txid_age_percent"),
        100.0,
        gettext_lazy("Find what keeps autovacuum from freezing: old transactions, slots, prepared ones."),
    ),
    "cache.memory_percent": Watched(
        gettext_lazy("Cache memory"),
        "%",
        _gauge("cache.memory_percent"),
        100.0,
        gettext_lazy("Shorten TTLs, compress, or raise maxmemory before then."),
    ),
    "db.bytes": Watched(gettext_lazy("Database"), "bytes", _gauge("db.bytes")),
    "db.table_bytes": Watched(gettext_lazy("Table"), "bytes", _gauge("db.table_bytes")),
    "requests_per_s": Watched(gettext_lazy("Requests"), "/s", _rate),
    # A percentile wants every endpoint's histogram: by days there are few of them.
    "p95_ms": Watched(gettext_lazy("p95"), "ms", _p95, by_hours=False),
}


@dataclass(frozen=True, slots=True)
class Outlook:
    """A metric's past in equal steps up to ``end``, its forecast from there, and when it ends."""

    metric: str
    subject: str
    grain: Grain
    values: tuple[float, ...]
    end: datetime
    forecast: Forecast
    reach: Reach | None

    @property
    def label(self) -> str:
        label = WATCHED[self.metric].label
        return f"{label} ({self.subject})" if self.subject else str(label)

    @property
    def trends(self) -> bool:
        return rules.trends(self.forecast, self.grain.season)

    def text(self) -> str:
        """``full in 18–25 days``, ``full in 18 days or later``, ``not full within 40 days``, or ``no trend``;
        where nothing ends, the range that the last step is expected in.
        """
        if not self.trends:
            return _("no trend")
        if WATCHED[self.metric].limit is None:
            return _("%(low)s–%(high)s %(unit)s in %(span)s") % self._range()
        if self.reach is None:
            return _("not full within %s") % self._span(len(self.forecast.ahead))
        first, last = self._span(self.reach.earliest), self.reach.latest
        if last is None:
            return _("full in %s or later") % first
        return _("full in %(from)d–%(to)s") % {"from": self.reach.earliest, "to": self._span(last)}

    def _range(self) -> dict[str, str]:
        last, unit = self.forecast.ahead[-1], WATCHED[self.metric].unit
        scale, shown = (2**30, "GB") if unit == "bytes" else (1, unit)
        return {
            "low": f"{max(0.0, last.low) / scale:,.3g}",
            "high": f"{last.high / scale:,.3g}",
            "unit": shown,
            "span": self._span(len(self.forecast.ahead)),
        }

    def _span(self, steps: int) -> str:
        return (_("%d days") if self.grain.step == DAY else _("%d hours")) % steps

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "subject": self.subject,
            "label": self.label,
            "unit": WATCHED[self.metric].unit,
            "text": self.text(),
            "method": self.forecast.method,
            "error": round(self.forecast.error, 3),
            "naive_error": round(self.forecast.naive_error, 3),
        }


def outlooks(now: datetime) -> list[Outlook]:
    """The forecast of each watched metric and each of its subjects that has past enough."""
    return [found for name in WATCHED for found in of(name, now)]


def of(name: str, now: datetime, only: str | None = None) -> Iterator[Outlook]:
    """The forecasts of one metric of WATCHED: of its largest subjects, or of one of those ``only``."""
    watched, done, more = WATCHED[name], set[str](), holt_winters.methods()
    for grain in GRAINS if watched.by_hours else GRAINS[:1]:
        # Up to the last whole step: a day that has begun has seen its night only.
        end = now - timedelta(seconds=now.timestamp() % grain.step.total_seconds())
        for subject, samples in _largest(watched.read(end - grain.past, end)):
            if subject in done or only not in (None, subject):
                continue
            values = rules.evenly(samples, grain.step)
            ahead = rules.forecast(values, grain.season, grain.ahead, more if grain.step == DAY else None)
            if ahead is not None:
                done.add(subject)
                found = _reach(ahead, grain, watched.limit)
                yield Outlook(name, subject, grain, tuple(values), end, ahead, found)


def _largest(series: Series) -> list[tuple[str, Sequence[Sample]]]:
    known = [(subject, samples) for subject, samples in series.items() if samples]
    return sorted(known, key=lambda item: -item[1][-1].value)[:MOST_SUBJECTS]


def _reach(ahead: Forecast, grain: Grain, limit: float | None) -> Reach | None:
    """Noise around a level that ends nowhere is no end."""
    if limit is None or not rules.trends(ahead, grain.season):
        return None
    return rules.reach(ahead, limit)


def advice(found: Iterable[Outlook]) -> Iterator[Proposal]:
    """A recommendation for each end that may come within WARN."""
    for outlook in found:
        if outlook.reach is None or outlook.reach.earliest * outlook.grain.step > WARN:
            continue
        yield Proposal(
            area="monitoring",
            kind=ADVICE,
            key=f"outlook {outlook.metric} {outlook.subject}".strip(),
            title=str(format_lazy("{}: {}", outlook.label, outlook.text())),
            why=str(WATCHED[outlook.metric].hint),
            evidence=outlook.to_json(),
            risk="low",
        )
