"""What goes on between runs: beat calls these. Each may be repeated, and does its part within a budget."""

from __future__ import annotations

from django.utils import timezone

from paiid_perf.cache import clearing, warming
from paiid_perf.conf import get_settings
from paiid_perf.database import measured, views
from paiid_perf.database import statements as database_statements
from paiid_perf.monitoring import actions as monitoring
from paiid_perf.optimization import marks, runner
from paiid_perf.security import actions as security


def collect() -> None:
    """Read the gauges, store what was recorded, write security events, judge the alerts, mark what is new."""
    now = timezone.now()
    monitoring.beat()
    monitoring.collect(now)
    security.flush_events()
    monitoring.evaluate(now, get_settings())
    marks.look(now)


def push() -> int:
    """Send the metrics to the collector of OTLP_ENDPOINT, where one is set; returns how many there were.

    Raises:
        ImportError: the extra ``paiid-perf[otlp]`` is not installed (a system check says so first).
        CollectorRefused: the collector did not take them.
    """
    settings = get_settings()
    if not settings.ENABLED or not settings.OTLP_ENDPOINT:
        return 0
    # The extra is asked for where it is wanted only.
    from paiid_perf.monitoring import otlp

    return otlp.push(settings.OTLP_ENDPOINT, timezone.now())


def roll_up() -> None:
    """Minutes into hours, hours into days."""
    monitoring.roll_up(timezone.now())


def prune() -> None:
    """Delete metrics and security events past their retention."""
    now, settings = timezone.now(), get_settings()
    monitoring.prune(now, settings)
    security.prune(settings, now)


def warm() -> None:
    """Compute what the due warmers name and nobody has cached: one here, the others by other workers at the same time.

    Only with the value cache on.
    """
    settings = get_settings()
    if settings.ENABLED and settings.VALUE_CACHE:
        warming.warm_due(settings.CACHE_WARM_BUDGET, runner.enqueue_warmer)


def warm_one(name: str) -> None:
    """The part of ``warm`` that one warmer is."""
    settings = get_settings()
    if settings.ENABLED and settings.VALUE_CACHE:
        warming.warm(name, budget=settings.CACHE_WARM_BUDGET)


def clear(strategy: str) -> int:
    """Forget every value of one cache strategy; returns how many there were."""
    return clearing.clear(strategy)


def statements() -> int:
    """Add what the busiest statements took since the last look to their history; returns how many those were."""
    settings = get_settings()
    if not settings.ENABLED:
        return 0
    database_statements.link(settings)
    return database_statements.observe(settings, timezone.now())


def measure(queryid: str) -> None:
    """Measure the plan of one counted statement by a sampled run of it, for the page that asked."""
    settings = get_settings()
    if settings.ENABLED:
        measured.measure(settings, queryid, timezone.now())


def refresh() -> None:
    """Refresh the declared materialized views that are due and whose sources changed, where policy allows."""
    settings = get_settings()
    if settings.ENABLED and not settings.KILL_SWITCH:
        views.refresh_due(settings, timezone.now())
