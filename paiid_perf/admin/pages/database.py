"""The database's gauges, and what the last run found in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.admin import gauges
from paiid_perf.admin.base import VIEW, require
from paiid_perf.admin.evidence import Fact, facts_of
from paiid_perf.admin.gauges import Gauge
from paiid_perf.admin.pages.base import ConsoleAdmin, Page, last_phase
from paiid_perf.admin.window import window_of

GAUGES = (
    Gauge(gettext_lazy("Connections in use"), "db.connections_percent", "%", 100.0),
    Gauge(gettext_lazy("Blocks found in memory"), "db.hit_ratio", "ratio", 1.0),
    Gauge(gettext_lazy("Transactions"), "db.transactions_per_s", "/s"),
    Gauge(gettext_lazy("Longest transaction"), "db.longest_transaction_s", "s"),
    Gauge(gettext_lazy("Size"), "db.bytes", "bytes"),
    Gauge(gettext_lazy("Deadlocks"), "db.deadlocks_per_h", "/h"),
)
#: Findings that the page tells; the run's page has them all.
SHOWN = 50


def view(page: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    require(request, VIEW)
    window, phase = window_of(request), last_phase("database")
    details = phase.details if phase else {}
    return page.shown(
        request,
        "database",
        _("Database health"),
        window=window,
        charts=gauges.drawn(GAUGES, window),
        phase=phase,
        overview=_overview(details.get("overview") or {}),
        findings=(details.get("findings") or [])[:SHOWN],
        missing=facts_of({_("What could not be read, and what it needs"): details.get("missing")}),
    )


def _overview(found: Mapping[str, Any]) -> list[Fact]:
    """The phase's overview with the server's version as people say it (180006 is 18.6)."""
    version = found.get("version")
    told = f"{version // 10_000}.{version % 10_000}" if isinstance(version, int) else version
    return facts_of({**found, "version": told})


PAGES = (Page("database/", "paiid_perf_database", view),)
