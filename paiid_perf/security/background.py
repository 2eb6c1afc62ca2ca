"""One daemon thread per process does what requests must not: write events, ban, learn of bans made elsewhere.

It starts with the first request that needs it (no thread at import) and again in a forked child. With a
``FLUSH_INTERVAL`` of 0 there is none, and whoever wants the work done calls ``work()``.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable

from django.db import DatabaseError, connections

from paiid_perf.conf import get_settings

logger = logging.getLogger("paiid_perf")

#: What each round does, in order.
_jobs: list[Callable[[], object]] = []
_thread: threading.Thread | None = None
_lock = threading.Lock()


def every_round(job: Callable[[], object]) -> Callable[[], object]:
    """Add a job to the rounds (a decorator)."""
    _jobs.append(job)
    return job


def ensure() -> None:
    """Start the thread unless it runs: one attribute read from the second call on."""
    if _thread is None and get_settings().FLUSH_INTERVAL.total_seconds() > 0:
        _start()


def work() -> None:
    """One round now, in this thread; a job that fails is logged and does not keep the others from running."""
    for job in _jobs:
        try:
            job()
        except DatabaseError as error:
            logger.warning("%s failed (%s); it is tried again in the next round.", job.__name__, error)
        except Exception:
            logger.exception("%s failed; it is tried again in the next round.", job.__name__)


def _start() -> None:
    global _thread
    with _lock:
        if _thread is None:
            _thread = threading.Thread(target=_loop, name="perf-security", daemon=True)
            _thread.start()
            atexit.register(work)


def _loop() -> None:
    from paiid_perf.security import actions  # noqa: F401  (its jobs register themselves)

    rest = threading.Event()
    while True:
        work()
        connections.close_all()
        rest.wait(max(get_settings().FLUSH_INTERVAL.total_seconds(), 0.5))


def _forget_thread() -> None:
    global _thread, _lock
    _thread = None
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_thread)
