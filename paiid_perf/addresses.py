"""Whose request it is: addresses, networks, and which hop behind trusted proxies is the client. One place for all.

Nothing that a client writes into a header chooses its own address: the hops are read from the right, and the first
that is not one of the trusted proxies is the client. IPv6 clients count by their /64, which is what one subscriber is
given (RFC 6177).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Addresses whose reading is remembered: parsing one costs microseconds.
REMEMBERED = 8_192
#: Hops of X-Forwarded-For that are looked at, from the right.
MAX_HOPS = 20
#: Characters of X-Forwarded-For that hold them.
MAX_HEADER = 1_024
IPV6_PREFIX = 64


@lru_cache(maxsize=REMEMBERED)
def parse(text: str) -> Address | None:
    """An address, with or without a port, brackets or a zone (``::ffff:192.0.2.1`` is ``192.0.2.1``); None: none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=64)
def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks; ValueError names the text that is none."""
    return tuple(ip_network(text, strict=False) for text in texts)


@lru_cache(maxsize=REMEMBERED)
def is_in(address: str, texts: tuple[str, ...]) -> bool:
    """Whether the address lies in one of the networks; ValueError for a text that is none."""
    parsed = parse(address)
    return parsed is not None and any(parsed in network for network in networks(texts))


def client(remote: str, forwarded: str, trusted: tuple[str, ...]) -> str:
    """The client's address, normalised; "" where there is none.

    Args:
        remote: who is at the other end of the connection; "" for a Unix socket.
        forwarded: the header X-Forwarded-For.
        trusted: the networks of the proxies in front.
    """
    # Of a header that a client makes long, the end: all of them together are not to fill the memory.
    return _client(remote, forwarded[-MAX_HEADER:] if trusted else "", trusted)


@lru_cache(maxsize=REMEMBERED)
def _client(remote: str, forwarded: str, trusted: tuple[str, ...]) -> str:
    address = parse(remote)
    if not trusted:
        return "" if address is None else str(address)
    # A proxy on a Unix socket has no address: with proxies declared, that is one of them.
    if address is None or _is_one_of(address, trusted):
        for hop in forwarded.split(",")[: -MAX_HOPS - 1 : -1]:
            parsed = parse(hop)
            if parsed is None:
                break
            address = parsed
            if not _is_one_of(parsed, trusted):
                break
    return "" if address is None else str(address)


def _is_one_of(address: Address, trusted: tuple[str, ...]) -> bool:
    return any(address in network for network in networks(trusted))


@lru_cache(maxsize=REMEMBERED)
def subscriber(address: str) -> str:
    """What counts as one caller: an IPv4 address, or the /64 of an IPv6 one; the text itself if it is none."""
    parsed = parse(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed) if parsed else address
