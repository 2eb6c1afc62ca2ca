"""Every endpoint of a window, sorted by what the address says."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.admin import tables
from paiid_perf.admin.base import VIEW, require
from paiid_perf.admin.figures import number
from paiid_perf.admin.pages.base import ConsoleAdmin, Page
from paiid_perf.admin.tables import Column
from paiid_perf.admin.window import Window, window_of
from paiid_perf.monitoring import endpoints
from paiid_perf.monitoring.endpoints import Listed, Row

#: What the list is sorted by where the address does not say.
FIRST = "time"


def view(console: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    require(request, VIEW)
    window, params = window_of(request), request.GET.dict()
    chosen = params.get("o", "")
    by = chosen if chosen in {*endpoints.ORDERS, *endpoints.PERCENTILES} else FIRST

    def part(limit: int, offset: int) -> Listed:
        return endpoints.listed(window.start, window.end, by, limit, offset)

    found = tables.part_of(part, params)
    shown = endpoints.with_percentiles(found.rows, window.start, window.end)
    columns = _columns(found.total_ms, window, console.address("paiid_perf_endpoint"))
    table = tables.table(_("Endpoints"), columns, shown, params, FIRST, found.count)
    return console.shown(request, "endpoints", _("Endpoints"), window=window, table=table)


def _columns(whole: float, window: Window, home: str) -> list[Column[Row]]:
    def link(row: Row) -> SafeString:
        method, _space, route = row.name.partition(" ")
        url = f"{home}?{urlencode({'name': row.name, 'window': window.name})}"
        return format_html('<a href="{}"><code><b>{}</b> {}</code></a>', url, method, route)

    def share(row: Row) -> str:
        return number(row.total_ms / whole if whole else None, "ratio")

    return [
        Column("name", gettext_lazy("Endpoint"), link, is_sortable=True, is_number=False),
        Column("time", gettext_lazy("Time"), share, is_sortable=True),
        tables.figure("requests", gettext_lazy("Requests"), lambda row: row.requests),
        tables.figure("mean", gettext_lazy("Mean"), lambda row: row.mean_ms, "ms"),
        tables.figure("p50", "p50", lambda row: row.p50_ms, "ms"),
        tables.figure("p95", "p95", lambda row: row.p95_ms, "ms"),
        tables.figure("p99", "p99", lambda row: row.p99_ms, "ms"),
        Column("errors", gettext_lazy("Errors"), _errors, is_sortable=True),
        tables.figure("queries", gettext_lazy("Queries a request"), lambda row: row.statements),
        tables.figure("db", gettext_lazy("Database a request"), lambda row: row.db_ms, "ms"),
        tables.figure("hits", gettext_lazy("Hit ratio"), lambda row: row.hit_ratio, "ratio"),
    ]


def _errors(row: Row) -> object:
    if not row.errors:
        return "0"
    told = f"{number(row.errors)} ({number(row.error_rate, 'ratio')})"
    return format_html('<b class="perf-points">{}</b>', told)


PAGES = (Page("endpoints/", "paiid_perf_endpoints", view),)
