"""Minutes merged into hours and hours into days; what is past its retention deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max, Min, QuerySet, Sum

from paiid_perf.conf import Settings
from paiid_perf.models import Metric, MetricBatch
from paiid_perf.telemetry.rows import Cell

Resolution = Metric.Resolution
Cells = dict[tuple[str, str], Cell]

#: Rows that one DELETE takes at the most.
PRUNE_BATCH = 5_000
#: A drained batch older than this cannot come again (Redis has let it go).
BATCH_MEMORY = timedelta(days=1)
#: How far back a roll-up looks for rows that came late. Redis keeps an undrained minute for two hours.
LATE = timedelta(hours=3)
ROLLED_UP = ((Resolution.MINUTE, Resolution.HOUR), (Resolution.HOUR, Resolution.DAY))
#: name in METRIC_RETENTION → (its rows, the bucket that they are rolled up into)
KEPT = {
    "minute": (Resolution.MINUTE, Resolution.HOUR),
    "hour": (Resolution.HOUR, Resolution.DAY),
    "day": (Resolution.DAY, Resolution.DAY),
}


def roll_up(now: datetime) -> int:
    """Merge minutes into hours and hours into days; returns rows written.

    A target bucket is computed anew from all of its source rows, so a repetition, a killed run, a second
    process or a late row leads to the same rows. Buckets that already hold what their sources do are skipped.
    """
    return sum(_roll_up(source, target, now) for source, target in ROLLED_UP)


def _roll_up(source: int, target: int, now: datetime) -> int:
    rows = Metric.objects.filter(resolution=source)
    oldest = rows.aggregate(at=Min("at"))["at"]
    if oldest is None:
        return 0
    done_to = Metric.objects.filter(resolution=target).aggregate(at=Max("at"))["at"]
    start = floor(max(oldest, done_to - LATE) if done_to else oldest, target)
    return sum(_bucket(source, target, at) for at in _buckets(start, now, target))


def _buckets(start: datetime, now: datetime, seconds: int) -> Iterator[datetime]:
    while start <= now:
        yield start
        start += timedelta(seconds=seconds)


def _bucket(source: int, target: int, at: datetime) -> int:
    rows = Metric.objects.filter(resolution=source, at__gte=at, at__lt=at + timedelta(seconds=target))
    done = Metric.objects.filter(resolution=target, at=at)
    # Whatever is merged into a series adds to its count: equal sums mean that nothing came since.
    if _seen(rows) == _seen(done):
        return 0
    columns = rows.values_list("name", "subject", "count", "total", "buckets")
    return _write(_merged(columns.iterator(chunk_size=2_000)), target, at)


def _seen(rows: QuerySet[Metric]) -> int | None:
    return rows.aggregate(seen=Sum("count"))["seen"]  # type: ignore[no-any-return]


def _merged(rows: Iterable[tuple[str, str, int, float, dict[str, Any]]]) -> Cells:
    cells: Cells = {}
    for name, subject, count, total, buckets in rows:
        own = {int(bucket): seen for bucket, seen in buckets.items()}
        cells.setdefault((name, subject), Cell()).merge(Cell(count, total, own))
    return cells


def _write(cells: Cells, resolution: int, at: datetime) -> int:
    made = [
        Metric(
            name=name,
            subject=subject,
            resolution=resolution,
            at=at,
            count=cell.count,
            total=cell.total,
            buckets=cell.buckets,
        )
        for (name, subject), cell in sorted(cells.items())
    ]
    Metric.objects.bulk_create(
        made,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["resolution", "name", "subject", "at"],
        update_fields=["count", "total", "buckets"],
    )
    return len(made)


def floor(at: datetime, seconds: int) -> datetime:
    """The start of the bucket that ``at`` lies in."""
    return at - timedelta(seconds=at.timestamp() % seconds)


def prune(now: datetime, settings: Settings) -> int:
    """Roll up, then delete metric rows past METRIC_RETENTION, in batches by index; returns how many.

    Only whole buckets of the next resolution go, so that none can be computed anew from a part of its rows.
    """
    roll_up(now)
    deleted = sum(
        _prune(resolution, floor(now - settings.METRIC_RETENTION[name], whole))
        for name, (resolution, whole) in KEPT.items()
        if name in settings.METRIC_RETENTION
    )
    MetricBatch.objects.filter(stored_at__lt=now - BATCH_MEMORY).delete()
    return deleted


def _prune(resolution: int, before: datetime) -> int:
    old = (
        Metric.objects.filter(resolution=resolution, at__lt=before)
        .order_by("at")
        .values_list("pk", flat=True)
    )
    deleted = 0
    while batch := list(old[:PRUNE_BATCH]):
        deleted += Metric.objects.filter(pk__in=batch).delete()[0]
    return deleted
