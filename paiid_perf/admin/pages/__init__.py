"""The console's pages that are no list of rows, one room for each; they hang on two models' places in the admin."""

from __future__ import annotations

from django.contrib import admin

from paiid_perf.admin.pages import (
    cache,
    database,
    endpoint,
    endpoints,
    outlook,
    queries,
    query,
    settings,
    system,
)
from paiid_perf.admin.pages.base import ConsoleAdmin
from paiid_perf.models import Metric, StatementSnapshot

__all__ = ["MetricAdmin", "StatementAdmin"]


@admin.register(Metric)
class MetricAdmin(ConsoleAdmin):
    """What the metrics tell: endpoints, cache, machine, database, and the settings behind them."""

    pages = (
        *endpoints.PAGES,
        *endpoint.PAGES,
        *cache.PAGES,
        *system.PAGES,
        *outlook.PAGES,
        *database.PAGES,
        *settings.PAGES,
    )


@admin.register(StatementSnapshot)
class StatementAdmin(ConsoleAdmin):
    """The normalised queries of the database."""

    pages = (*queries.PAGES, *query.PAGES)
