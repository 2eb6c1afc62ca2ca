"""What each process notes of itself once a minute: its memory, and its connection pools."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import psutil
from django.db import connections

EVERY_SECONDS = 60.0
#: psycopg_pool's counters (``ConnectionPool.get_stats``) → what their growth is recorded as.
COUNTERS = {
    "requests_num": "pool.requests",
    "requests_queued": "pool.waits",
    "requests_errors": "pool.timeouts",
    "requests_wait_ms": "pool.wait_ms",
}
#: What of a pool is recorded as it is.
GAUGES = {"pool_size": "pool.size", "pool_available": "pool.available", "requests_waiting": "pool.waiting"}


class Notes(Protocol):
    """The part of the recorder that this needs."""

    def count(self, name: str, subject: str = "", n: int = 1) -> None: ...

    def gauge(self, name: str, subject: str, value: float) -> None: ...


#: What else is noted of this process' host once a minute (``also``), by name.
_noters: dict[str, Callable[[], None]] = {}


def also(name: str, note: Callable[[], None]) -> None:
    """Have ``note`` called once a minute in each process that records; the last one of a name counts."""
    _noters[name] = note


class Self:
    """The process as it sees itself; knows what it noted before, so that counters are told by their growth."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = clock()
        self._before: dict[str, Mapping[str, int]] = {}

    def note(self, notes: Notes) -> None:
        """Note memory and pools, if a minute has gone by since the last time."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + EVERY_SECONDS
        notes.gauge(
            "process.rss_bytes", f"{socket.gethostname()}:{os.getpid()}", psutil.Process().memory_info().rss
        )
        for alias, stats in pools():
            self._note_pool(notes, alias, stats)
        for note in _noters.values():
            note()

    def _note_pool(self, notes: Notes, alias: str, stats: Mapping[str, int]) -> None:
        before, self._before[alias] = self._before.get(alias, {}), stats
        for key, name in GAUGES.items():
            notes.gauge(name, alias, stats.get(key, 0))
        for key, name in COUNTERS.items():
            # A pool that was made anew counts from nothing.
            grown = stats.get(key, 0) - before.get(key, 0)
            notes.count(name, alias, grown if grown >= 0 else stats.get(key, 0))


def pools() -> Iterator[tuple[str, Mapping[str, int]]]:
    """(alias, figures) of the psycopg pools that this process has opened through Django."""
    for alias in connections:
        opened: Mapping[str, Any] = getattr(connections[alias], "_connection_pools", {})
        if (pool := opened.get(alias)) is not None:
            yield alias, pool.get_stats()
