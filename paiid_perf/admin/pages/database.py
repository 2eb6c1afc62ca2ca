"""The database's gauges, and what the last run found in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.functional import Promise
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
#: The parts of the phase's details that the page shows → their headings.
PARTS: Mapping[str, str | Promise] = {
    "overview": gettext_lazy("At a glance"),
    "findings": gettext_lazy("Findings"),
    "missing": gettext_lazy("What could not be read, and what it needs"),
}


def view(page: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    require(request, VIEW)
    window, phase = window_of(request), last_phase("database")
    return page.shown(
        request,
        "database",
        _("Database health"),
        window=window,
        charts=gauges.drawn(GAUGES, window),
        phase=phase,
        findings=_findings(phase.details if phase else {}),
    )


def _findings(details: Mapping[str, Any]) -> list[tuple[str, list[Fact]]]:
    """(heading, facts) of each part that says something."""
    return [
        (str(heading), facts_of(found if isinstance(found, dict) else {name: found}))
        for name, heading in PARTS.items()
        if (found := details.get(name))
    ]


PAGES = (Page("database/", "paiid_perf_database", view),)
