"""The authentication backend that keeps limits: put it first in ``AUTHENTICATION_BACKENDS``."""

from __future__ import annotations

import inspect as signatures
from typing import Any

from django.contrib.auth import get_backends
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from paiid_perf.conf import get_settings
from paiid_perf.security import login
from paiid_perf.security.events import record_event


class LimitedLoginBackend(BaseBackend):
    """Lets an attempt through to the other backends only while the caller has tries left.

    Works for whatever calls ``authenticate(request, …)`` with a password. A locked attempt raises PermissionDenied
    before any password is hashed, for names that exist and names that do not alike.
    """

    def authenticate(  # type: ignore[override]
        self, request: HttpRequest | None, **credentials: Any
    ) -> AbstractBaseUser | None:
        if request is None or credentials.get("password") is None or not get_settings().ENABLED:
            return None
        name = login.user_name(credentials)
        counted = login.take_attempt(request, name)
        if counted is None:
            record_event("login_locked", "medium", request, field=login.mark(name), action="refused")
            raise PermissionDenied("too many login attempts")
        user = _ask_the_others(request, credentials)
        if user is None:
            login.note_failure(counted)
            record_event("login_failed", "low", request, field=login.mark(name))
            # The others have been asked: hashing again would cost twice.
            raise PermissionDenied("wrong name or password")
        login.note_success(counted)
        return user

    def get_user(self, user_id: Any) -> AbstractBaseUser | None:  # type: ignore[override]
        """The user by id, from the first of the other backends that knows it."""
        users = (backend.get_user(user_id) for backend in _others())
        return next((user for user in users if user is not None), None)


def _others() -> list[Any]:
    return [backend for backend in get_backends() if not isinstance(backend, LimitedLoginBackend)]


def _ask_the_others(request: HttpRequest, credentials: dict[str, Any]) -> AbstractBaseUser | None:
    for backend in _others():
        try:
            signatures.signature(backend.authenticate).bind(request, **credentials)
        except TypeError:
            continue
        try:
            user: AbstractBaseUser | None = backend.authenticate(request, **credentials)
        except PermissionDenied:
            return None
        if user is not None:
            return user
    return None
