"""What is recorded of a request, whatever its view does; through Django's sync and its async handler."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from paiid_perf.telemetry import recorder

pytestmark = pytest.mark.django_db


def ask(alias: str = "default") -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")


def plain(request: HttpRequest, n: int) -> HttpResponse:
    ask()
    return HttpResponse("ok")


async def from_the_loop(request: HttpRequest, n: int) -> HttpResponse:
    return HttpResponse("ok")


def broken(request: HttpRequest, n: int) -> HttpResponse:
    ask()
    raise ValueError("as asked")


def two_databases(request: HttpRequest, n: int) -> HttpResponse:
    ask()
    ask("other")
    return HttpResponse("ok")


def in_a_thread(request: HttpRequest, n: int) -> HttpResponse:
    def work() -> None:
        ask()
        connections.close_all()

    thread = threading.Thread(target=copy_context().run, args=(work,))
    thread.start()
    thread.join()
    return HttpResponse("ok")


def streamed(request: HttpRequest, n: int) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            await sync_to_async(ask)()
            yield b"part"

    def parts_one_by_one() -> Iterator[bytes]:
        for _ in range(3):
            ask()
            yield b"part"

    return StreamingHttpResponse(parts() if hasattr(request, "scope") else parts_one_by_one())


def a_file(request: HttpRequest, n: int) -> FileResponse:
    return FileResponse(BytesIO(b"part" * 3))


VIEWS: tuple[Callable[..., Any], ...] = (
    plain,
    from_the_loop,
    broken,
    two_databases,
    in_a_thread,
    streamed,
    a_file,
)
urlpatterns = [path(f"{view.__name__}/<int:n>/", view) for view in VIEWS]


@pytest.fixture(params=["sync", "async"])
def get(request: pytest.FixtureRequest, settings: Any) -> Iterator[Callable[[str], Any]]:
    """``get(path)`` through one of the handlers; a second alias is open."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["paiid_perf.middleware.PerfMiddleware"]
    settings.PAIID_PERF = {"INSPECTION": "off", "FLUSH_INTERVAL": timedelta(0)}
    connections["other"] = connections["default"].copy("other")
    client: Any = AsyncClient() if request.param == "async" else Client()
    client.raise_request_exception = False

    def got(where: str) -> Any:
        response = async_to_sync(client.get)(where) if request.param == "async" else client.get(where)
        if response.streaming:
            body = async_to_sync(joined)(response) if response.is_async else b"".join(response)
            assert body == b"part" * 3
        return response

    yield got
    connections["other"].close()
    del connections["other"]


async def joined(response: Any) -> bytes:
    return b"".join([part async for part in response])


def seen() -> dict[tuple[str, str], tuple[int, float]]:
    recorder.fold()
    return {
        (series.name, series.subject): (cell.count, cell.total)
        for series, cell in recorder._cells.items()
        if series.name in ("api.latency_ms", "api.queries")
    }


@pytest.mark.parametrize(
    ("view", "status", "queries"),
    [
        ("plain", "2xx", 1),
        ("from_the_loop", "2xx", 0),
        ("broken", "5xx", 1),
        ("two_databases", "2xx", 2),
        ("in_a_thread", "2xx", 1),
        ("streamed", "2xx", 3),
        ("a_file", "2xx", 0),
    ],
)
def test_each_kind_of_view_is_counted_once(get: Any, view: str, status: str, queries: int) -> None:
    for n in range(3):
        get(f"/{view}/{n}/")

    found = seen()
    route = f"GET {view}/<int:n>/"
    assert set(found) == {("api.latency_ms", f"{route} {status}"), ("api.queries", route)}
    assert found["api.latency_ms", f"{route} {status}"][0] == 3
    assert found["api.queries", route] == (3, 3 * queries)


@pytest.mark.django_db(transaction=True)  # within a test's transaction, the request's own would be savepoints
@pytest.mark.parametrize(("view", "status"), [("plain", "2xx"), ("broken", "5xx")])
def test_atomic_requests(get: Any, monkeypatch: pytest.MonkeyPatch, view: str, status: str) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    get(f"/{view}/1/")

    found = seen()
    assert found["api.latency_ms", f"GET {view}/<int:n>/ {status}"][0] == 1
    assert found["api.queries", f"GET {view}/<int:n>/"] == (1, 1)


def test_a_stream_is_recorded_when_it_has_been_sent(get: Any) -> None:
    started = Client().get("/streamed/1/")
    assert not seen()

    assert b"".join(started) == b"part" * 3
    get("/a_file/1/")
    recorder.fold()
    totals = {
        series.subject: cell.total for series, cell in recorder._cells.items() if series.name == "api.bytes"
    }
    assert totals == {"GET streamed/<int:n>/": 12, "GET a_file/<int:n>/": 12}


def test_a_scan_is_one_series(get: Any) -> None:
    for n in range(20):
        get(f"/no/such/place/{n}.php")

    assert {series: count for series, (count, _) in seen().items()} == {
        ("api.latency_ms", "GET <unmatched> 4xx"): 20,
        ("api.queries", "GET <unmatched>"): 20,
    }
