"""The gauges of the system and the queue, read each minute."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from paiid_perf.monitoring.facts import celery, system
from paiid_perf.monitoring.types import Recorder


def nothing() -> Iterable[tuple[str, float]]:
    """What is recorded where it happens has nothing to be read each minute."""
    return ()


_of_host = partial(Recorder, on_each_host=True)

RECORDERS = (
    _of_host("system.cpu_percent", system.cpu_percent, "%"),
    _of_host("system.memory_percent", system.memory_percent, "%"),
    _of_host("system.swap_percent", system.swap_percent, "%"),
    _of_host("system.disk_percent", system.disk_percent, "%"),
    _of_host("system.disk_bytes", system.disk_bytes, "bytes/s"),
    _of_host("system.net_bytes", system.network_bytes, "bytes/s"),
    _of_host("system.load1", system.load1),
    _of_host("system.open_files_percent", system.open_files_percent, "%"),
    Recorder("celery.queue_depth", celery.queue_depth),
    Recorder("celery.queue_age_s", celery.queue_age, "s"),
    Recorder("celery.beat_silent_s", celery.beat_silent, "s"),
    # Each process notes these of itself (``telemetry.process``); here they get their unit.
    Recorder("process.rss_bytes", nothing, "bytes"),
    Recorder("pool.size", nothing),
    Recorder("pool.available", nothing),
    Recorder("pool.waiting", nothing),
    Recorder("pool.requests", nothing, kind="counter"),
    Recorder("pool.waits", nothing, kind="counter"),
    Recorder("pool.timeouts", nothing, kind="counter"),
    Recorder("pool.wait_ms", nothing, "ms", kind="counter"),
    Recorder("celery.task_ms", nothing, "ms", kind="histogram"),
    Recorder("celery.wait_ms", nothing, "ms", kind="histogram"),
    Recorder("celery.failures", nothing, kind="counter"),
    Recorder("celery.retries", nothing, kind="counter"),
)
