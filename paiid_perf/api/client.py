"""Who asks: the client's address behind trusted proxies, and the user where one is known.

How an address is read, and whose it is, ``paiid_perf.addresses`` knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error as DatabaseFailure
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject, empty

from paiid_perf import addresses
from paiid_perf.exceptions import ConfigurationError

#: Asking who the user is raises these where sessions are in a database that is away (and, on an event loop, was
#: asked in vain before). What is the same for everybody can be answered all the same.
NO_USER_TO_BE_HAD = (DatabaseFailure, SynchronousOnlyOperation)


def client_address(meta: Mapping[str, Any], trusted: Sequence[str]) -> str:
    """The client's address, normalised (``::ffff:192.0.2.1`` is ``192.0.2.1``); "" where there is none.

    Raises:
        ConfigurationError: ``trusted`` holds what is no network.
    """
    try:
        return addresses.client(
            meta.get("REMOTE_ADDR") or "", meta.get("HTTP_X_FORWARDED_FOR") or "", tuple(trusted)
        )
    except ValueError as error:
        raise _no_network(error) from error


def is_in(address: str, texts: tuple[str, ...]) -> bool:
    """Whether an address that ``client_address`` returned lies in one of the networks.

    Raises:
        ConfigurationError: one of them is none.
    """
    try:
        return addresses.is_in(address, texts)
    except ValueError as error:
        raise _no_network(error) from error


def _no_network(error: ValueError) -> ConfigurationError:
    return ConfigurationError(f"not a network: {error}. Write 10.0.0.0/8 or 2001:db8::/32.")


bucket = addresses.subscriber


# --- the user ------------------------------------------------------------------------------------------


def user_of(request: HttpRequest) -> str | None:
    """The authenticated user's primary key, None for nobody.

    Django's lazy user is left alone where there is no session cookie: it could only be anonymous, and looking
    would mark the session as read and the answer as varying by cookie.
    """
    user = getattr(request, "user", None)
    if user is None or (_is_untouched(user) and not has_session(request)):
        return None
    return str(user.pk) if user.is_authenticated else None


def known_staff(request: HttpRequest) -> bool:
    """Whether a user who has been looked up already in this request is staff."""
    user = getattr(request, "user", None)
    return user is not None and not _is_untouched(user) and bool(getattr(user, "is_staff", False))


def is_unknown(request: HttpRequest) -> bool:
    """Whether finding out who the user is would take a look into the session (and the database)."""
    user = getattr(request, "user", None)
    return user is not None and _is_untouched(user) and has_session(request)


async def meet_user(request: HttpRequest) -> None:
    """Look the user up off the event loop, so that asking for it later does not touch the database there."""
    with suppress(*NO_USER_TO_BE_HAD):
        await sync_to_async(user_of)(request)


def has_session(request: HttpRequest) -> bool:
    """Whether the client sent a session cookie."""
    return django_settings.SESSION_COOKIE_NAME in request.COOKIES


def _is_untouched(user: Any) -> bool:
    state = vars(user) if type(user) is SimpleLazyObject else {}
    setup = state.get("_setupfunc")
    return (
        setup is not None
        and state.get("_wrapped") is empty
        and setup.__module__ == "django.contrib.auth.middleware"
    )


def digest(*parts: str) -> str:
    """A short name for values that may be long, secret or hostile (128 bits: nobody finds two alike)."""
    # repr() of a tuple keeps the parts apart, escapes what cannot be encoded, and is one call in C.
    return blake2b(repr(parts).encode(), digest_size=16).hexdigest()
