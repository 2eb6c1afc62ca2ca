"""The api's integration tests run through real handlers, sync and async, on a real Valkey or on locmem."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import caches
from django.db import connection
from django.test import AsyncClient, Client, TestCase

from paiid_perf import invalidation
from paiid_perf.api import responses
from paiid_perf.api.types import EndpointClass, ResponseStrategy
from paiid_perf.registry import registry
from paiid_perf.telemetry import recorder
from tests.integration.api import views

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "paiid_perf.middleware.PerfMiddleware",
]
PERF = {
    "PERFORMANCE_HEADERS": "all",
    "INSPECTION": "off",
    "REDIS_TIMEOUT": 2.0,
    "FLUSH_INTERVAL": timedelta(0),
}
DECLARED = (
    EndpointClass("public", match="/public/", cache="public"),
    EndpointClass("user", match="/user/", cache="user"),
    EndpointClass("shared", match="/shared/", cache="shared"),
    EndpointClass("limited", match="/limited/", rate="3/h", rate_key="ip", cache="public"),
    EndpointClass("stale", match="/stale/", cache="stale"),
    ResponseStrategy("public", ttl=timedelta(minutes=5), depends_on=["auth.User"]),
    ResponseStrategy("user", ttl=timedelta(minutes=5), scope="user", depends_on=["auth.User"]),
    ResponseStrategy("shared", ttl=timedelta(minutes=5), shared_with_users=True, depends_on=["auth.User"]),
    EndpointClass("rows", match="/rows/", cache="rows"),
    ResponseStrategy("rows", ttl=timedelta(minutes=5), depends_on_rows=["auth.User", "admin.LogEntry.user"]),
    EndpointClass("sturdy", match="/sturdy/", cache="sturdy"),
    ResponseStrategy(
        "sturdy",
        ttl=timedelta(microseconds=1),
        stale_if_error=timedelta(minutes=5),
        depends_on=["auth.User"],
    ),
    ResponseStrategy("stale", ttl=timedelta(microseconds=1), stale_while_revalidate=timedelta(minutes=5)),
)


@contextmanager
def committed() -> Iterator[None]:
    """As if what is saved here were committed at the end: while a commit is pending, nothing is given from the cache.

    Django's own helper leaves the hooks it ran where they wait for the test's transaction to end.
    """
    with TestCase.captureOnCommitCallbacks(execute=True) as hooks:
        yield
    del connection.run_on_commit[len(connection.run_on_commit) - len(hooks) :]


class Browser:
    """A client that keeps its cookies, sync or async underneath."""

    def __init__(self, mode: str, **defaults: Any) -> None:
        self.is_async = mode == "async"
        self.client: Any = AsyncClient(**defaults) if self.is_async else Client(**defaults)

    def get(self, path: str, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.is_async:
            return async_to_sync(self.client.get)(path, headers=named)
        return self.client.get(path, headers=named)

    def post(self, path: str, **headers: str) -> Any:
        if self.is_async:
            return async_to_sync(self.client.post)(path, headers=headers)
        return self.client.post(path, headers=headers)

    def login(self, user: Any) -> None:
        """Log in, and have the cache hear of it (``last_login``)."""
        with committed():
            self.client.force_login(user)


@pytest.fixture(params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> str:
    """Which of the two shells."""
    return str(request.param)


@pytest.fixture(params=["valkey", "locmem"])
def cache_kind(request: pytest.FixtureRequest, settings: Any) -> str:
    """Which store."""
    if request.param == "valkey":
        request.getfixturevalue("redis_cache")
    else:
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
        caches["default"].clear()
    return str(request.param)


@pytest.fixture
def site(settings: Any) -> Iterator[None]:
    """The small site with its declarations."""
    settings.ROOT_URLCONF = "tests.integration.api.views"
    settings.MIDDLEWARE = MIDDLEWARE
    settings.PAIID_PERF = PERF
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    views.calls.clear()
    views.gate.set()
    views.broken.clear()
    while views.entered.acquire(blocking=False):
        continue
    responses.memory.forget()
    invalidation.connect(["auth.User"])
    invalidation.connect_rows(["auth.User", "admin.LogEntry.user"])
    with registry.temporarily(*DECLARED):
        yield
    # What went wrong inside was swallowed for the host's sake; a test has to hear of it.
    recorder.fold()
    swallowed = [series.subject for series in recorder._cells if series.name == "telemetry.errors"]
    recorder._start_over()
    assert not swallowed


@pytest.fixture
def browser(mode: str, cache_kind: str, site: None) -> Browser:
    """One visitor of the site."""
    return Browser(mode)


@pytest.fixture
def another(mode: str, browser: Browser) -> Browser:
    """Somebody else."""
    return Browser(mode)


@pytest.fixture
def dead_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
