"""The gauges of the system and the queue, read each minute."""

from __future__ import annotations

from paiid_perf.monitoring.facts import celery, system
from paiid_perf.monitoring.types import Recorder

RECORDERS = (
    Recorder("system.cpu_percent", system.cpu_percent, "%"),
    Recorder("system.memory_percent", system.memory_percent, "%"),
    Recorder("system.swap_percent", system.swap_percent, "%"),
    Recorder("system.disk_percent", system.disk_percent, "%"),
    Recorder("system.disk_bytes", system.disk_bytes, "bytes/s"),
    Recorder("system.net_bytes", system.network_bytes, "bytes/s"),
    Recorder("system.load1", system.load1),
    Recorder("system.open_files_percent", system.open_files_percent, "%"),
    Recorder("celery.queue_depth", celery.queue_depth),
)
