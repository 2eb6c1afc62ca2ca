"""What monitoring writes: gathered metrics, their roll-ups, and alerts. All of it may be repeated."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Max, Min
from redis.exceptions import RedisError

from paiid_perf import telemetry
from paiid_perf.conf import Settings
from paiid_perf.models import Alert, AlertRule, Metric, MetricBatch
from paiid_perf.monitoring import notifiers
from paiid_perf.monitoring.readings import Samples, reading_of
from paiid_perf.monitoring.rules import alerts as rules
from paiid_perf.monitoring.types import AlertThreshold, Comparison, Point, Recorder, Rule, Sample
from paiid_perf.registry import registry
from paiid_perf.telemetry.histogram import merge

logger = logging.getLogger("paiid_perf")
Resolution = Metric.Resolution

#: Written by each ``collect``; its newest row says since when beat is silent.
HEARTBEAT = "monitoring.heartbeat"
#: Rows that one DELETE takes at the most.
PRUNE_BATCH = 5_000
#: A drained batch older than this cannot come again (Redis has let it go).
BATCH_MEMORY = timedelta(days=1)
#: How far back a roll-up looks again for rows that came late.
LATE = timedelta(hours=3)
ROLLED_UP = ((Resolution.MINUTE, Resolution.HOUR), (Resolution.HOUR, Resolution.DAY))
RESOLUTION_NAMES = {"minute": Resolution.MINUTE, "hour": Resolution.HOUR, "day": Resolution.DAY}


# --- gathering -------------------------------------------------------------------------------------


def collect(now: datetime) -> int:
    """Read every gauge, hand this process' metrics over, store what all processes handed over; returns rows.

    A gauge that cannot be read is logged and left out. Redis away: what it holds is stored another time.
    """
    for recorder in registry.all(Recorder):
        _read(recorder)
    telemetry.recorder.count(HEARTBEAT)
    telemetry.recorder.flush()
    try:
        return sum(len(rows) for batch_id, rows in telemetry.drain() if _store(batch_id, rows))
    except RedisError as error:
        logger.warning("recorded metrics stay where they are: Redis does not answer (%s)", error)
        return 0


def _read(recorder: Recorder) -> None:
    try:
        for subject, value in recorder.read():
            telemetry.recorder.gauge(recorder.name, subject, value)
    except Exception:
        logger.exception("the gauge %s could not be read", recorder.name)


def _store(batch_id: str, rows: list[telemetry.Row]) -> bool:
    new = telemetry.store(batch_id, rows)
    telemetry.acknowledge(batch_id)
    return new


# --- rolling up and pruning ---------------------------------------------------------------------------


def roll_up(now: datetime) -> int:
    """Merge minutes into hours and hours into days; returns rows written.

    Each target bucket is computed anew from its source rows, so a repetition or a late row changes nothing
    else. Buckets whose sources may have been pruned already are left as they are.
    """
    return sum(_roll_up(source, target, now) for source, target in ROLLED_UP)


def _roll_up(source: int, target: int, now: datetime) -> int:
    rows = Metric.objects.filter(resolution=source)
    done_to = Metric.objects.filter(resolution=target).aggregate(at=Max("at"))["at"]
    oldest = rows.aggregate(at=Min("at"))["at"]
    if oldest is None:
        return 0
    start = _floor(max(oldest, done_to - LATE) if done_to else oldest, target)
    written = 0
    while start <= now:
        end = start + timedelta(seconds=target)
        written += _bucket(rows.filter(at__gte=start, at__lt=end).iterator(), start, target)
        start = end
    return written


def _bucket(rows: Iterable[Metric], at: datetime, target: int) -> int:
    merged: dict[tuple[str, str], Point] = {}
    for row in rows:
        key = (row.name, row.subject)
        merged[key] = _plus(merged.get(key) or Point(at, 0, 0.0), row)
    made = [
        Metric(
            name=name,
            subject=subject,
            resolution=target,
            at=at,
            count=point.count,
            total=point.total,
            buckets=dict(point.buckets),
        )
        for (name, subject), point in sorted(merged.items())
    ]
    Metric.objects.bulk_create(
        made,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["resolution", "name", "subject", "at"],
        update_fields=["count", "total", "buckets"],
    )
    return len(made)


def _plus(point: Point, row: Metric) -> Point:
    own = {int(bucket): count for bucket, count in row.buckets.items()}
    return Point(point.at, point.count + row.count, point.total + row.total, merge((point.buckets, own)))


def _floor(at: datetime, seconds: int) -> datetime:
    return at - timedelta(seconds=at.timestamp() % seconds)


def prune(now: datetime, settings: Settings) -> int:
    """Delete metric rows past METRIC_RETENTION, in batches by index; returns how many."""
    deleted = sum(
        _prune_resolution(resolution, now - settings.METRIC_RETENTION[name])
        for name, resolution in RESOLUTION_NAMES.items()
        if name in settings.METRIC_RETENTION
    )
    MetricBatch.objects.filter(stored_at__lt=now - BATCH_MEMORY).delete()
    return deleted


def _prune_resolution(resolution: int, before: datetime) -> int:
    old = (
        Metric.objects.filter(resolution=resolution, at__lt=before)
        .order_by("at")
        .values_list("pk", flat=True)
    )
    deleted = 0
    while batch := list(old[:PRUNE_BATCH]):
        deleted += Metric.objects.filter(pk__in=batch).delete()[0]
    return deleted


# --- alerts ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation of the rules changed."""

    opened: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    without_data: tuple[str, ...]


def sync_rules() -> None:
    """Make an AlertRule of every declared threshold. A rule that a person has edited stays as it is."""
    for threshold in registry.all(AlertThreshold):
        values = _rule_values(threshold)
        rule, made = AlertRule.objects.get_or_create(
            name=threshold.name, defaults=values | {"declared": True}
        )
        if not made and rule.declared:
            AlertRule.objects.filter(pk=rule.pk).update(**values)


def _rule_values(threshold: AlertThreshold) -> dict[str, object]:
    comparison, limit = (
        ("above", threshold.above) if threshold.above is not None else ("below", threshold.below)
    )
    return {
        "metric": threshold.metric,
        "comparison": comparison,
        "threshold": limit,
        "clear_threshold": threshold.clear,
        "for_seconds": int(threshold.for_.total_seconds()),
        "severity": threshold.severity,
        "unit": threshold.unit,
    }


def evaluate(now: datetime, settings: Settings) -> Evaluation:
    """Judge every enabled rule on its samples: open, keep or resolve one alert for each subject, and notify."""
    sync_rules()
    opened: list[Alert] = []
    resolved: list[Alert] = []
    silent: list[str] = []
    for rule in AlertRule.objects.filter(enabled=True):
        for subject, samples in _samples(rule, now).items():
            decision = rules.decide(_pure(rule), samples, _open_alert(rule, subject) is not None, now)
            if decision == "no data":
                silent.append(f"{rule.name} {subject}".strip())
            elif decision == "open":
                opened += _open(rule, subject, samples[-1], now)
            elif decision == "keep":
                _keep(rule, subject, samples[-1], now)
            elif decision == "resolve":
                resolved += _resolve(rule, subject, now)
    notifiers.notify([*opened, *resolved], settings)
    return Evaluation(tuple(opened), tuple(resolved), tuple(silent))


def _samples(rule: AlertRule, now: datetime) -> Samples:
    lasting = timedelta(seconds=rule.for_seconds)
    return reading_of(rule.metric)(now - lasting - 2 * rules.SAMPLE_EVERY, now)


def _pure(rule: AlertRule) -> Rule:
    clear = rule.threshold if rule.clear_threshold is None else rule.clear_threshold
    comparison: Comparison = "above" if rule.comparison == AlertRule.Comparison.ABOVE else "below"
    return Rule(comparison, rule.threshold, clear, timedelta(seconds=rule.for_seconds), rule.unit)


def _open_alert(rule: AlertRule, subject: str) -> Alert | None:
    return rule.alerts.filter(subject=subject).exclude(status=Alert.Status.RESOLVED).first()


def _open(rule: AlertRule, subject: str, sample: Sample, now: datetime) -> list[Alert]:
    with transaction.atomic():
        made = Alert.objects.bulk_create(
            [
                Alert(
                    rule=rule,
                    subject=subject,
                    severity=rule.severity,
                    value=sample.value,
                    message=rules.message(rule.name, subject, _pure(rule), sample.value),
                    opened_at=now,
                    seen_at=now,
                )
            ],
            ignore_conflicts=True,
        )
    # With ignored conflicts Django does not say whether the row is ours: look for it.
    mine = Alert.objects.filter(rule=rule, subject=subject, opened_at=now)
    return list(mine) if made else []


def _keep(rule: AlertRule, subject: str, sample: Sample, now: datetime) -> None:
    rule.alerts.filter(subject=subject).exclude(status=Alert.Status.RESOLVED).update(
        value=sample.value,
        seen_at=now,
        times=F("times") + 1,
        message=rules.message(rule.name, subject, _pure(rule), sample.value),
    )


def _resolve(rule: AlertRule, subject: str, now: datetime) -> list[Alert]:
    alert = _open_alert(rule, subject)
    if alert is None:
        return []
    alert.status, alert.resolved_at = Alert.Status.RESOLVED, now
    alert.save(update_fields=["status", "resolved_at"])
    return [alert]
