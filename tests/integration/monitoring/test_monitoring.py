"""Metrics gathered, rolled up, pruned and judged on a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core import mail

from paiid_perf import telemetry
from paiid_perf.models import Alert, AlertRule, Metric
from paiid_perf.monitoring import actions, phase, queries
from paiid_perf.monitoring.facts import system
from paiid_perf.monitoring.types import AlertThreshold, Recorder
from paiid_perf.telemetry.histogram import bucket_of
from paiid_perf.testing import make_settings, register_temporarily

pytestmark = pytest.mark.django_db(transaction=True)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SETTINGS = make_settings()


def metric(name="api.latency_ms", subject="GET x 2xx", at=NOON, count=1, total=10.0, resolution=60):
    buckets = {bucket_of(total / count): count}
    return Metric.objects.create(
        name=name, subject=subject, at=at, count=count, total=total, buckets=buckets, resolution=resolution
    )


def gauge(name, value, at, subject="web-1"):
    return Metric.objects.create(name=name, subject=subject, at=at, count=1, total=value, resolution=60)


def test_what_is_recorded_is_found_again_once(redis_cache):
    telemetry.recorder.observe("test.latency", "here", 12.5)
    telemetry.recorder.flush()

    actions.collect(datetime.now(UTC))
    actions.collect(datetime.now(UTC))

    assert Metric.objects.get(name="test.latency").count == 1
    assert Metric.objects.filter(name="system.memory_percent").exists()


def test_a_gauge_that_breaks_stops_no_other(redis_cache, caplog):
    def broken():
        raise OSError("gone")

    with register_temporarily(Recorder("test.broken", broken), Recorder("test.fine", lambda: [("a", 1.0)])):
        actions.collect(datetime.now(UTC))

    assert Metric.objects.filter(name="test.fine").exists()
    assert "test.broken could not be read" in caplog.text


def test_minutes_become_hours_and_days_and_late_rows_are_merged():
    metric(at=NOON + timedelta(minutes=1), count=2, total=20)
    metric(at=NOON + timedelta(minutes=2), count=1, total=40)
    now = NOON + timedelta(minutes=30)
    actions.roll_up(now)
    metric(at=NOON + timedelta(minutes=3), count=1, total=10)

    actions.roll_up(now)
    actions.roll_up(now)

    hour = Metric.objects.get(resolution=3600)
    day = Metric.objects.get(resolution=86400)
    assert (hour.at, hour.count, hour.total) == (NOON, 4, 70)
    assert sum(hour.buckets.values()) == 4
    assert (day.count, day.total) == (4, 70)


def test_each_resolution_is_pruned_after_its_own_time(monkeypatch):
    monkeypatch.setattr(actions, "PRUNE_BATCH", 2)
    for age in range(1, 8):
        metric(subject=f"s{age}", at=NOON - timedelta(days=age))
        metric(subject=f"s{age}", at=NOON - timedelta(days=age), resolution=3600)

    assert actions.prune(NOON, SETTINGS) == 5
    assert Metric.objects.filter(resolution=60).count() == 2
    assert Metric.objects.filter(resolution=3600).count() == 7


def test_a_breach_opens_one_alert_and_calm_resolves_it(settings):
    settings.ADMINS = [("Ann", "ann@example.com")]
    told = make_settings(NOTIFIERS=("paiid_perf.monitoring.notifiers.email", "no.such.notifier"))
    for minute in range(6):
        gauge("system.cpu_percent", 95, NOON + timedelta(minutes=minute))
    now = NOON + timedelta(minutes=6)

    first = actions.evaluate(now, told)
    actions.evaluate(now + timedelta(seconds=30), told)

    alert = Alert.objects.get()
    assert [a.pk for a in first.opened] == [alert.pk]
    assert (alert.subject, alert.times, alert.status) == ("web-1", 2, "open")
    assert "cpu_percent on web-1 is 95 %" in alert.message
    for minute in range(6, 14):
        gauge("system.cpu_percent", 20, NOON + timedelta(minutes=minute))
    actions.evaluate(NOON + timedelta(minutes=14), told)
    alert.refresh_from_db()
    assert alert.status == "resolved"
    assert [m.subject.split()[1] for m in mail.outbox] == ["[open]", "[resolved]"]


def test_a_declared_threshold_follows_its_declaration_until_a_person_edits_it():
    with register_temporarily(AlertThreshold("cpu_percent", above=50)):
        actions.sync_rules()
        assert AlertRule.objects.get(name="cpu_percent").threshold == 50
    actions.sync_rules()
    assert AlertRule.objects.get(name="cpu_percent").threshold == 80
    AlertRule.objects.filter(name="cpu_percent").update(threshold=99, declared=False)
    actions.sync_rules()
    assert AlertRule.objects.get(name="cpu_percent").threshold == 99


def test_endpoints_are_read_with_their_percentiles_and_errors():
    metric(subject="GET slow/ 2xx", count=10, total=5000)
    metric(subject="GET slow/ 5xx", count=1, total=500)
    metric(subject="POST quick/ 2xx", count=100, total=100)

    slow, quick = queries.endpoints(NOON, NOON + timedelta(hours=1))

    assert (slow.method, slow.route, slow.requests, slow.errors) == ("GET", "slow/", 11, 1)
    assert slow.p95_ms == pytest.approx(500, rel=0.01)
    assert quick.mean_ms == 1


def test_ratios_come_from_what_was_counted():
    metric("cache.hits", "a", count=3, total=3)
    metric("cache.misses", "a", count=1, total=1)
    metric(subject="GET x 2xx", count=90)
    metric(subject="GET x 5xx", count=10)
    end = NOON + timedelta(minutes=1)

    assert [sample.value for sample in queries.hit_ratios(NOON, end)] == [0.75]
    assert [sample.value for sample in queries.error_rates(NOON, end)] == [0.1]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (None, None, None)),
        ({"cpu.max": "max 100000", "memory.max": "max"}, (None, None, None)),
        (
            {"cpu.max": "200000 100000", "memory.max": "1024", "memory.current": "512"},
            (2.0, 1024, 512),
        ),
    ],
)
def test_a_containers_limits_are_read_from_its_cgroup(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    limits = system.read_limits(own=tmp_path)

    assert (limits.cpus, limits.memory_bytes, limits.memory_used) == expected


class Context:
    """A run's context that only listens."""

    settings, now, quick, dry_run = SETTINGS, NOON, False, False

    def __init__(self):
        self.proposed = []

    def progress(self, fraction, step):
        pass

    def propose(self, proposals):
        self.proposed += proposals


def test_the_phase_collects_judges_and_says_what_it_does_not_know(redis_cache):
    context = Context()

    result = phase.run(context)

    checks = {check.name: check.value for check in result.checks}
    assert result.status == "succeeded"
    assert checks["dropped"] == 0
    assert set(checks) == set(phase.WEIGHTS)
    assert AlertRule.objects.count() >= 6
