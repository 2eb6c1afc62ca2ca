"""What callers may send, checked field by field; and how rows are told as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.http import HttpRequest

from paiid_perf.exceptions import PerfError
from paiid_perf.models import Alert, Recommendation
from paiid_perf.optimization.reports import span_of

#: name → (what it must be, the value when it is not given)
RUN_FIELDS: Mapping[str, tuple[type, Any]] = {"dry_run": (bool, False)}
PAGE_MAX = 200
TYPE_NAMES = {bool: "true or false", int: "a whole number", str: "a text"}


class BadInput(PerfError):
    """What was sent cannot be used; ``field`` is the part that is wrong (``body``: the whole of it)."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def run_options(request: HttpRequest) -> dict[str, Any]:
    """The body of ``run-full`` and ``run-quick``: an empty one, or ``{"dry_run": true}``.

    Raises:
        BadInput: not JSON, not an object, an unknown field, or a field of another type.
    """
    try:
        body = json.loads(request.body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadInput("body", "the body is not JSON; send nothing, or an object.") from error
    if not isinstance(body, dict):
        raise BadInput("body", "the body must be a JSON object.")
    for name, value in body.items():
        if name not in RUN_FIELDS:
            raise BadInput(name, f"{name!r} is not a field; known: {', '.join(RUN_FIELDS)}.")
        if not isinstance(value, RUN_FIELDS[name][0]):
            raise BadInput(name, f"{name!r} must be {TYPE_NAMES[RUN_FIELDS[name][0]]}.")
    return {name: body.get(name, default) for name, (_, default) in RUN_FIELDS.items()}


def window(request: HttpRequest) -> timedelta:
    """``?window=``, such as ``6h`` or ``14d``; an hour where it is not given."""
    span = span_of(request.GET.get("window", "1h"))
    if span is None:
        raise BadInput(
            "window", "window must be a number of minutes, hours, days or weeks: 90m, 6h, 14d, 2w."
        )
    return span


def page(request: HttpRequest) -> tuple[int, int]:
    """``?offset=`` and ``?limit=`` (50 where it is not given, PAGE_MAX at the most)."""
    return _whole(request, "offset", 0, 10**9), _whole(request, "limit", 50, PAGE_MAX)


def choice(request: HttpRequest, name: str, known: list[str]) -> str:
    """A query parameter that must be one of the known values; "" where it is not given."""
    value = request.GET.get(name, "")
    if value and value not in known:
        raise BadInput(name, f"{name} must be one of {', '.join(known)}.")
    return value


def _whole(request: HttpRequest, name: str, default: int, most: int) -> int:
    text = request.GET.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise BadInput(name, f"{name} must be a whole number from 0 to {most}.")
    return int(text)


def recommendation(rec: Recommendation) -> dict[str, Any]:
    """A ledger row as JSON."""
    fields = (
        *(
            "id",
            "area",
            "kind",
            "state",
            "title",
            "why",
            "evidence",
            "expected_gain",
            "measured_gain",
            "cost",
        ),
        *("risk", "how", "undo", "migration", "before", "after", "outcome", "history"),
    )
    times = ("created_at", "confirmed_at", "applied_at", "verify_after", "finished_at")
    return {name: getattr(rec, name) for name in fields} | {name: _iso(getattr(rec, name)) for name in times}


def alert(row: Alert) -> dict[str, Any]:
    """An alert as JSON."""
    fields = ("id", "subject", "status", "severity", "value", "message", "times")
    times = ("opened_at", "seen_at", "resolved_at")
    return (
        {name: getattr(row, name) for name in fields}
        | {"rule": row.rule.name}
        | {name: _iso(getattr(row, name)) for name in times}
    )


def _iso(at: Any) -> str | None:
    return None if at is None else at.isoformat()
