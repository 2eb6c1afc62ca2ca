"""Sessions as rows: counted at login, listed, ended, and judged on each request without a query.

The rows live beside Django's own store, whatever that is (but for signed cookies, which nobody can end). What a request
needs lies in the session itself, under ``MARK``; it is written once in ``TOUCH`` at the most.
"""

from __future__ import annotations

import hashlib
import logging
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from importlib import import_module
from ipaddress import ip_network
from typing import Any, Literal

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from paiid_perf.conf import Settings, get_settings
from paiid_perf.models import UserSession
from paiid_perf.security.addresses import client_address
from paiid_perf.security.events import record_event
from paiid_perf.security.networks import caller, parse_address
from paiid_perf.security.passwords import password_set_at
from paiid_perf.security.redaction import one_line

logger = logging.getLogger("paiid_perf")

MARK = "_perf"
#: How often a session that is in use is written down as seen.
TOUCH = timedelta(minutes=1)
#: The key of the session whose request is being answered: what ends a user's sessions leaves this one alone.
current: ContextVar[str | None] = ContextVar("paiid_perf_session", default=None)
Judgement = Literal["fine", "touch", "idle", "absolute"]


class TooManySessions(PermissionDenied):
    """A login was refused because the user has ``SESSION_LIMIT`` sessions already."""


def judge(
    began: datetime, seen: datetime, now: datetime, idle: timedelta | None, absolute: timedelta | None
) -> Judgement:
    """PURE: whether a session goes on (ASVS 7.3.1, 7.3.2)."""
    if absolute is not None and now - began >= absolute:
        return "absolute"
    if idle is not None and now - seen >= idle:
        return "idle"
    # A short idle time needs a finer clock, or use would not count as use.
    fine = TOUCH if idle is None else min(TOUCH, idle / 4)
    return "touch" if now - seen >= fine else "fine"


def ends_at(began: datetime, seen: datetime, settings: Settings) -> datetime:
    """When a session ends if nothing more is heard of it."""
    idle = settings.SESSION_IDLE or timedelta(seconds=django_settings.SESSION_COOKIE_AGE)
    ends = seen + idle
    return ends if settings.SESSION_ABSOLUTE is None else min(ends, began + settings.SESSION_ABSOLUTE)


def is_stored() -> bool:
    """Whether sessions lie in a store: one in a signed cookie has no lasting key, and nobody can end it."""
    return not django_settings.SESSION_ENGINE.endswith("signed_cookies")


# --- at login and logout -------------------------------------------------------------------------------


def begin(request: HttpRequest, user: Any) -> None:
    """Write down a login's session; over the limit, end the oldest or refuse.

    Raises:
        TooManySessions: ``SESSION_LIMIT_ACTION`` is ``refuse`` and the user has as many as allowed; the new session
            is gone.
    """
    if not is_stored():
        return
    settings, now = get_settings(), timezone.now()
    if request.session.session_key is None:
        request.session.save()
    try:
        with transaction.atomic():
            allowed = _make_room(user, settings, now)
            if allowed:
                _write(request, user, settings, now)
    except DatabaseError:
        logger.exception("A session could not be written down; it cannot be listed.")
        return
    if not allowed:
        request.session.flush()
        record_event("session_refused", "low", request, user_id=_id_of(user), action="refused")
        raise TooManySessions(_("You are logged in in too many places: log out of one of them first."))


def _make_room(user: Any, settings: Settings, now: datetime) -> bool:
    """Whether one more session is allowed; atomic among logins through the lock on the user's row."""
    if settings.SESSION_LIMIT < 1:
        return True
    get_user_model()._default_manager.select_for_update().filter(pk=user.pk).values_list("pk").first()
    live = list(UserSession.objects.filter(user_id=user.pk, ends_at__gt=now))
    surplus = live[: max(0, len(live) - settings.SESSION_LIMIT + 1)]
    if surplus and settings.SESSION_LIMIT_ACTION == "refuse":
        return False
    _end(surplus)
    return True


def _write(request: HttpRequest, user: Any, settings: Settings, now: datetime) -> None:
    address = parse_address(client_address(request))
    UserSession.objects.update_or_create(
        key=request.session.session_key,
        defaults={
            "user_id": user.pk,
            "began_at": now,
            "seen_at": now,
            "ends_at": ends_at(now, now, settings),
            "address": str(address) if address else None,
            "agent": one_line(request.headers.get("User-Agent", ""), 200),
        },
    )
    set_at = password_set_at(user)
    request.session[MARK] = {
        "key": request.session.session_key,
        "began": now.timestamp(),
        "seen": now.timestamp(),
        "bound": _binding(request),
        "password": None if set_at is None else set_at.timestamp(),
    }


def forget(request: HttpRequest) -> None:
    """The session logs out: its row goes."""
    session = getattr(request, "session", None)
    if session is not None and session.session_key:
        UserSession.objects.filter(key=session.session_key).delete()


# --- on a request --------------------------------------------------------------------------------------


def look_at(request: HttpRequest, user: Any, now: datetime) -> Judgement:
    """Judge the session of a request; ``idle`` and ``absolute`` have ended it. At most a query in ``TOUCH``."""
    settings, session = get_settings(), request.session
    if not is_stored():
        return "fine"
    mark = session.get(MARK)
    if mark is None or mark["key"] != session.session_key:
        _adopt(request, user, mark, settings, now)
        return "fine"
    began, seen = (datetime.fromtimestamp(mark[name], UTC) for name in ("began", "seen"))
    judgement = judge(began, seen, now, settings.SESSION_IDLE, settings.SESSION_ABSOLUTE)
    if judgement in ("idle", "absolute"):
        record_event(
            "session_expired", "info", request, user_id=_id_of(user), field=judgement, action="ended"
        )
        forget(request)
        session.flush()
    elif judgement == "touch":
        session[MARK] = {**mark, "seen": now.timestamp()}
        UserSession.objects.filter(key=session.session_key).update(
            seen_at=now, ends_at=ends_at(began, now, settings)
        )
    _tell_if_moved(request, user)
    return judgement


def _adopt(request: HttpRequest, user: Any, mark: Any, settings: Settings, now: datetime) -> None:
    """A session that has a new key (a password was changed), or is older than this feature."""
    began = mark["began"] if mark else now.timestamp()
    if mark:
        UserSession.objects.filter(key=mark["key"]).delete()
    _write(request, user, settings, now)
    request.session[MARK] = {**request.session[MARK], "began": began}
    start = datetime.fromtimestamp(began, UTC)
    UserSession.objects.filter(key=request.session.session_key).update(
        began_at=start, ends_at=ends_at(start, now, settings)
    )


def _binding(request: HttpRequest) -> list[str]:
    """What a session is usually seen with: hashes of the browser's name and of the network."""
    where = caller(client_address(request))
    parts = (request.headers.get("User-Agent", ""), where.rpartition(".")[0] or where)
    return [hashlib.sha256(part.encode("utf-8", "replace")).hexdigest()[:12] for part in parts]


def _tell_if_moved(request: HttpRequest, user: Any) -> None:
    """Another browser with the same session is a signal, another network a weaker one; neither is a lock."""
    mark = request.session.get(MARK)
    if mark is None or (now_bound := _binding(request)) == mark["bound"]:
        return
    agent = now_bound[0] != mark["bound"][0]
    record_event(
        "session_moved",
        "medium" if agent else "info",
        request,
        user_id=_id_of(user),
        field="agent" if agent else "network",
        action="report",
    )
    request.session[MARK] = {**mark, "bound": now_bound}


# --- list and end --------------------------------------------------------------------------------------


def live_sessions(user: Any, now: datetime) -> list[UserSession]:
    """The user's sessions that have not ended, oldest first."""
    return list(UserSession.objects.filter(user_id=user.pk, ends_at__gt=now))


def may_end(actor: Any, session: UserSession) -> bool:
    """Whether somebody may end a session: their own, or anybody's with ``paiid_perf.end_session``."""
    return bool(actor.is_active and (session.user_id == actor.pk or actor.has_perm("paiid_perf.end_session")))


def end_session(actor: Any, session: UserSession) -> None:
    """End one session; PermissionDenied unless ``may_end``."""
    if not may_end(actor, session):
        raise PermissionDenied
    _end([session])


def end_sessions(user: Any, keep: str | None = None) -> int:
    """End all of a user's sessions but the one with the key ``keep``; returns how many there were."""
    return _end(list(UserSession.objects.filter(user_id=user.pk).exclude(key=keep or "")))


def end_sessions_of(network: str) -> int:
    """End all sessions that began in a network, whosever they are; returns how many there were."""
    place = ip_network(network)
    ends = str(place.network_address), str(place.broadcast_address)
    return _end(list(UserSession.objects.filter(address__range=ends)))


def _end(sessions: list[UserSession]) -> int:
    store = import_module(django_settings.SESSION_ENGINE).SessionStore
    for session in sessions:
        store(session.key).delete()
    UserSession.objects.filter(pk__in=[session.pk for session in sessions]).delete()
    return len(sessions)


def _id_of(user: Any) -> int | None:
    return user.pk if isinstance(user.pk, int) else None
