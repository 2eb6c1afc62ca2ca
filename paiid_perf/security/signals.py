"""What the auth signals tell us. Connected once, by ``connect``."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.http import HttpRequest

from paiid_perf.security.events import record_event


def connect() -> None:
    """Connect the handlers (idempotent)."""
    user_logged_in.connect(_logged_in, dispatch_uid="paiid_perf.security.login")
    user_login_failed.connect(_login_failed, dispatch_uid="paiid_perf.security.login_failed")


def _logged_in(sender: object, request: HttpRequest | None, user: Any, **_: Any) -> None:
    record_event("login", "info", request, user_id=user.pk if isinstance(user.pk, int) else None)


def _login_failed(sender: object, request: HttpRequest | None = None, **_: Any) -> None:
    """A failure that our backend did not see (it is not installed, or there was no password)."""
    from django.conf import settings

    if (
        request is not None
        and "paiid_perf.security.backends.LimitedLoginBackend" not in settings.AUTHENTICATION_BACKENDS
    ):
        record_event("login_failed", "low", request)
