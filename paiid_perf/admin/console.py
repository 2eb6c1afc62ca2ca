"""The overview: everything on one page, in as many queries whatever the tables hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from statistics import fmean
from typing import Any

from django.db.models import Case, Count, F, Value, When
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from paiid_perf.admin import charts, glyphs
from paiid_perf.admin.charts import Chart, Line
from paiid_perf.admin.evidence import compared, won
from paiid_perf.admin.figures import number
from paiid_perf.admin.marks import marks
from paiid_perf.conf import get_settings
from paiid_perf.contracts import ADVICE
from paiid_perf.models import Alert, OptimizationRun, Recommendation, Score
from paiid_perf.monitoring import endpoints, queries
from paiid_perf.monitoring.queries import Traffic
from paiid_perf.monitoring.types import Point, Sample
from paiid_perf.optimization.reports import LONGEST, WINDOWS, span_of
from paiid_perf.telemetry.histogram import merge, percentiles

AREA_NAMES: Mapping[str, str | Promise] = {
    "database": gettext_lazy("Database"),
    "api": gettext_lazy("API"),
    "cache": gettext_lazy("Cache"),
    "monitoring": gettext_lazy("Monitoring"),
    "security": gettext_lazy("Security"),
}
State = Recommendation.State
SHOWN = 6
DEFAULT_WINDOW = "1h"
#: Changes that count as made lately.
LATELY = 24
HISTORY = 40
#: Beat writes a heartbeat each minute; without one for this long it is called silent.
SILENCE = timedelta(minutes=5)
PERCENTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))


@dataclass(frozen=True, slots=True)
class Area:
    """One area's score with its deductions."""

    name: str
    label: str
    score: float | None
    grade: str
    bar: SafeString
    deductions: Sequence[Deduction]

    @property
    def more(self) -> int:
        """How many deductions there are beyond the first two."""
        return max(0, len(self.deductions) - 2)


@dataclass(frozen=True, slots=True)
class Deduction:
    """Points taken off, what for, and what wins them back."""

    points: float
    label: str
    found: str
    hint: str


@dataclass(frozen=True, slots=True)
class Won:
    """A change that was made, and the times of a call before and after it (empty where none were compared)."""

    rec: Recommendation
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The page's facts."""

    score: Score | None
    dial: SafeString
    history: SafeString
    areas: Sequence[Area]
    alerts: Sequence[Alert]
    waiting: Sequence[Recommendation]
    """Each with ``area_label``, the area's name."""
    waiting_count: int
    changes: Sequence[Won]
    changes_count: int
    runs: Sequence[OptimizationRun]
    running: OptimizationRun | None
    charts: Sequence[SafeString]
    endpoints: Sequence[tuple[float, endpoints.Row]]
    """(share of all time, row), the one that took most first."""
    window: str
    windows: Sequence[str]
    notices: Sequence[str]


def gather(now: datetime, window: str) -> Overview:
    """Everything on the page."""
    start = now - (span_of(window) or LONGEST)
    scores = list(Score.objects.values_list("overall", flat=True)[:HISTORY])
    score = Score.objects.first()
    traffic = queries.traffic(start, now)
    busiest = _busiest(start, now)
    runs = list(OptimizationRun.objects.select_related("user")[:SHOWN])
    counts: dict[str, int] = dict(
        Recommendation.objects.order_by().values_list("state").annotate(Count("pk"))
    )
    return Overview(
        score=score,
        dial=glyphs.dial(score.overall if score else None, _("Overall score")),
        history=_history(scores),
        areas=areas_of(score.areas if score else {}),
        alerts=_alerts(),
        waiting=_waiting(),
        waiting_count=counts.get(State.PROPOSED, 0) + counts.get(State.APPROVED, 0),
        changes=_changes(),
        changes_count=counts.get(State.KEPT, 0) + counts.get(State.REVERTED, 0),
        runs=runs,
        running=next((run for run in runs if run.is_active), None),
        charts=[charts.line_chart(chart) for chart in charts_of(traffic, start, now)],
        endpoints=busiest,
        window=window,
        windows=list(WINDOWS),
        notices=_notices(now),
    )


# --- the score -----------------------------------------------------------------------------------------


def areas_of(found: Mapping[str, Any]) -> list[Area]:
    """The five areas of a stored score, in the order of the phases."""
    return [
        Area(
            name=name,
            label=str(label),
            score=area.get("score"),
            grade=glyphs.grade(area.get("score")),
            bar=glyphs.meter(area.get("score")),
            deductions=[_deduction(lost) for lost in area.get("deductions", [])],
        )
        for name, label in AREA_NAMES.items()
        for area in (found.get(name, {}),)
    ]


def _deduction(lost: Mapping[str, Any]) -> Deduction:
    return Deduction(lost["points"], _known(lost["label"]), _found(lost), _known(lost["hint"]))


def _known(text: str) -> str:
    """What a run wrote down, in the reader's language where the catalogues know it."""
    return _(text) if text else ""


def _found(lost: Mapping[str, Any]) -> str:
    if lost["reason"]:
        return _known(lost["reason"])
    value, target, unit = lost["value"], lost["target"], lost["unit"]
    if target == 1 and 0 <= value < 1 and not unit:
        # A measure that is in place, in part or not at all.
        return (
            _("not in place") if value == 0 else _("%(share)s in place") % {"share": number(value, "ratio")}
        )
    words = {"value": number(value, unit), "target": number(target, unit)}
    return _("%(value)s, target %(target)s") % words


def _history(newest_first: Sequence[float | None]) -> SafeString:
    values = [value for value in reversed(newest_first) if value is not None]
    label = _("Overall score over the last %(count)d runs") % {"count": len(values)}
    return glyphs.sparkline(values, label, top=100.0)


# --- what needs a person, and what was done -----------------------------------------------------------


def _alerts() -> list[Alert]:
    by_weight = Case(
        When(severity="critical", then=Value(0)), When(severity="warning", then=Value(1)), default=2
    )
    rows = Alert.objects.exclude(status=Alert.Status.RESOLVED).select_related("rule", "acknowledged_by")
    return list(rows.order_by(by_weight, "-opened_at")[:SHOWN])


def _waiting() -> list[Recommendation]:
    """What a person decides on: the app's own proposals by their gain, then advice."""
    rows = Recommendation.objects.filter(state__in=(State.PROPOSED, State.APPROVED))
    advice_last = Case(When(kind=ADVICE, then=Value(1)), default=Value(0))
    found = list(rows.order_by(advice_last, F("expected_gain").desc(nulls_last=True), "-pk")[:SHOWN])
    for rec in found:
        rec.area_label = AREA_NAMES.get(rec.area, rec.area)  # type: ignore[attr-defined]
    return found


def _changes() -> list[Won]:
    """Of the newest changes, those that won most; what was made and not yet judged comes before all."""
    made = (State.APPLYING, State.VERIFYING, State.KEPT, State.REVERTED, State.FAILED)
    rows = Recommendation.objects.filter(state__in=made)
    newest = list(rows.filter(applied_at__isnull=False).order_by("-applied_at", "-pk")[:LATELY])
    newest += rows.filter(applied_at=None).order_by("-pk")[: LATELY - len(newest)]
    ordered = sorted(newest, key=lambda rec: (rec.finished_at is not None, -(rec.measured_gain or 0.0)))
    return [_won(rec) for rec in ordered[:SHOWN]]


def _won(rec: Recommendation) -> Won:
    times = won(compared(rec.before, rec.after))
    if times is None:
        return Won(rec, "", "")
    return Won(rec, number(times[0], "ms"), number(times[1], "ms"))


def _busiest(start: datetime, end: datetime) -> list[tuple[float, endpoints.Row]]:
    """The endpoints that took most time, each with its share of all of it."""
    found = endpoints.listed(start, end, limit=2 * SHOWN, series=(endpoints.LATENCY,))
    shown = endpoints.with_percentiles(found.rows, start, end)
    return [(row.total_ms / found.total_ms if found.total_ms else 0.0, row) for row in shown]


# --- the charts ------------------------------------------------------------------------------------------


def charts_of(traffic: Traffic, start: datetime, end: datetime) -> list[Chart]:
    """Latency, throughput, errors, hit ratio, database time and the machine, with marks where changes were made."""
    requests = traffic.points
    seconds = (end - start).total_seconds()
    resolution = queries.resolution_for(start, end)
    no_traffic = _(
        "No traffic was recorded. Is paiid_perf.middleware.PerfMiddleware in MIDDLEWARE, and does Celery beat "
        "collect the metrics?"
    )

    def chart(
        title: str, lines: Sequence[Line], unit: str, top: float | None = None, empty: str = ""
    ) -> Chart:
        return Chart(title, lines, start, end, unit, top, resolution, made, empty or no_traffic)

    made = marks(start, end)
    count = sum(point.count for point in requests)
    rates = [(point.at, point.count / resolution) for point in requests]
    errors = [(sample.at, sample.value) for sample in traffic.errors]
    return [
        chart(_("Response time"), latencies(requests), "ms"),
        chart(_("Throughput"), [Line(_("requests"), rates, count / seconds)], "/s"),
        chart(
            _("Error rate"),
            [Line(_("errors"), errors, errors[-1][1] if errors else None)],
            "ratio",
            empty=_("Too few requests in any minute to speak of a rate (20 are enough).") if requests else "",
        ),
        chart(
            _("Cache hit ratio"),
            [hits(start, end)],
            "ratio",
            top=1.0,
            empty=_(
                "No cache look-up was recorded. Use paiid_perf.cache, or give an endpoint a response cache."
            ),
        ),
        chart(_("Database time a request"), [_database_time(start, end)], "ms"),
        chart(
            _("Machine"),
            _gauges({"system.cpu_percent": _("CPU"), "system.memory_percent": _("memory")}, start, end),
            "%",
            top=100.0,
            empty=_("No gauge was read. Start Celery beat with paiid_perf.tasks.beat_schedule()."),
        ),
    ]


def latencies(requests: Sequence[Point]) -> list[Line]:
    """A line for each of PERCENTILES."""
    fractions = [q for _label, q in PERCENTILES]
    found = [(point.at, values) for point in requests if (values := percentiles(point.buckets, fractions))]
    whole = percentiles(merge(point.buckets for point in requests), fractions)
    return [
        Line(label, [(at, values[place]) for at, values in found], whole[place] if whole else None)
        for place, (label, _q) in enumerate(PERCENTILES)
    ]


def hits(start: datetime, end: datetime) -> Line:
    found: dict[datetime, list[int]] = {}
    for place, name in enumerate(("cache.hits", "cache.misses")):
        for point in queries.sums(name, start, end):
            found.setdefault(point.at, [0, 0])[place] = point.count
    pairs = [(at, hits, hits + misses) for at, (hits, misses) in sorted(found.items()) if hits + misses]
    lookups = sum(total for _at, _hits, total in pairs)
    whole = sum(hits for _at, hits, _total in pairs) / lookups if lookups else None
    return Line(_("hits"), [(at, hits / total) for at, hits, total in pairs], whole)


def _database_time(start: datetime, end: datetime) -> Line:
    return means(_("database"), queries.sums("api.db_ms", start, end))


def _gauges(labels: Mapping[str, str], start: datetime, end: datetime) -> list[Line]:
    """A line for each gauge: the mean of all hosts."""
    found = queries.gauges_of(labels, start, end)
    return [_mean_of(label, chain.from_iterable(found[name].values())) for name, label in labels.items()]


def _mean_of(label: str, samples: Iterable[Sample]) -> Line:
    at: defaultdict[datetime, list[float]] = defaultdict(list)
    for sample in samples:
        at[sample.at].append(sample.value)
    values = [value for together in at.values() for value in together]
    return Line(label, [(when, fmean(at[when])) for when in sorted(at)], fmean(values) if values else None)


def means(label: str, points: Sequence[Point]) -> Line:
    count = sum(point.count for point in points)
    whole = sum(point.total for point in points) / count if count else None
    return Line(label, [(point.at, point.mean) for point in points if point.mean is not None], whole)


# --- what is amiss with the app itself ---------------------------------------------------------------


def _notices(now: datetime) -> list[str]:
    settings = get_settings()
    told: tuple[tuple[bool, Callable[[], str]], ...] = (
        (not settings.ENABLED, lambda: _('The app is off. Set PAIID_PERF["ENABLED"] to True.')),
        (
            settings.KILL_SWITCH,
            lambda: _('The kill switch is on: nothing is changed. PAIID_PERF["KILL_SWITCH"] turns it off.'),
        ),
        (True, lambda: _silence(now)),
    )
    return [text for holds, tell in told if holds and (text := tell())]


def _silence(now: datetime) -> str:
    last = queries.newest("monitoring.heartbeat")
    if last is not None and now - last < SILENCE:
        return ""
    how = _("Start a Celery worker with beat (celery -A project worker --beat), and give it beat_schedule().")
    if last is None:
        return _("Celery beat has never collected metrics here.") + " " + how
    minutes = int((now - last).total_seconds() // 60)
    since = ngettext(
        "Celery beat has been silent for %(count)d minute.",
        "Celery beat has been silent for %(count)d minutes.",
        minutes,
    )
    return since % {"count": minutes} + " " + how
