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
from types import CodeType, FrameType
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
#: Rows that a statement without a LIMIT reads from which on it is told as a list without pages.
LONG = 500


class Trace:
    """The database work of one request. ``db`` is in seconds; ``watched`` where its statements are looked into."""

    __slots__ = ("db", "queries", "sample", "watched")

    def __init__(self, watch: bool = False, sample: bool = False) -> None:
        self.queries = 0
        self.db = 0.0
        self.sample = sample
        self.watched = Watched() if watch else None

    def seen(self, sql: str, params: Any, many: bool, seconds: float = 0.0, rows: int = -1) -> None:
        """Look at a statement of a request that is looked into; ``rows`` -1: not known."""
        if self.watched is not None:
            self.watched.seen(sql, params, seconds, rows)
        if self.sample and not many:
            samples.record(sql, params)


class Watched:
    """The statements of one request: how often each ran, how long, and from where."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._repeats: dict[str, str] = {}
        """statement → the line of the host's code that sends it"""
        self._spent: dict[str, float] = {}
        """statement → seconds in all"""
        self._lines: dict[str, str] = {}
        """statement → the line that sent it first"""
        self._lists: dict[str, int] = {}
        """statement without a LIMIT → the most rows that it read, from LONG on"""
        self._first: dict[str, int] = {}
        self._varied: set[str] = set()

    def seen(self, sql: str, params: Any, seconds: float = 0.0, rows: int = -1) -> None:
        """Take note of a statement that was run; beyond STATEMENTS different ones, only of those known."""
        times = self._times.get(sql, 0) + 1
        if times > 1 or len(self._times) < STATEMENTS:
            self._note(sql, times, params, seconds, rows)

    def _note(self, sql: str, times: int, params: Any, seconds: float, rows: int) -> None:
        self._times[sql] = times
        self._spent[sql] = self._spent.get(sql, 0.0) + seconds
        if times == 1:
            self._lines[sql] = caller(sys._getframe(1))
        if times == REPEATS:
            self._repeats[sql] = caller(sys._getframe(1))
        self._compare(sql, params)
        if rows >= LONG and is_unlimited(sql):
            self._lists[sql] = max(rows, self._lists.get(sql, 0))

    def repeated(self) -> list[tuple[str, str, int]]:
        """(code line, what was asked, times) of each statement that repeats."""
        return [(line, self._asked(sql), self._times[sql]) for sql, line in self._repeats.items()]

    def long(self) -> list[tuple[str, str, int]]:
        """(code line, what was asked, rows) of each statement that read many without a LIMIT."""
        return [(self._lines[sql], asked(sql), rows) for sql, rows in self._lists.items()]

    def slowest(self) -> list[tuple[str, str, str, float]]:
        """(``mark_of``, code line, what was asked, ms in all) of those that took most."""
        most = sorted(self._spent, key=self._spent.__getitem__, reverse=True)[:SLOWEST]
        return [(mark_of(sql), self._lines[sql], asked(sql), self._spent[sql] * 1000) for sql in most]

    def _compare(self, sql: str, params: Any) -> None:
        """Note whether a statement is ever run with other parameters: the same question again is no N+1."""
        if sql not in self._varied:
            mark = mark_of_params(params)
            if self._first.setdefault(sql, mark) != mark:
                self._varied.add(sql)

    def _asked(self, sql: str) -> str:
        return asked(sql) if sql in self._varied else f"{asked(sql).partition(' (')[0]} (same)"


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
        if trace.watched is not None or trace.sample:
            trace.seen(sql, params, many, seconds, _rows(context))


def _rows(context: dict[str, Any]) -> int:
    """The rows that the statement gave, where the server says so at once; else -1."""
    rows = getattr(context["cursor"], "rowcount", -1)
    return rows if isinstance(rows, int) else -1


def mark_of_params(params: Any) -> int:
    """The same number for the same parameters of a statement."""
    try:
        return hash(repr(params))
    except Exception:
        return id(params)  # what cannot be written is not the same again


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
            return f"{short(frame.f_code.co_filename)}:{frame.f_lineno} in {_name(frame.f_code)}"
        frame = frame.f_back
    return "?"


def _name(code: CodeType) -> str:
    """The function's name; of a comprehension or lambda, that of the function around it."""
    if not code.co_name.startswith("<"):
        return code.co_name
    around = code.co_qualname.rpartition(".<locals>.")[0].split(".<locals>.")
    return next(
        (name.rpartition(".")[2] for name in reversed(around) if "<" not in name and name), code.co_name
    )


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
_WHERE = re.compile(
    r"\bWHERE\b(.*?)(?:\bGROUP BY\b|\bORDER BY\b|\bLIMIT\b|\bFOR\b|\bSELECT\b|$)", re.IGNORECASE | re.DOTALL
)
_NEGATED = re.compile(r"\bNOT\s*\([^()]*\)", re.IGNORECASE)
_EQUALS = re.compile(r'"?(\w+)"?\."?(\w+)"?\s*(?:=|IN)\s*\(?(?:%s|\?|\d)', re.IGNORECASE)
_SHAPES = (
    ("aggregate", re.compile(r"SELECT\s+(COUNT|SUM|AVG|MIN|MAX)\s*\(", re.IGNORECASE)),
    ("exists", re.compile(r'SELECT\s+1 AS "a"', re.IGNORECASE)),
    ("first", re.compile(r"SELECT\b.*\bLIMIT 1\s*$", re.IGNORECASE | re.DOTALL)),
)
_UNLIMITED = re.compile(r"SELECT\b(?!.*\b(?:LIMIT|FETCH)\b)", re.IGNORECASE | re.DOTALL)


@lru_cache(maxsize=1_024)
def is_unlimited(sql: str) -> bool:
    """Whether it is a SELECT without a LIMIT."""
    return _UNLIMITED.match(sql) is not None


@lru_cache(maxsize=1_024)
def asked(sql: str) -> str:
    """``table.column`` of a statement that looks rows up, else its table or first word.

    By several columns it is ``table.a+b``; ``(first)``, ``(exists)`` or ``(aggregate)`` follows where no more than that
    is asked of the rows.
    """
    where = _WHERE.search(sql)
    if where and " OR " not in where[1]:
        found = _EQUALS.findall(_NEGATED.sub("", where[1]))
        if found:
            columns = dict.fromkeys(column for table, column in found if table == found[0][0])
            shape = next((f" ({name})" for name, pattern in _SHAPES if pattern.match(sql)), "")
            return f"{found[0][0]}.{'+'.join(columns)}{shape}"
    table = _FROM.search(sql)
    return table[1] if table else sql.split(None, 1)[0][:40]
