"""Security events: recorded in the request in microseconds, written outside it.

Alike events within one flush are one row with a count, so a flood costs memory and rows for its variety, not for its
volume; of variety each address has PER_ADDRESS in a flush, each process CAPACITY in a minute; beyond that, events
are counted without their particulars. Each row's first event is also a JSON line on the ``security`` logger.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from paiid_perf.security import background
from paiid_perf.security.addresses import client_address
from paiid_perf.security.networks import parse_address
from paiid_perf.security.redaction import one_line
from paiid_perf.security.types import SecurityEventData, Severity

security_logger = logging.getLogger("security")

#: Different events of one minute (and of one flush), beyond which they are counted without their particulars.
CAPACITY = 2_000
#: Different events of one address in one flush, beyond which they are counted without path and field.
PER_ADDRESS = 100
Key = tuple[str, Severity, str | None, int | None, str, str, str]


class EventBuffer:
    """What waits to be written, by what makes two events alike. Safe among threads."""

    def __init__(self, capacity: int = CAPACITY, clock: Callable[[], datetime] = timezone.now) -> None:
        self._capacity = capacity
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget everything (also in a forked child: the parent writes its own)."""
        self._lock = threading.Lock()
        self._first: dict[Key, SecurityEventData] = {}
        self._counts: dict[Key, int] = {}
        self._of_address: dict[str | None, int] = {}
        self._minute = -1
        self._of_minute = 0

    def __len__(self) -> int:
        return len(self._first)

    def add(self, event: SecurityEventData) -> SecurityEventData | None:
        """Count the event; return it if it is the first of its kind in this flush."""
        with self._lock:
            event = self._within_bounds(event)
            key = _key(event)
            self._counts[key] = self._counts.get(key, 0) + event.count
            if key in self._first:
                return None
            self._first[key] = event
            self._of_minute += 1
            self._of_address[event.address] = self._of_address.get(event.address, 0) + 1
            return event

    def _within_bounds(self, event: SecurityEventData) -> SecurityEventData:
        if _key(event) in self._first:
            return event
        minute = int(event.at.timestamp()) // 60
        if minute != self._minute:
            self._minute, self._of_minute = minute, 0
        if max(self._of_minute, len(self._first)) >= self._capacity:
            return _without_particulars(event)
        if event.address and self._of_address.get(event.address, 0) >= PER_ADDRESS:
            return replace(event, path="", field="", sample="")
        return event

    def take(self) -> list[tuple[SecurityEventData, int]]:
        """Everything that waits, with counts; the buffer is then empty."""
        with self._lock:
            first, self._first = self._first, {}
            counts, self._counts = self._counts, {}
            self._of_address = {}
        return [(event, counts[key]) for key, event in first.items()]

    def waiting(self) -> list[SecurityEventData]:
        """What waits to be written, the first of each."""
        with self._lock:
            return list(self._first.values())

    def put_back(self, taken: list[tuple[SecurityEventData, int]]) -> None:
        """Return what could not be written; it merges with what came meanwhile."""
        for event, count in taken:
            key = _key(event)
            with self._lock:
                if key in self._first or len(self._first) < self._capacity:
                    self._first.setdefault(key, event)
                    self._counts[key] = self._counts.get(key, 0) + count

    def now(self) -> datetime:
        return self._clock()


def _key(event: SecurityEventData) -> Key:
    return (event.kind, event.severity, event.address, event.user_id, event.path, event.field, event.action)


def _without_particulars(event: SecurityEventData) -> SecurityEventData:
    return SecurityEventData(
        event.at, event.kind, event.severity, None, None, "", "", "", event.action, event.count
    )


buffer = EventBuffer()


def record_event(
    kind: str,
    severity: Severity,
    request: HttpRequest | None = None,
    *,
    address: str | None = None,
    user_id: int | None = None,
    field: str = "",
    sample: str = "",
    action: str = "",
) -> None:
    """Record that something happened. Never raises, never touches a database or Redis.

    ``sample`` must already be redacted (``redaction.redact``).
    """
    background.ensure()
    event = SecurityEventData(
        at=buffer.now(),
        kind=kind[:40],
        severity=severity,
        address=_valid(address if address is not None else _address(request)),
        user_id=user_id if user_id is not None else _user_id(request),
        path=one_line(request.path, 255) if request is not None else "",
        field=one_line(field, 120),
        sample=one_line(sample, 200),
        action=action[:20],
    )
    first = buffer.add(event)
    if first is not None:
        _log(first)


def _address(request: HttpRequest | None) -> str:
    return client_address(request) if request is not None else ""


def _valid(address: str) -> str | None:
    parsed = parse_address(address)
    return str(parsed) if parsed else None


def _user_id(request: HttpRequest | None) -> int | None:
    """The user's id where something else already loaded the user: an event never causes a query."""
    user: Any = getattr(request, "_cached_user", None)
    pk = getattr(user, "pk", None)
    return pk if isinstance(pk, int) else None


_LEVELS = {"info": logging.INFO, "low": logging.INFO, "medium": logging.WARNING}


def _log(event: SecurityEventData) -> None:
    level = _LEVELS.get(event.severity, logging.ERROR)
    if security_logger.isEnabledFor(level):
        line = {
            "at": event.at.isoformat(),
            "kind": event.kind,
            "severity": event.severity,
            "address": event.address,
            "user_id": event.user_id,
            "path": event.path,
            "field": event.field,
            "sample": event.sample,
            "action": event.action,
        }
        security_logger.log(level, json.dumps(line))
