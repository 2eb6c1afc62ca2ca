"""Who is calling: an address that a client cannot forge."""

from __future__ import annotations

from django.http import HttpRequest

from paiid_perf.conf import get_settings
from paiid_perf.security.networks import parse_networks, right_most_stranger, within


def client_address(request: HttpRequest) -> str:
    """The caller's address: the right-most hop that is no trusted proxy; ``""`` over a Unix socket without one."""
    remote: str = request.META.get("REMOTE_ADDR", "")
    trusted = get_settings().TRUSTED_PROXIES
    if not trusted:
        return remote
    return right_most_stranger(remote, request.META.get("HTTP_X_FORWARDED_FOR", ""), trusted)


def is_safelisted(address: str) -> bool:
    """Whether ``settings.SAFELIST`` keeps the address from being limited or banned."""
    safelist = get_settings().SAFELIST
    return bool(safelist) and within(address, parse_networks(safelist))
