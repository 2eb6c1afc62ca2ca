"""The error budget's burn rate, by the Site Reliability Workbook's table."""

from datetime import timedelta

import pytest

from paiid_perf.monitoring.rules.burn import PAIRS, burn
from paiid_perf.monitoring.types import Requests


def of(rates):
    """Windows with these rates of errors, by their length in minutes."""
    return lambda span: Requests(100_000, round(100_000 * rates.get(span / timedelta(minutes=1), 0)))


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({}, 0),
        ({60: 0.0144, 5: 0.0144}, 1),
        ({60: 0.0288, 5: 0.5}, 2),
        ({60: 0.5, 5: 0}, 0),
        ({360: 0.012, 30: 0.006}, 1),
        ({72 * 60: 0.003, 360: 0.003}, 3),
    ],
)
def test_a_pair_burns_as_fast_as_the_slower_of_its_windows(rates, expected):
    assert burn(of(rates), 0.999) == pytest.approx(expected)


def test_a_few_requests_say_nothing():
    assert burn(lambda span: Requests(10, 10), 0.999) is None


def test_only_the_windows_with_requests_enough_are_judged():
    short = {pair.short for pair in PAIRS[:1]}

    assert burn(lambda span: Requests(0 if span in short else 1_000, 6), 0.999) == pytest.approx(6)


def test_an_objective_of_all_requests_burns_at_the_first_error():
    assert burn(of({60: 0.001, 5: 0.001}), 1.0) > 1
    assert burn(of({}), 1.0) == 0
