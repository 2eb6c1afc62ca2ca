"""Metrics gathered, rolled up, pruned and judged on a real database."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from celery import current_app
from prometheus_client.parser import text_string_to_metric_families

from paiid_perf import tasks, telemetry
from paiid_perf.models import AlertRule, Metric
from paiid_perf.monitoring import actions, endpoints, export, phase, queries
from paiid_perf.monitoring.actions import rollups
from paiid_perf.monitoring.facts import celery as celery_facts
from paiid_perf.monitoring.facts import system
from paiid_perf.monitoring.types import Recorder
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


def test_a_gauge_that_is_no_number_is_left_out(redis_cache, caplog):
    values = [("a", math.nan), ("b", math.inf), ("c", 1.0)]
    with register_temporarily(Recorder("test.odd", lambda: values)):
        actions.collect(datetime.now(UTC))

    assert Metric.objects.get(name="test.odd").subject == "c"
    assert "test.odd of a is left out: it is nan" in caplog.text


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


def test_endpoints_are_read_with_their_percentiles_and_errors():
    metric(subject="GET slow/ 2xx", count=10, total=5000)
    metric(subject="GET slow/ 5xx", count=1, total=500)
    metric(subject="POST quick/ 2xx", count=100, total=100)

    window = NOON, NOON + timedelta(hours=1)
    slow, quick = endpoints.with_percentiles(endpoints.listed(*window).rows, *window)

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
    assert set(checks) == set(phase.WEIGHTS[phase.AREA])
    assert AlertRule.objects.count() >= 6


KEYS = {
    "name": lambda row: row.name,
    "time": lambda row: row.total_ms,
    "requests": lambda row: row.requests,
    "mean": lambda row: row.mean_ms,
    "errors": lambda row: row.error_rate,
    "queries": lambda row: row.statements,
    "db": lambda row: row.db_ms,
    "hits": lambda row: row.hit_ratio,
    "p95": lambda row: row.p95_ms,
}


@pytest.fixture
def many_endpoints():
    """Some with everything, some with requests alone; over hours and minutes, and what is no endpoint."""
    for n in range(7):
        for at, resolution in ((NOON, 3600), (NOON + timedelta(hours=5), 60)):
            metric(subject=f"GET r{n}/ 2xx", at=at, resolution=resolution, count=10 + n, total=50 * (7 - n))
        metric(subject=f"GET r{n}/ 5xx", count=n % 3 + 1, total=1, resolution=3600)
        if n % 2:
            metric("api.queries", f"GET r{n}/", count=10, total=10 * n, resolution=3600)
            metric("api.db_ms", f"GET r{n}/", count=10, total=20 / n, resolution=3600)
            metric("api.hit_ms", f"GET r{n}/", count=n, resolution=3600)
            metric("api.view_ms", f"GET r{n}/", count=4, resolution=3600)
    metric(subject="<other>", count=1000, total=1e6, resolution=3600)
    metric("api.queries", "GET never-asked/", count=1, resolution=3600)


@pytest.mark.parametrize("by", KEYS)
def test_the_endpoints_are_sorted_and_cut_by_the_database(by, many_endpoints):
    assert set(KEYS) == {*endpoints.ORDERS, "p95"}
    window = NOON, NOON + timedelta(hours=6)
    whole = endpoints.listed(*window, by)
    rows = endpoints.with_percentiles(whole.rows, *window)
    known = [KEYS[by](row) for row in rows if KEYS[by](row) is not None]

    assert known == sorted(known, reverse=by != "name")
    assert [KEYS[by](row) for row in rows[len(known) :]] == [None] * (7 - len(known))
    assert (whole.count, whole.total_ms) == (7, sum(row.total_ms for row in rows))
    parts = [endpoints.listed(*window, by, limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [row.name for part in parts for row in part.rows] == [row.name for row in rows]


def test_an_endpoints_series_are_added_up_over_hours_and_minutes(many_endpoints):
    one = next(row for row in endpoints.listed(NOON, NOON + timedelta(hours=6)).rows if row.route == "r5/")

    assert (one.requests, one.errors, one.total_ms) == (33, 3, 201)
    assert (one.statements, one.db_ms, one.hits, one.misses) == (5, 0.4, 5, 4)
    alone = endpoints.listed(NOON, NOON + timedelta(hours=6), series=(endpoints.LATENCY,)).rows
    assert {(row.statements, row.hits) for row in alone} == {(None, 0)}
