"""What the metric of an alert rule means: how its samples are read, subject by subject. A table of data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

from paiid_perf.conf import get_settings
from paiid_perf.models import Metric
from paiid_perf.monitoring import oddities, queries
from paiid_perf.monitoring.rules.alerts import matches
from paiid_perf.monitoring.rules.burn import PAGES, TICKETS, Pair, burn
from paiid_perf.monitoring.types import Point, Requests, Sample
from paiid_perf.telemetry.histogram import bucket_of, merge, percentile

Samples = Mapping[str, list[Sample]]
LATENCY = "api.latency_ms"
#: (start, end, label filter) → subject → samples
Reading = Callable[[datetime, datetime, str], Samples]


def _gauge(name: str) -> Reading:
    def read(start: datetime, end: datetime, subjects: str) -> Samples:
        found = queries.gauges_by_subject(name, start, end)
        return {subject: samples for subject, samples in found.items() if matches(subjects, subject)}

    return read


# --- requests: of all endpoints, or of those that a filter names ---------------------------------------


def _p95(start: datetime, end: datetime, subjects: str) -> Samples:
    if not subjects:
        return {"": queries.percentiles(LATENCY, start, end, 0.95)}
    return {subjects: _percentiles(_rows(start, end, subjects))}


def _endpoint_p95(start: datetime, end: datetime, subjects: str) -> Samples:
    found: dict[str, list[tuple[datetime, str, Point]]] = {}
    for row in _rows(start, end, subjects):
        found.setdefault(row[1].rpartition(" ")[0], []).append(row)
    return {endpoint: _percentiles(rows) for endpoint, rows in found.items()}


def _error_rate(start: datetime, end: datetime, subjects: str) -> Samples:
    if not subjects:
        return {"": queries.error_rates(start, end)}
    minutes = groupby(_rows(start, end, subjects), lambda row: row[0])
    rates = [(at, _rate(list(group))) for at, group in minutes]
    return {subjects: [Sample(at, rate) for at, rate in rates if rate is not None]}


def _hit_ratio(start: datetime, end: datetime, subjects: str) -> Samples:
    if not subjects:
        return {"": queries.hit_ratios(start, end)}
    hits, misses = (_counts(_rows(start, end, subjects, name)) for name in ("cache.hits", "cache.misses"))
    looks = {at: hits[at] + misses[at] for at in sorted(hits.keys() | misses.keys())}
    return {subjects: [Sample(at, hits[at] / total) for at, total in looks.items() if total]}


def _counts(rows: Iterator[tuple[datetime, str, Point]]) -> Counter[datetime]:
    found: Counter[datetime] = Counter()
    for at, _subject, point in rows:
        found[at] += point.count
    return found


def _rows(
    start: datetime, end: datetime, subjects: str, name: str = LATENCY
) -> Iterator[tuple[datetime, str, Point]]:
    rows = Metric.objects.filter(
        name=name, resolution=Metric.Resolution.MINUTE, at__gte=start, at__lt=end
    ).exclude(subject="")
    for at, subject, count, buckets in rows.order_by("at").values_list("at", "subject", "count", "buckets"):
        if matches(subjects, subject):
            yield at, subject, Point(at, count, 0.0, {int(bucket): n for bucket, n in buckets.items()})


def _percentiles(
    rows: Iterator[tuple[datetime, str, Point]] | Sequence[tuple[datetime, str, Point]],
) -> list[Sample]:
    minutes = groupby(rows, lambda row: row[0])
    found = [(at, percentile(merge(point.buckets for _, _, point in group), 0.95)) for at, group in minutes]
    return [Sample(at, value) for at, value in found if value is not None]


def _rate(rows: Sequence[tuple[datetime, str, Point]]) -> float | None:
    total = sum(point.count for _, _, point in rows)
    failed = sum(point.count for _, subject, point in rows if subject.endswith(" 5xx"))
    return failed / total if total >= queries.ENOUGH_REQUESTS else None


# --- error budgets -----------------------------------------------------------------------------------------


def _availability(pairs: Sequence[Pair], start: datetime, end: datetime, subjects: str) -> Samples:
    def requests(span: timedelta) -> Requests:
        return _requests(end - span, end, subjects) if subjects else queries.requests(end - span, end)

    return _burning(burn(requests, get_settings().AVAILABILITY_OBJECTIVE, pairs), end, subjects)


def _latency(pairs: Sequence[Pair], start: datetime, end: datetime, subjects: str) -> Samples:
    objective = get_settings().LATENCY_OBJECTIVE
    if objective is None:
        return {}
    share, limit_ms = objective

    def requests(span: timedelta) -> Requests:
        if subjects:
            return slower_than(limit_ms, *_matching(end - span, end, subjects).values())
        return slower_than(limit_ms, queries.window(LATENCY, end - span, end))

    return _burning(burn(requests, share, pairs), end, subjects)


def _requests(start: datetime, end: datetime, subjects: str) -> Requests:
    found = _matching(start, end, subjects)
    failed = sum(point.count for subject, point in found.items() if subject.endswith(" 5xx"))
    return Requests(sum(point.count for point in found.values()), failed)


def _matching(start: datetime, end: datetime, subjects: str) -> dict[str, Point]:
    found = queries.by_subject(LATENCY, start, end)
    return {subject: point for subject, point in found.items() if matches(subjects, subject)}


def slower_than(limit_ms: float, *points: Point) -> Requests:
    """The requests of some points, those slower than the limit as failed (to within the histogram's 1 %)."""
    edge = bucket_of(limit_ms)
    slow = sum(n for point in points for bucket, n in point.buckets.items() if bucket > edge)
    return Requests(sum(point.count for point in points), slow)


def _burning(value: float | None, at: datetime, subjects: str) -> Samples:
    return {} if value is None else {subjects: [Sample(at, value)]}


READINGS: Mapping[str, Reading] = {
    "api_p95_ms": _p95,
    "endpoint_p95_ms": _endpoint_p95,
    "api_error_rate": _error_rate,
    "api_burn_rate": partial(_availability, PAGES),
    "api_slow_burn_rate": partial(_availability, TICKETS),
    "api_latency_burn_rate": partial(_latency, PAGES),
    "api_slow_latency_burn_rate": partial(_latency, TICKETS),
    "cache_hit_ratio": _hit_ratio,
    "anomaly": oddities.read,
    "cpu_percent": _gauge("system.cpu_percent"),
    "memory_percent": _gauge("system.memory_percent"),
    "disk_percent": _gauge("system.disk_percent"),
    "db_connections_percent": _gauge("db.connections_percent"),
    "db_replication_lag_s": _gauge("db.replication_lag_s"),
    "db_txid_age_percent": _gauge("db.txid_age_percent"),
    "db_longest_transaction_s": _gauge("db.longest_transaction_s"),
    "celery_queue_depth": _gauge("celery.queue_depth"),
    "celery_queue_age_s": _gauge("celery.queue_age_s"),
    "celery_beat_silent_s": _gauge("celery.beat_silent_s"),
}


def reading_of(metric: str, subjects: str = "") -> Callable[[datetime, datetime], Samples]:
    """How a rule's metric is read; a name that is not in the table is the gauge of that name."""
    read = READINGS.get(metric) or _gauge(metric)
    return lambda start, end: read(start, end, subjects)
