"""Which estimates of a plan are pointed out as wrong."""

from __future__ import annotations

import pytest

from paiid_perf.admin.plans import rows_of
from paiid_perf.database.statements import Plan, node_of


def step(kind, expected, seen, *below, loops=1, **more):
    return {
        "Node Type": kind,
        "Total Cost": 1.0,
        "Plan Rows": expected,
        "Actual Rows": seen,
        "Actual Total Time": 0.1,
        "Actual Loops": loops,
        "Plans": list(below),
        **more,
    }


def pointed_out(plan):
    return [row.title for row in rows_of(Plan(node_of(plan))) if row.wrong]


def test_an_estimate_far_off_is_pointed_out():
    assert pointed_out(step("Sort", 10, 9, step("Seq Scan", 10, 500))) == ["Seq Scan"]


def test_what_a_limit_stopped_early_was_not_misjudged():
    plan = step("Limit", 1, 1, step("Nested Loop", 900, 1, step("Index Scan", 455, 1)))

    assert pointed_out(plan) == []


def test_more_rows_than_expected_are_wrong_below_a_limit_too():
    assert pointed_out(step("Limit", 1, 1, step("Index Scan", 1, 455))) == ["Index Scan"]


def test_what_a_sort_or_a_hash_read_to_its_end_was_misjudged_below_a_limit():
    bitmap = step("Bitmap Index Scan", 800, 2, **{"Index Name": "i"})
    plan = step(
        "Limit",
        10,
        10,
        step(
            "Sort",
            900,
            10,  # it gives no more than it was asked for
            step(
                "Hash Join", 90, 90, step("Seq Scan", 90, 90), step("Hash", 700, 3, step("Seq Scan", 700, 3))
            ),
        ),
    )

    assert pointed_out(plan) == ["Hash", "Seq Scan"]
    assert pointed_out(step("Limit", 1, 1, step("Bitmap Heap Scan", 800, 1, bitmap))) == [
        "Bitmap Index Scan using i"
    ]


@pytest.mark.parametrize("loops", [0, 1])
def test_what_was_never_run_was_not_misjudged(loops):
    plan = step("Append", 1, 1, step("Seq Scan", 5_000, 0, loops=loops))

    assert pointed_out(plan) == (["Seq Scan"] if loops else [])
