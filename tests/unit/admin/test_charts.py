"""The charts are pure: figures in, SVG out that a strict policy lets live, and that says everything in words too."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.admin import charts, glyphs
from paiid_perf.admin.charts import Chart, Line, Mark

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def a_chart(values=(1.0, 2.0, 3.0), *, every=MINUTE, hours=1, **more):
    points = [(START + every * n, value) for n, value in enumerate(values)]
    return Chart("Latency", [Line("p95", points)], START, START + timedelta(hours=hours), **more)


def parsed(html):
    return ElementTree.fromstring(str(html).replace("&nbsp;", " "))


# --- axes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "step"),
    [
        (1, 1),
        (1.1, 2),
        (2.1, 2.5),
        (2.6, 5),
        (7, 10),
        (0.03, 0.05),
        (430, 500),
        (0, 1),
        (float("nan"), 1),
        (-3, 1),
    ],
)
def test_steps_are_round_numbers(value, step):
    assert charts.nice_step(value) == pytest.approx(step)


@given(
    st.lists(st.floats(0, 1e9, allow_nan=False), min_size=1, max_size=30),
    st.sampled_from(["ms", "", "bytes", "ratio"]),
)
def test_the_axis_holds_every_value_and_has_few_lines(values, unit):
    scale = charts.scale_of(a_chart(values, unit=unit))

    assert scale.top >= max(values) * (1 - 1e-9)
    assert 1 <= round(scale.top / scale.step) <= charts.VALUE_STEPS
    assert all(charts.TOP <= scale.y(value) <= charts.HEIGHT - charts.BOTTOM for value in values)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_is_drawn_higher(a, b):
    scale = charts.scale_of(a_chart([a, b]))

    assert (a <= b) == (scale.y(a) >= scale.y(b)) or scale.y(a) == scale.y(b)


@pytest.mark.parametrize(
    "span", [timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=7), timedelta(days=30)]
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_ticks_are_round_local_times_within_the_window(span, zone):
    with timezone.override(zone):
        ticks = charts.time_ticks(START, START + span)

        assert 2 <= len(ticks) <= charts.TIME_TICKS + 1
        assert all(START <= tick <= START + span for tick in ticks)
        assert all(timezone.localtime(tick).minute % 5 == 0 for tick in ticks)


# --- what is drawn -----------------------------------------------------------------------------------------


def test_a_line_is_broken_where_nothing_was_measured():
    scale = charts.scale_of(a_chart())
    points = [(START + MINUTE * n, 1.0) for n in (0, 1, 2, 20, 21, 50)]

    path = charts.path_of(points, scale, 60)

    assert path.count("M") == 3
    assert path.endswith("h0")  # the lonely last point is a dot


def test_many_points_become_few_slots_and_the_newest_stays():
    chart = a_chart([float(n) for n in range(720)], hours=12)

    slots = charts.slots_of(chart)

    assert len(slots) <= charts.SLOTS
    assert slots[-1].values == (719.0,)
    assert [slot.at for slot in slots] == sorted(slot.at for slot in slots)


def test_a_bucket_that_begins_before_the_window_stays_within_the_axes():
    points = [(START - MINUTE, 1.0), (START - MINUTE / 2, 1.0), (START + MINUTE, 2.0)]
    chart = Chart("Early", [Line("p95", points)], START, START + timedelta(hours=1))

    widths = [float(rect.attrib["width"]) for rect in parsed(charts.line_chart(chart)).iter("rect")]

    assert len(widths) == 3
    assert all(width >= 0 for width in widths)


def test_slots_of_two_lines_are_joined_by_time():
    lines = [Line("a", [(START, 1.0)]), Line("b", [(START, 2.0), (START + MINUTE, 3.0)])]
    chart = Chart("Two", lines, START, START + timedelta(hours=1))

    assert [slot.values for slot in charts.slots_of(chart)] == [(1.0, 2.0), (None, 3.0)]


def test_marks_of_one_moment_are_one_and_those_outside_are_left_out():
    marks = [
        Mark(START + MINUTE, "a"),
        Mark(START + MINUTE, "b"),
        Mark(START + MINUTE * 30, "c"),
        Mark(START - MINUTE, "x"),
    ]
    scale = charts.scale_of(a_chart())

    assert [[mark.label for mark in group] for _x, group in charts.clusters(marks, scale)] == [
        ["a", "b"],
        ["c"],
    ]


def test_the_chart_has_title_units_values_on_hover_marks_and_a_table():
    html = str(
        charts.line_chart(a_chart([12.0, 34.0], unit="ms", marks=[Mark(START + MINUTE, "Index x kept")]))
    )

    assert "Latency" in html
    assert "40 ms" in html  # an axis label with its unit
    assert "12:01 p.m.\np95 34 ms\n▼ 12:01 Index x kept</title>" in html
    assert "Index x kept" in html
    assert "<td>34 ms</td>" in html
    assert 'aria-label="Latency: p95 34 ms"' in html


def test_what_was_changed_is_told_by_the_value_after_it_and_in_the_table():
    marks = [Mark(START + MINUTE / 2, "Index x kept"), Mark(START + 2 * MINUTE, "release 2")]
    html = str(charts.line_chart(a_chart([12.0, 34.0], marks=marks)))

    slots = re.findall(r"perf-slot.*?<title>(.*?)</title>", html, re.S)
    assert ["Index x kept" in slot for slot in slots] == [False, True]
    assert slots[1].endswith("▼ 12:02 release 2")  # after the last value: it belongs to that one
    assert '<th scope="col">Changed</th>' in html
    assert html.count("release 2</td>") == 1


def test_a_mark_on_a_chart_of_days_has_its_day():
    chart = Chart(
        "Latency", [Line("p95", [(START, 1.0)])], START, START + timedelta(days=7), marks=[Mark(START, "x")]
    )

    assert "<td>03/01/2026 noon x</td>" in str(charts.line_chart(chart))


def test_without_points_it_says_what_to_do():
    html = str(charts.line_chart(a_chart([], empty="Add the middleware.")))

    assert "Add the middleware." in html
    assert "<svg" not in html


@pytest.mark.parametrize(
    "html",
    [
        charts.line_chart(a_chart()),
        charts.line_chart(Chart("Two", [Line("a", [(START, 1.0)]), Line("b", [])], START, START + MINUTE)),
        glyphs.dial(84.5, "Score"),
        glyphs.dial(None, "Score"),
        glyphs.meter(40),
        glyphs.bar(0.3, "Progress"),
        glyphs.versus(2.0, 1.0, "ms", "A call"),
        glyphs.sparkline([1, 2, 3], "Score"),
    ],
)
def test_everything_is_well_formed_and_lives_under_a_strict_policy(html):
    for element in parsed(html).iter():
        assert "style" not in element.attrib
        assert element.tag not in ("script", "style", "image", "foreignObject")
        assert not [name for name in element.attrib if name.startswith("on") or name.endswith("href")]


def test_text_is_escaped():
    evil = "<script>alert(1)</script>"
    chart = Chart(evil, [Line(evil, [(START, 1.0)])], START, START + MINUTE, evil, marks=[Mark(START, evil)])

    assert evil not in str(charts.line_chart(chart))
    assert evil not in str(glyphs.dial(1, evil))


# --- dial, bars ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "grade"),
    [
        (100, "good"),
        (80, "good"),
        (79.9, "fair"),
        (50, "fair"),
        (49.9, "poor"),
        (0, "poor"),
        (None, "unknown"),
    ],
)
def test_grades(score, grade):
    assert glyphs.grade(score) == grade


def test_no_score_fills_nothing_and_says_so():
    html = str(glyphs.dial(None, "Score"))

    assert "perf-dial-value" not in html
    assert "insufficient data" in html


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_bar_stays_within_its_ends(fraction):
    assert 0 <= int(parsed(glyphs.bar(fraction, "x")).attrib["value"]) <= 100


def test_before_and_after_share_one_scale():
    widths = [float(r.attrib["width"]) for r in parsed(glyphs.versus(100, 25, "ms", "x")).iter("rect")]

    assert widths == [200, 50]


def test_one_value_makes_no_sparkline():
    assert glyphs.sparkline([1], "x") == ""
