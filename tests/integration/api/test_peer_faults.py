"""Each known fault of the packages that this takes the place of, shown absent.

``Set-Cookie`` replayed, a reflected ``X-Forwarded-Host`` kept for all, a limiter that a cached answer bypasses or that
``cache.clear()`` refills, a dead Redis that becomes 500s, ``3/month`` read as 3 a minute, 120 requests through 60/m at
a window's edge, one bucket for all behind a proxy, the left-most ``X-Forwarded-For`` believed.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches

from paiid_perf import checks
from paiid_perf.api.limits import SLICES
from paiid_perf.api.types import EndpointClass
from paiid_perf.registry import registry
from tests.integration.api import views
from tests.integration.api.conftest import PERF, Browser
from tests.integration.api.test_leaks import text
from tests.integration.api.test_window import DRIVEN, LIMIT, PERIOD
from tests.integration.api.test_without_redis import point_at


@pytest.fixture(autouse=True)
def _same_cache(settings: Any) -> None:
    settings.SILENCED_SYSTEM_CHECKS = ["django_ratelimit.E003", "django_ratelimit.W001"]


# --- the cache ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_set_cookie_is_not_replayed(browser: Browser, another: Browser) -> None:
    browser.get("/shared/sets_cookie/")
    replayed = another.get("/shared/sets_cookie/")
    assert replayed.cookies["visitor"].value != browser.client.cookies["visitor"].value


@pytest.mark.django_db
def test_a_forged_forwarded_host_poisons_nobody(browser: Browser, another: Browser) -> None:
    assert (
        text(browser.get("/public/by_forwarded_host/", X_Forwarded_Host="evil.example"))
        == "host evil.example"
    )
    for _ in range(2):
        assert text(another.get("/public/by_forwarded_host/")) == "host -"


# --- the limiter --------------------------------------------------------------------------------------------


def test_a_cached_answer_counts_too(browser: Browser) -> None:
    for _ in range(3):
        browser.get("/limited/number/")
    assert len(views.calls) == 1
    assert browser.get("/limited/number/").status_code == 429


def test_emptying_the_cache_refills_nothing(redis_cache: Any, site: None) -> None:
    """``cache.clear()`` is a FLUSHDB: the counters are in a database of their own."""
    visitor = Browser("sync")
    assert [visitor.get("/limited/number/").status_code for _ in range(4)] == [200, 200, 200, 429]
    caches["default"].clear()
    assert redis_cache.dbsize() == 0
    assert visitor.get("/limited/number/").status_code == 429


def test_emptying_another_cache_refills_nothing(settings: Any, redis_cache: Any, site: None) -> None:
    """With a database of its own for the request path, the host's ``cache.clear()`` leaves the counters alone."""
    url = settings.CACHES["default"]["LOCATION"]
    settings.CACHES = settings.CACHES | {
        "perf": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url.rsplit("/", 1)[0] + "/10"}
    }
    settings.PAIID_PERF = PERF | {"CACHE": "perf"}
    caches["perf"].clear()
    visitor = Browser("sync")
    assert [visitor.get("/limited/number/").status_code for _ in range(4)] == [200, 200, 200, 429]
    caches["default"].clear()
    assert visitor.get("/limited/number/").status_code == 429


def test_a_dead_redis_leaves_the_way_open(mode: str, site: None, settings: Any, dead_port: int) -> None:
    point_at(settings, f"redis://127.0.0.1:{dead_port}/0")
    browser = Browser(mode)
    answers = [browser.get("/limited/number/") for _ in range(5)]
    assert [a.status_code for a in answers] == [200] * 5
    assert len(views.calls) == 5


def test_a_rate_that_cannot_be_read_limits_nothing_and_says_so(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with registry.temporarily(EndpointClass("limited", match="/limited/", rate="3/month")):
        assert browser.get("/limited/number/").status_code == 200
        assert [m.id for m in checks.check_declarations(None)] == ["paiid_perf.E004"]
    assert "there is no month" in caplog.text


def test_no_edge_of_a_window_lets_twice_the_limit_through(redis_cache: Any) -> None:
    """As many as are allowed at the end of a minute, and as many again a moment later: a fixed window takes both."""
    moments = [0] * LIMIT + [1_000_000] + [0] * (LIMIT - 1)
    told = [redis_cache.eval(DRIVEN, 0, LIMIT, PERIOD, step, SLICES).split() for step in moments]
    assert sum(int(by_log) for _now, by_log, _by_ring in told) == LIMIT
    assert sum(int(by_ring) for _now, _by_log, by_ring in told) == LIMIT


def test_behind_a_trusted_proxy_each_client_has_its_own(browser: Browser, settings: Any) -> None:
    settings.PAIID_PERF = PERF | {"TRUSTED_PROXIES": ("127.0.0.0/8",)}
    for client in ("203.0.113.1", "203.0.113.2"):
        # What the client wrote itself stands left of what the proxy added.
        answers = [
            browser.get("/limited/number/", X_Forwarded_For=f"198.51.100.{n}, {client}") for n in range(4)
        ]
        assert [a.status_code for a in answers] == [200, 200, 200, 429]


def test_a_forged_forwarded_for_does_not_choose_the_key(browser: Browser) -> None:
    answers = [browser.get("/limited/number/", X_Forwarded_For=f"203.0.113.{n}") for n in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
