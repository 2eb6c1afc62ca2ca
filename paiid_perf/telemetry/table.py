"""Metric rows in the database: batches merged into minutes and into their totals, each batch once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import router, transaction
from django.utils import timezone

from paiid_perf.models import Metric, MetricBatch, MetricTotal
from paiid_perf.telemetry.rows import FAILED, Row

#: Rows in one statement.
CHUNK = 500
#: model → the fields of its key within a resolution, and those that are summed
KEYS: Mapping[type[Any], tuple[str, ...]] = {Metric: ("name", "subject", "at"), MetricTotal: ("name", "at")}
SUMS: Mapping[type[Any], tuple[str, ...]] = {
    Metric: ("count", "total"),
    MetricTotal: ("count", "total", "failed"),
}


def store(batch_id: str, rows: Sequence[Row]) -> bool:
    """Merge a batch into the minutes' rows; False, and nothing done, where it has been stored before.

    One transaction. Rows that another process makes at the same moment are merged with, not overwritten.
    """
    using = router.db_for_write(Metric)
    known = {"stored_at": timezone.now(), "rolls_from": min((row.at for row in rows), default=None)}
    with transaction.atomic(using=using):
        _, new = MetricBatch.objects.using(using).get_or_create(pk=batch_id, defaults=known)
        if new:
            _merge(Metric, [_metric(row) for row in rows], using)
            _merge(MetricTotal, totals_of(rows, Metric.Resolution.MINUTE), using)
        return new


def totals_of(rows: Iterable[Row], resolution: int) -> list[MetricTotal]:
    """The rows of each name and bucket of time added up. Pure."""
    found: dict[tuple[str, datetime], MetricTotal] = {}
    for row in rows:
        total = found.get((row.name, row.at))
        if total is None:
            total = found[row.name, row.at] = MetricTotal(
                name=row.name, at=row.at, resolution=resolution, buckets={}
            )
        total.count += row.count
        total.total += row.total
        total.failed += row.count if row.subject.endswith(FAILED) else 0
        _add_buckets(total.buckets, row.buckets)
    return list(found.values())


def _metric(row: Row) -> Metric:
    return Metric(
        name=row.name,
        subject=row.subject,
        at=row.at,
        resolution=Metric.Resolution.MINUTE,
        count=row.count,
        total=row.total,
        buckets={str(bucket): seen for bucket, seen in row.buckets.items()},
    )


def _merge(model: type[Any], news: Sequence[Any], using: str) -> None:
    for start in range(0, len(news), CHUNK):
        _merge_some(model, news[start : start + CHUNK], using)


def _merge_some(model: type[Any], news: Sequence[Any], using: str) -> None:
    # Sorted, so that two processes that merge at once lock the rows in one order.
    wanted = {_key(new): new for new in sorted(news, key=_key)}
    rows = model.objects.using(using)
    rows.bulk_create([_empty(model, new) for new in wanted.values()], ignore_conflicts=True)
    for row in _locked(model, wanted, using):
        if _key(row) in wanted:
            _add(wanted[_key(row)], row)
    # An upsert of rows that are there: a tenth of the time of ``bulk_update``'s CASE for each row and field.
    rows.bulk_create(
        wanted.values(),
        update_conflicts=True,
        unique_fields=["resolution", *KEYS[model]],
        update_fields=[*SUMS[model], "buckets"],
    )


def _locked(model: type[Any], wanted: Mapping[tuple[Any, ...], Any], using: str) -> list[Any]:
    fields = KEYS[model]
    among = {f"{field}__in": set(part) for field, part in zip(fields, zip(*wanted, strict=True), strict=True)}
    rows = model.objects.using(using).filter(resolution=Metric.Resolution.MINUTE, **among)
    return list(rows.order_by(*fields).select_for_update())


def _key(row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, field) for field in KEYS[type(row)])


def _empty(model: type[Any], new: Any) -> Any:
    key = {field: getattr(new, field) for field in KEYS[model]}
    return model(resolution=Metric.Resolution.MINUTE, **key)


def _add(row: Any, more: Any) -> None:
    for field in SUMS[type(row)]:
        setattr(row, field, getattr(row, field) + getattr(more, field))
    _add_buckets(row.buckets, more.buckets)


def _add_buckets(buckets: dict[str, int], more: Mapping[Any, int]) -> None:
    for bucket, seen in more.items():
        key = str(bucket)
        buckets[key] = buckets.get(key, 0) + seen
