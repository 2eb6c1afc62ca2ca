"""Normalised queries by the time they took: in the window, or since the counters began (``window=all``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.admin import glyphs, tables
from paiid_perf.admin.base import VIEW, require
from paiid_perf.admin.figures import number
from paiid_perf.admin.pages.base import ConsoleAdmin, Page
from paiid_perf.admin.tables import Column
from paiid_perf.admin.window import Window, window_of
from paiid_perf.conf import get_settings
from paiid_perf.database import statements
from paiid_perf.database.statements import Listed, Query
from paiid_perf.monitoring.windows import between, sums

#: What the list is sorted by where the address does not say.
FIRST = "time"
#: Characters of a statement that the list shows.
TEXT_SHOWN = 240


@dataclass(frozen=True, slots=True)
class _Words:
    """What only the rows of one page need: their texts, and their time over the window."""

    texts: Mapping[str, str]
    sparks: Mapping[str, Sequence[float]]


def view(page: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    require(request, VIEW)
    window, params = window_of(request), request.GET.dict()
    by = params["o"] if params.get("o") in statements.ORDERS else FIRST
    spent = {} if params.get("window") == "all" else _spent(window)

    def part(limit: int, offset: int) -> Listed:
        return statements.listed(get_settings(), spent or None, by, limit, offset)

    found = tables.part_of(part, params)
    columns = _columns(page, found, _words([row.counted.queryid for row in found.rows], window))
    table = tables.table(_("Queries"), columns, found.rows, params, FIRST, found.count)
    more = {"found": found, "whole": not spent}
    return page.shown(request, "queries", _("Queries"), window=window, table=table, **more)


def _words(ids: Sequence[str], window: Window) -> _Words:
    return _Words(statements.texts(get_settings(), ids), _sparks(ids, window))


def _columns(page: ConsoleAdmin, found: Listed, told: _Words) -> list[Column[Query]]:
    def link(row: Query) -> SafeString:
        text = " ".join(told.texts.get(row.counted.queryid, "").split()) or row.counted.queryid
        url = page.address("paiid_perf_query", row.counted.queryid)
        return format_html('<a href="{}"><code>{}</code></a>', url, text[:TEXT_SHOWN])

    def share(row: Query) -> str:
        return number(row.took_ms / found.took_ms if found.took_ms else None, "ratio")

    def spark(row: Query) -> SafeString:
        return glyphs.sparkline(told.sparks.get(row.counted.queryid, ()), _("Time over the window"))

    return [
        Column("text", gettext_lazy("Query"), link, is_number=False),
        Column("time", gettext_lazy("Time"), share, is_sortable=True),
        Column("total", gettext_lazy("Total"), lambda row: number(row.took_ms, "ms")),
        tables.figure("calls", gettext_lazy("Calls"), lambda row: row.ran),
        tables.figure("mean", gettext_lazy("Mean"), lambda row: row.mean_ms, "ms"),
        tables.figure("rows", gettext_lazy("Rows a call"), lambda row: row.rows_a_call),
        tables.figure("hits", gettext_lazy("Hit ratio"), lambda row: row.counted.hit_ratio, "ratio"),
        Column("spark", gettext_lazy("Trend"), spark),
    ]


def _spent(window: Window) -> dict[str, tuple[int, float]]:
    """queryid → (calls, ms) in the window."""
    rows = sums(statements.SERIES, window.start, window.end)
    return {queryid: (count, total) for queryid, count, total in rows}


def _sparks(ids: Sequence[str], window: Window) -> dict[str, list[float]]:
    rows = between(statements.SERIES, window.start, window.end).filter(subject__in=ids)
    found: dict[str, list[float]] = {}
    for subject, total in rows.order_by("at").values_list("subject", "total"):
        found.setdefault(subject, []).append(total)
    return found


PAGES = (Page("queries/", "paiid_perf_queries", view),)
