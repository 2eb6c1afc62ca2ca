"""The monitoring phase: gather → roll up → judge the alerts → say what is known and how fresh it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.utils.translation import gettext_lazy as _

from paiid_perf.contracts import ADVICE, Check, Phase, PhaseContext, PhaseResult, Proposal
from paiid_perf.models import Alert
from paiid_perf.monitoring import actions, outlook, queries
from paiid_perf.monitoring.rules.weights import WEIGHTS

AREA = "monitoring"
LOOK_BACK = timedelta(minutes=15)


def run(ctx: PhaseContext) -> PhaseResult:
    """Collect, roll up, judge; propose what the open alerts ask for."""
    ctx.progress(0.1, str(_("collecting metrics")))
    stored = actions.collect(ctx.now)
    ctx.progress(0.4, str(_("rolling up")))
    rolled = actions.roll_up(ctx.now)
    ctx.progress(0.7, str(_("judging alerts")))
    evaluation = actions.evaluate(ctx.now, ctx.settings)
    open_alerts = list(Alert.objects.exclude(status=Alert.Status.RESOLVED).select_related("rule"))
    outlooks = outlook.outlooks(ctx.now)
    asking = [alert for alert in open_alerts if alert.rule.metric not in WITHOUT_ADVICE]
    ctx.propose([*map(_advice, asking), *outlook.advice(outlooks)])
    return PhaseResult(
        "succeeded",
        _("%(stored)d metric rows stored, %(rolled)d rolled up; open alerts: %(alerts)d")
        % {"stored": stored, "rolled": rolled, "alerts": len(open_alerts)},
        checks=tuple(_checks(ctx.now)),
        details={
            "stored": stored,
            "rolled_up": rolled,
            "opened": [str(alert) for alert in evaluation.opened],
            "resolved": [str(alert) for alert in evaluation.resolved],
            "without_data": evaluation.without_data,
            "outlook": [found.to_json() for found in outlooks],
        },
    )


def _checks(now: datetime) -> Iterator[Check]:
    def check(
        name: str,
        label: str,
        value: float | None,
        limits: tuple[float, float],
        unit: str = "",
        hint: str = "",
    ) -> Check:
        target, worst = limits
        return Check(AREA, name, label, value, target, worst, WEIGHTS[AREA][name], unit, hint)

    start = now - LOOK_BACK
    for name, label, limits, hint in GAUGES:
        samples = queries.gauges(f"system.{name}", start, now + timedelta(minutes=1))
        value = sum(s.value for s in samples) / len(samples) if samples else None
        yield check(name, str(label), value, limits, unit="%", hint=str(hint))
    yield check(
        "freshness", str(_("Age of the newest metrics")), _age(now), (180.0, 900.0), unit="s", hint=BEAT_HINT
    )
    dropped = queries.window("telemetry.dropped", start, now).count
    yield check(
        "dropped",
        str(_("Metrics dropped")),
        dropped,
        (0.0, 1000.0),
        hint=str(_("Redis could not take them.")),
    )
    critical = Alert.objects.exclude(status=Alert.Status.RESOLVED).filter(severity="critical").count()
    yield check(
        "alerts", str(_("Critical alerts open")), critical, (0.0, 3.0), hint=str(_("See the alerts."))
    )


def _age(now: datetime) -> float | None:
    """Seconds since beat last started a collection; None if it never did."""
    newest = queries.newest(actions.HEARTBEAT)
    return None if newest is None else max(0.0, (now - newest).total_seconds())


BEAT_HINT = "Start a Celery worker with beat: metrics are collected once a minute."
GAUGES = (
    (
        "cpu_percent",
        _("CPU in use"),
        (80.0, 100.0),
        _("Find the endpoints with most total time; add workers or CPUs."),
    ),
    ("memory_percent", _("Memory in use"), (85.0, 100.0), _("Lower the number of workers, or add memory.")),
    ("disk_percent", _("Disk in use"), (85.0, 98.0), _("Delete by retention rules, or add disk.")),
)


def _advice(alert: Alert) -> Proposal:
    name = alert.rule.metric
    return Proposal(
        area=AREA,
        kind=ADVICE,
        key=f"alert {alert.rule.name} {alert.subject}".strip(),
        title=alert.message,
        why=str(ADVICE_OF.get(name, _("This metric is past its threshold."))),
        evidence={
            "metric": name,
            "value": alert.value,
            "threshold": alert.rule.threshold,
            "since": alert.opened_at.isoformat(),
            "times": alert.times,
        },
        risk="low",
    )


#: An anomaly says that something changed, not that it is wrong: the alert is enough.
WITHOUT_ADVICE = ("anomaly",)
ADVICE_OF = {
    "api_p95_ms": _(
        "Look at the endpoints with most total time: their queries, and whether they can be cached."
    ),
    "api_error_rate": _("Look at the log for the endpoint whose answers fail."),
    "cpu_percent": _(
        "Work arrives faster than the CPUs do it: cache the costliest endpoints, or add workers."
    ),
    "memory_percent": _(
        "Processes hold more than there is room for: fewer workers, smaller caches, or more memory."
    ),
    "cache_hit_ratio": _(
        "Most look-ups miss: lengthen the TTLs that invalidation makes safe, and warm what is asked for."
    ),
    "disk_percent": _("Set retention rules for the tables that only grow, or add disk."),
    "db_connections_percent": _("Connections run out: a pool in each process, or one between, needs fewer."),
    "celery_queue_depth": _("Tasks come faster than the workers do them: add workers, or do less by task."),
    **dict.fromkeys(
        ("api_burn_rate", "api_slow_burn_rate"),
        _("At this rate of errors the availability objective is missed: look at the answers from 500 on."),
    ),
    **dict.fromkeys(
        ("api_latency_burn_rate", "api_slow_latency_burn_rate"),
        _("At this rate the latency objective is missed: look at the endpoints with most total time."),
    ),
    "db_replication_lag_s": _(
        "A replica is behind: look for long transactions on it, and for its network, disk and CPU."
    ),
    "db_txid_age_percent": _(
        "Autovacuum does not freeze: end old transactions, drop unused replication slots, then VACUUM FREEZE."
    ),
    "celery_queue_age_s": _("Tasks wait too long: add workers, or give long tasks a queue of their own."),
    "celery_beat_silent_s": _("Start Celery beat: without it no metric is collected and no alert judged."),
}

PHASE = Phase(AREA, str(_("Monitoring")), 40, run)
