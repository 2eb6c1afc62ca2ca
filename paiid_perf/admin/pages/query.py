"""One query: its figures, its plan (POST: measured, on a sampled run), what was advised about it."""

from __future__ import annotations

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from paiid_perf.admin import charts, endpoints, plans
from paiid_perf.admin.base import APPLY, VIEW, require
from paiid_perf.admin.charts import Chart
from paiid_perf.admin.endpoints import Slow
from paiid_perf.admin.figures import number
from paiid_perf.admin.pages.base import ConsoleAdmin, Page
from paiid_perf.admin.window import Window, window_of
from paiid_perf.conf import get_settings
from paiid_perf.database import statements
from paiid_perf.database.statements import Counted, Plan
from paiid_perf.models import Recommendation

#: Recommendations that the page lists.
ADVICE = 20


def view(page: ConsoleAdmin, request: HttpRequest, queryid: str) -> HttpResponse:
    require(request, VIEW)
    measured = request.method == "POST"
    if measured:
        require(request, APPLY)
    settings, window = get_settings(), window_of(request, "6h")
    text = _text(queryid)
    if measured:
        page.note(request, f"measured the query {queryid}")
    one = next((row for row in statements.counted(settings).rows if row.queryid == queryid), None)
    plan = statements.plan(settings, text, measure=measured)
    return page.shown(
        request,
        "query",
        _("Query %(id)s") % {"id": queryid},
        window=window,
        text=text,
        facts=_figures(one),
        plan=plan,
        nodes=plans.rows_of(plan),
        measured=measured,
        chart=charts.line_chart(_chart(queryid, window)),
        advice=_about(queryid, plan),
        senders=_senders(queryid, window),
        may_measure=request.user.has_perm(APPLY),
    )


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


PAGES = (Page("queries/<str:queryid>/", "paiid_perf_query", view),)
