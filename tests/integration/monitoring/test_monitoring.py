"""Metrics gathered, rolled up, pruned and judged on a real database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier, Thread

import pytest
from celery import current_app
from django.core import mail
from django.db import connection
from prometheus_client.parser import text_string_to_metric_families

from paiid_perf import tasks, telemetry
from paiid_perf.conf import get_settings
from paiid_perf.models import Alert, AlertRule, Metric
from paiid_perf.monitoring import actions, export, notifiers, outlook, phase, queries, readings
from paiid_perf.monitoring.actions import rollups
from paiid_perf.monitoring.facts import celery as celery_facts
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


def test_an_hour_that_has_not_changed_is_not_written_again():
    metric(at=NOON, count=2, total=20)

    assert actions.roll_up(NOON) == 2
    assert actions.roll_up(NOON) == 0


def test_what_is_pruned_has_been_rolled_up_and_goes_by_whole_hours():
    long_ago = NOON - timedelta(days=3)
    metric(at=long_ago, count=5)
    edge = NOON - timedelta(hours=48)
    metric(at=edge + timedelta(minutes=5), count=1)

    actions.prune(NOON + timedelta(minutes=30), SETTINGS)

    assert [row.at for row in Metric.objects.filter(resolution=60)] == [edge + timedelta(minutes=5)]
    assert Metric.objects.get(resolution=3600, at=long_ago).count == 5
    actions.roll_up(NOON + timedelta(minutes=30))
    assert Metric.objects.get(resolution=3600, at=long_ago).count == 5


def test_a_batch_that_comes_twice_is_stored_once():
    rows = [telemetry.Row("test.count", "a", NOON, 3, 3.0, {})]

    stored = [telemetry.store("a-batch", rows) for _ in range(2)]

    assert stored == [True, False]
    assert Metric.objects.get(name="test.count").count == 3


def test_each_resolution_is_pruned_after_its_own_time(monkeypatch):
    monkeypatch.setattr(rollups, "PRUNE_BATCH", 2)
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


def test_a_rule_whose_declaration_is_gone_is_disabled_and_its_alert_resolves():
    for minute in range(6):
        gauge("test.heat", 95, NOON + timedelta(minutes=minute))
    now = NOON + timedelta(minutes=6)
    with register_temporarily(AlertThreshold("test.heat", above=50)):
        actions.evaluate(now, SETTINGS)
        assert Alert.objects.get().status == "open"

    actions.evaluate(now, SETTINGS)

    assert Alert.objects.get().status == "resolved"
    assert not AlertRule.objects.get(name="test.heat").enabled
    with register_temporarily(AlertThreshold("test.heat", above=50)):
        actions.sync_rules()
    assert AlertRule.objects.get(name="test.heat").enabled


def test_an_alert_without_data_stays_until_its_subject_is_gone_for_a_day():
    for minute in range(6):
        gauge("system.cpu_percent", 95, NOON + timedelta(minutes=minute))
    opened = NOON + timedelta(minutes=6)
    actions.evaluate(opened, SETTINGS)

    silent = actions.evaluate(opened + timedelta(hours=1), SETTINGS)
    assert "cpu_percent" in silent.without_data
    assert Alert.objects.get().status == "open"
    actions.evaluate(opened + timedelta(hours=25), SETTINGS)
    assert Alert.objects.get().status == "resolved"


def test_processes_that_judge_at_once_open_one_alert():
    for minute in range(6):
        gauge("system.cpu_percent", 95, NOON + timedelta(minutes=minute))
    actions.sync_rules()
    barrier, opened = Barrier(4), []

    def judge(number):
        barrier.wait()
        try:
            opened.extend(actions.evaluate(NOON + timedelta(minutes=6, microseconds=number), SETTINGS).opened)
        finally:
            connection.close()

    threads = [Thread(target=judge, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Alert.objects.count() == 1
    assert len(opened) == 1


def test_a_rule_that_cannot_be_judged_stops_no_other(monkeypatch, caplog):
    def broken(start, end):
        raise ValueError("no such reading")

    monkeypatch.setattr(readings, "READINGS", {**readings.READINGS, "api_p95_ms": broken})
    for minute in range(6):
        gauge("system.cpu_percent", 95, NOON + timedelta(minutes=minute))

    assert len(actions.evaluate(NOON + timedelta(minutes=6), SETTINGS).opened) == 1
    assert "api_p95_ms could not be judged" in caplog.text


def test_errors_that_burn_the_budget_are_an_alert():
    for minute in range(60):
        at = NOON + timedelta(minutes=minute)
        metric(subject="GET x 2xx", at=at, count=95)
        metric(subject="GET x 5xx", at=at, count=5)

    actions.evaluate(NOON + timedelta(minutes=60), SETTINGS)

    assert Alert.objects.get(rule__name="api_burn_rate").severity == "critical"


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
        (
            {
                "memory.max": "1024",
                "memory.current": "1000",
                "memory.stat": "anon 100\ninactive_file 900\n",
            },
            (None, 1024, 100),
        ),
    ],
)
def test_a_containers_limits_are_read_from_its_cgroup(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    limits = system.read_limits(own=tmp_path)

    assert (limits.cpus, limits.memory_bytes, limits.memory_used) == expected


def test_a_parents_tighter_limit_counts(tmp_path):
    own = tmp_path / "slice" / "service"
    own.mkdir(parents=True)
    (own / "cpu.max").write_text("400000 100000")
    (own / "memory.max").write_text("max")
    (tmp_path / "slice" / "cpu.max").write_text("150000 100000")
    (tmp_path / "slice" / "memory.max").write_text("2048")
    (tmp_path / "slice" / "memory.current").write_text("1024")

    limits = system.read_limits(root=tmp_path, own=own)

    assert (limits.cpus, limits.memory_bytes, limits.memory_used) == (1.5, 2048, 1024)


def test_a_disk_that_fills_is_foretold():
    for day in range(40):
        at = NOON - timedelta(days=40 - day)
        Metric.objects.create(
            name="system.disk_percent",
            subject="web-1",
            at=at,
            count=1,
            total=50 + day + day % 2 / 4,
            resolution=86400,
        )

    (found,) = outlook.outlooks(NOON)
    (proposal,) = outlook.advice([found])

    assert found.reach.earliest <= 11 <= found.reach.latest
    assert found.text().startswith("full in ")
    assert proposal.title == f"Disk (web-1): {found.text()}"
    assert proposal.evidence["error"] <= proposal.evidence["naive_error"]


# --- the export --------------------------------------------------------------------------------------


def hits(count, at):
    Metric.objects.create(name="cache.hits", subject="a", at=at, count=count, total=count, resolution=60)


def scrape(now):
    families = text_string_to_metric_families(export.prometheus(now))
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for f in families for sample in f.samples
    }


def test_prometheus_reads_what_is_exported():
    metric(subject='GET odd"\\path/ 2xx', at=NOON, count=10, total=100)
    hits(4, NOON)
    gauge("system.cpu_percent", 55, NOON)

    found = scrape(NOON + timedelta(minutes=2))

    where = (("method", "GET"), ("route", 'odd"\\path/'))
    assert found["perf_api_latency_ms_count", *where, ("status", "2xx")] == 10
    assert found["perf_api_latency_ms_sum", *where, ("status", "2xx")] == 100
    p95 = found["perf_api_latency_ms", *where[:1], ("quantile", "0.95"), *where[1:], ("status", "2xx")]
    assert p95 == pytest.approx(10, rel=0.02)
    assert found["perf_cache_hits_total", ("subject", "a")] == 4
    assert found["perf_system_cpu_percent", ("subject", "web-1")] == 55
    assert found["perf_alerts_open", ("severity", "critical")] == 0


def test_counters_go_on_across_a_roll_up_and_begin_again_at_midnight():
    seen = []
    for counted, minute in enumerate(range(0, 200, 10), start=1):
        at = NOON + timedelta(minutes=minute)
        hits(1, at)
        seen.append(scrape(at)["perf_cache_hits_total", ("subject", "a")] - counted)
        if minute % 40 == 0:
            actions.roll_up(at)

    assert set(seen) == {0}
    assert ("perf_cache_hits_total", ("subject", "a")) not in scrape(NOON + timedelta(days=1))


# --- the notifiers -----------------------------------------------------------------------------------


@pytest.fixture
def hook():
    """A real HTTP server that answers 500 to the first request and keeps all it was sent."""
    kept = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.append((body, self.headers["X-Perf-Signature"]))
            self.send_response(500 if len(kept) == 1 else 204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", kept
        server.shutdown()


WEBHOOK = "paiid_perf.monitoring.notifiers.webhook"


def test_a_webhook_that_fails_is_tried_again_by_celery_and_blocks_no_other(
    hook, settings, monkeypatch, caplog
):
    url, kept = hook
    settings.ADMINS = [("Ann", "ann@example.com")]
    settings.PAIID_PERF = {
        "WEBHOOK_URL": url,
        "WEBHOOK_SECRET": "shh",
        "NOTIFIERS": (WEBHOOK, "paiid_perf.monitoring.notifiers.email"),
    }
    sent = []
    monkeypatch.setattr(current_app.conf, "broker_url", "memory://")
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **options: sent.append((name, args)))
    for minute in range(6):
        gauge("system.cpu_percent", 95, NOON + timedelta(minutes=minute))

    actions.evaluate(NOON + timedelta(minutes=6), get_settings())

    alert = Alert.objects.get()
    assert [m.subject.split()[1] for m in mail.outbox] == ["[open]"]
    assert sent == [("paiid_perf.notify", [WEBHOOK, alert.pk])]
    assert "it is tried again" in caplog.text
    tasks.notify(WEBHOOK, alert.pk)
    body, signed = kept[-1]
    assert json.loads(body)["message"] == alert.message
    assert signed == notifiers.signature(body, "shh")


def test_a_notifier_that_is_not_in_the_settings_is_not_called_by_the_task(settings):
    settings.PAIID_PERF = {}
    rule = AlertRule.objects.create(name="r", metric="m", comparison="above", threshold=1)
    alert = Alert.objects.create(rule=rule, severity="info", message="x", opened_at=NOON, seen_at=NOON)

    tasks.notify("no.such.notifier", alert.pk)


# --- Celery ------------------------------------------------------------------------------------------


def test_the_queue_is_as_deep_as_what_waits_in_it(redis_cache, valkey_url, monkeypatch):
    monkeypatch.setattr(current_app.conf, "broker_url", valkey_url)
    monkeypatch.setattr(current_app.conf, "broker_read_url", valkey_url)
    queue = current_app.conf.task_default_queue

    empty = list(celery_facts.queue_depth())
    redis_cache.lpush(queue, "a", "b", "c")

    assert empty == [(queue, 0)]
    assert list(celery_facts.queue_depth()) == [(queue, 3)]


def test_a_broker_that_is_away_is_no_number(monkeypatch, caplog):
    monkeypatch.setattr(current_app.conf, "broker_url", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(current_app.conf, "broker_read_url", "redis://127.0.0.1:1/0")

    assert list(celery_facts.queue_depth()) == []
    assert "the broker does not answer" in caplog.text


def test_each_scheduled_task_is_one():
    names = {entry["task"] for entry in tasks.beat_schedule().values()}

    assert names <= set(current_app.tasks)
    assert "paiid_perf.collect" in names


def test_only_what_beat_starts_is_a_sign_of_beat(redis_cache):
    actions.collect(datetime.now(UTC))
    assert queries.newest(actions.HEARTBEAT) is None

    tasks.collect()

    assert queries.newest(actions.HEARTBEAT) is not None


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
