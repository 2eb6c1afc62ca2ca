"""The endpoints of a window: added up, sorted and cut by the database; percentiles for the rows that are shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import connections, router
from django.db.models import Q, Sum

from paiid_perf.models import Metric
from paiid_perf.monitoring.windows import ranges, whole
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


#: What the list may be sorted by → how it stands in the database, which has no percentiles.
ORDERS: Mapping[str, str] = {
    "name": "endpoint",
    "time": "total_ms",
    "requests": "requests",
    "mean": "total_ms / requests",
    "errors": "errors * 1.0 / requests",
    "queries": "statements",
    "db": "db_ms",
    "hits": "hits * 1.0 / nullif(hits + misses, 0)",
}
PERCENTILES = ("p50", "p95", "p99")

LATENCY = "api.latency_ms"
#: Column of ``_ROWS`` → the series it is made of, and how; ``n`` and ``t`` are its count and total.
_COLUMNS = {
    "requests": (LATENCY, "sum({n})"),
    "total_ms": (LATENCY, "sum({t})"),
    "statements": ("api.queries", "sum({t}) / nullif(sum({n}), 0)"),
    "db_ms": ("api.db_ms", "sum({t}) / nullif(sum({n}), 0)"),
    "hits": ("api.hit_ms", "sum({n})"),
    "misses": ("api.view_ms", "sum({n})"),
}
SERIES = tuple(dict.fromkeys(series for series, _made in _COLUMNS.values()))

#: The latencies' subjects end with the status class, the others' do not; a series of the rest ("<other>") is none.
_ENDPOINTS = """
SELECT CASE WHEN name = '{latency}' THEN substr(subject, 1, length(subject) - 4) ELSE subject END AS endpoint,
       CASE WHEN name = '{latency}' AND substr(subject, length(subject) - 2, 1) = '5' THEN n ELSE 0 END AS failed,
       name, n, t
  FROM ({parts}) parts WHERE name <> '{latency}' OR subject LIKE %s
"""
_ROWS = "SELECT endpoint, sum(failed) AS errors, {columns} FROM ({endpoints}) series GROUP BY endpoint"
_LIST = """
SELECT endpoint, requests, errors, total_ms, statements, db_ms, hits, misses,
       count(*) OVER () AS listed, sum(total_ms) OVER () AS whole_ms
  FROM ({rows}) found WHERE requests > 0
 ORDER BY ({by}) IS NULL, {by} {direction}, endpoint
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """Some of a window's endpoints in an order; ``count`` is how many there are, ``total_ms`` what all took."""

    rows: Sequence[Row] = ()
    count: int = 0
    total_ms: float = 0.0


def listed(
    start: datetime,
    end: datetime,
    by: str = "time",
    limit: int | None = None,
    offset: int = 0,
    series: Sequence[str] = SERIES,
) -> Listed:
    """The endpoints of [start, end) by ``by`` (a key of ORDERS, or one of PERCENTILES), without percentiles.

    ``series`` names those that are read: with LATENCY alone, nothing is known of statements and hits.
    Figures are the largest first, names from A on; what has no such figure comes last. The database adds up, sorts
    and cuts; only what is sorted by a percentile is sorted here, since histograms must be merged to have one.
    """
    if by in PERCENTILES:
        return _by_percentile(listed(start, end), start, end, f"{by}_ms", limit, offset)
    parts, params = _parts(start, end, series)
    endpoints = _ENDPOINTS.format(latency=LATENCY, parts=parts)
    rows = _ROWS.format(columns=_columns(), endpoints=endpoints)
    direction = "ASC" if by == "name" else "DESC"
    text = _LIST.format(rows=rows, by=ORDERS[by], direction=direction)
    if limit is not None:
        text += f" LIMIT {limit:d} OFFSET {offset:d}"
    with connections[_alias()].cursor() as cursor:
        cursor.execute(text, [*params, "% %"])
        found = cursor.fetchall()
    return Listed([_row(*row[:-2]) for row in found], *(found[0][-2:] if found else ()))


def _alias() -> str:
    return router.db_for_read(Metric)


def _parts(start: datetime, end: datetime, series: Sequence[str]) -> tuple[str, list[Any]]:
    """The sums of every series and subject, each part of the window by a range of an index of its own."""
    parts = [part.filter(name__in=series) for part in ranges(start, end)]
    sums = [
        part.order_by().values("name", "subject").annotate(n=Sum("count"), t=Sum("total")) for part in parts
    ]
    compiled = [rows.query.get_compiler(_alias()).as_sql() for rows in sums]
    return " UNION ALL ".join(text for text, _params in compiled), [p for _text, ps in compiled for p in ps]


def _columns() -> str:
    def of(series: str, made: str) -> str:
        return made.format(
            **{column: f"CASE WHEN name = '{series}' THEN {column} ELSE 0 END" for column in ("n", "t")}
        )

    return ", ".join(f"{of(series, made)} AS {name}" for name, (series, made) in _COLUMNS.items())


def _by_percentile(
    found: Listed, start: datetime, end: datetime, by: str, limit: int | None, offset: int
) -> Listed:
    rows = with_percentiles(found.rows, start, end)
    rows.sort(key=lambda row: getattr(row, by) or -1.0, reverse=True)
    return replace(found, rows=rows[offset:][:limit])


def with_percentiles(rows: Sequence[Row], start: datetime, end: datetime) -> list[Row]:
    """The same rows with p50, p95 and p99: one read of their histograms."""
    wanted = {f"{row.name} {status}": row.name for row in rows for status in STATUSES}
    # A few are looked up one by one; of many, a list would take the server longer than the rest of the rows.
    only = Q(subject__in=list(wanted)) if len(rows) <= ONE_BY_ONE else Q()
    parts: defaultdict[str, list[Mapping[int, int]]] = defaultdict(list)
    for found in whole(LATENCY, start, end):
        for subject, buckets in found.filter(only).values_list("subject", "buckets"):
            if subject in wanted:
                parts[wanted[subject]].append(buckets)
    return [_told(row, parts[row.name]) for row in rows]


def _row(
    name: str,
    requests: int,
    errors: int,
    total_ms: float,
    statements: float | None,
    db_ms: float | None,
    hits: int,
    misses: int,
) -> Row:
    return Row(name, int(requests), int(errors), total_ms, statements, db_ms, int(hits), int(misses))


def _told(row: Row, parts: Iterable[Mapping[int, int]]) -> Row:
    summed: dict[Any, int] = {}
    for buckets in parts:
        for bucket, seen in buckets.items():
            summed[bucket] = summed.get(bucket, 0) + seen
    known = {int(bucket): seen for bucket, seen in summed.items()}
    p50, p95, p99 = percentiles(known, (0.5, 0.95, 0.99)) or (None, None, None)
    return replace(row, p50_ms=p50, p95_ms=p95, p99_ms=p99)
