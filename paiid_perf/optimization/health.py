"""How the site and the app are, in one small answer. Cheap enough for a load balancer to ask every second."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from django.db import DatabaseError, connections
from django.db.models import Count
from django.utils import timezone

from paiid_perf.conf import get_settings
from paiid_perf.models import Alert, OptimizationRun, Recommendation, Score
from paiid_perf.stores import redis_gate

HealthStatus = Literal["ok", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class Health:
    """``down``: the database does not answer. ``degraded``: Redis does not, or a critical alert is open."""

    status: HealthStatus
    reasons: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def health() -> Health:
    """The health now: one query, one ping of Redis under the request path's time-out."""
    try:
        critical = Alert.objects.exclude(status=Alert.Status.RESOLVED).filter(severity="critical").count()
    except DatabaseError as error:
        return Health("down", (f"database {get_settings().DATABASE!r}: {type(error).__name__}",))
    reasons = tuple(_degradations(critical))
    return Health("degraded" if reasons else "ok", reasons)


def _degradations(critical: int) -> list[str]:
    reasons = []
    if redis_gate.is_redis() and not redis_gate.call(lambda redis: bool(redis.ping()), default=False):
        reasons.append("Redis does not answer: limits and caching are open")
    if critical:
        reasons.append(f"{critical} critical alert(s) are open")
    return reasons


def status() -> dict[str, Any]:
    """What the app is doing and what it last found. JSON types only.

    ``{"running": run | None, "last_run": run | None, "score": {...} | None, "open_alerts": n,
    "recommendations": {state: n}, "kill_switch": bool, "at": iso}``
    """
    settings = get_settings()
    active = OptimizationRun.objects.filter(status__in=OptimizationRun.ACTIVE).first()
    last = OptimizationRun.objects.exclude(status__in=OptimizationRun.ACTIVE).first()
    score = Score.objects.first()
    counts = Recommendation.objects.order_by().values_list("state").annotate(Count("pk"))
    return {
        "running": active and describe(active),
        "last_run": last and describe(last),
        "score": score and {"overall": score.overall, "confidence": score.confidence, "areas": score.areas},
        "open_alerts": Alert.objects.exclude(status=Alert.Status.RESOLVED).count(),
        "recommendations": dict.fromkeys(Recommendation.State.values, 0) | dict(counts),
        "kill_switch": settings.KILL_SWITCH,
        "databases": sorted(connections),
        "at": timezone.now().isoformat(),
    }


def describe(run: OptimizationRun) -> dict[str, Any]:
    """A run as JSON: ``{"id", "kind", "status", "progress", "step", "phases": [{"name", "status", "seconds",
    "summary", "error"}], "score", "changes", "seconds", "error", …}``. Seconds are rounded to milliseconds."""
    return {
        "id": run.pk,
        "kind": run.kind,
        "status": run.status,
        "trigger": run.trigger,
        "dry_run": run.dry_run,
        "progress": round(run.progress, 4),
        "step": run.step,
        "created_at": run.created_at.isoformat(),
        "started_at": run.started_at and run.started_at.isoformat(),
        "finished_at": run.finished_at and run.finished_at.isoformat(),
        "seconds": _rounded(run.seconds),
        "phases": [
            {
                "name": phase.name,
                "status": phase.status,
                "seconds": _rounded(phase.seconds),
                "summary": phase.summary,
                "error": phase.error,
            }
            for phase in run.phases.all()
        ],
        "score": run.score,
        "changes": run.changes,
        "error": run.error,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
