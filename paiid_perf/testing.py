"""Shipped fakes and helpers, for our tests and a host's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from paiid_perf.conf import Settings
from paiid_perf.registry import registry

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
