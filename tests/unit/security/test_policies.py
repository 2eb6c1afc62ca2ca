"""The score by policy, what is deducted from it, and the settings and packages that cost points."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paiid_perf.security import rules
from paiid_perf.security.types import ChainState, Danger, SecurityFacts, Vulnerable
from tests.unit.security.test_rules import HARDENED, STARTPROJECT, value

GRAVE = Vulnerable("django", "5.0.1", ("CVE-2099-1",), "5.0.2", "critical", "It is open.")
MILD = Vulnerable("jinja2", "3.0", ("CVE-2099-2", "CVE-2099-3"), "", "low")


def scores(facts: SecurityFacts) -> dict[str, float | None]:
    return {policy.policy: policy.score for policy in rules.policies(facts)}


def test_a_hardened_site_has_full_marks_in_every_policy() -> None:
    assert set(scores(HARDENED)) == {"inspection", "passwords", "limits", "sessions", "transport", "software"}
    assert set(scores(HARDENED).values()) == {100.0}
    assert all(not policy.deductions for policy in rules.policies(HARDENED))


def test_deductions_say_where_the_points_went() -> None:
    for policy in rules.policies(STARTPROJECT):
        assert policy.score is not None
        assert policy.score == pytest.approx(100 - sum(one.points for one in policy.deductions), abs=0.1)
    assert scores(STARTPROJECT)["limits"] == 0
    transport = next(policy for policy in rules.policies(STARTPROJECT) if policy.policy == "transport")
    assert {one.measure for one in transport.deductions} >= {
        "secrets",
        "transport",
        "content_security_policy",
    }


def test_every_measure_belongs_to_a_policy() -> None:
    told = {one.measure for policy in rules.policies(STARTPROJECT) for one in policy.deductions}
    assert told <= {measure.name for measure in rules.MEASURES}


def test_vulnerable_packages_cost_points_and_are_advice_with_the_version_that_mends_them() -> None:
    assert value(replace(HARDENED, vulnerable=None), "vulnerabilities") is None
    assert value(HARDENED, "vulnerabilities") == 1
    assert value(replace(HARDENED, vulnerable=(MILD,)), "vulnerabilities") == 0.75
    assert value(replace(HARDENED, vulnerable=(GRAVE, MILD)), "vulnerabilities") == 0
    advice = {one.key: one for one in rules.proposals(replace(HARDENED, vulnerable=(GRAVE, MILD)))}
    assert advice["security.vulnerable.django"].how == 'pip install "django>=5.0.2"'
    assert "CVE-2099-1" in advice["security.vulnerable.django"].why
    assert advice["security.vulnerable.jinja2"].title == "Replace jinja2 3.0"


def test_a_broken_chain_is_said() -> None:
    broken = replace(HARDENED, chain=ChainState(7, 8, "changed"))
    assert value(broken, "event_chain") == 0
    (advice,) = rules.proposals(broken)
    assert "#8: changed" in advice.why


@pytest.mark.parametrize(
    ("setting", "bad", "good"),
    [
        ("ALLOWED_HOSTS", ["*"], [".example.com"]),
        ("CSRF_TRUSTED_ORIGINS", ["http://a.example"], ["https://a.example"]),
        ("SESSION_COOKIE_SAMESITE", None, "Lax"),
        ("SESSION_COOKIE_SAMESITE", False, "Strict"),
        ("DATA_UPLOAD_MAX_MEMORY_SIZE", None, 2_621_440),
        ("FILE_UPLOAD_PERMISSIONS", 0o666, 0o644),
        ("STATIC_URL", "http://cdn.example/", "https://cdn.example/"),
        ("MEDIA_URL", "http://cdn.example/", "/media/"),
        ("SECURE_CROSS_ORIGIN_OPENER_POLICY", "unsafe-none", "same-origin"),
        ("SECURE_REFERRER_POLICY", None, "same-origin"),
        ("CORS_ALLOWED_ORIGIN_REGEXES", [".*"], [r"^https://\w+\.example\.com$"]),
    ],
)
def test_dangerous_values(setting: str, bad: Any, good: Any) -> None:
    def told(value: Any) -> list[str]:
        return [
            danger.setting
            for danger in rules.dangers(lambda name, default: value if name == setting else default)
        ]

    assert told(bad) == [setting]
    assert told(good) == []


def test_dangerous_settings_cost_points() -> None:
    assert value(HARDENED, "dangerous_settings") == 1
    one = replace(HARDENED, dangers=(Danger("ALLOWED_HOSTS", "any host"),))
    assert value(one, "dangerous_settings") == pytest.approx(2 / 3)
    assert "ALLOWED_HOSTS: any host" in rules.proposals(one)[0].why
