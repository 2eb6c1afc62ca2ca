"""What Django's signals tell the security domain. Connected once, by ``connect``."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.db.models.signals import post_save
from django.http import HttpRequest
from django.utils import timezone

from paiid_perf.security.events import record_event
from paiid_perf.security.facts import LIMITED_BACKEND
from paiid_perf.security.passwords import REMEMBERING, remember_password


def connect() -> None:
    """Connect the handlers (idempotent)."""
    user_logged_in.connect(_logged_in, dispatch_uid="paiid_perf.security.login")
    user_login_failed.connect(_login_failed, dispatch_uid="paiid_perf.security.login_failed")
    post_save.connect(_user_made, sender=settings.AUTH_USER_MODEL, dispatch_uid="paiid_perf.security.user")


def _logged_in(sender: object, request: HttpRequest | None, user: Any, **_: Any) -> None:
    record_event("login", "info", request, user_id=user.pk if isinstance(user.pk, int) else None)


def _login_failed(sender: object, request: HttpRequest | None = None, **_: Any) -> None:
    """A failure that our backend did not see because it is not installed."""
    if request is not None and LIMITED_BACKEND not in settings.AUTHENTICATION_BACKENDS:
        record_event("login_failed", "low", request)


def _user_made(sender: object, instance: Any, created: bool, raw: bool = False, **_: Any) -> None:
    """A user's first password: Django tells validators of later ones only."""
    validators = {validator["NAME"] for validator in settings.AUTH_PASSWORD_VALIDATORS}
    if created and not raw and validators & REMEMBERING:
        remember_password(instance, timezone.now())
