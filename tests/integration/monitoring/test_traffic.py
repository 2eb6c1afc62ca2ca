"""One read of the requests' rows says the same as the three reads that it takes the place of."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.utils import timezone

from paiid_perf.models import Metric
from paiid_perf.monitoring import queries

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


def test_one_read_says_the_same(window, django_assert_num_queries):
    with django_assert_num_queries(1):
        found = queries.traffic(*window)

    assert found.points == queries.points("api.latency_ms", *window)
    assert found.endpoints == queries.endpoints(*window)
    assert found.errors == queries.error_rates(*window)
    assert found.errors
    assert [(row.method, row.route) for row in found.endpoints if row.errors] == [("GET", "a/")]


def test_sums_are_the_points_without_their_histograms(window):
    found = queries.sums("api.latency_ms", *window)

    points = queries.points("api.latency_ms", *window)
    assert [(p.at, p.count, p.buckets) for p in found] == [(p.at, p.count, {}) for p in points]
    assert [p.total for p in found] == pytest.approx([p.total for p in points])


def test_an_empty_window_has_nothing():
    now = timezone.now()

    found = queries.traffic(now - timedelta(hours=1), now)

    assert (found.points, found.endpoints, found.errors) == ([], [], [])
