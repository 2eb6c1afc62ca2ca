"""Roll-ups come out the same however often, late or broken off they are; one process at a time does them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from paiid_perf import telemetry
from paiid_perf.models import Lease, Metric, MetricBatch, MetricTotal
from paiid_perf.monitoring import actions
from paiid_perf.monitoring.actions import rollups
from paiid_perf.testing import make_settings

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SETTINGS = make_settings()
HOUR, DAY = 3600, 86400


def store(batch, *rows):
    """Batches of (subject, minutes from noon, count), each taking 10 ms."""
    told = [
        telemetry.Row("api.latency_ms", subject, NOON + timedelta(minutes=at), n, 10.0 * n, {115: n})
        for subject, at, n in rows
    ]
    assert telemetry.store(batch, told)


def counts(model, resolution):
    return {row.at: row.count for row in model.objects.filter(resolution=resolution).order_by("at")}


def test_totals_follow_every_batch_and_every_roll_up():
    store("1", ("GET a 2xx", 0, 5), ("GET a 5xx", 0, 2), ("GET b 2xx", 1, 1))
    store("2", ("GET a 5xx", 0, 1))
    actions.roll_up(NOON + timedelta(minutes=30))

    for resolution in (60, HOUR, DAY):
        totals = MetricTotal.objects.filter(resolution=resolution)
        assert sum(total.count for total in totals) == 9
        assert sum(total.failed for total in totals) == 3
        assert sum(n for total in totals for n in total.buckets.values()) == 9
        assert sum(total.total for total in totals) == 90.0


def test_what_comes_after_days_is_merged_into_its_hour():
    store("1", ("GET a 2xx", 0, 5))
    store("2", ("GET a 2xx", 30 * 60, 5))
    now = NOON + timedelta(hours=31)
    actions.roll_up(now)
    assert not MetricBatch.objects.filter(rolls_from__isnull=False).exists()

    store("late", ("GET a 2xx", 1, 2))
    actions.roll_up(now)

    late, on_time = NOON, NOON + timedelta(hours=30)
    assert counts(Metric, HOUR) == counts(MetricTotal, HOUR) == {late: 7, on_time: 5}
    assert counts(Metric, DAY) == {NOON.replace(hour=0): 7, on_time.replace(hour=0): 5}


def test_what_comes_after_its_minutes_are_gone_takes_the_place_of_nothing():
    store("1", ("GET a 2xx", 0, 50))
    store("2", ("GET a 2xx", 72 * 60, 5))
    now = NOON + timedelta(hours=73)
    actions.prune(now, SETTINGS)
    assert NOON not in counts(Metric, 60)

    store("late", ("GET a 2xx", 0, 2))
    actions.prune(now, SETTINGS)

    assert counts(Metric, HOUR)[NOON] == 50
    assert NOON not in counts(Metric, 60)
    assert NOON not in counts(MetricTotal, 60)


def test_a_roll_up_that_is_broken_off_is_finished_by_the_next(monkeypatch):
    store("1", *((f"GET {n} 2xx", at, 1) for n in range(4) for at in (0, 61, 122)))
    now = NOON + timedelta(hours=3)
    put, calls = rollups._put, []

    def killed(model, made):
        calls.append(model)
        if len(calls) == 4:  # between the rows of the second hour and their totals
            raise KeyboardInterrupt
        put(model, made)

    with monkeypatch.context() as patch:
        patch.setattr(rollups, "_put", killed)
        with pytest.raises(KeyboardInterrupt):
            actions.roll_up(now)
    assert len(counts(MetricTotal, HOUR)) == 1

    actions.roll_up(now)

    assert list(counts(MetricTotal, HOUR).values()) == [4, 4, 4]
    assert Metric.objects.filter(resolution=HOUR).count() == 12
    assert list(counts(MetricTotal, DAY).values()) == [12]


def test_one_process_leads_and_one_that_was_killed_is_followed():
    store("1", ("GET a 2xx", 0, 5))
    Lease.objects.create(name=rollups.LEASE, holder="another", until=NOON + timedelta(minutes=5))

    assert actions.roll_up(NOON) == 0
    assert actions.prune(NOON + timedelta(minutes=4), SETTINGS) == 0
    assert not Metric.objects.filter(resolution=HOUR).exists()

    assert actions.roll_up(NOON + timedelta(minutes=5)) == 2
    assert actions.roll_up(NOON + timedelta(minutes=5)) == 0
    store("2", ("GET a 2xx", 0, 5))
    assert actions.roll_up(NOON + timedelta(minutes=5)) == 2  # it was given back


def test_what_was_stored_before_there_were_totals_is_added_up_step_by_step():
    store("1", *(("GET a 2xx", at, 1) for at in range(10)))
    MetricTotal.objects.filter(at__lt=NOON + timedelta(minutes=9)).delete()
    # The first batch with totals found rows in its minute.
    MetricTotal.objects.update(count=0)

    assert [rollups.add_up(60, 4) for _ in range(5)] == [4, 3, 3, 0, 0]
    assert sum(counts(MetricTotal, 60).values()) == 10


def test_workers_are_one_series_in_an_hour():
    for pid in (7, 8, 9):
        Metric.objects.create(
            name="process.rss_bytes", subject=f"web-1:{pid}", at=NOON, count=1, total=pid * 1e8, resolution=60
        )
    actions.roll_up(NOON)

    hour = Metric.objects.get(resolution=HOUR)
    assert (hour.subject, hour.count, hour.total / hour.count) == ("web-1", 3, 8e8)
