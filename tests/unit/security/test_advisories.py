"""Advisories of both formats against what is installed; versions in PEP 440's order."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.security.rules.advisories import canonical, read, version_key, vulnerable
from paiid_perf.security.types import Vulnerable


def osv(name: str, *events: dict[str, str], **more: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": "PyPI", "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": [*events]}],
    }
    return {"id": "GHSA-1", "summary": "It is open.\nMore.", "affected": [affected], **more}


SPAN = ({"introduced": "0"}, {"fixed": "4.2.9"}, {"introduced": "5.0"}, {"fixed": "5.0.2"})
AUDIT = {
    "dependencies": [
        {"name": "Flask_Thing", "version": "1.0", "vulns": []},
        {
            "name": "django",
            "version": "5.0.1",
            "vulns": [
                {
                    "id": "PYSEC-1",
                    "fix_versions": ["4.2.9", "5.0.2"],
                    "aliases": ["CVE-2099-1"],
                    "description": "Bad.",
                },
                {"id": "PYSEC-2", "fix_versions": ["5.0.10", "5.1"], "aliases": [], "description": ""},
            ],
        },
    ],
    "fixes": [],
}


def found(document: Any, **installed: str) -> tuple[Vulnerable, ...]:
    return vulnerable(installed, read(json.loads(json.dumps(document))))


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ("4.2.8", "4.2.9"),
        ("4.2.9", None),
        ("5.0", "5.0.2"),
        ("5.0.2", None),
        ("5.0rc1", None),
        ("3.2", "4.2.9"),
    ],
)
def test_spans_of_osv(version: str, fixed: str | None) -> None:
    named = found(osv("Django", *SPAN), django=version)
    assert [one.fixed for one in named] == ([fixed] if fixed else [])


def test_last_affected_and_single_versions() -> None:
    last = osv("a", {"introduced": "1.0"}, {"last_affected": "1.4"})
    assert found(last, a="1.4") == (Vulnerable("a", "1.4", ("GHSA-1",), "", "medium", "It is open."),)
    assert not found(last, a="1.4.1")
    single = {
        "id": "X-1",
        "affected": [{"package": {"name": "a", "ecosystem": "PyPI"}, "versions": ["2.0", "2.1"]}],
    }
    assert found(single, a="2.1.0")
    assert not found(single, a="2.2")


def test_the_report_of_pip_audit_and_the_version_that_mends_all() -> None:
    assert found(AUDIT, Django="5.0.1") == (
        Vulnerable("Django", "5.0.1", ("CVE-2099-1", "PYSEC-2"), "5.0.10", "medium", "Bad."),
    )
    assert found(AUDIT, Django="5.0.10") == ()


def test_names_lists_aliases_and_severity() -> None:
    first = osv("My.Lib", *SPAN, aliases=["CVE-2099-7"], database_specific={"severity": "MODERATE"})
    again = osv(
        "my-lib", *SPAN, id="PYSEC-9", aliases=["CVE-2099-7"], database_specific={"severity": "CRITICAL"}
    )
    (one,) = found({"vulns": [first, again]}, my_lib="4.0")
    assert (one.name, one.ids, one.severity) == ("my_lib", ("CVE-2099-7",), "critical")
    assert canonical("My.Lib__x") == "my-lib-x"


def test_what_is_withdrawn_of_another_ecosystem_or_nonsense_names_nothing() -> None:
    npm = osv("a", *SPAN)
    npm["affected"][0]["package"]["ecosystem"] = "npm"
    for document in (
        osv("a", *SPAN, withdrawn="2099-01-01"),
        npm,
        {},
        [],
        [[]],
        {"vulns": [3]},
        "x",
        3,
        None,
    ):
        assert found(document, a="1.0") == ()
    for broken in (
        {"id": 1, "affected": [{"package": None, "ranges": 3}, 4]},
        {"dependencies": [{"vulns": [{}]}, 5]},
    ):
        assert found(broken, a="1.0") == ()
    assert found(osv("a", {"introduced": "nonsense"}), a="1.0") == ()
    assert found(osv("a", *SPAN), a="not a version") == ()


ORDER = [
    "1.0.dev1", "1.0a1.dev1", "1.0a1", "1.0a2", "1.0b1", "1.0rc1.dev3", "1.0rc1", "1.0", "1.0.post1.dev1", "1.0.post1",
    "1.0.1", "1.1.dev1", "1.1", "1.10", "2.0", "1!0.5",
]  # fmt: skip


def test_the_order_of_pep_440() -> None:
    keys = [version_key(version) for version in ORDER]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(keys))


@pytest.mark.parametrize(
    ("a", "b"),
    [("1.0", "1"), ("1.0.0", "v1"), ("1.0-1", "1.0.post1"), ("1.0c1", "1.0RC1"), ("1.0+local", "1.0")],
)
def test_the_same_version_written_otherwise(a: str, b: str) -> None:
    assert version_key(a) == version_key(b) is not None


@given(st.text(max_size=30))
def test_no_text_is_too_odd(text: str) -> None:
    key = version_key(text)
    assert key is None or isinstance(key, tuple)
