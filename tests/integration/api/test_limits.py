"""Rate limits through the middleware, on Valkey and on another cache."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import caches

from paiid_perf.api.endpoints import dotted
from paiid_perf.api.types import EndpointClass, InClass
from paiid_perf.registry import registry
from tests.integration.api import views
from tests.integration.api.conftest import PERF, Browser


@pytest.fixture(autouse=True)
def _same_cache(settings: Any) -> None:
    settings.SILENCED_SYSTEM_CHECKS = ["django_ratelimit.E003", "django_ratelimit.W001"]


def test_the_fourth_of_three_is_refused(browser: Browser) -> None:
    allowed = [browser.get("/limited/number/") for _ in range(3)]
    refused = browser.get("/limited/number/")
    assert [a.status_code for a in allowed] == [200] * 3
    assert [a["RateLimit"].split(";")[1] for a in allowed] == ["r=2", "r=1", "r=0"]
    assert allowed[0]["RateLimit-Policy"] == '"limited";q=3;w=3600'
    assert refused.status_code == 429
    assert 1 <= int(refused["Retry-After"]) <= 3600
    assert refused["Cache-Control"] == "no-store"
    assert refused.json()["retry_after"] == int(refused["Retry-After"])


def test_a_view_is_limited_by_what_names_it_or_by_the_class_that_it_names(browser: Browser) -> None:
    with registry.temporarily(
        EndpointClass("named", match=views.number, rate="2/h", rate_key="ip"),
        EndpointClass("own", match=(), rate="1/h", rate_key="ip"),
        InClass(dotted(views.rows), "own"),
    ):
        told = {
            path: [browser.get(path).status_code for _ in range(3)]
            for path in ("/plain/number/", "/plain/rows/")
        }

    assert told == {"/plain/number/": [200, 200, 429], "/plain/rows/": [200, 429, 429]}


def test_a_cached_answer_counts_too(browser: Browser) -> None:
    for _ in range(3):
        browser.get("/limited/number/")
    assert len(views.calls) == 1
    assert browser.get("/limited/number/").status_code == 429


def test_a_browser_is_refused_in_html(browser: Browser) -> None:
    for _ in range(4):
        answer = browser.get("/limited/number/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (429, "text/html")


def test_a_forged_forwarded_for_does_not_choose_the_key(browser: Browser) -> None:
    answers = [browser.get("/limited/number/", X_Forwarded_For=f"203.0.113.{n}") for n in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]


def test_behind_a_trusted_proxy_each_client_has_its_own(browser: Browser, settings: Any) -> None:
    settings.PAIID_PERF = PERF | {"TRUSTED_PROXIES": ("127.0.0.0/8",)}
    for client in ("203.0.113.1", "203.0.113.2"):
        # What the client wrote itself stands left of what the proxy added.
        answers = [
            browser.get("/limited/number/", X_Forwarded_For=f"198.51.100.{n}, {client}") for n in range(4)
        ]
        assert [a.status_code for a in answers] == [200, 200, 200, 429]


def test_safelisted_addresses_are_not_limited(browser: Browser, settings: Any) -> None:
    settings.PAIID_PERF = PERF | {"SAFELIST": ("127.0.0.1",)}
    assert {browser.get("/limited/number/").status_code for _ in range(5)} == {200}


def test_methods_can_be_counted_apart(browser: Browser) -> None:
    with registry.temporarily(
        EndpointClass("limited", match="/limited/", rate="1/h", rate_key="ip", per_method=True)
    ):
        assert [browser.get("/limited/number/").status_code for _ in range(2)] == [200, 429]
        assert [browser.post("/limited/number/").status_code for _ in range(2)] == [200, 429]


def test_a_rate_that_cannot_be_read_limits_nothing_and_says_so(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with registry.temporarily(EndpointClass("limited", match="/limited/", rate="3/month")):
        assert browser.get("/limited/number/").status_code == 200
    assert "there is no month" in caplog.text


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


def test_two_sites_on_one_server_have_a_limit_each(settings: Any, redis_cache: Any, site: None) -> None:
    """The counters of both are in the same database, under the same prefix."""
    url = settings.CACHES["default"]["LOCATION"]
    settings.CACHES = settings.CACHES | {
        "perf": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url.rsplit("/", 1)[0] + "/11"}
    }
    same = PERF | {"KEY_PREFIX": f"perf{uuid4().hex}"}
    settings.PAIID_PERF = same
    visitor = Browser("sync")
    assert [visitor.get("/limited/number/").status_code for _ in range(4)] == [200, 200, 200, 429]
    settings.PAIID_PERF = same | {"CACHE": "perf"}
    assert visitor.get("/limited/number/").status_code == 200
