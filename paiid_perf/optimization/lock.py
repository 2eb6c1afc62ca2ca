"""One run at a time per database.

On PostgreSQL the lock is a session advisory lock on a connection of its own: it ends with its process, so a
killed run never blocks the next. Elsewhere the newest ``running`` row is the lock, for as long as its process
lives (same host) or gives signs of life (another host).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import psutil
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.utils import timezone

from paiid_perf.models import OptimizationRun

#: The two integers of the advisory lock: "perf" in ASCII, and 1 for runs.
ADVISORY_KEY = (0x70657266, 1)
#: Without an advisory lock, a run on another host counts as dead after this long without a sign of life.
SILENCE = timedelta(minutes=15)


@contextmanager
def run_lock(alias: str, now: datetime) -> Iterator[bool]:
    """Yields whether the lock was had; it is released at the end of the block."""
    if connections[alias].vendor == "postgresql":
        with _advisory_lock(alias) as acquired:
            yield acquired
    else:
        yield not any(_is_alive(run, now) for run in _others())


def running() -> OptimizationRun | None:
    """The newest row that says it is running (whether its process lives, only the lock can tell)."""
    return OptimizationRun.objects.filter(status=OptimizationRun.Status.RUNNING).first()


def since(run: OptimizationRun | None) -> str:
    """Since when a run has been at work, for a message."""
    started = run and (run.started_at or run.created_at)
    return f"{timezone.localtime(started):%Y-%m-%d %H:%M:%S}" if started else "a moment ago"


def _others() -> QuerySet[OptimizationRun]:
    return OptimizationRun.objects.filter(status=OptimizationRun.Status.RUNNING).exclude(
        host=socket.gethostname(), pid=os.getpid()
    )


def _is_alive(run: OptimizationRun, now: datetime) -> bool:
    if run.host == socket.gethostname() and run.pid is not None:
        return psutil.pid_exists(run.pid)
    return run.heartbeat_at is not None and now - run.heartbeat_at < SILENCE


@contextmanager
def _advisory_lock(alias: str) -> Iterator[bool]:
    connection = connections[alias].copy()
    try:
        acquired = _ask(connection, "SELECT pg_try_advisory_lock(%s, %s)")
        try:
            yield acquired
        finally:
            if acquired:
                _release(connection)
    finally:
        connection.close()


def _release(connection: BaseDatabaseWrapper) -> None:
    try:
        _ask(connection, "SELECT pg_advisory_unlock(%s, %s)")
    except DatabaseError:
        # The server went away, and the lock with it.
        connection.close()


def _ask(connection: BaseDatabaseWrapper, sql: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql, ADVISORY_KEY)
        return bool(cursor.fetchone()[0])
