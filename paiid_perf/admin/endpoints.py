"""The endpoints of a window: totals by the database, percentiles only for the rows that are shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import NamedTuple

from django.db.models import Q, QuerySet, Sum

from paiid_perf.api.endpoints import Endpoint, Endpoints, Route
from paiid_perf.models import Metric, Recommendation
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.types import Point
from paiid_perf.telemetry.histogram import merge, percentile

STATUSES = ("2xx", "3xx", "4xx", "5xx", "1xx")
#: Repeating or slow statements that an endpoint's page lists.
REPEATS = 50
#: The series of what statements took in watched requests; subject: endpoint|mark|line|asked.
STATEMENT = "api.statement_ms"
_table = Endpoints()


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint over a window. Times in ms; None where nothing says."""

    name: str
    """``GET api/orders/``"""
    requests: int
    errors: int
    total_ms: float
    statements: float | None
    """Statements a request."""
    db_ms: float | None
    """Database time a request."""
    hits: int
    misses: int
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    @property
    def method(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def route(self) -> str:
        return self.name.partition(" ")[2]

    @property
    def mean_ms(self) -> float | None:
        return self.total_ms / self.requests if self.requests else None

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @property
    def hit_ratio(self) -> float | None:
        """Answers from the cache ÷ answers of an endpoint that is cached; None where it is not."""
        looked = self.hits + self.misses
        return self.hits / looked if looked else None


@dataclass(frozen=True, slots=True)
class Repeat:
    """A statement that requests send again and again, with the host's line of code that sends it."""

    line: str
    asked: str
    times: float
    """A request."""
    seen: int


#: What an endpoint's row tells beside its requests, each a series of its own.
BESIDE = ("api.queries", "api.db_ms", "api.hit_ms", "api.view_ms")


def totals(start: datetime, end: datetime, beside: Sequence[str] = BESIDE) -> list[Row]:
    """Every endpoint of [start, end), without percentiles; the one that took most time first."""
    latency: defaultdict[str, list[tuple[str, int, float]]] = defaultdict(list)
    for subject, count, total in sums("api.latency_ms", start, end):
        endpoint, _space, status = subject.rpartition(" ")
        if " " in endpoint:
            latency[endpoint].append((status, count, total))
    more = {
        name: {subject: (count, total) for subject, count, total in sums(name, start, end)} for name in beside
    }
    rows = [_row(name, parts, more) for name, parts in latency.items()]
    return sorted(rows, key=lambda row: -row.total_ms)


def with_percentiles(rows: Sequence[Row], start: datetime, end: datetime) -> list[Row]:
    """The same rows with p50, p95 and p99: one read of their histograms."""
    wanted = {f"{row.name} {status}": row.name for row in rows for status in STATUSES}
    parts: defaultdict[str, list[Mapping[int, int]]] = defaultdict(list)
    for found in whole("api.latency_ms", start, end):
        for subject, buckets in found.filter(subject__in=list(wanted)).values_list("subject", "buckets"):
            parts[wanted[subject]].append(buckets)
    return [_told(row, parts[row.name]) for row in rows]


def points(name: str, start: datetime, end: datetime) -> dict[str, list[Point]]:
    """The endpoint's latency over time by class of status, in one read."""
    rows = between("api.latency_ms", start, end).filter(subject__in=[f"{name} {s}" for s in STATUSES])
    found: defaultdict[str, list[Point]] = defaultdict(list)
    for subject, at, count, total, buckets in rows.order_by("at").values_list(
        "subject", "at", "count", "total", "buckets"
    ):
        status = subject.rpartition(" ")[2]
        found[status].append(Point(at, count, total, {int(b): n for b, n in buckets.items()}))
    return found


def merged(found: Mapping[str, Sequence[Point]]) -> list[Point]:
    """All classes of status as one series."""
    by_time: defaultdict[datetime, list[Point]] = defaultdict(list)
    for series in found.values():
        for point in series:
            by_time[point.at].append(point)
    return [
        Point(
            at,
            sum(p.count for p in together),
            sum(p.total for p in together),
            merge(p.buckets for p in together),
        )
        for at, together in sorted(by_time.items())
    ]


def repeats(name: str, start: datetime, end: datetime) -> list[Repeat]:
    """The endpoint's N+1 patterns, the costliest first."""
    found = []
    for subject, count, total in sums("api.repeats", start, end, f"{name}|"):
        _endpoint, line, asked = [*subject.split("|"), "", ""][:3]
        if count:
            found.append(Repeat(line, asked, total / count, count))
    return sorted(found, key=lambda one: -one.times * one.seen)[:REPEATS]


@dataclass(frozen=True, slots=True)
class Slow:
    """A statement that was among the slowest of a watched request."""

    endpoint: str
    mark: str
    """``telemetry.trace.mark_of`` it."""
    line: str
    asked: str
    ms: float
    """In one request, on average."""
    seen: int


def slowest(name: str, start: datetime, end: datetime) -> list[Slow]:
    """The endpoint's statements that took most time in the requests that were looked into."""
    found = [_slow(row) for row in sums(STATEMENT, start, end, f"{name}|") if row[1]]
    return sorted(found, key=lambda one: -one.ms * one.seen)[:REPEATS]


def senders(marks: Collection[str], start: datetime, end: datetime) -> list[Slow]:
    """The endpoints that send a statement (by its marks), the one that spends most time in it first."""
    named = reduce(or_, (Q(subject__contains=f"|{mark}|") for mark in marks), Q(pk__in=()))
    found = [_slow(row) for row in sums(STATEMENT, start, end, only=named) if row[1]]
    return sorted(found, key=lambda one: -one.ms * one.seen)[:REPEATS]


def _slow(row: tuple[str, int, float]) -> Slow:
    subject, count, total = row
    endpoint, mark, line, asked = [*subject.split("|", 3), "", "", ""][:4]
    return Slow(endpoint, mark, line, asked, total / count, count)


def declared(name: str) -> Endpoint:
    """The class of an endpoint, with its limit and its cache strategy."""
    route = name.partition(" ")[2]
    return _table.of_route(Route(route, ""))


def advice(name: str) -> list[Recommendation]:
    """The newest recommendations that name the endpoint."""
    found = Recommendation.objects.filter(Q(title__contains=name) | Q(key__contains=name))
    return list(found.filter(area__in=("api", "cache"))[:20])


def _row(
    name: str,
    parts: Iterable[tuple[str, int, float]],
    more: Mapping[str, Mapping[str, tuple[int, float]]],
) -> Row:
    parts = list(parts)
    requests = sum(count for _status, count, _total in parts)

    def mean(series: str) -> float | None:
        count, total = more.get(series, {}).get(name, (0, 0.0))
        return total / count if count else None

    return Row(
        name=name,
        requests=requests,
        errors=sum(count for status, count, _total in parts if status.startswith("5")),
        total_ms=sum(total for _status, _count, total in parts),
        statements=mean("api.queries"),
        db_ms=mean("api.db_ms"),
        hits=more.get("api.hit_ms", {}).get(name, (0, 0.0))[0],
        misses=more.get("api.view_ms", {}).get(name, (0, 0.0))[0],
    )


def _told(row: Row, parts: Iterable[Mapping[int, int]]) -> Row:
    summed: dict[int, int] = {}
    for buckets in parts:
        for bucket, seen in buckets.items():
            summed[int(bucket)] = summed.get(int(bucket), 0) + seen
    p50, p95, p99 = (percentile(summed, q) for q in (0.5, 0.95, 0.99))
    return Row(
        row.name,
        row.requests,
        row.errors,
        row.total_ms,
        row.statements,
        row.db_ms,
        row.hits,
        row.misses,
        p50,
        p95,
        p99,
    )


def sums(
    name: str, start: datetime, end: datetime, prefix: str = "", only: Q | None = None
) -> list[tuple[str, int, float]]:
    """(subject, count, total) of the subjects of a series in the window, added up by the database."""
    found: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for part in whole(name, start, end):
        rows = part.filter(only or Q(), **({"subject__startswith": prefix} if prefix else {}))
        summed = rows.order_by().values_list("subject").annotate(n=Sum("count"), t=Sum("total"))
        for subject, count, total in summed:
            found[subject][0] += count
            found[subject][1] += total
    return [(subject, int(count), total) for subject, (count, total) in found.items()]


def between(name: str, start: datetime, end: datetime) -> QuerySet[Metric]:
    """The rows of a series in the window, at the resolution that its charts have."""
    return _rows(name, Part(queries.resolution_for(start, end), start, end))


# --- a window as ranges of rows --------------------------------------------------------------------------

MINUTE, HOUR, DAY = (
    int(step) for step in (Metric.Resolution.MINUTE, Metric.Resolution.HOUR, Metric.Resolution.DAY)
)
#: resolution → the next coarser one
COARSER = {MINUTE: HOUR, HOUR: DAY}


class Part(NamedTuple):
    """A range of time, read from the rows of one resolution."""

    resolution: int
    start: datetime
    end: datetime


def parts_of(start: datetime, end: datetime) -> list[Part]:
    """The window's ranges for what needs no points over time: whole hours (or days) by their own rows. Pure.

    The newest whole hour is read in its minutes, since it may not have been rolled up yet; of a day, what is not
    rolled up yet are a few minutes.
    """
    fine = queries.resolution_for(start, end)
    coarse = COARSER.get(fine)
    if coarse is None:
        return [Part(fine, start, end)]
    first = _floor(start + timedelta(seconds=coarse - 1), coarse)
    last = _floor(end, coarse) - timedelta(seconds=coarse if fine == MINUTE else 0)
    if last <= first:
        return [Part(fine, start, end)]
    return [Part(fine, start, first), Part(coarse, first, last), Part(fine, last, end)]


def whole(name: str, start: datetime, end: datetime) -> list[QuerySet[Metric]]:
    """The rows of a series for each part of the window. One query each: the planner reads a range of an index for
    each of them, and many more rows for an OR of them."""
    return [_rows(name, part) for part in parts_of(start, end)]


def _rows(name: str, part: Part) -> QuerySet[Metric]:
    since = _floor(part.start, part.resolution)
    return Metric.objects.filter(name=name, resolution=part.resolution, at__gte=since, at__lt=part.end)


def _floor(at: datetime, seconds: int) -> datetime:
    return at - timedelta(seconds=at.timestamp() % seconds)
