"""The database's gauges, and what the last run found in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
#: The checks of every run, by what their findings are named after.
CHECKS: tuple[tuple[tuple[str, ...], str | Promise], ...] = (
    (("wraparound",), gettext_lazy("Transaction ids before wraparound")),
    (("autovacuum_danger",), gettext_lazy("Autovacuum against wraparound")),
    (("xmin_horizon",), gettext_lazy("What holds vacuum back")),
    (("dead_rows",), gettext_lazy("Dead rows")),
    (("table_bloat", "index_bloat"), gettext_lazy("Bloat")),
    (("stale_statistics",), gettext_lazy("Planner statistics")),
    (("connections",), gettext_lazy("Room for connections")),
    (("blocked",), gettext_lazy("Sessions that wait for a lock")),
    (("idle_in_transaction",), gettext_lazy("Sessions idle in a transaction")),
    (("long_running",), gettext_lazy("Long-running queries")),
    (("prepared",), gettext_lazy("Forgotten prepared transactions")),
    (("sequence",), gettext_lazy("Room in sequences")),
    (("integer_key",), gettext_lazy("Room in integer keys")),
    (("growth",), gettext_lazy("Tables that grow fast")),
    (("inactive_slot",), gettext_lazy("Replication slots that nobody reads")),
    (("replication_lag",), gettext_lazy("Replication lag")),
    (("invalid_index",), gettext_lazy("Invalid indexes")),
    (("invalid_constraint",), gettext_lazy("Constraints that were never validated")),
    (("duplicate_index",), gettext_lazy("Duplicate indexes")),
    (("unused_index",), gettext_lazy("Unused indexes")),
    (("hit_ratio",), gettext_lazy("Reads from memory")),
    (("slow_query",), gettext_lazy("Slow queries")),
    (("temp_files",), gettext_lazy("Sorts and hashes on disk")),
    (("rollbacks",), gettext_lazy("Transactions rolled back")),
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
        checks=_checks(details.get("findings") or []),
        findings=(details.get("findings") or [])[:SHOWN],
        missing=facts_of({_("What could not be read, and what it needs"): details.get("missing")}),
    )


def _checks(findings: Sequence[Mapping[str, Any]]) -> list[tuple[str | Promise, int]]:
    """Each check with how much it found; those that found something first."""
    found = Counter(one.get("check") for one in findings)
    rows = [(label, sum(found.pop(name, 0) for name in names)) for names, label in CHECKS]
    rows.append((_("Settings, plans, and how tables are made"), found.total()))
    return sorted(rows, key=lambda row: not row[1])


def _overview(found: Mapping[str, Any]) -> list[Fact]:
    """The phase's overview with the server's version as people say it (180006 is 18.6)."""
    version = found.get("version")
    told = f"{version // 10_000}.{version % 10_000}" if isinstance(version, int) else version
    return facts_of({**found, "version": told})


PAGES = (Page("database/", "paiid_perf_database", view),)
