"""Figures with sensible digits and units, and evidence of any shape laid out as facts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.admin import figures
from paiid_perf.admin.evidence import compared, facts_of, in_order, won


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1240, "ms", "1.24 s"),
        (340.4, "ms", "340 ms"),
        (0.2061, "ms", "0.206 ms"),
        (22.04, "ms", "22 ms"),
        (0.0394, "ms", "39.4 µs"),
        (0.004, "ms", "4 µs"),
        (0, "ms", "0 ms"),
        (90_000, "ms", "1.5 min"),
        (0.7126, "ratio", "71 %"),
        (1, "ratio", "100 %"),
        (0.084, "ratio", "8.4 %"),
        (0.0005, "ratio", "0.05 %"),
        (340 * 2**20, "bytes", "340 MB"),
        (8192, "bytes", "8 kB"),
        (0, "bytes", "0 B"),
        (1200, "/s", "1,200 /s"),
        (0.5, "", "0.5"),
        (None, "ms", "–"),
        (float("nan"), "ms", "–"),
    ],
)
def test_numbers(value, unit, text):
    assert figures.number(value, unit) == text


def test_the_ticks_of_an_axis_share_a_unit():
    assert [figures.number(v, "ms", like=2000) for v in (0, 500, 2000)] == ["0 s", "0.5 s", "2 s"]


@given(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from(["", "ms", "s", "bytes", "ratio", "%"]),
)
def test_every_number_is_short(value, unit):
    assert 0 < len(figures.number(value, unit)) < 70


@pytest.mark.parametrize(
    ("gain", "text"),
    [(0.7, "−70 %"), (-0.05, "+5 %"), (0.001, "±0 %"), (None, "–"), (0.9997, "−99 %"), (1.0, "−100 %")],
)
def test_gains_are_told_as_change(gain, text):
    assert figures.signed(gain) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.34, "0.34 s"), (12.0, "12 s"), (200, "3 min 20 s"), (None, "–")]
)
def test_durations(seconds, text):
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "label", "unit"),
    [
        ("times_per_request", "Times per request", ""),
        ("p95_ms", "P95", "ms"),
        ("size_bytes", "Size", "bytes"),
        ("bytes", "Bytes", "bytes"),
        ("hit_ratio", "Hit", "ratio"),
    ],
)
def test_names_become_labels_and_units(name, label, unit):
    assert (figures.label_of(name), figures.unit_of(name)) == (label, unit)


def test_evidence_of_every_shape_is_laid_out():
    facts = facts_of(
        {
            "size_bytes": 8192,
            "definition": "CREATE INDEX x ON t (a)",
            "at_least": False,
            "found": ["a", "b"],
            "queries": [{"query": "SELECT 1", "calls": 3}, {"query": "SELECT 2", "mean_ms": 0.5}],
            "applied": {"deleted": 55},
            "nothing": None,
            "empty": [],
        }
    )

    assert [(fact.label, fact.kind) for fact in facts] == [
        ("Size", "cell"),
        ("Definition", "cell"),
        ("At least", "cell"),
        ("Found", "list"),
        ("Queries", "table"),
        ("Applied", "facts"),
    ]
    assert facts[0].cell.text == "8 kB"
    assert facts[1].cell.is_code
    assert [(column.text, column.is_number) for column in facts[4].columns] == [
        ("Query", False),
        ("Calls", True),
        ("Mean", True),
    ]
    assert [cell.text for cell in facts[4].rows[1]] == ["SELECT 2", "–", "0.5 ms"]


def test_a_long_table_is_cut_and_says_so():
    (fact,) = facts_of({"refused": [{"n": n} for n in range(100)]})

    assert (len(fact.rows), fact.more) == (40, 60)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1), json_values, max_size=5))
def test_any_json_can_be_shown(evidence):
    facts_of(evidence)


def a_query(key, calls, mean):
    return {"key": key, "text": "SELECT\n  1", "calls": calls, "mean_ms": mean}


def test_queries_are_compared_with_themselves_and_the_watched_come_last():
    before = {"queries": [a_query("watched:9", 1000, 5), a_query("1", 10, 2), a_query("2", 30, 4)]}
    after = {"queries": [a_query("1", 10, 1), a_query("2", 30, 1), a_query("watched:9", 1000, 5)]}

    rows = compared(before, after)

    assert [(row.calls, row.watched) for row in rows] == [(30, False), (10, False), (1000, True)]
    assert rows[0].gain == pytest.approx(0.75)
    assert rows[0].text == "SELECT 1"
    assert won(rows) == pytest.approx((3.5, 1.0))


def test_what_was_not_seen_again_is_compared_with_nothing():
    (row,) = compared({"queries": [a_query("1", 10, 2)]}, {})

    assert row.after_ms is None
    assert row.gain is None
    assert won([row]) is None


def test_what_names_a_thing_stands_first_and_what_explains_it_last():
    row = {"how": "ANALYZE", "why": "it is old", "rows": 4, "title": "Statistics of t"}

    assert list(in_order(row)) == ["title", "rows", "why", "how"]
    (fact,) = facts_of({"found": [row]})
    assert [column.text for column in fact.columns] == ["Title", "Rows", "Why", "How"]
