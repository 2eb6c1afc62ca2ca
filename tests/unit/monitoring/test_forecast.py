"""Forecasts: honest about the past they would have missed."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.monitoring.rules import holt_winters
from paiid_perf.monitoring.rules.forecast import (
    COVERAGE,
    METHODS,
    NAIVE,
    evenly,
    forecast,
    lasting,
    reach,
    seasonal_naive,
    theil_sen,
    trends,
    widths,
)
from paiid_perf.monitoring.types import Sample
from tests.benchmarks.forecast import measure

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


# --- how good it is: on series that it has not seen --------------------------------------------------------


def series(kind, seed, length):
    generator = random.Random(seed)
    noise, slope = generator.uniform(0.5, 3), generator.choice((-1, 1)) * generator.uniform(0.1, 1.5)
    week = [10 if day % 7 < 5 else -10 for day in range(length)]
    shapes = {
        "flat": lambda day: 50,
        "trend": lambda day: 50 + slope * day,
        "week": lambda day: 50 + week[day],
        "week and trend": lambda day: 50 + week[day] + slope * day,
    }
    return [shapes[kind](day) + generator.gauss(0, noise) for day in range(length)]


@pytest.mark.parametrize("kind", ["flat", "trend", "week", "week and trend"])
def test_the_band_holds_about_as_much_of_the_future_as_it_says(kind):
    inside = seen = 0
    for seed in range(12):
        values = series(kind, seed, 63)
        found = forecast(values[:42], WEEK, 21)
        inside += sum(
            band.low <= value <= band.high for band, value in zip(found.ahead, values[42:], strict=True)
        )
        seen += 21

    assert inside / seen >= COVERAGE - 0.1


def test_a_trend_with_a_week_is_foretold_far_better_than_by_last_week():
    missed = naive = 0.0
    for seed in range(8):
        values = series("week and trend", seed, 84)
        ahead = [band.middle for band in forecast(values[:63], WEEK, 21).ahead]
        missed += sum(abs(value - middle) for value, middle in zip(values[63:], ahead, strict=True))
        last_week = seasonal_naive(values[:63], WEEK, 21)
        naive += sum(abs(value - middle) for value, middle in zip(values[63:], last_week, strict=True))

    assert missed < naive / 2


def test_the_band_grows_as_the_errors_grew():
    level, walk, slope = ([[step**power for step in range(1, 15)]] * 5 for power in (0, 0.5, 1))

    assert widths(level)(28) == pytest.approx(widths(level)(1))
    assert widths(walk)(28) > 3 * widths(walk)(1)
    assert widths(slope)(28) > 15 * widths(slope)(1)


@given(st.lists(st.lists(st.floats(0, 1e9), min_size=4, max_size=4), min_size=1, max_size=6))
def test_a_band_never_gets_narrower(errors):
    width = widths(errors)

    assert 0 <= width(1) <= width(2) <= width(50)


@pytest.mark.parametrize("kind", ["walk", "drifting walk"])
def test_the_band_of_a_walk_that_leads_nowhere_holds_it_nearly_as_well(kind):
    assert measure(kind, 42, 12)["inside"] >= COVERAGE - 0.1


def test_shocks_that_last_add_up_and_noise_does_not():
    noise = noisy([50] * 80, 1)
    walk = [sum(noisy([0] * 80, 1)[: n + 1]) for n in range(80)]

    assert lasting(noise, WEEK)(25) == pytest.approx(lasting(noise, WEEK)(1), rel=0.1)
    assert lasting(walk, WEEK)(25) > 4 * lasting(walk, WEEK)(1)


# --- statsmodels, where it is installed ------------------------------------------------------------------


def test_holt_winters_is_taken_where_it_missed_the_past_least():
    damped = noisy([100 - 60 * 0.93**day for day in range(60)], 0.3)
    built_in, found = (forecast(damped, WEEK, 20, more) for more in (None, holt_winters.methods()))

    assert found.method == holt_winters.NAME
    assert found.error < built_in.error
    assert abs(found.ahead[-1].middle - (100 - 60 * 0.93**79)) < 2


def test_holt_winters_is_left_where_a_built_in_does_as_well():
    line = [10.0 + day for day in range(40)]

    assert forecast(line, WEEK, 10, holt_winters.methods()) == forecast(line, WEEK, 10)


@pytest.mark.parametrize(
    "values", [[0.0] * 30, [1e120] * 30, [0.0] * 29 + [1e120]], ids=["nought", "huge", "jump"]
)
def test_what_cannot_be_fitted_is_not_chosen(values):
    def nothing(values, season, steps):
        return [holt_winters.NOTHING] * steps

    found = forecast(values, WEEK, 5, {"nothing": nothing, **holt_winters.methods()})

    assert found.method in METHODS


def test_the_built_ins_need_nothing(monkeypatch):
    monkeypatch.setattr(holt_winters, "find_spec", lambda name: None)

    assert holt_winters.methods() == {}


def test_the_season_is_no_trend():
    week = [100 if day % 7 < 5 else 20 for day in range(60)]

    assert not trends(forecast(week, WEEK, 24), WEEK)


# --- equal steps ---------------------------------------------------------------------------------------


def days(*values):
    """One value a day; None where there is none."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [Sample(start + timedelta(days=n), v) for n, v in enumerate(values) if v is not None]


@pytest.mark.parametrize(
    ("samples", "values"),
    [
        (days(), []),
        (days(1), []),
        (days(1, 2, 3), [2, 3]),
        (days(0, 2, None, 4, 5), [2, 3, 4, 5]),
        (days(0, 2, None, None, 5), [2, 3, 4, 5]),
        (days(0, 2, 3, None, None, None, 7, 8), [7, 8]),
    ],
)
def test_gaps_are_bridged_and_the_first_day_is_left_out(samples, values):
    assert evenly(samples, timedelta(days=1)) == pytest.approx(values)
