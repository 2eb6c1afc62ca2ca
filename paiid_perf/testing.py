"""Shipped fakes and helpers, for our tests and a host's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from paiid_perf.api.queries import Finding, Queries, watched_queries
from paiid_perf.conf import Settings
from paiid_perf.registry import registry

__all__ = [
    "Finding",
    "FrozenClock",
    "Queries",
    "assert_no_n_plus_one",
    "make_settings",
    "register_temporarily",
    "watched_queries",
]

#: Register declarations for the length of a ``with`` block.
register_temporarily = registry.temporarily


@dataclass(slots=True)
class FrozenClock:
    """A clock that moves when it is told to. Call it for the time."""

    now: datetime = field(default_factory=lambda: datetime(2026, 1, 1, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> datetime:
        """Move on and return the new time."""
        self.now += by
        return self.now


def make_settings(**overrides: object) -> Settings:
    """Settings with their defaults but for what is given (for pure rules, without override_settings)."""
    return Settings(**overrides)  # type: ignore[arg-type]


@contextmanager
def assert_no_n_plus_one(times: int = 3) -> Iterator[Queries]:
    """Fail where the block's queries repeat: one statement ``times`` times or more from one line of code, or twice with
    the same parameters.

    Raises:
        AssertionError: each one's line of code, and the code that would fetch it at once.
    """
    with watched_queries() as queries:
        yield queries
    found = queries.repeats(times)
    if found:
        raise AssertionError("\n".join(map(str, found)))
