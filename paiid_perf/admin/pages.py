"""The console's pages that are no list of rows: endpoints, queries, cache, system, database, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf import conf
from paiid_perf.admin import charts, console, effective, endpoints, tables
from paiid_perf.admin.base import APPLY, RUN, VIEW, PageAdmin, post_only, require
from paiid_perf.admin.charts import Chart, Line, Mark
from paiid_perf.admin.console import DEFAULT_WINDOW
from paiid_perf.admin.evidence import facts_of
from paiid_perf.admin.figures import number
from paiid_perf.admin.tables import Column
from paiid_perf.api.types import ResponseStrategy
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.conf import get_settings
from paiid_perf.database import statements
from paiid_perf.database.statements import Counted, Node, Plan
from paiid_perf.models import Metric, PhaseRun, Recommendation, StatementSnapshot
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.types import Point
from paiid_perf.optimization import runner
from paiid_perf.optimization.reports import WINDOWS
from paiid_perf.registry import registry

#: Statements whose line over time is drawn in a list.
TEXT_SHOWN = 240
#: A row estimate wrong by this factor or more is pointed out (the usual rule of thumb of plan readers).
WRONG_ESTIMATE = 10.0


@dataclass(frozen=True)
class Window:
    """The stretch of time that a page shows."""

    name: str
    start: datetime
    end: datetime

    @cached_property
    def marks(self) -> list[Mark]:
        """What was changed in it, for every chart of the page."""
        return console.marks(self.start, self.end)

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


def window_of(request: HttpRequest, default: str = DEFAULT_WINDOW) -> Window:
    """The window that the address names, ending now."""
    name = request.GET.get("window", default)
    name = name if name in WINDOWS else default
    now = timezone.now()
    return Window(name, now - WINDOWS[name], now)


class ConsolePage(PageAdmin):
    """Pages beside the lists; the list itself leads to the first of them."""

    first = ""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        require(request, VIEW)
        return HttpResponseRedirect(self.address(self.first))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False  # no list of its own in the admin's index

    def shown(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        """A page that knows its window and its neighbours."""
        return self.page(request, f"paiid_perf/{template}.html", title, windows=list(WINDOWS), **context)


# --- endpoints -------------------------------------------------------------------------------------------


@admin.register(Metric)
class MetricAdmin(ConsolePage):
    """What the metrics tell: endpoints, cache, machine, database, and the settings behind them."""

    first = "paiid_perf_endpoints"

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("endpoints/", wrap(self.endpoints_view), name="paiid_perf_endpoints"),
            path("endpoints/one/", wrap(self.endpoint_view), name="paiid_perf_endpoint"),
            path("cache/", wrap(self.cache_view), name="paiid_perf_cache"),
            path("cache/warm/", wrap(self.warm_view), name="paiid_perf_cache_warm"),
            path("cache/clear/<str:name>/", wrap(self.clear_view), name="paiid_perf_cache_clear"),
            path("system/", wrap(self.system_view), name="paiid_perf_system"),
            path("database/", wrap(self.database_view), name="paiid_perf_database"),
            path("settings/", wrap(self.settings_view), name="paiid_perf_settings"),
            *super().get_urls(),
        ]

    def endpoints_view(self, request: HttpRequest) -> HttpResponse:
        """Every endpoint of a window, sorted by what the address says."""
        require(request, VIEW)
        window, params = window_of(request), request.GET.dict()
        rows = endpoints.totals(window.start, window.end)
        if params.get("o") in ("p50", "p95", "p99"):
            rows = endpoints.with_percentiles(rows, window.start, window.end)
        columns = self._endpoint_columns(sum(row.total_ms for row in rows), window)
        shown = tables.paged(tables.ordered(columns, rows, params, "time"), params)
        shown = endpoints.with_percentiles(shown, window.start, window.end)
        table = tables.table(_("Endpoints"), columns, shown, params, "time", len(rows))
        return self.shown(request, "endpoints", _("Endpoints"), window=window, table=table)

    def _endpoint_columns(self, whole: float, window: Window) -> list[Column[endpoints.Row]]:
        home = self.address("paiid_perf_endpoint")

        def link(row: endpoints.Row) -> SafeString:
            method, _space, route = row.name.partition(" ")
            url = f"{home}?{_query(name=row.name, window=window.name)}"
            return format_html('<a href="{}"><code><b>{}</b> {}</code></a>', url, method, route)

        return [
            Column("name", gettext_lazy("Endpoint"), link, lambda row: row.name, is_number=False),
            Column(
                "time",
                gettext_lazy("Time"),
                lambda row: number(row.total_ms / whole if whole else None, "ratio"),
                lambda row: row.total_ms,
            ),
            Column(
                "requests", gettext_lazy("Requests"), lambda row: number(row.requests), lambda r: r.requests
            ),
            Column("mean", gettext_lazy("Mean"), lambda row: number(row.mean_ms, "ms"), lambda r: r.mean_ms),
            Column("p50", "p50", lambda row: number(row.p50_ms, "ms"), lambda r: r.p50_ms),
            Column("p95", "p95", lambda row: number(row.p95_ms, "ms"), lambda r: r.p95_ms),
            Column("p99", "p99", lambda row: number(row.p99_ms, "ms"), lambda r: r.p99_ms),
            Column("errors", gettext_lazy("Errors"), _errors, lambda row: row.error_rate),
            Column(
                "queries",
                gettext_lazy("Queries a request"),
                lambda row: number(row.statements),
                lambda row: row.statements,
            ),
            Column(
                "db",
                gettext_lazy("Database a request"),
                lambda r: number(r.db_ms, "ms"),
                lambda r: r.db_ms,
            ),
            Column(
                "hits",
                gettext_lazy("Hit ratio"),
                lambda r: number(r.hit_ratio, "ratio"),
                lambda r: r.hit_ratio,
            ),
        ]

    def endpoint_view(self, request: HttpRequest) -> HttpResponse:
        """One endpoint: its charts, its repeating statements with their code line, its limit and its cache."""
        require(request, VIEW)
        window, name = window_of(request), request.GET.get("name", "")[:240]
        if " " not in name:
            raise Http404
        found = endpoints.points(name, window.start, window.end)
        return self.shown(
            request,
            "endpoint",
            name,
            window=window,
            name=name,
            charts=[charts.line_chart(chart) for chart in _endpoint_charts(name, found, window)],
            repeats=endpoints.repeats(name, window.start, window.end),
            declared=_declared(name),
            advice=endpoints.advice(name),
        )

    # --- cache ------------------------------------------------------------------------------------------

    def cache_view(self, request: HttpRequest) -> HttpResponse:
        """The strategies with what they bring and take."""
        require(request, VIEW)
        window = window_of(request)
        phase = _last_phase("cache")
        details = phase.details if phase else {}
        return self.shown(
            request,
            "cache",
            _("Cache"),
            window=window,
            strategies=_strategies(window, details),
            chart=charts.line_chart(_hits_chart(window)),
            phase=phase,
            server=facts_of(details.get("server") or {}),
            may_warm=request.user.has_perm(RUN),
            may_clear=request.user.has_perm(APPLY),
        )

    @post_only
    def warm_view(self, request: HttpRequest) -> HttpResponse:
        """A worker warms what is due."""
        require(request, RUN)
        return self._queued(request, runner.enqueue_warm(), _("A worker warms what is due."), "warmed")

    def clear_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """GET: a page that says what will happen. POST: a worker clears the strategy."""
        require(request, APPLY)
        if name not in {strategy.name for strategy in registry.all(CacheStrategy)}:
            raise Http404
        if request.method != "POST":
            title = _("Clear the values of “%(name)s”?") % {"name": name}
            back = self.address("paiid_perf_cache")
            return self.shown(request, "clear", title, name=name, back=back)
        told = _("A worker clears “%(name)s”.") % {"name": name}
        return self._queued(request, runner.enqueue_clear(name), told, f"cleared the cache {name}")

    def _queued(self, request: HttpRequest, taken: bool, told: str, logged: str) -> HttpResponse:
        if taken:
            _log(request, logged)
            self.message_user(request, told, messages.SUCCESS)
        else:
            hint = _("No Celery broker takes it. Start a worker, and set its broker's address.")
            self.message_user(request, hint, messages.ERROR)
        return HttpResponseRedirect(self.address("paiid_perf_cache"))

    # --- machine, database, settings ------------------------------------------------------------------------

    def system_view(self, request: HttpRequest) -> HttpResponse:
        """The machines' gauges."""
        require(request, VIEW)
        window = window_of(request)
        drawn = [charts.line_chart(_gauges_chart(*one, window)) for one in MACHINE]
        return self.shown(request, "system", _("System"), window=window, charts=drawn)

    def database_view(self, request: HttpRequest) -> HttpResponse:
        """The database's gauges, and what the last run found in it."""
        require(request, VIEW)
        window, phase = window_of(request), _last_phase("database")
        drawn = [charts.line_chart(_gauges_chart(*one, window)) for one in DATABASE]
        names = ("overview", "findings", "missing")
        found = {name: phase.details.get(name) for name in names} if phase else {}
        return self.shown(
            request,
            "database",
            _("Database health"),
            window=window,
            charts=drawn,
            phase=phase,
            findings=[
                (console_label(name), facts_of(value if isinstance(value, dict) else {name: value}))
                for name, value in found.items()
                if value
            ],
        )

    def settings_view(self, request: HttpRequest) -> HttpResponse:
        """Every effective setting."""
        require(request, VIEW)
        rows = effective.effective()
        return self.shown(request, "settings", _("Settings"), rows=rows, setting=conf.SETTING)


LABELS: Mapping[str, str | Promise] = {
    "overview": gettext_lazy("At a glance"),
    "findings": gettext_lazy("Findings"),
    "missing": gettext_lazy("What could not be read, and what it needs"),
}


def console_label(name: str) -> str:
    """A part of a phase's details as a heading."""
    return str(LABELS.get(name, name))


def _errors(row: endpoints.Row) -> object:
    if not row.errors:
        return "0"
    told = f"{number(row.errors)} ({number(row.error_rate, 'ratio')})"
    return format_html('<b class="perf-points">{}</b>', told)


def _query(**params: str) -> str:
    return urlencode(params)


def _endpoint_charts(name: str, found: Mapping[str, Sequence[Point]], window: Window) -> list[Chart]:
    requests = endpoints.merged(found)
    resolution = queries.resolution_for(window.start, window.end)
    failed = {point.at: point.count for point in found.get("5xx", ())}
    rates = [(p.at, p.count / resolution) for p in requests]
    errors = [(p.at, failed.get(p.at, 0) / p.count) for p in requests if p.count]
    count = sum(p.count for p in requests)
    error_rate = sum(failed.values()) / count if count else None
    return [
        _chart(_("Response time"), console.latencies(requests), "ms", window),
        _chart(_("Throughput"), [Line(_("requests"), rates, count / window.seconds)], "/s", window),
        _chart(_("Error rate"), [Line(_("errors"), errors, error_rate)], "ratio", window),
        _chart(_("Database time a request"), [_mean_of("api.db_ms", name, window)], "ms", window),
        _chart(_("Queries a request"), [_mean_of("api.queries", name, window)], "", window),
        _chart(
            _("Answered from the cache, and by the view"),
            [
                _mean_of("api.hit_ms", name, window, _("cache")),
                _mean_of("api.view_ms", name, window, _("view")),
            ],
            "ms",
            window,
        ),
    ]


def _mean_of(series: str, subject: str, window: Window, label: str = "") -> Line:
    points = queries.points(series, window.start, window.end, subject)
    return console.means(label or _("mean"), points)


def _chart(
    title: str, lines: Sequence[Line], unit: str, window: Window, top: float | None = None, empty: str = ""
) -> Chart:
    resolution = queries.resolution_for(window.start, window.end)
    return Chart(title, lines, window.start, window.end, unit, top, resolution, window.marks, empty)


def _declared(name: str) -> list[tuple[str, str]]:
    """The endpoint's class, limit and cache, as (what, value)."""
    found = endpoints.declared(name)
    if found.declared is None:
        return []
    strategy = found.strategy
    cached = _("not cached")
    if strategy:
        words = {
            "name": strategy.name,
            "ttl": number(strategy.ttl.total_seconds(), "s"),
            "scope": strategy.scope,
        }
        cached = _("“%(name)s”: %(ttl)s, %(scope)s") % words
    return [
        (_("Class"), found.declared.name),
        (_("Limit"), found.declared.rate or _("none")),
        (_("Response cache"), cached),
        (_("Invalidated by"), ", ".join(strategy.depends_on) or _("nothing") if strategy else "–"),
        (_("Objective"), number(found.declared.latency_objective_ms, "ms")),
    ]


def _last_phase(name: str) -> PhaseRun | None:
    """The phase of that name in the newest run that got through it."""
    done = PhaseRun.objects.filter(name=name, finished_at__isnull=False)
    return done.select_related("run").order_by("-run_id").first()


def _log(request: HttpRequest, words: str) -> None:
    """An act that belongs to no row, in Django's log."""
    kind = ContentType.objects.get_for_model(Metric)
    LogEntry.objects.create(
        user=request.user,  # type: ignore[misc]
        content_type=kind,
        object_id="",
        object_repr=words[:200],
        action_flag=CHANGE,
        change_message=words,
    )


# --- the cache's page --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Strategy:
    """One cache strategy with what it brought in the window."""

    name: str
    kind: str
    ttl: str
    depends_on: str
    hits: int
    misses: int
    kept_bytes: float | None
    """What its keys take, as the last run sampled them."""
    can_clear: bool

    @property
    def hit_ratio(self) -> float | None:
        looked = self.hits + self.misses
        return self.hits / looked if looked else None


def _strategies(window: Window, details: Mapping[str, Any]) -> list[Strategy]:
    hits, misses = (
        {subject: count for subject, count, _t in endpoints.sums(name, window.start, window.end)}
        for name in ("cache.hits", "cache.misses")
    )
    sizes = _sizes(details)
    values = [
        _strategy(s.name, s.name, _("values"), s, hits, misses, sizes, True)
        for s in registry.all(CacheStrategy)
    ]
    answers = [
        _strategy(s.name, f"response:{s.name}", _("responses"), s, hits, misses, sizes, False)
        for s in registry.all(ResponseStrategy)
    ]
    return values + answers


def _strategy(
    name: str,
    subject: str,
    kind: str,
    declared: CacheStrategy | ResponseStrategy,
    hits: Mapping[str, int],
    misses: Mapping[str, int],
    sizes: Mapping[str, float],
    can_clear: bool,
) -> Strategy:
    return Strategy(
        name=name,
        kind=kind,
        ttl=_("until invalidated") if declared.ttl is None else number(declared.ttl.total_seconds(), "s"),
        depends_on=", ".join(declared.depends_on) or "–",
        hits=hits.get(subject, 0),
        misses=misses.get(subject, 0),
        kept_bytes=sizes.get(subject, sizes.get(name)),
        can_clear=can_clear,
    )


def _sizes(details: Mapping[str, Any]) -> dict[str, float]:
    groups = details.get("memory", {}).get("groups", ())
    named = [(group.get("group") or group.get("name"), group) for group in groups]
    return {name: group["bytes"] for name, group in named if name and "bytes" in group}


def _hits_chart(window: Window) -> Chart:
    empty = _("No cache look-up was recorded. Use paiid_perf.cache, or give an endpoint a response cache.")
    return _chart(_("Cache hit ratio"), [console.hits(window.start, window.end)], "ratio", window, 1.0, empty)


# --- gauges ------------------------------------------------------------------------------------------------

#: title, metric, unit, end of the axis
Gauge = tuple[str | Promise, str, str, float | None]
MACHINE: tuple[Gauge, ...] = (
    (gettext_lazy("CPU"), "system.cpu_percent", "%", 100.0),
    (gettext_lazy("Memory"), "system.memory_percent", "%", 100.0),
    (gettext_lazy("Disk"), "system.disk_percent", "%", 100.0),
    (gettext_lazy("Load (1 min)"), "system.load1", "", None),
    (gettext_lazy("Network"), "system.net_bytes", "bytes", None),
    (gettext_lazy("Celery tasks that wait"), "celery.queue_depth", "", None),
)
DATABASE: tuple[Gauge, ...] = (
    (gettext_lazy("Connections in use"), "db.connections_percent", "%", 100.0),
    (gettext_lazy("Blocks found in memory"), "db.hit_ratio", "ratio", 1.0),
    (gettext_lazy("Transactions"), "db.transactions_per_s", "/s", None),
    (gettext_lazy("Longest transaction"), "db.longest_transaction_s", "s", None),
    (gettext_lazy("Size"), "db.bytes", "bytes", None),
    (gettext_lazy("Deadlocks"), "db.deadlocks_per_h", "/h", None),
)
#: Hosts that one chart tells apart.
HOSTS = 3


def _gauges_chart(title: str | Promise, name: str, unit: str, top: float | None, window: Window) -> Chart:
    found = queries.gauges_by_subject(name, window.start, window.end)
    lines = [
        Line(subject or name, [(s.at, s.value) for s in series], series[-1].value)
        for subject, series in sorted(found.items())[:HOSTS]
    ]
    empty = _("No gauge was read. Start Celery beat with paiid_perf.tasks.beat_schedule().")
    return _chart(str(title), lines, unit, window, top, empty)


# --- queries -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Query:
    """A normalised query over a window, or since the counters began."""

    counted: Counted
    calls: float
    total_ms: float

    @property
    def mean_ms(self) -> float | None:
        return self.total_ms / self.calls if self.calls else None


@admin.register(StatementSnapshot)
class StatementAdmin(ConsolePage):
    """The normalised queries of the database."""

    first = "paiid_perf_queries"

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("queries/", wrap(self.queries_view), name="paiid_perf_queries"),
            path("queries/<str:queryid>/", wrap(self.query_view), name="paiid_perf_query"),
            *super().get_urls(),
        ]

    def queries_view(self, request: HttpRequest) -> HttpResponse:
        """Normalised queries by the time they took: in the window, or since the counters began (``window=all``)."""
        require(request, VIEW)
        window, params = window_of(request), request.GET.dict()
        found = statements.counted(get_settings())
        in_window = _spent(window)
        whole = params.get("window") == "all" or not in_window
        rows = _queries(found.rows, None if whole else in_window)
        columns = self._columns(sum(row.total_ms for row in rows), window)
        shown = tables.paged(tables.ordered(columns, rows, params, "time"), params)
        ids = [row.counted.queryid for row in shown]
        columns = self._columns(
            sum(row.total_ms for row in rows),
            window,
            statements.texts(get_settings(), ids),
            _sparks(ids, window),
        )
        table = tables.table(_("Queries"), columns, shown, params, "time", len(rows))
        return self.shown(
            request, "queries", _("Queries"), window=window, table=table, found=found, whole=whole
        )

    def _columns(
        self,
        whole: float,
        window: Window,
        texts: Mapping[str, str] | None = None,
        sparks: Mapping[str, Sequence[float]] | None = None,
    ) -> list[Column[Query]]:
        texts, sparks = texts or {}, sparks or {}

        def link(row: Query) -> SafeString:
            text = " ".join(texts.get(row.counted.queryid, "").split()) or row.counted.queryid
            url = self.address("paiid_perf_query", row.counted.queryid)
            return format_html('<a href="{}"><code>{}</code></a>', url, text[:TEXT_SHOWN])

        def spark(row: Query) -> SafeString:
            label = _("Time over the window")
            return charts.sparkline(sparks.get(row.counted.queryid, ()), label)

        return [
            Column("text", gettext_lazy("Query"), link, None, is_number=False),
            Column(
                "time",
                gettext_lazy("Time"),
                lambda row: number(row.total_ms / whole if whole else None, "ratio"),
                lambda row: row.total_ms,
            ),
            Column("total", gettext_lazy("Total"), lambda row: number(row.total_ms, "ms")),
            Column("calls", gettext_lazy("Calls"), lambda row: number(row.calls), lambda row: row.calls),
            Column("mean", gettext_lazy("Mean"), lambda row: number(row.mean_ms, "ms"), lambda r: r.mean_ms),
            Column(
                "rows",
                gettext_lazy("Rows a call"),
                lambda row: number(row.counted.rows / row.counted.calls if row.counted.calls else None),
                lambda row: row.counted.rows / row.counted.calls if row.counted.calls else None,
            ),
            Column(
                "hits",
                gettext_lazy("Hit ratio"),
                lambda row: number(row.counted.hit_ratio, "ratio"),
                lambda row: row.counted.hit_ratio,
            ),
            Column("spark", gettext_lazy("Trend"), spark),
        ]

    def query_view(self, request: HttpRequest, queryid: str) -> HttpResponse:
        """One query: its figures, its plan (POST: measured, on a sampled run), what was advised about it."""
        require(request, VIEW)
        if request.method == "POST":
            require(request, APPLY)
        if not queryid.removeprefix("-").isdecimal() or len(queryid) > 20:
            raise Http404
        settings, window = get_settings(), window_of(request, "6h")
        text = statements.texts(settings, [queryid]).get(queryid)
        if text is None:
            raise Http404
        measured = request.method == "POST"
        if measured:
            _log(request, f"measured the query {queryid}")
        one = next((row for row in statements.counted(settings).rows if row.queryid == queryid), None)
        plan = statements.plan(settings, text, measure=measured)
        return self.shown(
            request,
            "query",
            _("Query %(id)s") % {"id": queryid},
            window=window,
            text=text,
            one=one,
            facts=_figures(one),
            plan=plan,
            nodes=_flat(plan),
            measured=measured,
            chart=charts.line_chart(_query_chart(queryid, window)),
            advice=_about(queryid, plan),
            may_measure=request.user.has_perm(APPLY),
        )


def _spent(window: Window) -> dict[str, tuple[int, float]]:
    """queryid → (calls, ms) in the window."""
    rows = endpoints.sums(statements.SERIES, window.start, window.end)
    return {queryid: (count, total) for queryid, count, total in rows}


def _queries(rows: Sequence[Counted], spent: Mapping[str, tuple[int, float]] | None) -> list[Query]:
    if spent is None:
        return [Query(row, row.calls, row.total_ms) for row in rows]
    return [Query(row, *spent[row.queryid]) for row in rows if row.queryid in spent]


def _sparks(ids: Sequence[str], window: Window) -> dict[str, list[float]]:
    rows = endpoints.between(statements.SERIES, window.start, window.end).filter(subject__in=ids)
    found: dict[str, list[float]] = {}
    for subject, total in rows.order_by("at").values_list("subject", "total"):
        found.setdefault(subject, []).append(total)
    return found


def _query_chart(queryid: str, window: Window) -> Chart:
    points = queries.points(statements.SERIES, window.start, window.end, queryid)
    empty = _("No history yet. Celery beat notes every ten minutes what the busiest queries took.")
    return _chart(_("Mean time a call"), [console.means(_("mean"), points)], "ms", window, None, empty)


def _figures(one: Counted | None) -> list[tuple[str, str]]:
    if one is None or not one.calls:
        return []
    return [
        (_("Calls"), number(one.calls)),
        (_("Total"), number(one.total_ms, "ms")),
        (_("Mean"), number(one.total_ms / one.calls, "ms")),
        (_("Rows a call"), number(one.rows / one.calls)),
        (_("Blocks in memory"), number(one.hit_ratio, "ratio")),
    ]


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A node of a plan as a row of a tree."""

    level: int
    title: str
    condition: str
    cost: str
    rows: str
    actual: str
    ms: str
    blocks: str
    wrong: str
    """Says so where the estimate of rows is far off."""


def _flat(plan: Plan) -> list[PlanRow]:
    return [] if plan.root is None else list(_rows_of(plan.root, 0))


def _rows_of(node: Node, level: int) -> list[PlanRow]:
    off = node.off_by
    row = PlanRow(
        level=min(level, 12),
        title=node.title,
        condition=node.condition,
        cost=number(node.cost),
        rows=number(node.rows),
        actual=number(node.actual_rows),
        ms=number(node.ms, "ms"),
        blocks=number(node.blocks),
        wrong=_("estimate off %(times)s times") % {"times": number(off)}
        if off and off >= WRONG_ESTIMATE
        else "",
    )
    return [row, *(one for child in node.children for one in _rows_of(child, level + 1))]


def _about(queryid: str, plan: Plan) -> list[Recommendation]:
    """The newest recommendations that name the query, or an index of its plan."""
    named = Q(evidence__icontains=queryid)
    for index in plan.indexes:
        named |= Q(how__contains=index)
    return list(Recommendation.objects.filter(named, area="database")[:20])
