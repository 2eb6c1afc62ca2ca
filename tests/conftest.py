"""Servers for the tests that want them; the unit tier asks for none and runs without any.

``DATABASE_URL`` / ``REDIS_URL`` are used where set (CI runs the integration tests on Debian's servers so).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import environ
import hypothesis
import pytest
from django.utils import translation

if TYPE_CHECKING:
    from project.embedded import Servers

# Enough to find what is wrong in a second; HYPOTHESIS_PROFILE=thorough looks longer.
hypothesis.settings.register_profile("quick", max_examples=40, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=2_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Valkey for the session, started on first use, stopped at its end."""
    from project.embedded import start_servers

    with start_servers("tests", fresh=True, durable=False) as started:
        yield started


@pytest.fixture(scope="session")
def django_db_modify_db_settings(servers: Servers) -> None:
    """Point Django at the session's PostgreSQL before pytest-django makes the test database."""
    from django.conf import settings
    from django.db import connections

    chosen = environ.Env.db_url_config(servers.database_url)
    settings.DATABASES["default"] = {**chosen, "TEST": {"NAME": f"test_perf_{os.getpid()}"}}
    connections.settings = connections.configure_settings(settings.DATABASES)
    del connections["default"]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The test database, with the extensions that the product looks at where the server has them."""
    from django.db import connection

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM pg_available_extensions WHERE name = ANY(%s)",
            [["pg_stat_statements", "pg_trgm", "hypopg"]],
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f"CREATE EXTENSION IF NOT EXISTS {name}")
    yield
    # A thread of a live server may still be at its last request: its session would keep the database.
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(scope="session")
def valkey_url(servers: Servers) -> str:
    """The URL of the session's Valkey (or of REDIS_URL): database 9, or another for each further process."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return f"{servers.redis_url.rstrip('/').removesuffix('/0')}/{9 - process % 8}"


def _forget_limits(client: Any) -> None:
    """Limits are counted in a database that all sites of the server share; emptying the cache's does not empty it."""
    client.eval(
        "redis.call('SELECT', ARGV[1]) local keys = redis.call('KEYS', ARGV[2]) "
        "for _, key in ipairs(keys) do redis.call('DEL', key) end",
        0,
        15,
        f"*perf*:limit:*@{client.connection_pool.connection_kwargs['db']}",
    )


@pytest.fixture
def redis_cache(valkey_url: str, settings: Any) -> Iterator[Any]:
    """The default cache on a real, empty Valkey through django-redis; yields the raw client."""
    from django.core.cache import caches

    from paiid_perf.cache.known import known
    from paiid_perf.stores import redis_gate

    known.forget()
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": valkey_url,
        }
    }
    with ExitStack() as stack:
        client = caches["default"].client.get_client(write=True)
        client.flushdb()
        _forget_limits(client)
        stack.callback(redis_gate.forget)
        stack.callback(client.connection_pool.disconnect)
        yield client


@pytest.fixture(autouse=True)
def _no_language_is_left() -> Iterator[None]:
    """LocaleMiddleware leaves a request's language to its thread, where the next request brings its own."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def _close_the_gate() -> Iterator[None]:
    """No test inherits another's Redis clients, open breaker, or invalidations that a dead Redis did not take."""
    from paiid_perf.stores import redis_gate

    redis_gate.forget()
    yield
    _give_up_invalidations()
    redis_gate.forget()


def _give_up_invalidations() -> None:
    # Their thread would hand them over to whatever cache the next test has, in its middle.
    from paiid_perf.invalidation import _retry

    thread = _retry._thread
    _retry.pending.clear()
    _retry._stop.set()
    if thread is not None:
        thread.join(30)
    _retry.forget()


@pytest.fixture(autouse=True)
def _no_background_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No thread hands anything over behind a test's back, and no test inherits another's metrics or events."""
    from paiid_perf.security import background
    from paiid_perf.security.events import buffer
    from paiid_perf.telemetry import recorder

    monkeypatch.setattr(type(recorder), "_ensure_thread", lambda self: None)
    monkeypatch.setattr(background, "_start", lambda: None)
    yield
    recorder._start_over()
    buffer.take()
