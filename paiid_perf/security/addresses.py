"""Who is calling: an address that a client cannot forge."""

from __future__ import annotations

from django.http import HttpRequest

from paiid_perf import addresses
from paiid_perf.conf import get_settings
from paiid_perf.security.networks import parse_networks, within


def client_address(request: HttpRequest) -> str:
    """The caller's address: the right-most hop that is no trusted proxy; ``""`` over a Unix socket without one."""
    meta = request.META
    trusted = get_settings().TRUSTED_PROXIES
    return addresses.client(
        meta.get("REMOTE_ADDR") or "", meta.get("HTTP_X_FORWARDED_FOR") or "", tuple(trusted)
    )


def is_safelisted(address: str) -> bool:
    """Whether ``settings.SAFELIST`` keeps the address from being limited or banned."""
    safelist = get_settings().SAFELIST
    return bool(safelist) and within(address, parse_networks(safelist))
