"""Security tests run without the background thread: they call its round themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from paiid_perf.security import blocks, events, refusals


@pytest.fixture
def perf(settings: Any) -> Any:
    """Set keys of PAIID_PERF for the length of a test: ``perf(INSPECTION="block")``."""

    def change(**values: Any) -> None:
        settings.PAIID_PERF = {**settings.PAIID_PERF, **values}

    change(FLUSH_INTERVAL=timedelta(0))
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return change


@pytest.fixture(autouse=True)
def _clean(perf: Any) -> Iterator[None]:
    events.buffer.reset()
    refusals.forget()
    yield
    events.buffer.reset()
    blocks._current = blocks._slowed = blocks.BlockList()
    blocks._answered.clear()


@pytest.fixture
def dead_redis(settings: Any) -> None:
    """The cache is django-redis, and nobody listens there."""
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"},
    }
