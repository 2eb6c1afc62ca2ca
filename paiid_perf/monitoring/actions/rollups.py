"""Minutes merged into hours and hours into days, with their totals; what is past its retention deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import router, transaction
from django.db.models import Max, Min, QuerySet, Sum

from paiid_perf.conf import Settings
from paiid_perf.models import Metric, MetricBatch, MetricTotal
from paiid_perf.monitoring.actions.leases import lease
from paiid_perf.telemetry.rows import Cell, Row
from paiid_perf.telemetry.table import CHUNK, totals_of

Resolution = Metric.Resolution

LEASE = "metrics"
#: Rows that one DELETE takes at the most.
PRUNE_BATCH = 5_000
#: A drained batch older than this cannot come again (Redis has let it go).
BATCH_MEMORY = timedelta(days=1)
#: How far back a roll-up looks at every bucket; further back, at those that a batch has brought something for.
LATE = timedelta(hours=3)
#: Buckets from before there were totals that one roll-up adds up, of each resolution.
BACKFILL = 200
ROLLED_UP = ((Resolution.MINUTE, Resolution.HOUR), (Resolution.HOUR, Resolution.DAY))
#: name in METRIC_RETENTION → (its rows, the bucket that they are rolled up into)
KEPT = {
    "minute": (Resolution.MINUTE, Resolution.HOUR),
    "hour": (Resolution.HOUR, Resolution.DAY),
    "day": (Resolution.DAY, Resolution.DAY),
}
#: Series whose subject goes on after this mark with what is too fine for hours: a process lives for minutes.
FINE = {"process.rss_bytes": ":"}
#: model → the fields that tell its rows apart
UNIQUE: Mapping[type[Any], Sequence[str]] = {
    Metric: ("resolution", "name", "subject", "at"),
    MetricTotal: ("resolution", "name", "at"),
}


def roll_up(now: datetime) -> int:
    """Merge minutes into hours and hours into days; returns rows written, 0 while another process is at it.

    A bucket is computed anew from all of its source rows, so a repetition, a killed run, a second process or a late
    row leads to the same rows. Buckets that already hold what their sources do are skipped.
    """
    with lease(LEASE, now) as leads:
        return _roll_up_all(now) if leads else 0


def _roll_up_all(now: datetime) -> int:
    waiting = MetricBatch.objects.filter(rolls_from__isnull=False).order_by("rolls_from")
    batches = list(waiting.values_list("pk", "rolls_from"))
    came = batches[0][1] if batches else None
    written = sum(_roll_up(source, target, now, came) for source, target in ROLLED_UP)
    for resolution in Resolution:
        add_up(resolution, BACKFILL)
    for some in _chunks([key for key, _ in batches]):
        MetricBatch.objects.filter(pk__in=some).update(rolls_from=None)
    return written


def _roll_up(source: int, target: int, now: datetime, came: datetime | None) -> int:
    oldest = Metric.objects.filter(resolution=source).aggregate(at=Min("at"))["at"]
    if oldest is None:
        return 0
    done_to = Metric.objects.filter(resolution=target).aggregate(at=Max("at"))["at"]
    look_from = oldest if done_to is None else min(done_to - LATE, came or done_to)
    return sum(
        _bucket(source, target, at) for at in _buckets(floor(max(oldest, look_from), target), now, target)
    )


def _buckets(start: datetime, now: datetime, seconds: int) -> Iterator[datetime]:
    while start <= now:
        yield start
        start += timedelta(seconds=seconds)


def _bucket(source: int, target: int, at: datetime) -> int:
    rows = Metric.objects.filter(resolution=source, at__gte=at, at__lt=at + timedelta(seconds=target))
    # Whatever is merged into a series adds to its count: equal sums mean that nothing came since. And fewer mean that
    # the sources have been pruned: what comes as late as that is let go, rather than take their place.
    if _seen(rows) <= _seen(Metric.objects.filter(resolution=target, at=at)):
        return 0
    columns = rows.values_list("name", "subject", "count", "total", "buckets")
    return _write(_merged(columns.iterator(chunk_size=2_000), at), target)


def _seen(rows: QuerySet[Any]) -> int:
    return rows.aggregate(seen=Sum("count"))["seen"] or 0


def _merged(rows: Iterable[tuple[str, str, int, float, dict[Any, int]]], at: datetime) -> list[Row]:
    cells: dict[tuple[str, str], Cell] = {}
    for name, subject, count, total, buckets in rows:
        if name in FINE:
            subject = subject.partition(FINE[name])[0]
        cell = cells.get((name, subject))
        if cell is None:
            cells[name, subject] = Cell(count, total, buckets)
        else:
            cell.add(count, total, buckets)
    return [
        Row(name, subject, at, cell.count, cell.total, cell.buckets)
        for (name, subject), cell in sorted(cells.items())
    ]


def _write(rows: Sequence[Row], resolution: int) -> int:
    made = [
        Metric(
            name=row.name,
            subject=row.subject,
            resolution=resolution,
            at=row.at,
            count=row.count,
            total=row.total,
            buckets=row.buckets,
        )
        for row in rows
    ]
    # At once: a bucket that holds what its sources do has its totals too.
    with transaction.atomic(using=router.db_for_write(Metric)):
        _put(Metric, made)
        _put(MetricTotal, totals_of(rows, resolution))
    return len(made)


def _put(model: type[Any], made: Sequence[Any]) -> None:
    unique = UNIQUE[model]
    sums = [field.name for field in model._meta.concrete_fields if field.name not in ("id", *unique)]
    model.objects.bulk_create(
        made, batch_size=CHUNK, update_conflicts=True, unique_fields=list(unique), update_fields=sums
    )


def floor(at: datetime, seconds: int) -> datetime:
    """The start of the bucket that ``at`` lies in."""
    return at - timedelta(seconds=at.timestamp() % seconds)


# --- totals of what was stored before there were any ---------------------------------------------------


def add_up(resolution: int, most: int) -> int:
    """Add up the newest ``most`` buckets that are older than every total; returns how many.

    From the newest back, so that the totals never have a gap. The oldest total is looked at again: the first batch
    that made totals may have found rows in its minute.
    """
    rows = Metric.objects.filter(resolution=resolution)
    first = MetricTotal.objects.filter(resolution=resolution).aggregate(at=Min("at"))["at"]
    if first is not None:
        rows = rows.filter(at__lte=first)
    moments = list(rows.order_by("-at").values_list("at", flat=True).distinct()[:most])
    return sum(_add_up(resolution, at) for at in moments)


def _add_up(resolution: int, at: datetime) -> bool:
    rows = Metric.objects.filter(resolution=resolution, at=at)
    if _seen(rows) == _seen(MetricTotal.objects.filter(resolution=resolution, at=at)):
        return False
    columns = rows.values_list("name", "subject", "at", "count", "total", "buckets")
    _put(MetricTotal, totals_of((Row(*row) for row in columns.iterator(chunk_size=2_000)), resolution))
    return True


# --- retention -------------------------------------------------------------------------------------------


def prune(now: datetime, settings: Settings) -> int:
    """Roll up, then delete metric rows past METRIC_RETENTION, in batches by index; returns how many.

    Only whole buckets of the next resolution go, so that none can be computed anew from a part of its rows.
    """
    with lease(LEASE, now) as leads:
        return _prune_all(now, settings) if leads else 0


def _prune_all(now: datetime, settings: Settings) -> int:
    _roll_up_all(now)
    deleted = 0
    for name, (resolution, whole) in KEPT.items():
        if name in settings.METRIC_RETENTION:
            before = floor(now - settings.METRIC_RETENTION[name], whole)
            _prune(MetricTotal.objects.filter(resolution=resolution, at__lt=before))
            deleted += _prune(Metric.objects.filter(resolution=resolution, at__lt=before))
    _prune(MetricBatch.objects.filter(stored_at__lt=now - BATCH_MEMORY), "stored_at")
    return deleted


def _prune(old: QuerySet[Any], by: str = "at") -> int:
    deleted = 0
    while batch := list(old.order_by(by).values_list("pk", flat=True)[:PRUNE_BATCH]):
        deleted += old.model._default_manager.filter(pk__in=batch).delete()[0]
    return deleted


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), PRUNE_BATCH):
        yield keys[start : start + PRUNE_BATCH]
