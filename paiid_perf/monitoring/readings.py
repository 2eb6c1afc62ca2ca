"""What the metric of an alert rule means: how its samples are read, subject by subject. A table of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from paiid_perf.conf import get_settings
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.rules.burn import burn
from paiid_perf.monitoring.types import Requests, Sample

Samples = Mapping[str, list[Sample]]
Reading = Callable[[datetime, datetime], Samples]


def _gauge(name: str) -> Reading:
    return partial(queries.gauges_by_subject, name)


def _all_endpoints_p95(start: datetime, end: datetime) -> Samples:
    return {"": queries.percentiles("api.latency_ms", start, end, 0.95)}


def _error_rate(start: datetime, end: datetime) -> Samples:
    return {"": queries.error_rates(start, end)}


def _hit_ratio(start: datetime, end: datetime) -> Samples:
    return {"": queries.hit_ratios(start, end)}


def _burn_rate(start: datetime, end: datetime) -> Samples:
    def requests(span: timedelta) -> Requests:
        return queries.requests(end - span, end)

    value = burn(requests, get_settings().AVAILABILITY_OBJECTIVE)
    return {} if value is None else {"": [Sample(end, value)]}


READINGS: Mapping[str, Reading] = {
    "api_p95_ms": _all_endpoints_p95,
    "api_error_rate": _error_rate,
    "api_burn_rate": _burn_rate,
    "cache_hit_ratio": _hit_ratio,
    "cpu_percent": _gauge("system.cpu_percent"),
    "memory_percent": _gauge("system.memory_percent"),
    "disk_percent": _gauge("system.disk_percent"),
    "db_connections_percent": _gauge("db.connections_percent"),
    "celery_queue_depth": _gauge("celery.queue_depth"),
}


def reading_of(metric: str) -> Reading:
    """How a rule's metric is read; a name that is not in the table is the gauge of that name."""
    return READINGS.get(metric) or _gauge(metric)
