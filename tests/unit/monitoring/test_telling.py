"""Who is told of an alert, and when."""

from datetime import UTC, datetime, timedelta

import pytest

from paiid_perf.monitoring.rules.telling import is_news, route
from paiid_perf.monitoring.types import Standing

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
COOL = timedelta(minutes=10)


def ago(minutes):
    return NOW - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("standing", "news"),
    [
        (Standing("open", "", None, 0, silenced=False), True),
        (Standing("open", "", None, 0, silenced=True), False),
        (Standing("open", "open", ago(99), 0, silenced=False), False),
        (Standing("resolved", "", None, 0, silenced=False), False),
        (Standing("resolved", "open", ago(1), 0, silenced=False), True),
        (Standing("resolved", "open", ago(1), 1, silenced=False), False),
        (Standing("resolved", "open", ago(21), 1, silenced=False), True),
        (Standing("open", "resolved", ago(15), 1, silenced=False), False),
        (Standing("open", "resolved", ago(21), 1, silenced=False), True),
        (Standing("open", "resolved", ago(79), 9, silenced=False), False),
        (Standing("open", "resolved", ago(81), 9, silenced=False), True),
        (Standing("no data", "open", ago(11), 0, silenced=False), True),
        (Standing("acknowledged", "open", ago(99), 0, silenced=False), False),
        (Standing("resolved", "resolved", ago(99), 0, silenced=False), False),
    ],
)
def test_an_alert_is_told_when_it_stands_elsewhere_than_people_know(standing, news):
    assert is_news(standing, COOL, NOW) is news


@pytest.mark.parametrize(
    ("notifiers", "severity", "found"),
    [
        (("a", "b"), "info", ("a", "b")),
        ({"critical": ("a", "b"), "*": ("b",)}, "critical", ("a", "b")),
        ({"critical": ("a", "b"), "*": ("b",)}, "info", ("b",)),
        ({"critical": ("a",)}, "info", ()),
    ],
)
def test_each_severity_has_its_notifiers(notifiers, severity, found):
    assert route(notifiers, severity) == found
