"""What monitoring writes: gathered metrics, their roll-ups, and alerts. All of it may be repeated."""

from paiid_perf.monitoring.actions.alerting import Evaluation, evaluate, sync_rules
from paiid_perf.monitoring.actions.gathering import beat, collect, note_host
from paiid_perf.monitoring.actions.rollups import prune, roll_up
from paiid_perf.monitoring.facts.celery import HEARTBEAT

__all__ = [
    "HEARTBEAT",
    "Evaluation",
    "beat",
    "collect",
    "evaluate",
    "note_host",
    "prune",
    "roll_up",
    "sync_rules",
]
