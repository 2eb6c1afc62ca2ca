"""When an alert opens, stays and resolves."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.monitoring.rules.alerts import calm, decide, is_silent, matches, message, state
from paiid_perf.monitoring.types import Rule, Sample

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIVE = timedelta(minutes=5)
HIGH = Rule("above", 80, 70, FIVE, "%")
LOW = Rule("below", 0.8, 0.85, FIVE)


def minutes(*values):
    """One value a minute, the last one now."""
    return [Sample(NOW - timedelta(minutes=len(values) - 1 - n), value) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("rule", "values", "is_open", "decision"),
    [
        (HIGH, (90, 90, 90, 90, 90), False, "open"),
        (HIGH, (90, 90, 79, 90, 90), False, "none"),
        (HIGH, (10, 90, 90, 90, 90, 90, 90), False, "open"),
        (HIGH, (90,), False, "no data"),
        (HIGH, (), False, "no data"),
        (HIGH, (), True, "no data"),
        (HIGH, (75, 75, 75, 75, 75), True, "keep"),
        (HIGH, (60, 60, 60, 60, 60, 60), True, "resolve"),
        (HIGH, (60, 60, 90, 60, 60, 60), True, "keep"),
        (HIGH, (80, 80, 80, 80, 80), False, "none"),
        (LOW, (0.5, 0.5, 0.5, 0.5, 0.5), False, "open"),
        (LOW, (0.9, 0.9, 0.9, 0.9, 0.9, 0.9), True, "resolve"),
        (LOW, (0.82, 0.82, 0.82, 0.82, 0.82), True, "keep"),
    ],
)
def test_a_rule_decides(rule, values, is_open, decision):
    assert decide(rule, minutes(*values), is_open, NOW) == decision


def test_a_metric_that_flaps_around_its_threshold_keeps_one_alert():
    decisions, is_open = [], False
    values = [90] * 6 + [79, 82] * 20
    for end in range(6, len(values) + 1):
        decision = decide(HIGH, minutes(*values[:end]), is_open, NOW)
        is_open = is_open or decision == "open"
        decisions.append(decision)

    assert decisions.count("open") == 1
    assert "resolve" not in decisions


def test_old_samples_do_not_count():
    old = [Sample(sample.at - timedelta(hours=1), sample.value) for sample in minutes(90, 90, 90, 90, 90)]

    assert decide(HIGH, old, False, NOW) == "no data"


def test_a_message_says_what_where_how_much_and_for_how_long():
    assert (
        message("cpu_percent", "web-1", HIGH, 91.23) == "cpu_percent on web-1 is 91.23 % (above 80 for 5 min)"
    )


def test_one_that_opened_again_wants_a_longer_calm():
    calm_for = [60] * 5

    assert decide(HIGH, minutes(*calm_for), True, NOW) == "resolve"
    assert decide(HIGH, minutes(*calm_for), True, NOW, flaps=1) == "keep"
    assert decide(HIGH, minutes(*[60] * 11), True, NOW, flaps=1) == "resolve"
    assert decide(HIGH, minutes(90, *[60] * 10), True, NOW, flaps=1) == "keep"


@given(st.integers(0, 50))
def test_the_calm_grows_and_has_an_end(flaps):
    assert calm(FIVE, flaps) <= calm(FIVE, flaps + 1) <= 8 * FIVE


@given(st.lists(st.floats(0, 100), min_size=6, max_size=6), st.floats(0, 50))
def test_what_is_worse_never_resolves_what_is_better_would_keep(values, worse_by):
    def of(found):
        return decide(HIGH, minutes(*found), True, NOW)

    assert not (of(values) == "keep" and of([value + worse_by for value in values]) == "resolve")


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ([], "no data"),
        (["no data", "no data"], "no data"),
        (["no data", "none"], "ok"),
        (["none", "keep"], "firing"),
        (["none", "open"], "firing"),
        (["resolve"], "ok"),
    ],
)
def test_a_rule_has_a_state_of_its_own(decisions, expected):
    assert state(decisions) == expected


def test_silence_is_of_those_who_once_spoke():
    assert not is_silent([], FIVE, NOW)
    assert not is_silent(minutes(1), FIVE, NOW)
    assert is_silent(minutes(1), FIVE, NOW + FIVE)
    assert not is_silent(minutes(1), None, NOW + FIVE)


@pytest.mark.parametrize(
    ("subjects", "subject", "passes"),
    [
        ("", "web-1", True),
        ("web-1", "web-1", True),
        ("web-1", "web-10", False),
        ("web-*", "web-10", True),
        ("web-*; !web-9", "web-9", False),
        ("!web-9", "web-1", True),
        ("db-*; web-*", "web-1", True),
        ("* api/[a]/<int:pk>/ *", "GET api/[a]/<int:pk>/ 2xx", True),
        ("* api/[a]/<int:pk>/ *", "GET api/a/<int:pk>/ 2xx", False),
        (" ; ", "web-1", True),
    ],
)
def test_a_filter_passes_the_subjects_that_it_names(subjects, subject, passes):
    assert matches(subjects, subject) is passes


@given(st.text(alphabet="ab*!; ", max_size=12), st.text(alphabet="ab*!; ", max_size=6))
def test_any_text_is_a_filter(subjects, subject):
    assert matches(subjects, subject) in (True, False)
