"""What the overview shows, gathered in a bounded number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.admin import charts
from paiid_perf.conf import get_settings
from paiid_perf.models import Alert, OptimizationRun, Recommendation, Score
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.queries import EndpointRow
from paiid_perf.monitoring.types import Sample
from paiid_perf.optimization.reports import WINDOWS

AREA_NAMES = {
    "database": gettext_lazy("Database"),
    "api": gettext_lazy("API"),
    "cache": gettext_lazy("Cache"),
    "monitoring": gettext_lazy("Monitoring"),
    "security": gettext_lazy("Security"),
}
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Area:
    """One area's score with its deductions."""

    name: str
    label: str
    score: float | None
    grade: str
    deductions: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Overview:
    """The page's facts."""

    score: Score | None
    dial: SafeString
    areas: Sequence[Area]
    alerts: Sequence[Alert]
    waiting: Sequence[Recommendation]
    changes: Sequence[Recommendation]
    runs: Sequence[OptimizationRun]
    running: OptimizationRun | None
    charts: Sequence[SafeString]
    endpoints: Sequence[EndpointRow]
    window: str
    windows: Sequence[str]
    kill_switch: bool
    has_traffic: bool


def gather(now: datetime, window: str) -> Overview:
    """Everything on the page; about a dozen queries, whatever the tables hold."""
    start = now - WINDOWS[window]
    score = Score.objects.first()
    endpoints = queries.endpoints(start, now)
    runs = list(OptimizationRun.objects.select_related("user")[:SHOWN])
    ledger = Recommendation.objects.all()
    return Overview(
        score=score,
        dial=charts.dial(score.overall if score else None, _("Score")),
        areas=_areas(score),
        alerts=list(Alert.objects.exclude(status=Alert.Status.RESOLVED).select_related("rule")[:SHOWN]),
        waiting=list(ledger.filter(state__in=Recommendation.OPEN)[:SHOWN]),
        changes=list(
            ledger.filter(state__in=("kept", "reverted", "failed")).order_by("-finished_at")[:SHOWN]
        ),
        runs=runs,
        running=next((run for run in runs if run.is_active), None),
        charts=_charts(start, now),
        endpoints=endpoints[:SHOWN],
        window=window,
        windows=list(WINDOWS),
        kill_switch=get_settings().KILL_SWITCH,
        has_traffic=bool(endpoints),
    )


def _areas(score: Score | None) -> list[Area]:
    found = score.areas if score else {}
    return [
        Area(name, label, area.get("score"), charts.grade(area.get("score")), area.get("deductions", []))
        for name, label in AREA_NAMES.items()
        for area in (found.get(name, {}),)
    ]


def _charts(start: datetime, end: datetime) -> list[SafeString]:
    latency = "api.latency_ms"
    percentiles = [
        _line(name, queries.percentiles(latency, start, end, q))
        for name, q in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
    ]
    throughput = [_line(_("requests"), queries.rates(latency, start, end))]
    hits = [_line(_("hits"), queries.hit_ratios(start, end))]
    errors = [_line(_("errors"), queries.error_rates(start, end))]
    return [
        charts.line_chart(_("Latency"), percentiles, start, end, "ms"),
        charts.line_chart(_("Throughput"), throughput, start, end, "/s"),
        charts.line_chart(_("Cache hit ratio"), hits, start, end, "ratio", top=1.0),
        charts.line_chart(_("Error rate"), errors, start, end, "ratio"),
    ]


def _line(label: str, samples: Sequence[Sample]) -> charts.Line:
    return charts.Line(label, [(sample.at, sample.value) for sample in samples])
