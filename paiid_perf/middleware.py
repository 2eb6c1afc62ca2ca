"""``PerfMiddleware``: thin sync and async shells around one shared description of a request's passage.

It stands right after ``AuthenticationMiddleware``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from paiid_perf.conf import get_settings
from paiid_perf.telemetry import recorder
from paiid_perf.telemetry import trace as tracing
from paiid_perf.telemetry.recorder import UNMATCHED

Answer = HttpResponseBase | Awaitable[HttpResponseBase]


class PerfMiddleware:
    """Records, limits, caches and compresses the host's answers, by what is declared and set."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)
        tracing.install()

    def __call__(self, request: HttpRequest) -> Any:
        if self.is_async:
            return self._call_async(request)
        if not get_settings().ENABLED:
            return self.get_response(request)
        started = perf_counter()
        trace = tracing.Trace()
        token = tracing.current.set(trace)
        try:
            response = self.get_response(request)
        finally:
            tracing.current.reset(token)
        self._record(request, response, trace, started)
        return response

    async def _call_async(self, request: HttpRequest) -> Any:
        if not get_settings().ENABLED:
            return await self.get_response(request)
        started = perf_counter()
        trace = tracing.Trace()
        token = tracing.current.set(trace)
        try:
            response = await self.get_response(request)
        finally:
            tracing.current.reset(token)
        self._record(request, response, trace, started)
        return response

    def _record(self, request: HttpRequest, response: Any, trace: tracing.Trace, started: float) -> None:
        match = request.resolver_match
        route = match.route if match else UNMATCHED
        size = 0 if response.streaming else len(response.content)
        ms = (perf_counter() - started) * 1000
        recorder.request(
            f"{request.method} {route}", response.status_code, ms, trace.queries, trace.db * 1000, size
        )
