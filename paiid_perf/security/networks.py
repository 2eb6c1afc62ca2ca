"""PURE: addresses and networks, and which hop of a request is its client."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: One customer line has a /64 of its own to rotate in (RFC 6177), so all of it counts as one caller.
IPV6_PREFIX = 64


def right_most_stranger(remote: str, forwarded: str, trusted: tuple[str, ...]) -> str:
    """Walk the hops from the right; the first that is not a trusted proxy (or is no address) ends the walk."""
    client = remote
    networks = parse_networks(trusted)
    for hop in reversed(forwarded.split(",")[-20:]):
        # An empty address is a Unix socket: whoever can write to it is a proxy of ours.
        if client and not within(client, networks):
            break
        parsed = parse_address(hop.strip())
        if parsed is None:
            break
        client = str(parsed)
    return client


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """The address, an IPv4 one out of its IPv6 mapping; None if the text is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=64)
def parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks; ValueError names the text that is none."""
    return tuple(ip_network(text, strict=False) for text in texts)


def within(address: str, networks: Iterable[Network]) -> bool:
    """Whether the address is in one of the networks."""
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in networks)


def caller(address: str) -> str:
    """What counts as one caller: an IPv4 address, or the /64 of an IPv6 one; the text itself if it is none."""
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed) if parsed else address
