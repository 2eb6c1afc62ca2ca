"""Paths that are not there, as scanners ask for them: noted where Django itself notes every answer of 404.

A filter on the logger ``django.request`` sees them without a place in the request's way; it keeps no record back.
"""

from __future__ import annotations

import logging

from django.http import HttpRequest

from paiid_perf.conf import get_settings
from paiid_perf.security.addresses import client_address
from paiid_perf.security.campaigns import is_probe
from paiid_perf.security.events import record_event

#: Addresses, and paths of each, that are remembered.
ADDRESSES = 1_000
PATHS_OF_ONE = 200

_source = logging.getLogger("django.request")
_own = logging.getLogger("paiid_perf")


def watch(record: logging.LogRecord) -> bool:
    """A logging filter: note a 404, let everything through."""
    request = getattr(record, "request", None)
    if (
        getattr(record, "status_code", 0) == 404
        and isinstance(request, HttpRequest)
        and get_settings().ENABLED
    ):
        try:
            note(request)
        except Exception:
            _own.exception("A path that is not there could not be noted.")
    return True


def note(request: HttpRequest) -> None:
    """Record that the request asked for what is not there: known probe paths each, others once an address and path."""
    if is_probe(request.path):
        record_event("probe", "low", request)
        return
    address = client_address(request)
    if asked.is_new(address, request.path):
        record_event("not_found", "info", address=address)


class Asked:
    """Which paths an address has asked for in vain of late; bounded, so that it forgets rather than grows."""

    def __init__(self) -> None:
        self._paths: dict[str, set[int]] = {}

    def is_new(self, address: str, path: str) -> bool:
        """Whether the address had not asked for the path before (or this forgot it)."""
        if len(self._paths) >= ADDRESSES:
            self._paths.clear()
        paths = self._paths.setdefault(address, set())
        if len(paths) >= PATHS_OF_ONE:
            paths.clear()
        size = len(paths)
        paths.add(hash(path))
        return len(paths) > size


asked = Asked()


def install() -> None:
    """Watch (idempotent)."""
    if watch not in _source.filters:
        _source.addFilter(watch)
