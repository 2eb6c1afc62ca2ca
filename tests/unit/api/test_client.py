"""A client's address cannot be chosen by the client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.addresses import parse
from paiid_perf.api.client import bucket, client_address, is_in
from paiid_perf.exceptions import ConfigurationError

PROXIES = ("10.0.0.0/8", "fd00::/8")


def address(remote: str, forwarded: str = "", trusted: tuple[str, ...] = PROXIES) -> str:
    return client_address({"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}, trusted)


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),  # not through a proxy of ours: the header is the client's
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the left one is forged
        ("10.0.0.1", "203.0.113.9, 10.2.3.4", "203.0.113.9"),
        ("10.0.0.1", "10.9.9.9, 10.2.3.4", "10.9.9.9"),  # a client inside
        ("10.0.0.1", "nonsense, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:192.0.2.1", "", "192.0.2.1"),
        ("fd00::1", "2001:db8:0:0::0001", "2001:db8::1"),
        ("", "203.0.113.9", "203.0.113.9"),  # a Unix socket
        ("", "", ""),
    ],
)
def test_the_rightmost_hop_that_is_no_proxy(remote: str, forwarded: str, client: str) -> None:
    assert address(remote, forwarded) == client


def test_without_proxies_the_header_means_nothing() -> None:
    assert address("192.0.2.1", "203.0.113.9", ()) == "192.0.2.1"
    assert address("", "203.0.113.9", ()) == ""


@given(st.text(max_size=60))
def test_nothing_prepended_changes_the_client(forged: str) -> None:
    assert address("10.0.0.1", f"{forged}, 203.0.113.9") == "203.0.113.9"


@given(st.text(max_size=40))
def test_reading_never_fails(text: str) -> None:
    parse(text)


def test_ipv6_is_counted_by_64() -> None:
    assert bucket("2001:db8:1:2:3::4") == bucket("2001:db8:1:2:ffff::") != bucket("2001:db8:1:3::")
    assert bucket("192.0.2.1") == "192.0.2.1"


def test_networks() -> None:
    assert is_in("192.0.2.9", ("192.0.2.0/24",))
    assert not is_in("2001:db8::1", ("192.0.2.0/24",))
    assert not is_in("", ("0.0.0.0/0",))
    with pytest.raises(ConfigurationError, match=r"10\.0\.0\.0/8"):
        is_in("192.0.2.9", ("nonsense",))
