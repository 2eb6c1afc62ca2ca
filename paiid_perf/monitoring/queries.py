"""Reading the roll-ups: what the charts, the API, the alerts and the phases show of the past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.db.models import Q, QuerySet, Sum

from paiid_perf.models import Metric
from paiid_perf.monitoring.types import Point, Requests, Sample
from paiid_perf.telemetry.histogram import merge, percentile

#: window up to → resolution (s): no window shows more than about 750 points of a series.
RESOLUTIONS: tuple[tuple[timedelta, int], ...] = (
    (timedelta(hours=12), Metric.Resolution.MINUTE),
    (timedelta(days=30), Metric.Resolution.HOUR),
    (timedelta.max, Metric.Resolution.DAY),
)
#: Fewer requests than this in a minute say nothing about a rate of errors.
ENOUGH_REQUESTS = 20

#: count, total, histogram (its keys as JSON has them)
_Part = tuple[int, float, Mapping[Any, int]]


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint over a window. Times in ms; ``errors`` are answers from 500 on."""

    method: str
    route: str
    requests: int
    errors: int
    total_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def mean_ms(self) -> float:
        return self.total_ms / self.requests if self.requests else 0.0


def resolution_for(start: datetime, end: datetime) -> int:
    """The finest resolution whose points for that window are few enough to show."""
    return next(int(resolution) for span, resolution in RESOLUTIONS if end - start <= span)


def points(name: str, start: datetime, end: datetime, subject: str | None = None) -> list[Point]:
    """A series over [start, end), oldest first; ``subject`` None merges all subjects of the name."""
    rows = Metric.objects.filter(
        name=name, resolution=resolution_for(start, end), at__gte=_floor(start, end), at__lt=end
    )
    if subject is not None:
        rows = rows.filter(subject=subject)
    ordered = rows.order_by("at").values_list("at", "count", "total", "buckets")
    return [_merged(at, [row[1:] for row in group]) for at, group in groupby(ordered, lambda row: row[0])]


def window(name: str, start: datetime, end: datetime, subject: str | None = None) -> Point:
    """The whole window of a series as one point."""
    found = points(name, start, end, subject)
    return _merged(start, [(point.count, point.total, point.buckets) for point in found])


def by_subject(name: str, start: datetime, end: datetime) -> dict[str, Point]:
    """The window of every subject of a name."""
    rows = Metric.objects.filter(
        name=name, resolution=resolution_for(start, end), at__gte=_floor(start, end), at__lt=end
    )
    ordered = rows.order_by("subject").values_list("subject", "count", "total", "buckets")
    return {
        subject: _merged(start, [row[1:] for row in group])
        for subject, group in groupby(ordered, lambda row: row[0])
    }


def percentiles(
    name: str, start: datetime, end: datetime, q: float, subject: str | None = None
) -> list[Sample]:
    """A percentile of a histogram at each point of the window."""
    found = ((point.at, percentile(point.buckets, q)) for point in points(name, start, end, subject))
    return [Sample(at, value) for at, value in found if value is not None]


def gauges(name: str, start: datetime, end: datetime, subject: str | None = None) -> list[Sample]:
    """A gauge's mean at each point of the window."""
    return [Sample(p.at, p.mean) for p in points(name, start, end, subject) if p.mean is not None]


def rates(name: str, start: datetime, end: datetime, subject: str | None = None) -> list[Sample]:
    """A counter's events a second at each point of the window."""
    seconds = resolution_for(start, end)
    return [Sample(point.at, point.count / seconds) for point in points(name, start, end, subject)]


def error_rates(start: datetime, end: datetime) -> list[Sample]:
    """Answers from 500 on ÷ all answers, at each point that has enough requests to say so."""
    rows = Metric.objects.filter(
        name="api.latency_ms", resolution=resolution_for(start, end), at__gte=_floor(start, end), at__lt=end
    )
    ordered = rows.order_by("at").values_list("at", "subject", "count")
    minutes = ((at, list(group)) for at, group in groupby(ordered, lambda row: row[0]))
    return [Sample(at, rate) for at, group in minutes if (rate := _error_rate(group)) is not None]


def requests(start: datetime, end: datetime) -> Requests:
    """How many requests the window had, and how many of them failed (answers from 500 on)."""
    rows = Metric.objects.filter(
        name="api.latency_ms", resolution=resolution_for(start, end), at__gte=_floor(start, end), at__lt=end
    )
    found = rows.aggregate(total=Sum("count"), failed=Sum("count", filter=Q(subject__endswith=" 5xx")))
    return Requests(found["total"] or 0, found["failed"] or 0)


def gauges_by_subject(name: str, start: datetime, end: datetime) -> dict[str, list[Sample]]:
    """A gauge's mean at each point of the window, subject by subject, in one query."""
    rows = Metric.objects.filter(
        name=name, resolution=resolution_for(start, end), at__gte=_floor(start, end), at__lt=end, count__gt=0
    )
    found: dict[str, list[Sample]] = {}
    for subject, at, count, total in rows.order_by("at").values_list("subject", "at", "count", "total"):
        found.setdefault(subject, []).append(Sample(at, total / count))
    return found


def hit_ratios(start: datetime, end: datetime) -> list[Sample]:
    """Cache hits ÷ look-ups at each point of the window that has look-ups."""
    hits = {point.at: point.count for point in points("cache.hits", start, end)}
    misses = {point.at: point.count for point in points("cache.misses", start, end)}
    return [
        Sample(at, hits.get(at, 0) / (hits.get(at, 0) + misses.get(at, 0)))
        for at in sorted(hits.keys() | misses.keys())
        if hits.get(at, 0) + misses.get(at, 0)
    ]


def endpoints(start: datetime, end: datetime) -> list[EndpointRow]:
    """Every endpoint over the window, the one that took most time in total first."""
    return _endpoints(by_subject("api.latency_ms", start, end))


@dataclass(frozen=True, slots=True)
class Traffic:
    """The requests of a window: over time, by endpoint, and the share that failed."""

    points: list[Point]
    endpoints: list[EndpointRow]
    """The one that took most time in total first."""
    errors: list[Sample]


def traffic(start: datetime, end: datetime) -> Traffic:
    """All that a page shows of the requests of [start, end), from one read of their rows."""
    by_time: dict[datetime, list[_Part]] = {}
    by_subject_: dict[str, list[_Part]] = {}
    outcomes: dict[datetime, list[tuple[datetime, str, int]]] = {}
    rows = _rows("api.latency_ms", start, end).order_by("at")
    for at, subject, count, total, buckets in rows.values_list("at", "subject", "count", "total", "buckets"):
        part = (count, total, buckets)
        by_time.setdefault(at, []).append(part)
        by_subject_.setdefault(subject, []).append(part)
        outcomes.setdefault(at, []).append((at, subject, count))
    return Traffic(
        [_merged(at, parts) for at, parts in by_time.items()],
        _endpoints({subject: _merged(start, parts) for subject, parts in by_subject_.items()}),
        [Sample(at, rate) for at, group in outcomes.items() if (rate := _error_rate(group)) is not None],
    )


def sums(name: str, start: datetime, end: datetime) -> list[Point]:
    """A series over [start, end) without its histograms, all subjects added up by the database."""
    rows = _rows(name, start, end).order_by("at").values("at").annotate(n=Sum("count"), t=Sum("total"))
    return [Point(at, count, total) for at, count, total in rows.values_list("at", "n", "t")]


def newest(name: str) -> datetime | None:
    """When the newest minute of a series began; None where there is none."""
    rows = Metric.objects.filter(name=name, resolution=Metric.Resolution.MINUTE)
    return rows.order_by("-at").values_list("at", flat=True).first()


def _rows(name: str, start: datetime, end: datetime) -> QuerySet[Metric]:
    return Metric.objects.filter(
        name=name, resolution=resolution_for(start, end), at__gte=_floor(start, end), at__lt=end
    )


def _endpoints(by_subject: Mapping[str, Point]) -> list[EndpointRow]:
    found: dict[tuple[str, str], list[tuple[str, Point]]] = {}
    for subject, point in by_subject.items():
        method, _, rest = subject.partition(" ")
        route, _, status = rest.rpartition(" ")
        found.setdefault((method, route), []).append((status, point))
    rows = [_endpoint(method, route, parts) for (method, route), parts in found.items()]
    return sorted(rows, key=lambda row: -row.total_ms)


def _endpoint(method: str, route: str, parts: Iterable[tuple[str, Point]]) -> EndpointRow:
    parts = list(parts)
    buckets = merge(point.buckets for _, point in parts)
    p50, p95, p99 = (percentile(buckets, q) or 0.0 for q in (0.5, 0.95, 0.99))
    return EndpointRow(
        method=method,
        route=route,
        requests=sum(point.count for _, point in parts),
        errors=sum(point.count for status, point in parts if status.startswith("5")),
        total_ms=sum(point.total for _, point in parts),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )


def _error_rate(group: Iterable[tuple[datetime, str, int]]) -> float | None:
    counts = [(subject.rpartition(" ")[2].startswith("5"), count) for _, subject, count in group]
    total = sum(count for _, count in counts)
    return sum(count for failed, count in counts if failed) / total if total >= ENOUGH_REQUESTS else None


def _merged(at: datetime, parts: Iterable[_Part]) -> Point:
    count, total, summed = 0, 0.0, dict[Any, int]()
    for number, amount, buckets in parts:
        count, total = count + number, total + amount
        for bucket, seen in buckets.items():
            summed[bucket] = summed.get(bucket, 0) + seen
    # Keys are turned into numbers once, here, and not in each of thousands of rows.
    return Point(at, count, total, {int(bucket): seen for bucket, seen in summed.items()})


def _floor(start: datetime, end: datetime) -> datetime:
    """The bucket that ``start`` lies in begins at or before it."""
    seconds = resolution_for(start, end)
    return start - timedelta(seconds=start.timestamp() % seconds)
