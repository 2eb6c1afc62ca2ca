"""Rates are read strictly, and the window never lets more through than it says."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.api.limits import Allowance, Rate, SlidingLog, key_value, parse_rate, retry_after
from paiid_perf.exceptions import ConfigurationError

REQUEST = RequestFactory().get("/", headers={"X-Key": "k"})


@pytest.mark.parametrize(
    ("text", "rate"),
    [("60/m", Rate(60, 60)), ("5/10s", Rate(5, 10)), ("3/30d", Rate(3, 2_592_000)), ("0/h", Rate(0, 3600))],
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["3/month", "60/M", "60", "60/", "/m", "5/10", "-1/m", "60 / m", "1/0s", "", "6/mm"]
)
def test_what_would_be_misread_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="60/m"):
        parse_rate(text)


@given(
    st.integers(1, 5),
    st.integers(1, 20),
    st.lists(st.floats(0, 10, allow_nan=False), max_size=60),
)
def test_no_window_lets_more_through(limit: int, seconds: int, gaps: list[float]) -> None:
    log, now, allowed = SlidingLog(), 0.0, []
    for gap in gaps:
        now += gap
        if log.hit("k", Rate(limit, seconds), now).allowed:
            allowed.append(now)
    for start in allowed:
        assert sum(start <= moment < start + seconds for moment in allowed) <= limit


@given(st.integers(1, 5), st.integers(1, 20))
def test_what_is_refused_is_let_through_after_the_time_that_is_said(limit: int, seconds: int) -> None:
    log, rate = SlidingLog(), Rate(limit, seconds)
    for number in range(limit):
        log.hit("k", rate, number / 100)
    refused = log.hit("k", rate, limit / 100)
    assert not refused.allowed
    assert log.hit("k", rate, limit / 100 + retry_after(refused)).allowed


@pytest.mark.parametrize(("after", "seconds"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2)])
def test_retry_after_is_whole_seconds_and_never_none(after: float, seconds: int) -> None:
    assert retry_after(Allowance(False, 0, after)) == seconds


def test_keys() -> None:
    assert key_value("ip", "g", REQUEST, "192.0.2.1") == "192.0.2.1"
    assert key_value("ip", "g", REQUEST, "2001:db8::1") == key_value("ip", "g", REQUEST, "2001:db8::2")
    assert key_value("user_or_ip", "g", REQUEST, "192.0.2.1") == "192.0.2.1"
    header = key_value("header:X-Key", "g", REQUEST, "")
    assert header != key_value("header:X-Other", "g", REQUEST, "")
    assert "k" not in header.strip("0123456789abcdef")
    assert key_value(lambda group, request: group + request.path, "g", REQUEST, "") == key_value(
        lambda group, request: "g/", "g", REQUEST, ""
    )


def test_an_unknown_key_names_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="user_or_ip"):
        key_value("nonsense", "g", REQUEST, "")
