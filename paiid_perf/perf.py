"""The built-in declarations, registered through the same door as a host's."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from paiid_perf import invalidation
from paiid_perf.api.types import ResponseStrategy
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.monitoring.types import Recorder
from paiid_perf.registry import registry


def _load(path: str, name: str) -> Any:
    with suppress(ImportError, AttributeError):
        return getattr(import_module(path), name)
    return ()


for domain in ("database", "api", "cache", "monitoring", "security"):
    phase = _load(f"paiid_perf.{domain}.phase", "PHASE")
    registry.register(*([phase] if phase else []))
    registry.register(*_load(f"paiid_perf.{domain}.changes", "HANDLERS"))
    registry.register(
        *(
            r if isinstance(r, Recorder) else Recorder(*r)
            for r in _load(f"paiid_perf.{domain}.recorders", "RECORDERS")
        )
    )
registry.register(*_load("paiid_perf.cache.strategies", "STRATEGIES"))
registry.register(*_load("paiid_perf.monitoring.thresholds", "THRESHOLDS"))


def connect() -> None:
    """Connect the signals, once every app's declarations are known."""
    from paiid_perf.security import signals as security_signals

    security_signals.connect()
    kinds: tuple[type[ResponseStrategy] | type[CacheStrategy], ...] = (ResponseStrategy, CacheStrategy)
    for label in {label for kind in kinds for strategy in registry.all(kind) for label in strategy.depends_on}:
        # A label that names no model is a system check's to report (E003), with the declaration's name.
        with suppress(ConfigurationError):
            invalidation.connect([label])
