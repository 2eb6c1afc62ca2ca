"""Reading the roll-ups: what the charts, the API, the alerts and the phases show of the past."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from types import MappingProxyType
from typing import Any

from django.db.models import BigIntegerField, Func, Q, QuerySet

from paiid_perf.models import Metric, MetricTotal
from paiid_perf.monitoring.types import Point, Requests, Sample
from paiid_perf.telemetry.histogram import percentile
from paiid_perf.telemetry.rows import FAILED

#: window up to → resolution (s): no window shows more than about 750 points of a series.
RESOLUTIONS: tuple[tuple[timedelta, int], ...] = (
    (timedelta(hours=12), Metric.Resolution.MINUTE),
    (timedelta(days=30), Metric.Resolution.HOUR),
    (timedelta.max, Metric.Resolution.DAY),
)
#: Fewer requests than this in a minute say nothing about a rate of errors.
ENOUGH_REQUESTS = 20

#: One for all points without a histogram: thousands of empty dicts keep the garbage collector busy.
NO_BUCKETS: Mapping[Any, int] = MappingProxyType({})


class Epoch(Func):
    """A moment as seconds since 1970. A page reads thousands, and Django takes 8 µs to make a datetime of a text."""

    template = "CAST(EXTRACT(EPOCH FROM %(expressions)s) AS bigint)"
    output_field = BigIntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "CAST(strftime('%%%%s', %(expressions)s) AS integer)"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "TIMESTAMPDIFF(SECOND, '1970-01-01', %(expressions)s)"
        return self.as_sql(compiler, connection, template=template, **context)


EPOCH = Epoch("at")


def moment(epoch: int) -> datetime:
    """The moment that ``Epoch`` told."""
    return datetime.fromtimestamp(epoch, UTC)


#: count, total, histogram (its keys as JSON has them)
_Part = tuple[int, float, Mapping[Any, int]]


def resolution_for(start: datetime, end: datetime) -> int:
    """The finest resolution whose points for that window are few enough to show."""
    return next(int(resolution) for span, resolution in RESOLUTIONS if end - start <= span)


def points(name: str, start: datetime, end: datetime, subject: str | None = None) -> list[Point]:
    """A series over [start, end), oldest first; ``subject`` None is all subjects of the name together."""
    if subject is None:
        return [total.point() for total in _totals(name, start, end)]
    ordered = _rows(name, start, end).filter(subject=subject).order_by("at")
    return [_merged(row[0], [row[1:]]) for row in ordered.values_list("at", "count", "total", "buckets")]


def window(name: str, start: datetime, end: datetime, subject: str | None = None) -> Point:
    """The whole window of a series as one point."""
    found = points(name, start, end, subject)
    return _merged(start, [(point.count, point.total, point.buckets) for point in found])


def by_subject(name: str, start: datetime, end: datetime) -> dict[str, Point]:
    """The window of every subject of a name."""
    ordered = _rows(name, start, end).order_by("subject")
    columns = ordered.values_list("subject", "count", "total", "buckets")
    return {
        subject: _merged(start, [row[1:] for row in group])
        for subject, group in groupby(columns, lambda row: row[0])
    }


def rows(name: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, str, Point]]:
    """(at, subject, point) of every subject of a name, oldest first."""
    columns = (
        _rows(name, start, end)
        .order_by("at", "subject")
        .values_list("at", "subject", "count", "total", "buckets")
    )
    for at, subject, *part in columns.iterator(chunk_size=2_000):
        yield at, subject, _merged(at, [(part[0], part[1], part[2])])


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
    return _error_rates(_totals("api.latency_ms", start, end, histograms=False))


def requests(start: datetime, end: datetime) -> Requests:
    """How many requests the window had, and how many of them failed (answers from 500 on)."""
    found = _totals("api.latency_ms", start, end, histograms=False)
    return Requests(sum(total.count for total in found), sum(total.failed for total in found))


def gauges_by_subject(name: str, start: datetime, end: datetime) -> dict[str, list[Sample]]:
    """A gauge's mean at each point of the window, subject by subject, in one query."""
    return gauges_of([name], start, end)[name]


def gauges_of(names: Iterable[str], start: datetime, end: datetime) -> dict[str, dict[str, list[Sample]]]:
    """Of each of several gauges what ``gauges_by_subject`` tells, in one query."""
    found: dict[str, dict[str, list[Sample]]] = {name: {} for name in names}
    rows = Metric.objects.filter(_within(list(found), start, end), count__gt=0).order_by("at")
    for name, subject, at, count, total in rows.values_list("name", "subject", EPOCH, "count", "total"):
        found[name].setdefault(subject, []).append(Sample(moment(at), total / count))
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


@dataclass(frozen=True, slots=True)
class Traffic:
    """The requests of a window over time, and the share that failed."""

    points: list[Point]
    errors: list[Sample]


def traffic(start: datetime, end: datetime) -> Traffic:
    """The requests of [start, end), all endpoints together."""
    found = _totals("api.latency_ms", start, end)
    return Traffic([total.point() for total in found], _error_rates(found))


def sums(name: str, start: datetime, end: datetime) -> list[Point]:
    """A series over [start, end) without its histograms, all subjects added up."""
    return [total.point() for total in _totals(name, start, end, histograms=False)]


def newest(name: str) -> datetime | None:
    """When the newest minute of a series began; None where there is none."""
    rows = Metric.objects.filter(name=name, resolution=Metric.Resolution.MINUTE)
    return rows.order_by("-at").values_list("at", flat=True).first()


# --- all subjects together -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Total:
    """All subjects of a name in one bucket of time; ``failed`` are those of the count that say ``5xx``."""

    at: datetime
    count: int
    total: float
    failed: int
    buckets: Mapping[Any, int] | None = None

    def point(self) -> Point:
        buckets = {int(bucket): n for bucket, n in self.buckets.items()} if self.buckets else NO_BUCKETS
        return Point(self.at, self.count, self.total, buckets)


def _totals(name: str, start: datetime, end: datetime, histograms: bool = True) -> list[_Total]:
    """The points of all subjects, oldest first: from their totals, and before and after those from the rows."""
    columns = (EPOCH, "count", "total", "failed", *(("buckets",) if histograms else ()))
    stored = MetricTotal.objects.filter(_within(name, start, end)).order_by("at").values_list(*columns)
    found = [_Total(moment(at), *row) for at, *row in stored]
    rows = _rows(name, start, end)
    if not found:
        return _added_up(rows, histograms)
    before = (
        _added_up(rows.filter(at__lt=found[0].at), histograms) if found[0].at > _floor(start, end) else []
    )
    return [*before, *found, *_added_up(rows.filter(at__gt=found[-1].at), histograms)]


def _added_up(rows: QuerySet[Metric], histograms: bool) -> list[_Total]:
    columns = (EPOCH, "subject", "count", "total", *(("buckets",) if histograms else ()))
    found = rows.order_by("at").values_list(*columns)
    return [_total(moment(at), list(group)) for at, group in groupby(found, lambda row: row[0])]


def _total(at: datetime, group: Sequence[Sequence[Any]]) -> _Total:
    merged = _merged(at, [(row[2], row[3], row[4] if len(row) > 4 else NO_BUCKETS) for row in group])
    failed = sum(row[2] for row in group if row[1].endswith(FAILED))
    return _Total(at, merged.count, merged.total, failed, merged.buckets)


def _error_rates(found: Iterable[_Total]) -> list[Sample]:
    return [Sample(t.at, t.failed / t.count) for t in found if t.count >= ENOUGH_REQUESTS]


def _within(names: str | Sequence[str], start: datetime, end: datetime) -> Q:
    named = Q(name=names) if isinstance(names, str) else Q(name__in=names)
    return named & Q(resolution=resolution_for(start, end), at__gte=_floor(start, end), at__lt=end)


def _rows(name: str, start: datetime, end: datetime) -> QuerySet[Metric]:
    return Metric.objects.filter(_within(name, start, end))


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
