"""What runs out and when, how many workers the work needs, and what it all costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.admin import charts, marks, tables
from paiid_perf.admin.base import VIEW, require
from paiid_perf.admin.charts import Chart, Line
from paiid_perf.admin.figures import number
from paiid_perf.admin.money import money
from paiid_perf.admin.pages.base import ConsoleAdmin, Page, last_phase
from paiid_perf.admin.tables import Column, Table
from paiid_perf.conf import get_settings
from paiid_perf.monitoring import capacity, outlook
from paiid_perf.monitoring.outlook import WATCHED, Outlook
from paiid_perf.monitoring.types import Expense, Staffing

#: "What if": how many times the work of the busiest hour.
FACTORS = ("1.5", "2", "3", "5", "10")
DOUBLED = "2"
LOADS: Mapping[str, str | Promise] = {
    "web": gettext_lazy("Web workers: requests at a time"),
    "database": gettext_lazy("Database connections: busy at a time"),
    "celery": gettext_lazy("Celery workers: tasks at a time"),
}
RESOURCES: Mapping[str, str | Promise] = {
    "storage": gettext_lazy("Database storage"),
    "index_waste": gettext_lazy("of it indexes that recommendations would free"),
    "cache": gettext_lazy("Cache memory"),
    "workers": gettext_lazy("Worker processes"),
}

Plan = tuple[Staffing, Staffing]


def view(page: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    require(request, VIEW)
    now, phase = timezone.now(), last_phase("monitoring")
    asked = request.GET.get("factor", DOUBLED)
    factor = asked if asked in FACTORS else DOUBLED
    expenses = capacity.expenses(now, get_settings().UNIT_PRICES)
    return page.shown(
        request,
        "outlook",
        _("Outlook"),
        phase=phase,
        forecasts=_forecasts(phase.details.get("outlook", ()) if phase else ()),
        chart=_chart(request.GET, now),
        staffing=_staffing(capacity.plan(now, float(factor)), factor),
        factors=FACTORS,
        factor=factor,
        expenses=_expenses(expenses),
        per_day=money(sum(e.per_day for e in expenses if e.use.resource != "index_waste")),
    )


def _table(label: str, columns: Sequence[Column[Any]], rows: Sequence[Any]) -> Table | None:
    return tables.table(label, columns, rows, {}, "", len(rows)) if rows else None


def _forecasts(found: Sequence[Mapping[str, Any]]) -> Table | None:
    def link(row: Mapping[str, Any]) -> SafeString:
        query = urlencode({"metric": row["metric"], "subject": row["subject"]})
        return format_html('<a href="?{}">{}</a>', query, row.get("label", row["metric"]))

    columns: tuple[Column[Any], ...] = (
        Column("what", gettext_lazy("What"), link, is_number=False),
        Column("when", gettext_lazy("Forecast"), lambda row: row["text"], is_number=False),
        Column("how", gettext_lazy("Method"), lambda row: row["method"], is_number=False),
        Column("error", gettext_lazy("Mean error on its past"), lambda row: _figure(row, "error")),
        Column("naive", gettext_lazy("… of the season before"), lambda row: _figure(row, "naive_error")),
    )
    return _table(_("Forecasts"), columns, found)


def _figure(row: Mapping[str, Any], name: str) -> str:
    return number(row[name], row.get("unit", ""))


def _staffing(plans: Sequence[Plan], factor: str) -> Table | None:
    times = _("with %(factor)s times the work") % {"factor": factor}
    columns: tuple[Column[Any], ...] = (
        Column("what", gettext_lazy("What"), lambda plan: LOADS[plan[0].load.name], is_number=False),
        Column("rate", gettext_lazy("Arrive"), lambda plan: number(plan[0].load.arrivals, "/s")),
        Column("time", gettext_lazy("Take"), lambda plan: number(plan[0].load.service_s * 1000, "ms")),
        Column("busy", gettext_lazy("Busy on average"), lambda plan: number(plan[0].busy)),
        Column("need", gettext_lazy("Needed"), lambda plan: plan[0].needed),
        Column("busy_then", _("Busy %(times)s") % {"times": times}, lambda plan: number(plan[1].busy)),
        Column("need_then", _("Needed %(times)s") % {"times": times}, lambda plan: plan[1].needed),
    )
    return _table(_("Capacity"), columns, plans)


def _expenses(found: Sequence[Expense]) -> Table | None:
    def amount(expense: Expense) -> str:
        return number(expense.use.amount, "" if expense.use.resource == "workers" else "bytes")

    columns: tuple[Column[Any], ...] = (
        Column(
            "what", gettext_lazy("What"), lambda expense: RESOURCES[expense.use.resource], is_number=False
        ),
        Column("use", gettext_lazy("In use"), amount),
        Column("money", gettext_lazy("A day"), lambda expense: money(expense.per_day)),
    )
    return _table(_("Cost"), columns, found)


def _chart(params: Mapping[str, str], now: datetime) -> SafeString | None:
    metric, subject = params.get("metric", ""), params.get("subject", "")
    found = outlook.of(metric, now, only=subject) if metric in WATCHED else ()
    return next((charts.line_chart(drawn(one)) for one in found), None)


def drawn(found: Outlook) -> Chart:
    """The past that was forecast from, and the band ahead."""
    step, ahead = found.grain.step, found.forecast.ahead
    start = found.end - len(found.values) * step
    end = found.end + len(ahead) * step
    past = [(start + n * step, value) for n, value in enumerate(found.values)]
    edges = (
        (_("expected"), [band.middle for band in ahead]),
        (_("at most"), [band.high for band in ahead]),
        (_("at least"), [band.low for band in ahead]),
    )
    lines = [
        Line(_("measured"), past, found.values[-1]),
        *(
            Line(label, [(found.end + n * step, value) for n, value in enumerate(values)], values[-1])
            for label, values in edges
        ),
    ]
    title = f"{found.label}: {found.text()}"
    unit = WATCHED[found.metric].unit
    resolution = int(step.total_seconds())
    return Chart(title, lines, start, end, unit, resolution=resolution, marks=marks.marks(start, end))


PAGES = (Page("outlook/", "paiid_perf_outlook", view),)
