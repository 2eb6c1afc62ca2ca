"""Celery tasks and the beat schedule; each is a thin call.

Settings import ``beat_schedule`` from here before the apps are loaded, so models are imported inside.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from celery import shared_task
from celery.schedules import crontab

from paiid_perf.exceptions import AlreadyRunning, InvalidTransition

logger = logging.getLogger("paiid_perf")


def beat_schedule() -> dict[str, dict[str, Any]]:
    """What beat runs, for ``CELERY_BEAT_SCHEDULE``: a full run each night, a quick one each hour, the rest often.

    ``expires`` keeps a worker that was away from doing the same thing many times over.
    """
    return {
        f"paiid_perf.{name}": {
            "task": f"paiid_perf.{name}",
            "schedule": schedule,
            "options": {"expires": expires},
        }
        for name, schedule, expires in SCHEDULE
    }


SCHEDULE: tuple[tuple[str, Any, int], ...] = (
    ("collect", timedelta(minutes=1), 55),
    ("push", timedelta(minutes=1), 55),
    ("settle", timedelta(minutes=5), 240),
    ("warm", timedelta(minutes=1), 55),
    ("refresh", timedelta(minutes=1), 55),
    ("statements", timedelta(minutes=10), 540),
    ("roll_up", timedelta(minutes=10), 540),
    ("prune", crontab(minute="17"), 1800),
    ("run_quick", crontab(minute="7"), 1800),
    ("run_full", crontab(minute="37", hour="3"), 3600),
)


@shared_task(name="paiid_perf.run")
def run(run_id: int) -> None:
    """Execute a queued run."""
    from paiid_perf.models import OptimizationRun
    from paiid_perf.optimization import runner

    if OptimizationRun.objects.filter(pk=run_id, status=OptimizationRun.Status.QUEUED).exists():
        runner.execute(run_id)


#: One change is made at a time: of many that were asked for together, each waits for those before it, and for a run,
#: for about an hour. What is approved and still waits then is the next run's.
TURN: dict[str, Any] = {
    "autoretry_for": (AlreadyRunning,),
    "max_retries": 70,
    "retry_backoff": 1,
    "retry_backoff_max": 60,
}


@shared_task(name="paiid_perf.apply", **TURN)
def apply(recommendation_id: int, user_id: int | None = None) -> None:
    """Apply one change at a person's word."""
    _on_row("apply", recommendation_id, user_id)


@shared_task(name="paiid_perf.revert", **TURN)
def revert(recommendation_id: int, user_id: int | None = None) -> None:
    """Take one change back at a person's word."""
    _on_row("revert", recommendation_id, user_id)


def _on_row(move: str, recommendation_id: int, user_id: int | None) -> None:
    from django.contrib.auth import get_user_model

    from paiid_perf.models import Recommendation
    from paiid_perf.optimization import ledger

    user = None if user_id is None else get_user_model().objects.filter(pk=user_id).first()
    moves = {"apply": ledger.apply, "revert": ledger.revert}
    try:
        moves[move](Recommendation.objects.get(pk=recommendation_id), user)
    except InvalidTransition as error:
        logger.info("%s %s: somebody else was first (%s)", move, recommendation_id, error)


@shared_task(name="paiid_perf.run_full")
def run_full() -> None:
    """The nightly run."""
    _run("full")


@shared_task(name="paiid_perf.run_quick")
def run_quick() -> None:
    """The hourly run."""
    _run("quick")


def _run(kind: str) -> None:
    from paiid_perf.exceptions import ActionRefused, AlreadyRunning
    from paiid_perf.optimization import runner

    try:
        runner.execute(runner.request(kind, "beat").pk)
    except (AlreadyRunning, ActionRefused) as reason:
        runner.logger.info("no scheduled %s run: %s", kind, reason)


@shared_task(name="paiid_perf.collect")
def collect() -> None:
    """Gather metrics and judge the alerts."""
    from paiid_perf.optimization import upkeep

    upkeep.collect()


@shared_task(name="paiid_perf.push")
def push() -> None:
    """Send the metrics to the OpenTelemetry collector of OTLP_ENDPOINT, where one is set."""
    from paiid_perf.optimization import upkeep

    upkeep.push()


@shared_task(name="paiid_perf.roll_up")
def roll_up() -> None:
    """Merge minutes into hours and hours into days."""
    from paiid_perf.optimization import upkeep

    upkeep.roll_up()


@shared_task(name="paiid_perf.prune")
def prune() -> None:
    """Delete what is past its retention."""
    from paiid_perf.optimization import upkeep

    upkeep.prune()


@shared_task(name="paiid_perf.warm")
def warm() -> None:
    """Warm what the declared warmers say and is due, in as many workers as are free."""
    from paiid_perf.optimization import upkeep

    upkeep.warm()


@shared_task(name="paiid_perf.warm_one")
def warm_one(name: str) -> None:
    """Warm what one warmer says."""
    from paiid_perf.optimization import upkeep

    upkeep.warm_one(name)


@shared_task(name="paiid_perf.clear")
def clear(strategy: str) -> None:
    """Forget the values of one cache strategy, at a person's word."""
    from paiid_perf.optimization import upkeep

    upkeep.clear(strategy)


@shared_task(name="paiid_perf.measure")
def measure(queryid: str) -> None:
    """Measure the plan of one counted statement, at a person's word."""
    from paiid_perf.optimization import upkeep

    upkeep.measure(queryid)


@shared_task(name="paiid_perf.statements")
def statements() -> None:
    """Note what the busiest statements took since the last look."""
    from paiid_perf.optimization import upkeep

    upkeep.statements()


@shared_task(name="paiid_perf.refresh")
def refresh() -> None:
    """Refresh the materialized views that are due and whose sources changed."""
    from paiid_perf.optimization import upkeep

    upkeep.refresh()


@shared_task(
    name="paiid_perf.notify",
    autoretry_for=(Exception,),
    retry_backoff=60,
    retry_backoff_max=3600,
    max_retries=6,
)
def notify(path: str, alert_id: int, status: str) -> None:
    """Tell a notifier what an alert became; tried again where it fails, unless the alert has moved on."""
    from paiid_perf.models import Alert
    from paiid_perf.monitoring import notifiers

    alert = Alert.objects.select_related("rule", "acknowledged_by").filter(pk=alert_id, status=status).first()
    if alert is not None and notifiers.is_chosen(path, alert):
        notifiers.tell(path, alert)


@shared_task(name="paiid_perf.settle")
def settle() -> None:
    """Judge the changes whose window is over."""
    from paiid_perf.optimization import ledger

    ledger.settle_due()
