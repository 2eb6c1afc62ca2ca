"""One query: its figures, its plan (POST: a worker measures it, on a sampled run), what was advised about it."""

from __future__ import annotations

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _

from paiid_perf.admin import charts, endpoints, plans
from paiid_perf.admin.base import APPLY, VIEW, require
from paiid_perf.admin.charts import Chart
from paiid_perf.admin.endpoints import Slow
from paiid_perf.admin.figures import number
from paiid_perf.admin.pages.base import ConsoleAdmin, Page
from paiid_perf.admin.window import Window, window_of
from paiid_perf.conf import get_settings
from paiid_perf.database import measured, statements
from paiid_perf.database.statements import Counted, Plan
from paiid_perf.models import Recommendation
from paiid_perf.optimization import runner

#: Recommendations that the page lists.
ADVICE = 20


def view(page: ConsoleAdmin, request: HttpRequest, queryid: str) -> HttpResponse:
    require(request, VIEW)
    text = _text(queryid)
    if request.method == "POST":
        return _measure(page, request, queryid)
    settings, window = get_settings(), window_of(request, "6h")
    one = next((row for row in statements.counted(settings).rows if row.queryid == queryid), None)
    seen = measured.look(settings, queryid)
    plan = seen.plan if seen.is_there and seen.plan else statements.plan(settings, text)
    return page.shown(
        request,
        "query",
        _("Query %(id)s") % {"id": queryid},
        window=window,
        text=text,
        facts=_figures(one),
        plan=plan,
        nodes=plans.rows_of(plan),
        measured=seen,
        state=page.address("paiid_perf_query_state", queryid),
        chart=charts.line_chart(_chart(queryid, window)),
        advice=_about(queryid, plan),
        senders=_senders(queryid, window),
        may_measure=request.user.has_perm(APPLY),
    )


def state(page: ConsoleAdmin, request: HttpRequest, queryid: str) -> HttpResponse:
    """Whether it has been measured, as JSON: a page that waits for a worker asks for it."""
    require(request, VIEW)
    return JsonResponse({"status": measured.look(get_settings(), queryid).status})


def _measure(page: ConsoleAdmin, request: HttpRequest, queryid: str) -> HttpResponse:
    require(request, APPLY)
    measured.begin(get_settings(), queryid)
    taken = runner.enqueue_measure(queryid)
    if not taken:
        measured.forget(get_settings(), queryid)
    told, logged = (
        _("A worker measures it; this page shows what comes of it."),
        f"measured the query {queryid}",
    )
    return page.handed_over(request, taken, told, logged, "paiid_perf_query", queryid)


def _text(queryid: str) -> str:
    """The normalised text; 404 for what is no id, or not known."""
    if not queryid.removeprefix("-").isdecimal() or len(queryid) > 20:
        raise Http404
    text = statements.texts(get_settings(), [queryid]).get(queryid)
    if text is None:
        raise Http404
    return text


def _chart(queryid: str, window: Window) -> Chart:
    empty = _("No history yet. Celery beat notes every ten minutes what the busiest queries took.")
    line = window.mean(statements.SERIES, queryid)
    return window.chart(_("Mean time a call"), [line], "ms", empty=empty)


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


def _senders(queryid: str, window: Window) -> list[Slow]:
    """The endpoints that send it, as far as requests that were looked into say."""
    marks = [mark for mark, known in statements.linked(get_settings()).items() if known == queryid]
    return endpoints.senders(marks, window.start, window.end) if marks else []


def _about(queryid: str, plan: Plan) -> list[Recommendation]:
    """The newest recommendations that name the query, or an index of its plan."""
    named = Q(evidence__icontains=queryid)
    for index in plan.indexes:
        named |= Q(how__contains=index)
    return list(Recommendation.objects.filter(named, area="database")[:ADVICE])


PAGES = (
    Page("queries/<str:queryid>/state/", "paiid_perf_query_state", state),
    Page("queries/<str:queryid>/", "paiid_perf_query", view),
)
