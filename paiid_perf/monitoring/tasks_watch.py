"""Celery's tasks as they run: how long each waits and takes, and which fail.

``celery.task_ms`` and ``celery.wait_ms`` are histograms by task, ``celery.failures`` and ``celery.retries`` counters.
"""

from __future__ import annotations

import time
from typing import Any

from celery import signals

from paiid_perf.conf import get_settings
from paiid_perf.monitoring.facts.celery import SENT
from paiid_perf.telemetry import recorder

UID = "paiid_perf.monitoring"
#: Where a request of a task notes its start (on the monotonic clock).
STARTED = "_perf_started"


def connect() -> None:
    """Listen to the tasks that this process sends and runs."""
    signals.before_task_publish.connect(_sent, dispatch_uid=UID)
    signals.task_prerun.connect(_started, dispatch_uid=UID)
    signals.task_postrun.connect(_ended, dispatch_uid=UID)
    signals.task_failure.connect(_failed, dispatch_uid=UID)
    signals.task_retry.connect(_retried, dispatch_uid=UID)


def _sent(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[SENT] = time.time()


def _started(task: Any = None, **_: Any) -> None:
    if not _records() or task is None:
        return
    setattr(task.request, STARTED, time.perf_counter())
    sent = getattr(task.request, SENT, None) or (task.request.headers or {}).get(SENT)
    # A task with an ETA is late by intent.
    if isinstance(sent, int | float) and not task.request.eta:
        recorder.observe("celery.wait_ms", task.name, max(0.0, time.time() - sent) * 1000)


def _ended(task: Any = None, **_: Any) -> None:
    started = getattr(getattr(task, "request", None), STARTED, None)
    if started is not None:
        recorder.observe("celery.task_ms", task.name, (time.perf_counter() - started) * 1000)


def _failed(sender: Any = None, **_: Any) -> None:
    if _records() and sender is not None:
        recorder.count("celery.failures", sender.name)


def _retried(sender: Any = None, **_: Any) -> None:
    if _records() and sender is not None:
        recorder.count("celery.retries", sender.name)


def _records() -> bool:
    settings = get_settings()
    return settings.ENABLED and settings.RECORD
