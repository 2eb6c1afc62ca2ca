"""Redis away, slow, or killed in the middle: the host does not notice, but for the missing cache."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paiid_perf import invalidation, stores
from paiid_perf.stores import redis_gate
from tests.integration.api.conftest import PERF, Browser


def point_at(settings: Any, url: str) -> None:
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}
    settings.PAIID_PERF = PERF | {"REDIS_TIMEOUT": 0.05}
    redis_gate.forget()


@pytest.fixture
def mute_server() -> Iterator[tuple[int, list[socket.socket]]]:
    """Takes connections and never answers; yields its port and the connections it has taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(server.getsockname()[1]), kept
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for one in kept:
            one.close()


def test_a_mute_redis_is_waited_for_once(
    mode: str,
    site: None,
    settings: Any,
    mute_server: tuple[int, list[socket.socket]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port, connections = mute_server
    point_at(settings, f"redis://127.0.0.1:{port}/0")
    settings.PAIID_PERF = settings.PAIID_PERF | {"REDIS_COOL_OFF": 600.0}
    monkeypatch.setattr(stores, "FIRST_PAUSE", 600.0)
    browser = Browser(mode)
    answers = [browser.get("/limited/number/") for _ in range(20)]
    assert [a.status_code for a in answers] == [200] * 20
    # Twenty waits would be twenty connections; the breaker allows one, with one more try.
    assert 1 <= len(connections) <= 2
    assert not redis_gate.is_open()


def test_a_redis_killed_in_the_middle(mode: str, site: None, settings: Any, tmp_path: Path) -> None:
    from project.embedded import start_valkey

    valkey = start_valkey(tmp_path)
    try:
        point_at(settings, valkey.url)
        browser = Browser(mode)
        assert [browser.get("/public/number/")["X-Cache"] for _ in range(2)] == ["MISS", "HIT"]
        valkey.kill()
        assert {browser.get("/public/number/").status_code for _ in range(5)} == {200}
        invalidation.bump(["auth.user"])
        assert invalidation.has_pending(["auth.user"])
    finally:
        valkey.stop()
        invalidation._retry.forget()
