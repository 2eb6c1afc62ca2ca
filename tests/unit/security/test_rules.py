"""The security score and the bans: pure functions over facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf import addresses
from paiid_perf.contracts import ADVICE
from paiid_perf.monitoring.rules.score import score
from paiid_perf.security import eol, rules
from paiid_perf.security.networks import caller
from paiid_perf.security.redaction import one_line, redact
from paiid_perf.security.types import DeployMessage, EventCount, Rate, SecurityFacts, Version

HARDENED = SecurityFacts(
    deploy=(),
    debug=False,
    middleware=frozenset(),
    validators=frozenset({"MinimumLengthValidator", "CommonPasswordValidator", "ContextWordsValidator"}),
    minimum_length=15,
    hasher="PBKDF2PasswordHasher",
    weak_hashers=(),
    login_limited=True,
    login_limit="5/5m",
    inspection="block",
    content_security_policy=True,
    admin_path="/backoffice/",
    cors_open=False,
    session_age=timedelta(days=14),
    session_pickled=False,
    versions=(Version("Django", "5.2", "5.2.8"), Version("Python", "3.13", "3.13.1")),
    debug_packages=(),
    trusts_everyone=False,
    today=date(2026, 6, 1),
    vulnerable=(),
    headers=frozenset({"Permissions-Policy", "Cross-Origin-Resource-Policy"}),
)
STARTPROJECT = replace(
    HARDENED,
    deploy=tuple(DeployMessage(f"security.W{number:03}", "…") for number in (4, 8, 9, 12, 16, 18, 20)),
    debug=True,
    validators=frozenset({"MinimumLengthValidator", "CommonPasswordValidator"}),
    minimum_length=8,
    login_limited=False,
    inspection="report",
    content_security_policy=False,
    admin_path="/admin/",
    headers=frozenset(),
)


def points(facts: SecurityFacts) -> float:
    """The area's score, 0–100."""
    earned = score(rules.checks(facts)).areas["security"].score
    assert earned is not None
    return earned


def value(facts: SecurityFacts, name: str) -> float | None:
    return next(check.value for check in rules.checks(facts) if check.name == name)


def test_a_hardened_site_earns_everything_and_gets_no_advice() -> None:
    assert points(HARDENED) == 100
    assert rules.proposals(HARDENED) == []


def test_a_fresh_project_is_far_from_it_and_every_loss_has_its_fix() -> None:
    assert points(STARTPROJECT) < 60
    advice = {proposal.key: proposal for proposal in rules.proposals(STARTPROJECT)}
    lost = {
        c.name for c in rules.checks(STARTPROJECT) if c.value is not None and c.value < 1 and c.target == 1
    }
    assert {f"security.{name}" for name in lost} == set(advice)
    for proposal in advice.values():
        assert proposal.kind == ADVICE
        assert proposal.how
        assert proposal.why
    assert "security.W018" in advice["security.secrets"].evidence["found"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"debug": True}, "secrets"),
        ({"deploy": (DeployMessage("security.W009", ""),)}, "secrets"),
        ({"deploy": (DeployMessage("security.W008", ""),)}, "transport"),
        ({"deploy": (DeployMessage("security.W012", ""),)}, "cookies"),
        ({"deploy": (DeployMessage("security.W001", ""),)}, "headers"),
        ({"content_security_policy": False}, "content_security_policy"),
        ({"headers": frozenset({"Permissions-Policy"})}, "isolation"),
        ({"validators": frozenset(), "minimum_length": 0}, "passwords"),
        ({"hasher": "MD5PasswordHasher"}, "hashing"),
        ({"weak_hashers": ("MD5PasswordHasher",)}, "hashing"),
        ({"login_limited": False}, "login_limits"),
        ({"inspection": "off"}, "inspection"),
        ({"admin_path": "/admin/"}, "admin_address"),
        ({"versions": (Version("Python", "3.9", "3.9.1"),)}, "supported_versions"),
        ({"session_pickled": True}, "sessions"),
        ({"session_age": timedelta(days=400)}, "sessions"),
        ({"cors_open": True}, "exposure"),
        ({"trusts_everyone": True}, "exposure"),
        ({"debug_packages": ("django-debug-toolbar",)}, "exposure"),
    ],
)
def test_each_weakness_costs_points_and_is_named(change, name) -> None:
    weak = replace(HARDENED, **change)
    assert value(weak, name) < 1
    assert points(weak) < 100
    assert [proposal.key for proposal in rules.proposals(weak)] == [f"security.{name}"]


def test_serious_events_cost_points_but_reports_of_mere_failures_do_not() -> None:
    assert points(replace(HARDENED, events={"low": 500, "info": 900})) == 100
    assert points(replace(HARDENED, events={"high": 50})) < 100


def test_hsts_options_count_as_missing_with_hsts_itself() -> None:
    without = replace(HARDENED, deploy=(DeployMessage("security.W004", ""),))
    alone = replace(HARDENED, deploy=(DeployMessage("security.W021", ""),))
    assert value(without, "transport") == pytest.approx(0.4)
    assert value(alone, "transport") == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("validators", "length", "profile"),
    [
        ((), 0, "none"),
        (("NumericPasswordValidator",), 0, "weak"),
        (("MinimumLengthValidator", "CommonPasswordValidator"), 8, "django"),
        (("FiveCriteriaValidator", "HistoryValidator", "CommonPasswordValidator"), 12, "classic"),
        (("MinimumLengthValidator", "CommonPasswordValidator"), 15, "nist"),
        (("MinimumLengthValidator",), 15, "weak"),
    ],
)
def test_profiles_are_told_by_their_validators(validators, length, profile) -> None:
    assert rules.password_profile(frozenset(validators), length) == profile


def test_support_ends_on_its_day_and_unknown_series_count_as_supported() -> None:
    django = replace(HARDENED, versions=(Version("Django", "5.2", "5.2.1"),))
    assert rules.unsupported(replace(django, today=date(2028, 4, 30))) == ()
    assert rules.unsupported(replace(django, today=date(2028, 5, 1))) == django.versions
    assert eol.ends("Django", "9.9") is None
    assert eol.ends("Python", "2.7") == date.min
    assert eol.ends("Nonsense", "1") is None


@pytest.mark.parametrize(
    ("text", "rate"),
    [("5/5m", Rate(5, 300)), ("3/h", Rate(3, 3600)), (" 60 / m ", Rate(60, 60)), ("1/30s", Rate(1, 30))],
)
def test_rates_are_read(text, rate) -> None:
    assert rules.parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "5", "5/x", "0/m", "5/0m", "five/m", "5/m/m"])
def test_what_is_no_rate_is_named(text) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        rules.parse_rate(text)


def test_bans_follow_from_weights_and_say_why() -> None:
    events = [
        EventCount("203.0.113.7", "input_sqli", "high", 2),
        EventCount("203.0.113.8", "login_failed", "low", 19),
        EventCount("203.0.113.9", "login_failed", "low", 20),
        EventCount("203.0.113.10", "login", "info", 10_000),
    ]
    decided = {one.network: one for one in rules.responses(events, 100, timedelta(minutes=30))}
    assert {network: one.response for network, one in decided.items()} == {
        "203.0.113.7": "ban",
        "203.0.113.8": "log_out",
        "203.0.113.9": "ban",
    }
    assert "input_sqli" in decided["203.0.113.7"].reason


def test_a_rotating_ipv6_network_is_banned_as_one() -> None:
    events = [EventCount(f"2001:db8::{n:x}", "input_xss", "high", 1) for n in range(1, 4)]
    decided = rules.responses(events, 100, timedelta(hours=1))
    assert [(one.network, one.response) for one in decided] == [("2001:db8::/64", "ban")]


@pytest.mark.parametrize(
    ("failures", "response"),
    [(1, None), (7, None), (8, "notify"), (12, "delay"), (16, "log_out"), (20, "ban"), (500, "ban")],
)
def test_the_ladder_is_climbed_rung_by_rung(failures, response) -> None:
    """A person who mistypes a few times is not even told of."""
    counted = [EventCount("203.0.113.7", "login_failed", "low", failures)]
    decided = [one.response for one in rules.responses(counted, 100, timedelta(hours=1))]
    assert decided == ([response] if response else [])


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 30)), max_size=8))
def test_more_events_never_unban(events) -> None:
    counted = [EventCount(f"203.0.113.{host}", "login_failed", "low", count) for host, count in events]
    more = [*counted, EventCount("203.0.113.1", "login_failed", "low", 5)]
    before, after = (
        {one.network: one.response for one in rules.responses(some, 100, timedelta(hours=1))}
        for some in (counted, more)
    )
    rungs = [response for response, _share in reversed(rules.LADDER)]
    assert all(rungs.index(after[network]) >= rungs.index(was) for network, was in before.items())


TRUSTED = ("10.0.0.0/8", "2001:db8:ffff::/48")


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "1.2.3.4", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, garbage", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("2001:db8:ffff::1", "2001:db8:1::9", "2001:db8:1::9"),
        ("10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_a_client_cannot_name_its_own_address(remote, forwarded, client) -> None:
    assert addresses.client(remote, forwarded, TRUSTED) == client


def test_an_ipv6_caller_is_its_64() -> None:
    assert caller("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64"
    assert caller("::ffff:203.0.113.7") == "203.0.113.7"
    assert caller("") == ""


@given(st.text(max_size=300))
def test_a_sample_is_short_one_line_and_keeps_no_word(text) -> None:
    sample = redact(text)
    assert len(sample) <= 80
    assert not any(ord(character) < 32 for character in sample)
    assert "hunter" not in redact(f"{text} hunter2")


def test_a_sample_shows_the_shape() -> None:
    assert redact("x' OR name='alice' -- 42") == "x' OR x='x' -- 99"
    assert one_line("a\r\nb\0c", 5) == "a b "


def test_the_classic_profile_is_told_which_clause_it_departs_from():
    validators = frozenset({"FiveCriteriaValidator", "HistoryValidator", "CommonPasswordValidator"})
    (check,) = (c for c in rules.checks(replace(HARDENED, validators=validators)) if c.name == "passwords")
    assert "ASVS 6.2.5" in check.hint
    nist = replace(HARDENED, validators=frozenset({"CommonPasswordValidator"}), minimum_length=15)
    (check,) = (c for c in rules.checks(nist) if c.name == "passwords")
    assert "6.2.5" not in check.hint


def test_a_line_that_builds_sql_is_a_recommendation_of_its_own():
    line = "shop/views.py:12 in search"
    first = rules.proposals(replace(HARDENED, built_statements=(line,)))[0]
    assert (first.key, first.kind) == (f"security.sql_built.{line}", ADVICE)
    assert line in first.title
