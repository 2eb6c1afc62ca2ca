"""Which metrics are watched for anomalies, and what is kept of one for the chart that shows why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

from paiid_perf.models import Metric
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.rules import anomalies as rules
from paiid_perf.monitoring.rules.alerts import matches
from paiid_perf.monitoring.types import Point, Sample

Series = Mapping[str, Sequence[Sample]]
Read = Callable[[datetime, datetime, int], Series]

#: Series that one look judges: the others wait until fewer hosts report.
MOST_SERIES = 60


@dataclass(frozen=True, slots=True)
class Watched:
    """A metric that is watched: how it is read, and the least distance that is worth a word, in its unit."""

    read: Read
    least: float
    unit: str = ""


def _gauge(name: str, start: datetime, end: datetime, resolution: int) -> Series:
    rows = Metric.objects.filter(name=name, resolution=resolution, at__gte=start, at__lt=end, count__gt=0)
    found: dict[str, list[Sample]] = {}
    for subject, at, count, total in rows.order_by("at").values_list("subject", "at", "count", "total"):
        found.setdefault(subject, []).append(Sample(at, total / count))
    return found


def _requests(start: datetime, end: datetime, resolution: int) -> Series:
    return {"": [Sample(point.at, point.count / resolution) for point in _all(start, end)]}


def _mean_ms(start: datetime, end: datetime, resolution: int) -> Series:
    points = _all(start, end)
    return {"": [Sample(point.at, point.mean) for point in points if point.mean is not None]}


def _all(start: datetime, end: datetime) -> list[Point]:
    return [point for point in queries.sums("api.latency_ms", start, end) if point.at >= start]


WATCHED: Mapping[str, Watched] = {
    "requests_per_s": Watched(_requests, 0.5, "/s"),
    "mean_ms": Watched(_mean_ms, 5.0, "ms"),
    "cpu_percent": Watched(partial(_gauge, "system.cpu_percent"), 10.0, "%"),
    "memory_percent": Watched(partial(_gauge, "system.memory_percent"), 5.0, "%"),
    "db_connections_percent": Watched(partial(_gauge, "db.connections_percent"), 5.0, "%"),
    "cache_memory_percent": Watched(partial(_gauge, "cache.memory_percent"), 5.0, "%"),
}


def read(start: datetime, end: datetime, subjects: str) -> dict[str, list[Sample]]:
    """How far each watched series is from the middle of its band, in half-widths; subject: ``metric subject``."""
    found: dict[str, list[Sample]] = {}
    whole = end.replace(second=0, microsecond=0)  # the minute that has begun counts too little
    for name, watched in WATCHED.items():
        for subject, oddity, minutes in _looks(watched, whole):
            key = f"{name} {subject}".strip()
            if matches(subjects, key) and len(found) < MOST_SERIES:
                why = evidence(key, watched.unit, oddity, minutes) if oddity.ratio > 1 else {}
                found[key] = [Sample(whole, oddity.ratio, why)]
    return found


def _looks(watched: Watched, now: datetime) -> list[tuple[str, rules.Oddity, Sequence[Sample]]]:
    today = watched.read(now - rules.TODAY[0], now, Metric.Resolution.MINUTE)
    if not any(today.values()):
        return []
    yesterday = watched.read(now - rules.YESTERDAY[0], now - rules.YESTERDAY[1], Metric.Resolution.MINUTE)
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    hours = watched.read(now - rules.HOURS[0], this_hour, Metric.Resolution.HOUR)
    looks = (
        (
            subject,
            rules.look(hours.get(subject, ()), [*yesterday.get(subject, ()), *minutes], now, watched.least),
            minutes,
        )
        for subject, minutes in today.items()
    )
    return [(subject, oddity, minutes) for subject, oddity, minutes in looks if oddity is not None]


def evidence(name: str, unit: str, oddity: rules.Oddity, minutes: Sequence[Sample]) -> dict[str, Any]:
    """What the alert keeps: its line, the band, and the hours before it as ``[[ISO time, value], …]``."""
    return {
        "text": f"{name} is {oddity.value:,.4g} {unit}".rstrip()
        + f", usually {oddity.low:,.4g} to {oddity.high:,.4g} at this time",
        "metric": name,
        "unit": unit,
        "band": asdict(oddity),
        "points": [[sample.at.isoformat(), round(sample.value, 4)] for sample in minutes],
    }
