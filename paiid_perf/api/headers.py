"""What an answer says about how it was made: limits for every client, performance for whom the setting allows."""

from __future__ import annotations

import os
import re

from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.html import escape
from django.utils.translation import gettext as _

from paiid_perf.api.client import known_staff
from paiid_perf.api.limits import Allowance, Limit, retry_after
from paiid_perf.conf import Settings

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
#: W3C Trace Context: version, trace, parent, flags; zeros and version ff are invalid, later versions may go on.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


class Timing:
    """Where a request's time went, in ms. Each begins as the class's own 0: making one is in every request's way."""

    total = view = store = keep = db = 0.0
    queries = 0


def may_see(request: HttpRequest, settings: Settings, address: str) -> bool:
    """Whether the performance headers are for this client. Nobody is looked up to find out."""
    audience = settings.PERFORMANCE_HEADERS
    if audience == "internal":
        return address in django_settings.INTERNAL_IPS
    return audience == "all" or (audience == "staff" and known_staff(request))


def add_performance(
    response: HttpResponseBase, request: HttpRequest, timing: Timing, cache: str, status: str
) -> None:
    """``Server-Timing`` (W3C), ``X-Response-Time``, ``X-Cache``, ``Cache-Status`` (RFC 9211), ``X-Request-ID``."""
    headers = response.headers
    entries = [f'db;dur={timing.db:.2f};desc="{timing.queries} queries"', f"cache;dur={timing.store:.2f}"]
    entries += [f"view;dur={timing.view:.2f}", f"total;dur={timing.total:.2f}"]
    before = headers.get("Server-Timing")
    headers["Server-Timing"] = ", ".join([before, *entries] if before else entries)
    headers["X-Response-Time"] = f"{timing.total:.2f}ms"
    headers["X-Request-ID"] = request_id(request)
    if cache:
        headers["X-Cache"] = cache
        headers["Cache-Status"] = status


def request_id(request: HttpRequest) -> str:
    """The id that came with the request where it is a sound one, or that of its trace (W3C), else a new one."""
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    return given if _REQUEST_ID.fullmatch(given) else trace_id(request) or os.urandom(16).hex()


def trace_id(request: HttpRequest) -> str:
    """The trace that a valid ``traceparent`` names; empty where there is none. The header itself is left as it is."""
    given = request.META.get("HTTP_TRACEPARENT", "")
    found = _TRACEPARENT.fullmatch(given)
    return found[1] if found and not (found[2] and given.startswith("00")) else ""


def add_limits(response: HttpResponseBase, limit: Limit, allowance: Allowance) -> None:
    """``RateLimit`` and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers-10)."""
    response.headers["RateLimit-Policy"] = f'"{limit.group}";q={limit.rate.limit};w={limit.rate.seconds}'
    response.headers["RateLimit"] = f'"{limit.group}";r={allowance.remaining};t={retry_after(allowance)}'


def too_many(request: HttpRequest, limit: Limit, allowance: Allowance) -> HttpResponse:
    """429, as JSON or HTML by ``Accept``, with when to come back."""
    return slow_down(request, retry_after(allowance))


def slow_down(request: HttpRequest, seconds: int) -> HttpResponse:
    """429 to somebody who may come back after so many seconds."""
    text = _("Too many requests. Try again in %(seconds)d s.") % {"seconds": seconds}
    response = _answer(request, 429, _("Too many requests"), text, {"retry_after": seconds})
    response.headers["Retry-After"] = str(seconds)
    response.headers["Cache-Control"] = "no-store"
    return response


def forbidden(request: HttpRequest) -> HttpResponse:
    """403 for a blocked address or a request that inspection refused. It does not say which."""
    response = _answer(request, 403, _("Forbidden"), _("This request is not allowed."), {})
    response.headers["Cache-Control"] = "no-store"
    return response


def refused(request: HttpRequest, status: int, reason: str = "") -> HttpResponse:
    """The answer to a request whose input was refused (400, for this reason) or blocked (403)."""
    if status == 403:
        return forbidden(request)
    response = _answer(request, 400, _("Bad request"), reason or _("This request cannot be read."), {})
    response.headers["Cache-Control"] = "no-store"
    return response


def _answer(request: HttpRequest, status: int, title: str, text: str, more: dict[str, int]) -> HttpResponse:
    if wants_html(request.META.get("HTTP_ACCEPT", "")):
        page = f"<!doctype html><title>{title}</title><h1>{title}</h1><p>{escape(text)}</p>"
        return HttpResponse(page, status=status)
    return JsonResponse({"error": title, "detail": text, **more}, status=status)


def wants_html(accept: str) -> bool:
    """Whether HTML is named before JSON. Who names neither gets JSON."""
    html, json = accept.find("text/html"), accept.find("json")
    return html >= 0 and (json < 0 or html < json)
