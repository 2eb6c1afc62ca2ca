"""What an applied change did, over time: its queries, or the look-ups of the cache, before and after."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from paiid_perf.admin import charts, console
from paiid_perf.admin.charts import WIDE, Chart, Line
from paiid_perf.admin.evidence import WATCHED
from paiid_perf.admin.window import Window
from paiid_perf.database.statements import SERIES
from paiid_perf.models import Recommendation
from paiid_perf.monitoring import queries

#: How long before a change the charts begin; they end as long after it, or now.
AROUND = timedelta(hours=6)
#: They end no sooner than this after it, so that the change stands within them.
LEAST = timedelta(minutes=30)
#: Queries that one chart tells apart.
LINES = 3
#: Characters of a query in a legend.
SHORT = 40


def drawn(rec: Recommendation, now: datetime | None = None) -> list[SafeString]:
    """A chart around the change; none for what was never applied, or changed nothing that has a history."""
    if rec.applied_at is None:
        return []
    window = _around(rec.applied_at, now or timezone.now())
    chart = _of_cache(window) if rec.area == "cache" else _of_queries(rec, window)
    return [] if chart is None else [charts.line_chart(chart)]


def _around(at: datetime, now: datetime) -> Window:
    # At most twelve hours in all: so they have a point for each minute.
    return Window("", at - AROUND + timedelta(minutes=1), max(min(now, at + AROUND), at + LEAST))


def _of_queries(rec: Recommendation, window: Window) -> Chart | None:
    """The busiest queries that it was made for, as their counters tell."""
    named = [one for one in rec.before.get("queries", ()) if _is_counted(one["key"])]
    busiest = sorted(named, key=lambda one: -one["calls"] * one["mean_ms"])[:LINES]
    if not busiest:
        return None
    lines = [_line(one["key"], " ".join(one["text"].split())[:SHORT], window) for one in busiest]
    empty = _("No history yet. Celery beat notes every ten minutes what the busiest queries took.")
    return window.chart(_("Mean time a call, before and after"), lines, "ms", empty=empty, width=WIDE)


def _is_counted(key: str) -> bool:
    """Whether it is a query id, and not that of a neighbour that is only watched."""
    return not key.startswith(WATCHED) and key.removeprefix("-").isdecimal()


def _line(queryid: str, label: str, window: Window) -> Line:
    return console.means(label, queries.points(SERIES, window.start, window.end, queryid))


def _of_cache(window: Window) -> Chart:
    line = console.hits(window.start, window.end)
    return window.chart(_("Cache hit ratio, before and after"), [line], "ratio", 1.0, width=WIDE)
