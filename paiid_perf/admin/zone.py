"""The reader's time zone, as their browser told it.

Django knows no zone of a user: a host that does activates it, and then that one counts. Otherwise the console's script
notes the browser's zone in a cookie of the console's own addresses, and their pages are made in it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import tzinfo
from functools import lru_cache, wraps
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.template.response import SimpleTemplateResponse
from django.utils import timezone

#: Browsers keep to names that the IANA database has replaced, and that servers without its old part do not know.
MODERN = {
    "Africa/Asmera": "Africa/Asmara",
    "America/Buenos_Aires": "America/Argentina/Buenos_Aires",
    "America/Catamarca": "America/Argentina/Catamarca",
    "America/Cordoba": "America/Argentina/Cordoba",
    "America/Godthab": "America/Nuuk",
    "America/Indianapolis": "America/Indiana/Indianapolis",
    "America/Jujuy": "America/Argentina/Jujuy",
    "America/Louisville": "America/Kentucky/Louisville",
    "America/Mendoza": "America/Argentina/Mendoza",
    "Asia/Calcutta": "Asia/Kolkata",
    "Asia/Katmandu": "Asia/Kathmandu",
    "Asia/Rangoon": "Asia/Yangon",
    "Asia/Saigon": "Asia/Ho_Chi_Minh",
    "Atlantic/Faeroe": "Atlantic/Faroe",
    "Europe/Kiev": "Europe/Kyiv",
    "Pacific/Ponape": "Pacific/Pohnpei",
    "Pacific/Truk": "Pacific/Chuuk",
}
#: Its value is a name of the IANA database; console.js writes it.
COOKIE = "paiid_perf_zone"


def zone_of(request: HttpRequest) -> tzinfo:
    """The zone that the host activated, else the browser's, else ``TIME_ZONE``."""
    current, default = timezone.get_current_timezone(), timezone.get_default_timezone()
    return current if str(current) != str(default) else _of_browser(request) or default


def _of_browser(request: HttpRequest) -> tzinfo | None:
    return _named(request.COOKIES.get(COOKIE, ""))


def asked_for(request: HttpRequest) -> str:
    """The zone of the page, for the script to compare with the browser's; nothing where the host has one for this
    person, or where a page that was posted cannot be asked for again."""
    ours = (str(timezone.get_default_timezone()), str(_of_browser(request)))
    is_ours = str(timezone.get_current_timezone()) in ours
    return str(zone_of(request)) if is_ours and request.method == "GET" else ""


def reading(request: HttpRequest) -> AbstractContextManager[None]:
    """Within it times are told in the reader's zone."""
    return timezone.override(zone_of(request))


def in_readers_zone(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The view, what it is sent and what it answers in the reader's zone."""

    @wraps(view)
    def seen(*args: Any, **kwargs: Any) -> HttpResponse:
        request = next(arg for arg in args if isinstance(arg, HttpRequest))
        with reading(request):
            response = view(*args, **kwargs)
        if isinstance(response, SimpleTemplateResponse):
            _render_in(response, zone_of(request))
        return response

    return seen


def _render_in(response: SimpleTemplateResponse, zone: tzinfo) -> None:
    """Django renders it after the view, and after the middleware that adds to its context."""
    render = response.render

    def rendered() -> Any:
        with timezone.override(zone):
            return render()

    response.render = rendered  # type: ignore[method-assign]


@lru_cache(maxsize=128)
def _named(told: str) -> tzinfo | None:
    name = MODERN.get(told, told)
    try:
        return ZoneInfo(name) if name else None
    except (ValueError, OSError, LookupError):
        return None
