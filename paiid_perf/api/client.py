"""Who asks: the client's address behind trusted proxies, and the user where one is known.

Nothing that a client writes into a header chooses its own address: the hops are read from the right, and the
first that is not one of ``TRUSTED_PROXIES`` is the client. IPv6 clients are counted by their /64, which is what
one subscriber is given (RFC 6177).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error as DatabaseFailure
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject, empty

from paiid_perf.exceptions import ConfigurationError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Addresses whose reading is remembered: parsing one costs microseconds.
REMEMBERED = 8_192
#: Hops of X-Forwarded-For that are looked at, from the right.
MAX_HOPS = 20
IPV6_PREFIX = 64
#: Asking who the user is raises these where sessions are in a database that is away (and, on an event loop, was
#: asked in vain before). What is the same for everybody can be answered all the same.
NO_USER_TO_BE_HAD = (DatabaseFailure, SynchronousOnlyOperation)


def client_address(meta: Mapping[str, Any], trusted: Sequence[str]) -> str:
    """The client's address, normalised (``::ffff:192.0.2.1`` is ``192.0.2.1``); "" where there is none.

    Raises:
        ConfigurationError: ``trusted`` holds what is no network.
    """
    remote = meta.get("REMOTE_ADDR") or ""
    if not trusted:
        return _normal(remote)
    return _behind_proxies(remote, meta.get("HTTP_X_FORWARDED_FOR") or "", tuple(trusted))


@lru_cache(maxsize=REMEMBERED)
def _normal(text: str) -> str:
    address = parse(text)
    return "" if address is None else str(address)


@lru_cache(maxsize=REMEMBERED)
def _behind_proxies(remote: str, forwarded: str, trusted: tuple[str, ...]) -> str:
    # A proxy on a Unix socket has no address: with proxies declared, that is one of them.
    client = parse(remote)
    if client is not None and not _is_in(client, trusted):
        return str(client)
    for hop in forwarded.split(",")[: -MAX_HOPS - 1 : -1]:
        address = parse(hop)
        if address is None:
            break
        client = address
        if not _is_in(address, trusted):
            break
    return "" if client is None else str(client)


def parse(text: str) -> Address | None:
    """An address, with or without a port or brackets; None where it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@lru_cache(maxsize=64)
def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks of a setting.

    Raises:
        ConfigurationError: one of them is none.
    """
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise ConfigurationError(f"not a network: {error}. Write 10.0.0.0/8 or 2001:db8::/32.") from error


def _is_in(address: Address, texts: tuple[str, ...]) -> bool:
    return any(address in network for network in networks(texts))


@lru_cache(maxsize=REMEMBERED)
def is_in(address: str, texts: tuple[str, ...]) -> bool:
    """Whether an address that ``client_address`` returned lies in one of the networks."""
    parsed = parse(address)
    return parsed is not None and _is_in(parsed, texts)


@lru_cache(maxsize=REMEMBERED)
def bucket(address: str) -> str:
    """What an address is counted under: itself, or its /64."""
    if ":" not in address:
        return address
    return str(ip_network(f"{address}/{IPV6_PREFIX}", strict=False))


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
