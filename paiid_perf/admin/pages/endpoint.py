"""One endpoint: its charts, its repeating statements with their code line, its limit and its cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from paiid_perf.admin import charts, console, endpoint_rules, endpoints
from paiid_perf.admin.base import VIEW, require
from paiid_perf.admin.charts import Chart, Line
from paiid_perf.admin.figures import number
from paiid_perf.admin.pages.base import ConsoleAdmin, Page
from paiid_perf.admin.window import Window, window_of
from paiid_perf.api.types import ResponseStrategy
from paiid_perf.conf import get_settings
from paiid_perf.database import statements
from paiid_perf.monitoring.types import Point


def view(page: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    require(request, VIEW)
    window, name = window_of(request), request.GET.get("name", "")[:240]
    if " " not in name:
        raise Http404
    found = endpoints.points(name, window.start, window.end)
    return page.shown(
        request,
        "endpoint",
        name,
        window=window,
        name=name,
        charts=[charts.line_chart(chart) for chart in _charts(name, found, window)],
        repeats=endpoints.repeats(name, window.start, window.end),
        slowest=_slowest(page, name, window),
        declared=_declared(name),
        edit=_edit(request, name),
        advice=endpoints.advice(name),
    )


def _slowest(page: ConsoleAdmin, name: str, window: Window) -> list[tuple[endpoints.Slow, str]]:
    """Each of the endpoint's slowest statements with the address of its page, where the server counted it."""
    ids = statements.linked(get_settings())
    found = endpoints.slowest(name, window.start, window.end)
    return [
        (one, page.address("paiid_perf_query", ids[one.mark]) if one.mark in ids else "") for one in found
    ]


def _charts(name: str, found: Mapping[str, Sequence[Point]], window: Window) -> list[Chart]:
    requests = endpoints.merged(found)
    rates = [(p.at, p.count / window.resolution) for p in requests]
    count = sum(p.count for p in requests)
    answered = [
        window.mean("api.hit_ms", name, _("cache")),
        window.mean("api.view_ms", name, _("view")),
    ]
    return [
        window.chart(_("Response time"), console.latencies(requests), "ms"),
        window.chart(_("Throughput"), [Line(_("requests"), rates, count / window.seconds)], "/s"),
        window.chart(_("Error rate"), [_errors(requests, found.get("5xx", ()))], "ratio"),
        window.chart(_("Database time a request"), [window.mean("api.db_ms", name)], "ms"),
        window.chart(_("Queries a request"), [window.mean("api.queries", name)]),
        window.chart(_("Answered from the cache, and by the view"), answered, "ms"),
    ]


def _errors(requests: Sequence[Point], failures: Sequence[Point]) -> Line:
    failed = {point.at: point.count for point in failures}
    count = sum(p.count for p in requests)
    points = [(p.at, failed.get(p.at, 0) / p.count) for p in requests if p.count]
    return Line(_("errors"), points, sum(failed.values()) / count if count else None)


def _declared(name: str) -> list[tuple[str, str, str]]:
    """The endpoint's class, limit and cache as they are in force: (what, value, source)."""
    found = endpoints.declared(name)
    if found.declared is None:
        return []
    facts = [(_("Class"), found.declared.name, ""), *endpoint_rules.facts(found.declared)]
    if found.strategy is None:
        return facts
    depends_on = ", ".join(found.strategy.depends_on) or _("nothing")
    return [*facts, (_("Strategy"), _cached(found.strategy), ""), (_("Invalidated by"), depends_on, "")]


def _edit(request: HttpRequest, name: str) -> str:
    """Where the endpoint's class is edited, for who may; a class of its own where it has none."""
    found = endpoints.declared(name)
    if not request.user.has_perm(endpoint_rules.EDIT):
        return ""
    if found.declared is None:
        return endpoint_rules.address("", match=name.partition(" ")[2])
    return endpoint_rules.address(found.declared.name)


def _cached(strategy: ResponseStrategy) -> str:
    ttl = number(strategy.ttl.total_seconds(), "s")
    words = {"name": strategy.name, "ttl": ttl, "scope": strategy.scope}
    return _("“%(name)s”: %(ttl)s, %(scope)s") % words


PAGES = (Page("endpoints/one/", "paiid_perf_endpoint", view),)
