"""Blocked networks: looked up in the process, learned in the background, changed by people and by rule.

``is_blocked`` costs two dict look-ups and no round trip. A ban made in another process is known here after one
round of the background thread (FLUSH_INTERVAL).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from paiid_perf.conf import get_settings
from paiid_perf.exceptions import ActionRefused
from paiid_perf.models import BlockedAddress
from paiid_perf.security import background
from paiid_perf.security.addresses import client_address, is_safelisted
from paiid_perf.security.networks import Network, caller, parse_address, parse_networks, within
from paiid_perf.security.types import Response


@dataclass(frozen=True, slots=True)
class BlockList:
    """Networks by (version, prefix length), so that a look-up is one shift and one dict read per length in use."""

    by_length: dict[tuple[int, int], dict[int, float]] = field(default_factory=dict)
    """(4 or 6, prefix length) → {network number: epoch seconds at which it expires}."""

    def blocks(self, address: str, now: float) -> bool:
        parsed = parse_address(address)
        if parsed is None:
            return False
        number, bits = int(parsed), parsed.max_prefixlen
        for (version, length), networks in self.by_length.items():
            if version == parsed.version and networks.get(number >> (bits - length), 0.0) > now:
                return True
        return False


def build(entries: Iterable[tuple[str, float]]) -> BlockList:
    """A BlockList of (network, epoch seconds of expiry); what is no network is left out."""
    by_length: dict[tuple[int, int], dict[int, float]] = {}
    for text, expires in entries:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            continue
        slot = by_length.setdefault((network.version, network.prefixlen), {})
        slot[int(network.network_address) >> (network.max_prefixlen - network.prefixlen)] = expires
    return BlockList(by_length)


_current = BlockList()
_slowed = BlockList()
#: Seconds between two answers that one process gives a network which is slowed down.
PACE = 1.0
#: When a slowed network was answered last (monotonic seconds).
_answered: dict[str, float] = {}
_HARSHNESS = ("delay", "log_out", "ban")


def is_blocked(address: str) -> bool:
    """Whether the address is blocked now, as far as this process knows."""
    background.ensure()
    current = _current
    return bool(current.by_length) and current.blocks(address, time.time()) and not is_safelisted(address)


def must_wait(address: str) -> int:
    """Seconds after which a network that is slowed down may ask again; 0: it is answered now.

    Nobody is kept waiting inside the server: a worker that sleeps is what an attacker wants.
    """
    slowed = _slowed
    if not slowed.by_length or not slowed.blocks(address, time.time()) or is_safelisted(address):
        return 0
    network, tick = caller(address), time.monotonic()
    if tick - _answered.get(network, -PACE) < PACE:
        return math.ceil(PACE)
    _answered[network] = tick
    return 0


@background.every_round
def refresh() -> None:
    """Learn the present blocks from the database (never called by a request)."""
    global _current, _slowed
    rows = BlockedAddress.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    known = list(rows.values_list("network", "expires_at", "response"))
    _current = build((network, _epoch(ends)) for network, ends, response in known if response == "ban")
    _slowed = build((network, _epoch(ends)) for network, ends, response in known if response != "ban")
    for network in [seen for seen in _answered if not _slowed.blocks(seen.partition("/")[0], time.time())]:
        _answered.pop(network, None)


def _epoch(expires: datetime | None) -> float:
    return expires.timestamp() if expires else float("inf")


def ban(
    network: str,
    for_: timedelta | None,
    reason: str,
    by: AbstractBaseUser | None = None,
    request: HttpRequest | None = None,
    response: Response = "ban",
) -> BlockedAddress:
    """Block a network for a while (None: until somebody unblocks it), or slow it down.

    Of two, the harsher response wins, and of two alike the longer.

    Raises:
        ActionRefused: it is no network, it holds a safelisted network or the caller's own address.
    """
    text = checked(network, request)
    expires = timezone.now() + for_ if for_ is not None else None
    with transaction.atomic():
        row, _created = BlockedAddress.objects.select_for_update().get_or_create(
            network=text,
            defaults={
                "reason": reason[:200],
                "response": response,
                "expires_at": expires,
                "created_by_id": getattr(by, "pk", None),
            },
        )
        if _outdoes(row, response, expires):
            row.expires_at, row.reason, row.response = expires, reason[:200], response
            row.save(update_fields=["expires_at", "reason", "response"])
    transaction.on_commit(refresh, robust=True)
    return row


def _outdoes(row: BlockedAddress, response: Response, expires: datetime | None) -> bool:
    harsher = _HARSHNESS.index(response) - _HARSHNESS.index(row.response)
    if harsher or row.expires_at is None:
        # What has run out gives way to anything.
        return harsher > 0 or (row.expires_at is not None and row.expires_at <= timezone.now())
    return expires is None or expires > row.expires_at


def unban(network: str) -> bool:
    """Take a block away; False if there was none."""
    deleted, _rows = BlockedAddress.objects.filter(network=_text(_parsed(network))).delete()
    transaction.on_commit(refresh, robust=True)
    return bool(deleted)


def checked(network: str, request: HttpRequest | None = None) -> str:
    """The network as its row spells it.

    Raises:
        ActionRefused: it is no network, it holds a safelisted network or the caller's own address.
    """
    parsed = _parsed(network)
    _refuse_self_harm(parsed, request)
    return _text(parsed)


def _parsed(network: str) -> Network:
    try:
        parsed = ip_network(network.strip(), strict=False)
    except ValueError as error:
        raise ActionRefused(
            _("%(text)s is no network: write 203.0.113.7 or 203.0.113.0/24.") % {"text": network}
        ) from error
    mapped = parse_address(str(parsed.network_address)) if parsed.prefixlen == parsed.max_prefixlen else None
    return ip_network(str(mapped)) if mapped else parsed


def _text(network: Network) -> str:
    """One address is written as an address, so that one network has one row."""
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _refuse_self_harm(network: Network, request: HttpRequest | None) -> None:
    own = client_address(request) if request is not None else ""
    if own and within(own, [network]):
        raise ActionRefused(
            _("%(network)s holds your own address %(own)s.") % {"network": network, "own": own}
        )
    for safe in parse_networks((*get_settings().SAFELIST, *get_settings().TRUSTED_PROXIES)):
        if safe.version == network.version and safe.overlaps(network):
            raise ActionRefused(
                _("%(network)s overlaps %(safe)s, which SAFELIST or TRUSTED_PROXIES names.")
                % {"network": network, "safe": safe}
            )
