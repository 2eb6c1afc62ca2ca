"""Rate limits through the middleware, on Valkey and on another cache."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

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


def test_a_browser_is_refused_in_html(browser: Browser) -> None:
    for _ in range(4):
        answer = browser.get("/limited/number/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (429, "text/html")


def test_safelisted_addresses_are_not_limited(browser: Browser, settings: Any) -> None:
    settings.PAIID_PERF = PERF | {"SAFELIST": ("127.0.0.1",)}
    assert {browser.get("/limited/number/").status_code for _ in range(5)} == {200}


def test_methods_can_be_counted_apart(browser: Browser) -> None:
    with registry.temporarily(
        EndpointClass("limited", match="/limited/", rate="1/h", rate_key="ip", per_method=True)
    ):
        assert [browser.get("/limited/number/").status_code for _ in range(2)] == [200, 429]
        assert [browser.post("/limited/number/").status_code for _ in range(2)] == [200, 429]


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
