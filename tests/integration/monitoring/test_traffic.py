"""All subjects together, from their totals where there are any, are the sum of each."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import groupby

import pytest
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from paiid_perf.models import Metric, MetricTotal
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.actions import rollups
from paiid_perf.telemetry.histogram import merge

pytestmark = pytest.mark.django_db


@pytest.fixture
def window():
    rng = random.Random(4)
    end = timezone.now().replace(second=0, microsecond=0)
    rows = [
        Metric(
            name="api.latency_ms",
            subject=subject,
            resolution=60,
            at=end - timedelta(minutes=minute),
            count=30,
            total=float(rng.randrange(10, 900)),  # whole: sums are the same in any order
            buckets={str(rng.randrange(40, 300)): 10 for _ in range(3)},
        )
        for minute in range(1, 30)
        for subject in ("GET a/ 2xx", "GET a/ 5xx", "POST a/ 2xx", "GET b/<int:pk>/ 2xx")
        if rng.random() < 0.8
    ]
    Metric.objects.bulk_create(rows)
    return end - timedelta(hours=1), end


@pytest.fixture(params=["rows", "totals", "some of both"])
def stored(request, window):
    """The rows as they are; with a total for each minute; and with totals of the minutes in the middle."""
    if request.param != "rows":
        rollups.add_up(60, 1_000)
    if request.param == "some of both":
        _, end = window
        edges = Q(at__lt=end - timedelta(minutes=20)) | Q(at__gt=end - timedelta(minutes=5))
        assert MetricTotal.objects.filter(edges).delete()[0]
    return window


def by_hand(window, series="api.latency_ms"):
    rows = Metric.objects.filter(name=series).order_by("at").values_list("at", "subject", "count", "buckets")
    return {at: list(group) for at, group in groupby(rows, lambda row: row[0])}


def test_all_subjects_together_are_the_sum_of_each(stored):
    found = queries.traffic(*stored)

    minutes = by_hand(stored)
    assert [point.at for point in found.points] == list(minutes)
    for point, rows in zip(found.points, minutes.values(), strict=True):
        assert point.count == sum(row[2] for row in rows)
        assert point.buckets == merge({int(b): n for b, n in row[3].items()} for row in rows)
    assert [(sample.at, sample.value) for sample in found.errors] == [
        (at, pytest.approx(sum(r[2] for r in rows if "5xx" in r[1]) / sum(r[2] for r in rows)))
        for at, rows in minutes.items()
    ]
    assert queries.points("api.latency_ms", *stored) == found.points
    assert queries.error_rates(*stored) == found.errors
    asked = queries.requests(*stored)
    assert asked.total == sum(point.count for point in found.points)
    assert 0 < asked.failed < asked.total


def test_a_year_of_many_subjects_is_read_by_its_totals():
    end = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    Metric.objects.bulk_create(
        Metric(name="cache.hits", subject=f"s{n}", resolution=86400, at=end - timedelta(days=day), count=1)
        for day in range(1, 60)
        for n in range(5)
    )
    rollups.add_up(86400, 40)

    with CaptureQueriesContext(connection) as asked:
        found = queries.sums("cache.hits", end - timedelta(days=365), end)

    assert [point.count for point in found] == [5] * 59
    assert len(asked) == 3


def test_sums_are_the_points_without_their_histograms(window):
    found = queries.sums("api.latency_ms", *window)

    points = queries.points("api.latency_ms", *window)
    assert [(p.at, p.count, p.buckets) for p in found] == [(p.at, p.count, {}) for p in points]
    assert [p.total for p in found] == pytest.approx([p.total for p in points])


def test_an_empty_window_has_nothing():
    now = timezone.now()

    found = queries.traffic(now - timedelta(hours=1), now)

    assert (found.points, found.errors) == ([], [])
