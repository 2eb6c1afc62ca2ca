"""What one request did: its queries, their time, the ones that repeat and where they come from.

The wrapper sits on every database connection for good and costs one context-variable read while no request is
traced; so it sees the queries of any alias, and of the threads that a view's context reaches, and nothing is put
on or taken off a connection per request.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from paiid_perf.telemetry import samples

#: Runs of one statement in one request from which on it is looked into (an N+1, or the same question again).
REPEATS = 5
#: Different statements that one request keeps count of.
STATEMENTS = 200
#: Statements of one request that are told as its slowest.
SLOWEST = 5


class Trace:
    """The database work of one request. ``db`` is in seconds."""

    __slots__ = ("db", "lines", "queries", "repeats", "sample", "spent", "statements")

    def __init__(self, watch: bool = False, sample: bool = False) -> None:
        self.queries = 0
        self.db = 0.0
        self.sample = sample
        self.statements: dict[str, int] | None = {} if watch else None
        self.repeats: dict[str, str] = {}
        """statement → the line of the host's code that sends it"""
        self.spent: dict[str, float] = {}
        """statement → seconds in all"""
        self.lines: dict[str, str] = {}
        """statement → the line that sent it first"""

    def seen(self, sql: str, params: Any, many: bool, seconds: float = 0.0) -> None:
        """Look at a statement of a request that is looked into."""
        if self.statements is not None:
            times = self.statements.get(sql, 0) + 1
            if times > 1 or len(self.statements) < STATEMENTS:
                self.statements[sql] = times
                self.spent[sql] = self.spent.get(sql, 0.0) + seconds
                if times == 1:
                    self.lines[sql] = caller(sys._getframe(2))
            if times == REPEATS:
                self.repeats[sql] = caller(sys._getframe(2))
        if self.sample and not many:
            samples.record(sql, params)

    def repeated(self) -> list[tuple[str, str, int]]:
        """(code line, what was asked, times) of each statement that repeats."""
        counts = self.statements or {}
        return [(line, asked(sql), counts[sql]) for sql, line in self.repeats.items()]

    def slowest(self) -> list[tuple[str, str, str, float]]:
        """(``mark_of``, code line, what was asked, ms in all) of those that took most."""
        most = sorted(self.spent, key=self.spent.__getitem__, reverse=True)[:SLOWEST]
        return [(mark_of(sql), self.lines[sql], asked(sql), self.spent[sql] * 1000) for sql in most]


current: ContextVar[Trace | None] = ContextVar("paiid_perf_trace", default=None)


def _traced(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    trace = current.get()
    if trace is None:
        return execute(sql, params, many, context)
    started = perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        seconds = perf_counter() - started
        trace.db += seconds
        trace.queries += 1
        if trace.statements is not None or trace.sample:
            trace.seen(sql, params, many, seconds)


def install() -> None:
    """Watch every connection: those that are open in this thread, and all to come."""
    connection_created.connect(_on_connection, dispatch_uid="paiid_perf.telemetry")
    for connection in connections.all(initialized_only=True):
        _wrap(connection)


def _on_connection(connection: BaseDatabaseWrapper, **_: Any) -> None:
    _wrap(connection)


def _wrap(connection: BaseDatabaseWrapper) -> None:
    # First in the list: ``execute_wrapper`` blocks that are open now will pop the last when they end.
    if _traced not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _traced)


# --- where a query comes from -------------------------------------------------------------------------

_OURS = str(Path(__file__).resolve().parents[1])


def caller(frame: FrameType | None) -> str:
    """``path/to/file.py:12 in function`` of the nearest frame that is the host's own code; ``?`` if none is."""
    while frame is not None:
        if is_host_file(frame.f_code.co_filename):
            return f"{short(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return "?"


@lru_cache(maxsize=1_024)
def mark_of(sql: str) -> str:
    """Twelve digits that stand for a statement as the backend's cursor was given it."""
    return samples.field_of(sql)[:12]


@lru_cache(maxsize=4_096)
def is_host_file(path: str) -> bool:
    """Whether a source file is the host's: not a library's, Python's, or ours."""
    return not (
        path.startswith(("<", _OURS, sys.prefix + "/lib", sys.base_prefix + "/lib"))
        or "site-packages" in path
        or "dist-packages" in path
    )


@lru_cache(maxsize=4_096)
def short(path: str) -> str:
    """The path relative to the working directory, where it is under it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(Path(*Path(path).parts[-3:]))


_FROM = re.compile(r'\bFROM\s+"?([\w.]+)"?', re.IGNORECASE)
_WHERE = re.compile(r'\bWHERE\s+\(?\s*"?(\w+)"?\."?(\w+)"?\s*(=|IN)\s*\(?(%s|\?|\d)', re.IGNORECASE)


@lru_cache(maxsize=1_024)
def asked(sql: str) -> str:
    """``table.column`` of a statement that looks rows up by one column, else its table or first word."""
    where = _WHERE.search(sql)
    if where:
        return f"{where[1]}.{where[2]}"
    table = _FROM.search(sql)
    return table[1] if table else sql.split(None, 1)[0][:40]
