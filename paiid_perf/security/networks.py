"""PURE: what the security domain asks of addresses, in the words of ``paiid_perf.addresses``."""

from __future__ import annotations

from collections.abc import Iterable

from paiid_perf.addresses import Network
from paiid_perf.addresses import networks as parse_networks
from paiid_perf.addresses import parse as parse_address
from paiid_perf.addresses import subscriber as caller

__all__ = ["Network", "caller", "parse_address", "parse_networks", "within"]


def within(address: str, networks: Iterable[Network]) -> bool:
    """Whether the address is in one of the networks."""
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in networks)
