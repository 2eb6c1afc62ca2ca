"""What the app knows, as plain data: for the JSON API, the command and the console alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.models import Alert, OptimizationRun, Recommendation, Score
from paiid_perf.monitoring import endpoints, queries
from paiid_perf.monitoring.rules.score import AREAS
from paiid_perf.monitoring.types import Sample
from paiid_perf.optimization.health import describe

__all__ = ["AREAS", "LONGEST", "WINDOWS", "metrics", "report", "span_of", "text"]

#: Endpoints that are told, those that took most time.
ENDPOINTS = 100
#: The windows that a reader may choose.
WINDOWS = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
#: No metric is kept for longer.
LONGEST = timedelta(days=730)


def span_of(window: str) -> timedelta | None:
    """A window as people write it (``90m``, ``6h``, ``14d``, ``2w``), at most LONGEST; None for what is none."""
    number, unit = window[:-1], _UNITS.get(window[-1:])
    if unit is None or not (number.isascii() and number.isdigit()) or len(number) > 7:
        return None
    span = int(number) * unit
    return span if timedelta(0) < span <= LONGEST else None


def metrics(now: datetime, window: timedelta) -> dict[str, Any]:
    """Series and endpoints of the window that ends now; JSON types only.

    ``{"window_seconds", "series": {name: [[iso, value], …]}, "endpoints": [{…}]}``; times in ms, ratios 0–1,
    throughput in requests a second.
    """
    start = now - window
    latency = "api.latency_ms"
    busiest = endpoints.with_percentiles(
        endpoints.listed(start, now, limit=ENDPOINTS, series=(endpoints.LATENCY,)).rows, start, now
    )
    series = {
        "api.p50_ms": queries.percentiles(latency, start, now, 0.50),
        "api.p95_ms": queries.percentiles(latency, start, now, 0.95),
        "api.p99_ms": queries.percentiles(latency, start, now, 0.99),
        "api.requests_per_s": queries.rates(latency, start, now),
        "api.error_rate": queries.error_rates(start, now),
        "cache.hit_ratio": queries.hit_ratios(start, now),
        "system.cpu_percent": queries.gauges("system.cpu_percent", start, now),
        "system.memory_percent": queries.gauges("system.memory_percent", start, now),
        "db.connections_percent": queries.gauges("db.connections_percent", start, now),
    }
    return {
        "window_seconds": window.total_seconds(),
        "series": {name: _told(samples) for name, samples in series.items()},
        "endpoints": [
            {
                "method": row.method,
                "route": row.route,
                "requests": row.requests,
                "errors": row.errors,
                "mean_ms": round(row.mean_ms or 0.0, 3),
                "p50_ms": round(row.p50_ms or 0.0, 3),
                "p95_ms": round(row.p95_ms or 0.0, 3),
                "p99_ms": round(row.p99_ms or 0.0, 3),
            }
            for row in busiest
        ],
    }


def report(now: datetime, window: timedelta) -> dict[str, Any]:
    """Everything on one page: score, alerts, newest recommendations, what changes won, metrics; JSON types only."""
    last = OptimizationRun.objects.exclude(status__in=OptimizationRun.ACTIVE).first()
    score = Score.objects.first()
    return {
        "at": now.isoformat(),
        "score": score and {"overall": score.overall, "confidence": score.confidence, "areas": score.areas},
        "last_run": last and describe(last),
        "alerts": [
            {"message": row.message, "severity": row.severity, "since": row.opened_at.isoformat()}
            for row in Alert.objects.exclude(status=Alert.Status.RESOLVED)[:50]
        ],
        "recommendations": [
            {"id": row.pk, "area": row.area, "state": row.state, "title": row.title, "how": row.how}
            for row in Recommendation.objects.filter(state__in=Recommendation.OPEN)[:50]
        ],
        "changes": [
            {
                "id": row.pk,
                "state": row.state,
                "title": row.title,
                "gain": row.measured_gain,
                "outcome": row.outcome,
            }
            for row in Recommendation.objects.filter(state__in=("kept", "reverted"))[:50]
        ],
        "metrics": metrics(now, window),
    }


def text(found: dict[str, Any]) -> str:
    """A report as Markdown, which also reads well as it is."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: dict[str, Any]) -> Iterable[str]:
    score = found["score"]
    yield "# " + _("Performance report, %(at)s UTC") % {"at": found["at"][:16].replace("T", " ")}
    yield ""
    yield "## " + _("Score")
    if score is None:
        yield _("No run yet: `manage.py perf run`.")
    else:
        yield from _score_lines(score)
    for heading, rows, tell in SECTIONS:
        yield ""
        yield f"## {heading}"
        lines = [tell(row) for row in found[rows]]
        yield from lines or [_("None.")]
    yield ""
    yield "## " + _("Endpoints (by total time)")
    yield _("| endpoint | requests | errors | mean ms | p95 ms |")
    yield "|---|---:|---:|---:|---:|"
    for row in found["metrics"]["endpoints"][:20]:
        name = f"{row['method']} {row['route']}"
        yield f"| {name} | {row['requests']} | {row['errors']} | {row['mean_ms']:.1f} | {row['p95_ms']:.1f} |"


def _score_lines(score: dict[str, Any]) -> Iterable[str]:
    words = {"score": _number(score["overall"]), "confidence": f"{score['confidence']:.0%}"}
    yield _("Overall **%(score)s** (confidence %(confidence)s)") % words
    for name, area in score["areas"].items():
        yield f"- {_(name)}: {_number(area['score'])}"
        for lost in area["deductions"]:
            yield f"  - −{lost['points']:g} {_(lost['label'])}: {_found(lost)}. {_known(lost['hint'])}".rstrip()


def _found(lost: dict[str, Any]) -> str:
    target = {"value": f"{lost['value']:.4g} {lost['unit']}", "target": f"{lost['target']:g}"}
    return _known(lost["reason"]) or _("%(value)s, target %(target)s") % target


def _known(words: str) -> str:
    """What a run wrote, as the reader's language has it, where it does."""
    return _(words) if words else ""


def _number(value: float | None) -> str:
    return _("insufficient data") if value is None else f"{value:.0f}"


def _alert(row: dict[str, Any]) -> str:
    since = _("since %(at)s") % {"at": row["since"][:16]}
    return f"- {_(row['severity'])}: {row['message']} ({since})"


def _recommendation(row: dict[str, Any]) -> str:
    return f"- #{row['id']} [{_(row['area'])}] {row['title']}"


def _change(row: dict[str, Any]) -> str:
    return f"- #{row['id']} {_(row['state'])}: {row['title']} – {row['outcome']}"


#: heading, what of the report it is over, and how a row of that is told
SECTIONS: tuple[tuple[str | Promise, str, Callable[[dict[str, Any]], str]], ...] = (
    (gettext_lazy("Alerts"), "alerts", _alert),
    (gettext_lazy("Recommendations"), "recommendations", _recommendation),
    (gettext_lazy("Changes"), "changes", _change),
)


def _told(samples: Iterable[Sample]) -> list[list[Any]]:
    return [[sample.at.isoformat(), round(sample.value, 4)] for sample in samples]
