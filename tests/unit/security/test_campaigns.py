"""What makes one attack of many events, and what does not."""

from __future__ import annotations

import pytest

from paiid_perf.security.campaigns import is_probe, network_of, recognise
from paiid_perf.security.probes import PATHS_OF_ONE, Asked
from paiid_perf.security.types import Campaign, Trace


def failures(address: str, *names: str, count: int = 1) -> list[Trace]:
    return [Trace(address, "login_failed", name, "/login/", count) for name in names]


def probes(address: str, *paths: str) -> list[Trace]:
    return [Trace(address, "probe", "", path, 1) for path in paths]


NAMES = [f"name:{n}" for n in range(40)]
ATTACKS = {
    "one name, again and again": (
        failures("203.0.113.7", "name:a", count=25),
        [Campaign("brute_force", "203.0.113.0/24", 25)],
    ),
    "a name from one network that rotates": (
        [one for n in range(25) for one in failures(f"2001:db8::{n:x}", "name:a")],
        [Campaign("brute_force", "2001:db8::/64", 25)],
    ),
    "a name from everywhere": (
        [one for n in range(25) for one in failures(f"198.51.{n}.7", "name:a")],
        [Campaign("brute_force", "", 25)],
    ),
    "many names from one network": (
        [one for n, name in enumerate(NAMES[:12]) for one in failures(f"203.0.113.{n}", name)],
        [Campaign("credential_stuffing", "203.0.113.0/24", 12)],
    ),
    "known probe paths": (
        probes("203.0.113.7", "/wp-login.php", "/.env", "/.git/config", "/phpmyadmin/", "/xmlrpc.php"),
        [Campaign("scanning", "203.0.113.0/24", 5)],
    ),
    "a burst of paths that are not there": (
        [Trace("203.0.113.7", "not_found", "", "", 35)],
        [Campaign("scanning", "203.0.113.0/24", 35)],
    ),
    "injection on several fields": (
        [Trace("203.0.113.7", "input_sqli", f"query:{n}", "/search/", 4) for n in "abc"],
        [Campaign("injection_campaign", "203.0.113.0/24", 12)],
    ),
}
QUIET = {
    "nothing": [],
    "a person who forgot the password": failures("203.0.113.7", "name:a", count=6),
    "an office on Monday": [one for n in range(8) for one in failures("203.0.113.7", NAMES[n], count=2)],
    "a name that several people mistype": [
        one for n in range(5) for one in failures(f"198.51.{n}.7", "name:a", count=3)
    ],
    "a broken link": [Trace(f"198.51.{n}.7", "not_found", "", "", 2) for n in range(200)],
    "two stray probes": probes("203.0.113.7", "/wp-login.php", "/.env"),
    "a customer called Select": [Trace("203.0.113.7", "input_sqli", "query:q", "/", 3)],
}


@pytest.mark.parametrize(("traces", "expected"), ATTACKS.values(), ids=ATTACKS)
def test_recognises(traces: list[Trace], expected: list[Campaign]) -> None:
    assert recognise(traces) == expected


@pytest.mark.parametrize("traces", QUIET.values(), ids=QUIET)
def test_is_quiet_about(traces: list[Trace]) -> None:
    assert recognise(traces) == []


def test_several_at_once_in_a_fixed_order() -> None:
    together = [one for traces, _ in ATTACKS.values() for one in traces]
    kinds = [campaign.kind for campaign in recognise(reversed(together))]
    assert kinds == [campaign.kind for campaign in recognise(together)]
    assert set(kinds) == {"brute_force", "credential_stuffing", "scanning", "injection_campaign"}


@pytest.mark.parametrize(
    "path", ["/wp-admin/setup.php", "/.ENV", "/old/.git/config", "/a/../../etc/passwd", "/x.PHP"]
)
def test_probe_paths(path: str) -> None:
    assert is_probe(path)


@pytest.mark.parametrize(
    "path", ["/", "/api/orders/7/", "/docs/php-and-python/", "/envelope/", "/wpa/", "/sdks/"]
)
def test_ordinary_paths(path: str) -> None:
    assert not is_probe(path)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_of(address) == network


def test_what_was_asked_for_is_remembered_within_bounds() -> None:
    asked = Asked()
    assert asked.is_new("a", "/x")
    assert not asked.is_new("a", "/x")
    assert asked.is_new("b", "/x")
    for n in range(5_000):
        asked.is_new(f"{n}", "/x")
        asked.is_new("a", f"/{n}")
    assert len(asked._paths) <= 1_001
    assert all(len(paths) <= PATHS_OF_ONE for paths in asked._paths.values())
