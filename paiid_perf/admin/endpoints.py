"""One endpoint: its points over time, its statements with their code line, what is declared and advised about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import Q

from paiid_perf.api.endpoints import Endpoint, Endpoints
from paiid_perf.models import Recommendation
from paiid_perf.monitoring.endpoints import STATUSES
from paiid_perf.monitoring.types import Point
from paiid_perf.monitoring.windows import between, sums
from paiid_perf.telemetry.histogram import merge

#: Repeating or slow statements that an endpoint's page lists.
REPEATS = 50
#: The series of what statements took in watched requests; subject: endpoint|mark|line|asked.
STATEMENT = "api.statement_ms"
_table = Endpoints()


@dataclass(frozen=True, slots=True)
class Repeat:
    """A statement that requests send again and again, with the host's line of code that sends it."""

    line: str
    asked: str
    times: float
    """A request."""
    seen: int


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
    return _table.of_template(route)


def advice(name: str) -> list[Recommendation]:
    """The newest recommendations that name the endpoint."""
    found = Recommendation.objects.filter(Q(title__contains=name) | Q(key__contains=name))
    return list(found.filter(area__in=("api", "cache"))[:20])
