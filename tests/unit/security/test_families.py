"""Rates by technique, on payloads and texts written apart from the rules (tests/benchmarks/payloads)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from paiid_perf.security.detection import detect
from tests.benchmarks.detection import is_wrong, load

ROWS = [row for row in load(Path(__file__).parents[2] / "benchmarks" / "payloads") if row["tier"] != "weak"]


@pytest.mark.parametrize(("kind", "at_most"), [("sqli", 0.08), ("xss", 0.02), ("benign", 0.02)])
def test_few_are_wrong(kind: str, at_most: float) -> None:
    rows = [row for row in ROWS if row["class"] == kind]
    wrong = [row["payload"] for row in rows if is_wrong(row)]
    assert len(rows) > 200
    assert len(wrong) <= at_most * len(rows), wrong


def test_no_technique_is_missed_altogether() -> None:
    found: dict[str, list[bool]] = defaultdict(list)
    for row in ROWS:
        if row["class"] != "benign":
            found[f"{row['class']} {row['family']}"].append(row["class"] in detect(row["payload"]))
    assert {family for family, hits in found.items() if sum(hits) < 0.75 * len(hits)} == set()


def test_what_stands_around_a_payload_does_not_hide_it() -> None:
    """Leading spaces, a word before and other letter case change nothing for what breaks out of quotes."""
    for payload in (
        "' OR 1=1 --",
        "') UNION SELECT 1,2 -- ",
        "'; DROP TABLE t; --",
        "' AND SLEEP(3) AND 'a'='a",
    ):
        for text in (payload, f"  {payload}", f"smith{payload}", payload.lower(), payload.swapcase()):
            assert "sqli" in detect(text), text
