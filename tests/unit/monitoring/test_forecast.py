"""Forecasts: honest about the past they would have missed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.monitoring.rules.forecast import METHODS, NAIVE, forecast, reach, theil_sen, trends

WEEK = 7


def noisy(values, noise, seed=1):
    generator = random.Random(seed)
    return [value + generator.gauss(0, noise) for value in values]


def test_a_disk_that_fills_by_one_a_day_is_full_when_it_is():
    found = forecast(noisy([50 + day for day in range(30)], 0.5), WEEK, 60)

    ends = reach(found, 85)
    assert trends(found)
    assert ends.earliest <= 6 <= ends.latest
    assert ends.latest - ends.earliest <= 5


def test_outliers_do_not_bend_the_trend():
    values = [10 + 2 * day for day in range(30)]
    values[7], values[19] = 500, -300

    assert theil_sen(values, WEEK, 1) == [pytest.approx(70)]


def test_a_week_that_comes_again_is_forecast_by_the_week_before():
    values = [100 if day % 7 < 5 else 20 for day in range(56)]

    found = forecast(values, WEEK, 14)

    assert found.method == NAIVE
    assert [band.middle for band in found.ahead] == values[:14]
    assert found.error == 0


def test_noise_around_a_level_has_no_trend():
    flat = [forecast(noisy([40] * 40, 3, seed), WEEK, 30) for seed in range(20)]

    assert sum(trends(found) for found in flat) <= 1


@pytest.mark.parametrize("length", range(14))
def test_too_little_past_is_no_forecast(length):
    assert forecast([1.0] * length, WEEK, 10) is None


def test_it_looks_no_further_ahead_than_half_of_what_it_has_seen():
    assert len(forecast([1.0] * 20, WEEK, 60).ahead) == 10


@given(st.lists(st.floats(0, 1e6), min_size=14, max_size=40))
def test_it_never_uses_what_is_worse_than_seasonal_naive(values):
    found = forecast(values, WEEK, 10)

    assert found.method in METHODS
    assert found.error <= found.naive_error
    assert all(band.low <= band.middle <= band.high for band in found.ahead)


def test_a_limit_that_the_band_never_touches_is_not_reached():
    assert reach(forecast([10.0] * 30, WEEK, 10), 100) is None
