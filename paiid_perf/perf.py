"""The built-in declarations, registered through the same door as a host's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.db.models.signals import post_migrate

from paiid_perf import edits, invalidation
from paiid_perf.api import edited
from paiid_perf.api.phase import PHASE as API
from paiid_perf.api.types import ResponseStrategy
from paiid_perf.cache.changes import HANDLERS as CACHE_CHANGES
from paiid_perf.cache.phase import PHASE as CACHE
from paiid_perf.cache.recorders import RECORDERS as CACHE_GAUGES
from paiid_perf.cache.strategies import STRATEGIES
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.database.changes import HANDLERS as DATABASE_CHANGES
from paiid_perf.database.phase import PHASE as DATABASE
from paiid_perf.database.recorders import RECORDERS as DATABASE_GAUGES
from paiid_perf.lifetimes import edited as lifetimes_edited
from paiid_perf.lifetimes.changes import HANDLERS as LIFETIME_CHANGES
from paiid_perf.monitoring import tasks_watch
from paiid_perf.monitoring.actions import note_host
from paiid_perf.monitoring.phase import PHASE as MONITORING
from paiid_perf.monitoring.recorders import RECORDERS as SYSTEM_GAUGES
from paiid_perf.monitoring.thresholds import THRESHOLDS
from paiid_perf.monitoring.types import AlertThreshold, Recorder
from paiid_perf.optimization import marks
from paiid_perf.registry import registry
from paiid_perf.security import signals as security_signals
from paiid_perf.security.phase import PHASE as SECURITY
from paiid_perf.security.recorders import CAMPAIGNS
from paiid_perf.security.recorders import RECORDERS as SECURITY_GAUGES
from paiid_perf.telemetry import process

GAUGES: tuple[Any, ...] = (*DATABASE_GAUGES, *CACHE_GAUGES, *SECURITY_GAUGES)

registry.register(DATABASE, API, CACHE, MONITORING, SECURITY)
registry.register(*DATABASE_CHANGES, *CACHE_CHANGES, *LIFETIME_CHANGES)
registry.register(*SYSTEM_GAUGES, *(Recorder(*gauge) for gauge in GAUGES))
registry.register(*STRATEGIES, *THRESHOLDS)
registry.register(AlertThreshold(CAMPAIGNS, above=0, for_=timedelta(0), severity="critical"))


def connect() -> None:
    """Connect the signals, once every app's declarations are known."""
    dependents: tuple[ResponseStrategy | CacheStrategy, ...] = (
        *registry.all(ResponseStrategy),
        *registry.all(CacheStrategy),
    )
    invalidation.connect({label for dependent in dependents for label in _models(dependent.depends_on)})
    for strategy in registry.all(ResponseStrategy):
        invalidation.connect_rows(_rows(strategy.depends_on_rows))
    security_signals.connect()
    tasks_watch.connect()
    process.also("host", note_host)
    edited.connect()
    lifetimes_edited.connect()
    edits.connect()
    app = apps.get_app_config("paiid_perf")
    post_migrate.connect(marks.on_migrate, sender=app, dispatch_uid="paiid_perf.marks")


def _models(depends_on: Iterable[str]) -> Iterator[str]:
    """The labels that are installed models; a system check names the others."""
    for label in depends_on:
        with suppress(LookupError, ValueError):
            yield apps.get_model(label)._meta.label


def _rows(depends_on_rows: Iterable[str]) -> Iterator[str]:
    """Those whose models are installed."""
    for label in depends_on_rows:
        if list(_models([".".join(label.split(".")[:2])])):
            yield label
