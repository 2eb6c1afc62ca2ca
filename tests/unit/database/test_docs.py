"""The documentation holds every threshold, with the value that is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from paiid_perf.database.rules.thresholds import TABLE
from paiid_perf.database.types import Threshold

PAGE = (Path(__file__).parents[3] / "docs" / "database.md").read_text()


def row(threshold: Threshold) -> str:
    return f"| `{threshold.name}` | {threshold.value:,.10g} | {threshold.unit} | {threshold.source} |"


@pytest.mark.parametrize("threshold", TABLE, ids=lambda t: t.name)
def test_a_threshold_is_documented(threshold: Threshold) -> None:
    assert row(threshold) in PAGE, f"docs/database.md lacks: {row(threshold)}"


def test_no_threshold_is_documented_that_is_none() -> None:
    section = PAGE.split("## Thresholds")[1]

    assert sum(line.startswith("| `") for line in section.splitlines()) == len(TABLE)
