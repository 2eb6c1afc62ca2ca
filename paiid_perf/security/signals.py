"""What Django's signals tell the security domain. Connected once, by ``connect``."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_save
from django.http import HttpRequest
from django.utils import timezone

from paiid_perf.conf import get_settings
from paiid_perf.security import login, probes, sessions, sink
from paiid_perf.security.events import record_event
from paiid_perf.security.facts import LIMITED_BACKEND
from paiid_perf.security.passwords import REMEMBERING, HistoryValidator, remember_password


def connect() -> None:
    """Connect the handlers (idempotent)."""
    sink.install()
    probes.install()
    user_logged_in.connect(_logged_in, dispatch_uid="paiid_perf.security.login")
    user_logged_out.connect(_logged_out, dispatch_uid="paiid_perf.security.logout")
    user_login_failed.connect(_login_failed, dispatch_uid="paiid_perf.security.login_failed")
    post_save.connect(_user_saved, sender=settings.AUTH_USER_MODEL, dispatch_uid="paiid_perf.security.user")


def _logged_in(sender: object, request: HttpRequest | None, user: Any, **_: Any) -> None:
    record_event("login", "info", request, user_id=user.pk if isinstance(user.pk, int) else None)
    if get_settings().ENABLED and getattr(request, "session", None) is not None:
        sessions.begin(request, user)  # type: ignore[arg-type]


def _logged_out(sender: object, request: HttpRequest | None, **_: Any) -> None:
    if request is not None:
        sessions.forget(request)


def _login_failed(
    sender: object, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    """A failure that our backend did not see because it is not installed."""
    if request is not None and LIMITED_BACKEND not in settings.AUTHENTICATION_BACKENDS:
        record_event("login_failed", "low", request, field=login.mark(login.user_name(credentials)))


def _user_saved(sender: object, instance: Any, created: bool, raw: bool = False, **_: Any) -> None:
    """A first or a new password is remembered, a new one or a deactivation ends the user's sessions (ASVS 7.4.2–3)."""
    if raw:
        return
    # ``set_password`` leaves the text there until after this signal.
    changed = not created and getattr(instance, "_password", None) is not None
    if (created and _remembers()) or (changed and _forgets_later()):
        remember_password(instance, timezone.now())
    if not getattr(instance, "is_active", True):
        sessions.end_sessions(instance)
    elif changed:
        sessions.end_sessions(instance, keep=sessions.current.get())


def _remembers() -> bool:
    return get_settings().PASSWORD_MAX_AGE is not None or bool(_validators() & REMEMBERING)


def _forgets_later() -> bool:
    """Whether passwords are to be remembered, but no validator does it when one is changed."""
    return _remembers() and f"{HistoryValidator.__module__}.HistoryValidator" not in _validators()


def _validators() -> set[str]:
    return {validator["NAME"] for validator in settings.AUTH_PASSWORD_VALIDATORS}
