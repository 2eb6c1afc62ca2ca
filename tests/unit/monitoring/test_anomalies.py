"""Anomalies: found soon, and seldom where there are none. On series that the rule was not made with."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from paiid_perf.monitoring.rules import anomalies
from paiid_perf.monitoring.rules.anomalies import look, profile
from paiid_perf.monitoring.types import Sample
from tests.benchmarks import anomalies as bench

NOW = datetime(2026, 2, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("shape", "noise"),
    [("sine", "independent"), ("weekend", "lasting"), ("flat", "spiky"), ("office", "heavy")],
)
def test_planted_shifts_are_found_within_five_minutes(shape, noise):
    assert bench.found_share(bench.series(shape, noise, 7), tries=12, seed=3) >= 0.9


@pytest.mark.parametrize(
    ("shape", "noise"), [("sine", "lasting"), ("edges", "independent"), ("weekend", "spiky")]
)
def test_a_clean_stretch_gives_no_alarm(shape, noise):
    values = bench.series(shape, noise, 11)

    # From Friday afternoon into the weekend.
    assert bench.alarms(values, step=20, begin=int(3 * bench.WEEK + 4.7 * bench.DAY), length=1080) == 0


def test_heavier_tails_widen_the_band_and_a_step_does_not():
    rng = Random(3)
    normal, heavy = ([(0.0, value) for value in made(rng, 540)] for made in (bench.independent, bench.heavy))
    stepped = [(0.0, value + 80 * (n > 270)) for n, (_, value) in enumerate(normal)]

    assert anomalies._tails([normal]) == pytest.approx(1, abs=0.1)
    assert anomalies._tails([stepped]) == pytest.approx(1, abs=0.1)
    assert 1.15 < anomalies._tails([heavy]) <= anomalies.WIDEST
    assert anomalies._tails([[(0.0, 5.0)] * 540]) == anomalies._tails([[]]) == 1


@pytest.mark.parametrize("minute", [510, 570], ids=["just before", "just after"])
def test_near_a_step_of_the_season_only_the_level_of_its_side_is_usual(minute):
    values = bench.series("edges", "independent", 5)
    end = 3 * bench.WEEK + 2 * bench.DAY + minute
    other = bench.SHAPES["edges"](1080 - minute)
    shifted = [*values[: end - 5], *(other for _ in range(5))]

    assert bench.judged(values, bench.hours(values, end), end).ratio < 1
    assert bench.judged(shifted, bench.hours(shifted, end), end).ratio > 1


def samples(value, hours=72, start=NOW):
    """The same value each hour, and each minute."""
    past = [Sample(start - timedelta(hours=n), value) for n in range(hours, 0, -1)]
    near = [Sample(start - timedelta(minutes=n), value) for n in (*range(1620, 1260, -1), *range(360, 0, -1))]
    return past, near


def test_the_last_minutes_are_judged_by_their_median():
    past, near = samples(50.0)
    odd = [*near[:-2], Sample(near[-2].at, 99.0), Sample(near[-1].at, 99.0)]
    shifted = [*near[:-3], *(Sample(sample.at, 99.0) for sample in near[-3:])]

    assert look(past, odd, NOW, least=5).ratio < 1
    assert look(past, shifted, NOW, least=5).ratio > 1


def test_what_is_within_the_least_distance_is_nothing():
    past, near = samples(50.0)
    shifted = [*near[:-5], *(Sample(sample.at, 54.0) for sample in near[-5:])]

    assert look(past, shifted, NOW, least=5).ratio == pytest.approx(0.8)
    assert look(past, shifted, NOW, least=3).ratio > 1


@pytest.mark.parametrize(
    ("hours", "minutes"),
    [(0, 720), (40, 720), (72, 0), (72, 60)],
    ids=["new", "young", "silent", "just back"],
)
def test_too_little_past_says_nothing(hours, minutes):
    past, near = samples(50.0, hours or 1)

    assert look(past if hours else [], near[len(near) - minutes :], NOW, least=1) is None


def test_a_gap_in_the_last_minutes_says_nothing():
    past, near = samples(50.0)

    assert look(past, near[:-4], NOW, least=1) is None


def test_two_weeks_tell_the_days_of_a_week_apart():
    monday = datetime(2026, 1, 5, tzinfo=UTC)
    hours = [Sample(monday + timedelta(hours=n), 10.0 if n // 24 % 7 >= 5 else 90.0) for n in range(14 * 24)]
    usual = profile(hours)
    at_noon = {
        day: usual((monday + timedelta(days=28 + day, hours=12)).timestamp()).middle for day in range(7)
    }

    assert at_noon == {day: 10.0 if day >= 5 else 90.0 for day in range(7)}
