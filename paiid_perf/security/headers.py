"""Headers that Django does not send by itself: Permissions-Policy and Cross-Origin-Resource-Policy (ASVS 3.4, 3.5.8).

For ``MIDDLEWARE``; what an answer has already stays as it is, so a view can say otherwise for its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from paiid_perf.conf import get_settings

#: A site that uses a device, or whose files other sites show, says so in ``RESPONSE_HEADERS``; "" leaves one out.
DEFAULTS: Mapping[str, str] = {
    "Permissions-Policy": "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), "
    "payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
}
MIDDLEWARE = "paiid_perf.security.headers.headers_middleware"


@sync_and_async_middleware
def headers_middleware(get_response):  # type: ignore[no-untyped-def]
    """Add ``RESPONSE_HEADERS`` to every answer."""
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            return _with_headers(await get_response(request))

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        return _with_headers(get_response(request))

    return answer


def _with_headers(response: HttpResponseBase) -> HttpResponseBase:
    for name, value in added(get_settings().RESPONSE_HEADERS).items():
        response.headers.setdefault(name, value)
    return response


def added(own: Mapping[str, str]) -> dict[str, str]:
    """The headers that the middleware adds, given the site's own."""
    return {name: value for name, value in {**DEFAULTS, **own}.items() if value}
