"""The endpoints of a window: totals by the database, percentiles only for the rows that are shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Q

from paiid_perf.monitoring.windows import sums, sums_of, whole
from paiid_perf.telemetry.histogram import percentiles

STATUSES = ("2xx", "3xx", "4xx", "5xx", "1xx")
#: Endpoints whose histograms are asked for by name.
ONE_BY_ONE = 100


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


#: What an endpoint's row tells beside its requests, each a series of its own.
BESIDE = ("api.queries", "api.db_ms", "api.hit_ms", "api.view_ms")


def totals(start: datetime, end: datetime, beside: Sequence[str] = BESIDE) -> list[Row]:
    """Every endpoint of [start, end), without percentiles; the one that took most time first."""
    latency: defaultdict[str, list[tuple[str, int, float]]] = defaultdict(list)
    for subject, count, total in sums("api.latency_ms", start, end):
        endpoint, _space, status = subject.rpartition(" ")
        if " " in endpoint:
            latency[endpoint].append((status, count, total))
    more = sums_of(beside, start, end)
    rows = [_row(name, parts, more) for name, parts in latency.items()]
    return sorted(rows, key=lambda row: -row.total_ms)


def with_percentiles(rows: Sequence[Row], start: datetime, end: datetime) -> list[Row]:
    """The same rows with p50, p95 and p99: one read of their histograms."""
    wanted = {f"{row.name} {status}": row.name for row in rows for status in STATUSES}
    # A few are looked up one by one; of many, a list would take the server longer than the rest of the rows.
    only = Q(subject__in=list(wanted)) if len(rows) <= ONE_BY_ONE else Q()
    parts: defaultdict[str, list[Mapping[int, int]]] = defaultdict(list)
    for found in whole("api.latency_ms", start, end):
        for subject, buckets in found.filter(only).values_list("subject", "buckets"):
            if subject in wanted:
                parts[wanted[subject]].append(buckets)
    return [_told(row, parts[row.name]) for row in rows]


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
    p50, p95, p99 = percentiles(summed, (0.5, 0.95, 0.99)) or (None, None, None)
    return replace(row, p50_ms=p50, p95_ms=p95, p99_ms=p99)
