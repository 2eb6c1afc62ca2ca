"""When an alert opens, stays and resolves."""

from datetime import UTC, datetime, timedelta

import pytest

from paiid_perf.monitoring.rules.alerts import decide, message
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
