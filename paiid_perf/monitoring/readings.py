"""What the metric of an alert rule means: how its samples are read, subject by subject. A table of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from paiid_perf.models import Metric
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.types import Sample

Samples = dict[str, list[Sample]]
Reading = Callable[[datetime, datetime], Samples]


def _gauge(name: str) -> Reading:
    def read(start: datetime, end: datetime) -> Samples:
        rows = Metric.objects.filter(
            name=name, resolution=Metric.Resolution.MINUTE, at__gte=start, at__lt=end
        )
        subjects = rows.order_by("subject").values_list("subject", flat=True).distinct()
        return {subject: queries.gauges(name, start, end, subject) for subject in subjects}

    return read


def _all_endpoints_p95(start: datetime, end: datetime) -> Samples:
    return {"": queries.percentiles("api.latency_ms", start, end, 0.95)}


def _error_rate(start: datetime, end: datetime) -> Samples:
    return {"": queries.error_rates(start, end)}


def _hit_ratio(start: datetime, end: datetime) -> Samples:
    return {"": queries.hit_ratios(start, end)}


READINGS: Mapping[str, Reading] = {
    "api_p95_ms": _all_endpoints_p95,
    "api_error_rate": _error_rate,
    "cache_hit_ratio": _hit_ratio,
    "cpu_percent": _gauge("system.cpu_percent"),
    "memory_percent": _gauge("system.memory_percent"),
    "disk_percent": _gauge("system.disk_percent"),
}


def reading_of(metric: str) -> Reading:
    """How a rule's metric is read; a name that is not in the table is the gauge of that name."""
    return READINGS.get(metric) or _gauge(metric)
