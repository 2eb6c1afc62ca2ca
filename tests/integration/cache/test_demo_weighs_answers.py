"""The demo's figure for memory: our answers beside what Django's cache middleware keeps, on one server."""

from __future__ import annotations

from typing import Any

from django.core.cache import caches
from django.http import HttpResponse, JsonResponse

from paiid_perf.api import responses
from paiid_perf.cache import memory_report
from project.trading.answers import ROOMS, as_django_keeps_it

ROWS = {"rows": [{"symbol": f"SYM{n}", "price": f"{n * 1.5:.4f}"} for n in range(100)]}


def kept(response: HttpResponse) -> bytes:
    return responses.take(response, "/route/", 60.0, compress=True)[1]


def test_an_answer_comes_back_whole() -> None:
    response = JsonResponse(ROWS)
    found = as_django_keeps_it(kept(response))
    assert found is not None
    assert found.content == response.content
    assert found.headers["Content-Type"] == "application/json"


def test_answers_are_measured_as_django_would_keep_them(redis_cache: Any) -> None:
    response = JsonResponse(ROWS)
    redis_cache.hset("perf:answer:" + "0" * 32, mapping={"b": "1", "s": "2", "d": kept(response)})
    report = memory_report(ROOMS)
    assert report["keys"] == 1
    assert report["ours_bytes"] == redis_cache.memory_usage("perf:answer:" + "0" * 32)
    key = "x" * (len("perf:answer:" + "0" * 32) - len(":1:"))
    caches["default"].set(key, as_django_keeps_it(kept(response)), 60)
    assert report["pickle_bytes"] == redis_cache.memory_usage(f":1:{key}")
    assert report["ours_bytes"] < report["pickle_bytes"]
