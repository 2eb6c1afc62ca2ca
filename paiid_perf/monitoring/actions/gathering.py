"""Gauges read, and what all processes recorded moved into the table."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import datetime

from redis.exceptions import RedisError

from paiid_perf import telemetry
from paiid_perf.monitoring.facts.celery import HEARTBEAT
from paiid_perf.monitoring.types import Kind, Recorder
from paiid_perf.registry import registry

logger = logging.getLogger("paiid_perf")


def beat() -> None:
    """Note that beat and a worker are alive."""
    telemetry.recorder.count(HEARTBEAT)


def collect(now: datetime) -> int:
    """Read every recorder, hand this process' metrics over, store what all processes handed over; returns rows.

    A recorder that cannot be read is logged and left out. Redis away: what it holds is stored another time.
    """
    for recorder in registry.all(Recorder):
        _read(recorder)
    telemetry.recorder.flush()
    try:
        return sum(len(rows) for batch_id, rows in telemetry.drain() if _store(batch_id, rows))
    except RedisError as error:
        logger.warning("recorded metrics stay where they are: Redis does not answer (%s)", error)
        return 0


def note_host() -> None:
    """Read what each process reads of its own host: where web and worker hosts differ, all of them are seen."""
    for recorder in registry.all(Recorder):
        if recorder.on_each_host:
            _read(recorder)


def _read(recorder: Recorder) -> None:
    try:
        for subject, value in recorder.read():
            if math.isfinite(value):
                _NOTE[recorder.kind](recorder.name, str(subject), value)
            else:
                logger.warning("%s of %s is left out: it is %s", recorder.name, subject, value)
    except Exception:
        logger.exception("%s could not be read", recorder.name)


def _count(name: str, subject: str, value: float) -> None:
    telemetry.recorder.count(name, subject, int(value))


_NOTE: dict[Kind, Callable[[str, str, float], None]] = {
    "gauge": telemetry.recorder.gauge,
    "counter": _count,
    "histogram": telemetry.recorder.observe,
}


def _store(batch_id: str, rows: list[telemetry.Row]) -> bool:
    new = telemetry.store(batch_id, rows)
    telemetry.acknowledge(batch_id)
    return new
