"""What the cache tests share."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from paiid_perf import invalidation
from paiid_perf.cache import manager, warming


class Counts:
    """A recorder that keeps counts to look at."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.seen: dict[tuple[str, str], list[float]] = {}

    def count(self, name: str, subject: str = "", n: int = 1) -> None:
        self.counts[name, subject] += n

    def observe(self, name: str, subject: str, value: float) -> None:
        self.seen.setdefault((name, subject), []).append(value)


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    recorded = Counts()
    for module in (manager, warming, invalidation):
        monkeypatch.setattr(module, "recorder", recorded)
    return recorded


@pytest.fixture(params=["redis", "locmem"])
def any_cache(request: pytest.FixtureRequest, settings: Any) -> str:
    """Each test on both ends of what is supported."""
    from django.core.cache import caches

    if request.param == "redis":
        request.getfixturevalue("redis_cache")
    else:
        settings.CACHES = {
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "any"}
        }
        caches["default"].clear()
    return request.param
