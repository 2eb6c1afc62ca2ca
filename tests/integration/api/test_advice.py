"""From what the recorder saw to what is said about an endpoint."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from paiid_perf import telemetry
from paiid_perf.api import facts, rules
from paiid_perf.telemetry import recorder
from tests.integration.api.conftest import Browser

pytestmark = pytest.mark.django_db
CACHED = "GET public/number/"


def said(hit_ms: float, view_ms: float, hits: int = 90, misses: int = 20) -> list[str]:
    for _ in range(hits):
        recorder.request(CACHED, 200, hit_ms)
        recorder.gauge("api.hit_ms", CACHED, hit_ms)
    for _ in range(misses):
        recorder.request(CACHED, 200, view_ms + hit_ms)
        recorder.gauge("api.view_ms", CACHED, view_ms)
        recorder.gauge("api.miss_ms", CACHED, view_ms + hit_ms)
        recorder.gauge("api.uncached_ms", CACHED, view_ms)
    telemetry.collect()
    return [advice.title for advice in rules.advise(facts.read_endpoints(timezone.now()))]


@pytest.mark.parametrize(
    ("measured", "title"),
    [
        ({"hit_ms": 0.31, "view_ms": 0.12}, "Caching GET public/number/ costs more than it saves"),
        ({"hit_ms": 0.31, "view_ms": 14.0}, None),
        (
            {"hit_ms": 0.31, "view_ms": 14.0, "hits": 5, "misses": 120},
            "The cache of GET public/number/ is hardly ever hit",
        ),
        ({"hit_ms": 0.31, "view_ms": 0.12, "hits": 40, "misses": 20}, None),  # too few to say
    ],
)
def test_a_cache_that_does_not_pay_is_told(
    redis_cache: Any, site: None, measured: dict[str, Any], title: str | None
) -> None:
    told = [words for words in said(**measured) if "ach" in words]
    assert told == ([title] if title else [])


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(("path", "paid_by_cache"), [("public/never/", True), ("limited/never/", False)])
def test_a_round_trip_that_the_limit_needs_anyway_is_no_cost_of_the_cache(
    redis_cache: Any, site: None, mode: str, path: str, paid_by_cache: bool
) -> None:
    browser = Browser(mode)
    browser.get(f"/{path}")  # says that its answers are not kept: the next is looked up, and that is all
    recorder.flush()
    browser.get(f"/{path}")
    recorder.fold()
    took = {series.name: cell.total for series, cell in recorder._cells.items() if path in series.subject}
    assert (took["api.uncached_ms"] < took["api.miss_ms"]) is paid_by_cache


def test_what_requests_repeat_and_read_whole_is_told_with_its_line(redis_cache: Any, site: None) -> None:
    for subject, name, value in (
        ("api.repeats", "shop/views.py:9 in shown|trading_pricetick.instrument_id (first)", 40),
        ("api.repeats", "shop/views.py:12 in shown|trading_instrument.id (same)", 7),
        ("api.lists", "shop/views.py:15 in shown|trading_order", 9_000),
    ):
        recorder.gauge(subject, f"{CACHED}|{name}", value)
    recorder.request(CACHED, 200, 5.0)
    telemetry.collect()
    told = {advice.title: advice.how for advice in rules.advise(facts.read_endpoints(timezone.now()))}
    for what, how in (
        ("asks for trading_pricetick.instrument_id (first) again and again", "Subquery(PriceTick.objects"),
        ("asks for trading_instrument.id (same) again and again", "ask once"),
        ("reads every row of trading_order", "# shop/views.py:15 in shown\nPaginator"),
    ):
        assert how in told.pop(f"{CACHED} {what}")
    assert not told
