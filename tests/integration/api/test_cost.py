"""What a request costs in round trips and SQL: counted, not timed."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from paiid_perf.models import Metric
from tests.benchmarks.handlers import counted_trips
from tests.integration.api.conftest import Browser

pytestmark = [pytest.mark.django_db, pytest.mark.parametrize("mode", ["sync"], indirect=True)]


@pytest.fixture
def visitor(redis_cache: Any, site: None, mode: str) -> Browser:
    """Somebody whose first request has loaded the scripts and opened the connection."""
    browser = Browser(mode)
    browser.get("/public/number/?warm=up")
    return browser


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [("/public/rows/", 2, 1), ("/plain/rows/", 0, 0), ("/limited/rows/", 2, 1), ("/public/never/", 2, 1)],
)
def test_round_trips(visitor: Browser, path: str, first: int, second: int) -> None:
    for expected in (first, second):
        with counted_trips() as trips, CaptureQueriesContext(connection) as queries:
            assert visitor.get(path).status_code == 200
        assert (trips[0], len(queries)) == (expected, 0)


def test_recording_writes_nothing_in_the_request(visitor: Browser) -> None:
    with CaptureQueriesContext(connection) as queries, counted_trips() as trips:
        for _ in range(20):
            visitor.get("/plain/number/")
    assert (len(queries), trips[0], Metric.objects.count()) == (0, 0, 0)
