"""``AccountMiddleware``: sessions that are over end, and expired passwords lead to where they are changed.

It stands right after ``AuthenticationMiddleware``. A request without a session cookie passes it untouched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from paiid_perf.conf import Settings, get_settings
from paiid_perf.security import sessions
from paiid_perf.security.passwords import is_expired, password_set_at

logger = logging.getLogger("paiid_perf")

#: Names of the pages that somebody with an expired password still needs.
EXEMPT = frozenset(
    {
        "login",
        "logout",
        "password_change",
        "password_change_done",
        "password_reset",
        "password_reset_done",
        "password_reset_confirm",
        "password_reset_complete",
        "jsi18n",
        "set_language",
    }
)
_CHANGE_PAGES = ("password_change", "admin:password_change")


class AccountMiddleware:
    """Ends idle and old sessions; sends whose password expired to change it (API clients get a 403 that says so).

    An error in here never reaches the host: it is logged, and the request goes on.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self.is_async:
            return self._call_async(request)
        if not _concerns(request):
            return self.get_response(request)
        token = sessions.current.set(_key(request))
        try:
            return answer_instead(request) or self.get_response(request)
        finally:
            sessions.current.reset(token)

    async def _call_async(self, request: HttpRequest) -> Any:
        if not _concerns(request):
            return await self.get_response(request)
        token = sessions.current.set(_key(request))
        try:
            instead = await sync_to_async(answer_instead)(request)
            return instead or await self.get_response(request)
        finally:
            sessions.current.reset(token)


def _concerns(request: HttpRequest) -> bool:
    return (
        django_settings.SESSION_COOKIE_NAME in request.COOKIES
        and hasattr(request, "session")
        and get_settings().ENABLED
    )


def _key(request: HttpRequest) -> str | None:
    key: str | None = request.session.session_key
    return key


def answer_instead(request: HttpRequest) -> HttpResponseBase | None:
    """What to answer in place of the view; None where the request may go on. Never raises."""
    session = request.session
    accessed, modified = session.accessed, session.modified
    try:
        return _answer_instead(request, get_settings(), timezone.now())
    except DatabaseError:
        logger.exception("A session could not be looked at; the request goes on.")
        return None
    finally:
        if session.modified and not modified and SESSION_KEY in session:
            # That we note when it was seen keeps no answer from the cache: only what changes it from here on does.
            request.session_as_found = deepcopy(dict(session.items()))  # type: ignore[attr-defined]
        # Our look makes no answer depend on the cookie: ``Vary`` stays as the view has it.
        session.accessed = accessed


def _answer_instead(request: HttpRequest, settings: Settings, now: datetime) -> HttpResponseBase | None:
    if SESSION_KEY not in request.session:
        return None
    user = request.user
    if not user.is_authenticated:
        return None
    if sessions.look_at(request, user, now) in ("idle", "absolute"):
        _log_out(request)
        return None
    if must_change_password(request, user, settings, now) and not is_exempt(request):
        return lead_to_change(request, settings)
    return None


def _log_out(request: HttpRequest) -> None:
    nobody = AnonymousUser()

    async def auser() -> AnonymousUser:
        return nobody

    request.user = nobody
    request.auser = auser


# --- expired passwords -----------------------------------------------------------------------------------


def must_change_password(request: HttpRequest, user: Any, settings: Settings, now: datetime) -> bool:
    """Whether the user's password is past its age or compromised; asks the history only where the session says so."""
    known = (request.session.get(sessions.MARK) or {}).get("password")
    if known is None or not is_expired(datetime.fromtimestamp(known, UTC), settings.PASSWORD_MAX_AGE, now):
        return False
    return is_expired(password_set_at(user), settings.PASSWORD_MAX_AGE, now)


def is_exempt(request: HttpRequest) -> bool:
    """Whether the page is one that leads out: change, reset, logout, or a static file."""
    if any(_is_under(request.path, root) for root in (django_settings.STATIC_URL, django_settings.MEDIA_URL)):
        return True
    try:
        match = resolve(request.path_info)
    except Resolver404:
        return False
    return match.url_name in EXEMPT or match.view_name == get_settings().PASSWORD_CHANGE_URL


def _is_under(path: str, root: str | None) -> bool:
    return bool(root) and root != "/" and path.startswith(str(root))


def lead_to_change(request: HttpRequest, settings: Settings) -> HttpResponseBase | None:
    """A redirect for browsers, a 403 with the code ``password_expired`` for API clients; None without such a page."""
    if wants_json(request):
        text = _("Your password has expired: log in with a browser and change it.")
        return JsonResponse({"code": "password_expired", "detail": text}, status=403)
    for name in filter(None, (settings.PASSWORD_CHANGE_URL, *_CHANGE_PAGES)):
        try:
            return HttpResponseRedirect(reverse(name))
        except NoReverseMatch:
            continue
    logger.warning("A password has expired, but there is no page to change it: set PASSWORD_CHANGE_URL.")
    return None


def wants_json(request: HttpRequest) -> bool:
    """Whether the caller is a program: it does not ask for HTML, or sends JSON."""
    asks_for_page = "text/html" in request.headers.get("Accept", "")
    return not asks_for_page or (request.content_type or "").endswith("json")
