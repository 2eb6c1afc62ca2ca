"""Who may call the JSON API: a staff session with the right permission, or a bearer token from the settings."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Literal

from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware

from paiid_perf.conf import get_settings

Answer = Literal["yes", "anonymous", "forbidden", "csrf"]

#: What a token may carry → the permission that a session needs for the same.
PERMISSIONS = {
    "view": "paiid_perf.view_console",
    "run": "paiid_perf.run_optimization",
    "approve": "paiid_perf.approve_recommendation",
    "apply": "paiid_perf.apply_recommendation",
}


def may(request: HttpRequest, right: str) -> Answer:
    """Whether the caller has that right (a key of PERMISSIONS).

    A session that changes something must pass Django's CSRF check; a token is not sent by a browser by itself.
    """
    token = _token(request)
    if token:
        rights = _rights_of(token)
        return "anonymous" if rights is None else "yes" if right in rights else "forbidden"
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return "anonymous"
    if not (user.is_active and user.is_staff and user.has_perm(PERMISSIONS[right])):
        return "forbidden"
    return "yes" if _passes_csrf(request) else "csrf"


def _token(request: HttpRequest) -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _rights_of(token: str) -> tuple[str, ...] | None:
    """The token's rights, None for one that is not known. Every digest is compared, in constant time."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    found = [
        rights
        for known, rights in get_settings().API_TOKENS.items()
        if hmac.compare_digest(digest.encode(), known.lower().encode())
    ]
    return tuple(found[0]) if found else None


class _Csrf(CsrfViewMiddleware):
    """Django's check, asked for its verdict."""

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason


def _passes_csrf(request: HttpRequest) -> bool:
    check = _Csrf(lambda request: None)  # type: ignore[arg-type]
    check.process_request(request)
    view: Any = object()  # the check only asks it whether it is exempt
    return check.process_view(request, view, (), {}) is None
