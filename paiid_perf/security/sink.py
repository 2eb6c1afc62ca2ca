"""At the sink: is a statement's *text* built from what the request carries?

Inspection leaves the request's suspicious values here; a wrapper on every connection looks for them in the statements
of that request. A parameter never stands in the text, so parameterised SQL is not even looked into.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.signals import request_finished
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest

from paiid_perf.security.events import record_event
from paiid_perf.telemetry.trace import caller

#: Values that one request's statements are searched for, and how long one may be.
MAX_VALUES = 20
MAX_LENGTH = 4_096
#: Places of one statement that are looked at for one value.
MAX_PLACES = 8
#: Shorter values stand in statements by chance.
MIN_LENGTH = 5
KIND = "sql_built"

_TOKEN = re.compile(
    r"'(?:[^']|'')*'?|\"(?:[^\"]|\"\")*\"?|--[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?|\s+|\w+|.", re.DOTALL
)


@dataclass(slots=True)
class Carried:
    """The suspicious values of the request that is being answered: (field, value)."""

    request: HttpRequest
    blocks: bool
    values: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, value: str) -> None:
        """Keep a value that could change a statement."""
        if len(self.values) < MAX_VALUES and MIN_LENGTH <= len(value) <= MAX_LENGTH:
            self.values.append((name, value))


carried: ContextVar[Carried | None] = ContextVar("paiid_perf_carried", default=None)


def changes_tokens(sql: str, value: str) -> bool:
    """PURE: whether the value stands in the text as more than one token (or part of one). Linear in the text."""
    if value not in sql:
        return False
    starts = [at.start() for at in islice(re.finditer(re.escape(value), sql), MAX_PLACES)]
    for token in _TOKEN.finditer(sql):
        begins, ends = token.span()
        if any(begins <= start < ends < start + len(value) for start in starts):
            return True
    return False


def _watched(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    load = carried.get()
    if load is not None and load.values and isinstance(sql, str):
        _look(load, sql)
    return execute(sql, params, many, context)


def _look(load: Carried, sql: str) -> None:
    for name, value in load.values:
        if changes_tokens(sql, value):
            _report(load, name)
            return


def _report(load: Carried, name: str) -> None:
    line = caller(sys._getframe(3))
    action = "block" if load.blocks else "report"
    record_event(KIND, "critical", load.request, field=name, sample=line, action=action)
    if load.blocks:
        # Not swallowed: the statement must not run. Django answers 400.
        raise SuspiciousOperation("a request value changes the tokens of a statement")


def install() -> None:
    """Watch every connection, open or to come."""
    connection_created.connect(_on_connection, dispatch_uid="paiid_perf.security.sink")
    request_finished.connect(_forget, dispatch_uid="paiid_perf.security.sink")
    for connection in connections.all(initialized_only=True):
        _wrap(connection)


def _on_connection(connection: BaseDatabaseWrapper, **_: Any) -> None:
    _wrap(connection)


def _wrap(connection: BaseDatabaseWrapper) -> None:
    # First in the list: ``execute_wrapper`` blocks that are open now will pop the last when they end.
    if _watched not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _watched)


def _forget(**_: Any) -> None:
    carried.set(None)
