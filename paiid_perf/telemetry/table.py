"""Metric rows in the database: batches merged into minutes, each batch once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import router, transaction
from django.utils import timezone

from paiid_perf.models import Metric, MetricBatch
from paiid_perf.telemetry.rows import Row

Key = tuple[str, str, datetime]
#: Rows in one statement.
CHUNK = 500


def store(batch_id: str, rows: Sequence[Row]) -> bool:
    """Merge a batch into the minutes' rows; False, and nothing done, where it has been stored before.

    One transaction. Rows that another process makes at the same moment are merged with, not overwritten.
    """
    using = router.db_for_write(Metric)
    with transaction.atomic(using=using):
        _, new = MetricBatch.objects.using(using).get_or_create(
            pk=batch_id, defaults={"stored_at": timezone.now()}
        )
        if new:
            for start in range(0, len(rows), CHUNK):
                _merge(rows[start : start + CHUNK], using)
        return new


def _merge(rows: Sequence[Row], using: str) -> None:
    # Sorted, so that two processes that merge at once lock the rows in one order.
    wanted = {_key(row): row for row in sorted(rows, key=_key)}
    Metric.objects.using(using).bulk_create([_empty(key) for key in wanted], ignore_conflicts=True)
    found = [
        metric for metric in _locked(wanted, using) if (metric.name, metric.subject, metric.at) in wanted
    ]
    for metric in found:
        _add(metric, wanted[metric.name, metric.subject, metric.at])
    Metric.objects.using(using).bulk_update(found, ["count", "total", "buckets"], batch_size=CHUNK)


def _locked(wanted: Mapping[Key, Row], using: str) -> list[Metric]:
    names, subjects, times = (set(part) for part in zip(*wanted, strict=True))
    rows = Metric.objects.using(using).filter(
        resolution=Metric.Resolution.MINUTE, name__in=names, subject__in=subjects, at__in=times
    )
    return list(rows.order_by("name", "subject", "at").select_for_update())


def _key(row: Row) -> Key:
    return row.name, row.subject, row.at


def _empty(key: Key) -> Metric:
    name, subject, at = key
    return Metric(name=name, subject=subject, at=at, resolution=Metric.Resolution.MINUTE)


def _add(metric: Metric, row: Row) -> None:
    metric.count += row.count
    metric.total += row.total
    for bucket, seen in row.buckets.items():
        metric.buckets[str(bucket)] = metric.buckets.get(str(bucket), 0) + seen
