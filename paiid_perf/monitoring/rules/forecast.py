"""A look ahead: the method that would have forecast the series' own past best. Pure; equal steps, oldest first.

Methods: seasonal-naive (the yardstick), Theil–Sen trend (Sen, "Estimates of the regression coefficient based on
Kendall's tau", JASA 1968) and Holt's linear exponential smoothing (1957). Choice and interval come from a
rolling-origin back-test (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 5.10).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from statistics import fmean, median

from paiid_perf.monitoring.types import Band, Forecast, Reach

Method = Callable[[Sequence[float], int, int], list[float]]

#: Origins from which the past is forecast again.
FOLDS = 6
#: A forecast looks no further ahead than this share of the past it has seen.
REACH = 0.5
#: Share of the back-test's errors within the band.
COVERAGE = 0.9
#: Seasons of the past that a forecast needs.
SEASONS = 2
#: Theil–Sen looks at every pair: only the newest steps keep that cheap.
TREND_STEPS = 200
SMOOTHING = (0.1, 0.3, 0.5, 0.8)


def forecast(values: Sequence[float], season: int, horizon: int) -> Forecast | None:
    """``horizon`` steps ahead, or as far as the past carries; None where there is too little past.

    ``season`` is the steps in which a pattern comes back (7 for daily values). A method that does not beat
    seasonal-naive on the past is never used.
    """
    if len(values) < max(SEASONS * season, 8):
        return None
    steps = min(horizon, int(len(values) * REACH))
    errors = {name: back_test(method, values, season) for name, method in METHODS.items()}
    scores = {name: fmean(found) for name, found in errors.items()}
    best = min(scores, key=lambda name: (scores[name], name != NAIVE))
    width = _quantile(errors[best], COVERAGE)
    span = _test_steps(values)
    ahead = tuple(
        _band(value, width * math.sqrt(max(1.0, step / span)))
        for step, value in enumerate(METHODS[best](values, season, steps), start=1)
    )
    return Forecast(best, scores[best], scores[NAIVE], ahead)


def reach(found: Forecast, limit: float) -> Reach | None:
    """When the band first touches ``limit`` from below and when all of it is past; None where it never does."""
    earliest = next((step for step, band in enumerate(found.ahead, 1) if band.high >= limit), None)
    if earliest is None:
        return None
    latest = next((step for step, band in enumerate(found.ahead, 1) if band.low >= limit), None)
    return Reach(earliest, latest)


def trends(found: Forecast) -> bool:
    """Whether the forecast says more than the last value and its noise."""
    first, last = found.ahead[0], found.ahead[-1]
    return abs(last.middle - first.middle) > (first.high - first.low) / 2


def back_test(method: Method, values: Sequence[float], season: int) -> list[float]:
    """Absolute errors of the method at every step from each of the last origins."""
    steps = _test_steps(values)
    origins = range(len(values) - steps, max(season, len(values) // 3), -max(1, steps // 2))
    return [
        abs(expected - seen)
        for origin in list(origins)[:FOLDS]
        for expected, seen in zip(
            method(values[:origin], season, steps), values[origin : origin + steps], strict=True
        )
    ]


def _test_steps(values: Sequence[float]) -> int:
    return max(1, min(14, len(values) // 5))


def _band(middle: float, width: float) -> Band:
    return Band(middle - width, middle, middle + width)


def _quantile(errors: Sequence[float], q: float) -> float:
    ordered = sorted(errors)
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]


# --- the methods -------------------------------------------------------------------------------------


def seasonal_naive(values: Sequence[float], season: int, steps: int) -> list[float]:
    """What it was one season ago."""
    last = values[-season:]
    return [last[step % len(last)] for step in range(steps)]


def theil_sen(values: Sequence[float], season: int, steps: int) -> list[float]:
    """The median of all pairs' slopes: outliers up to 29 % of the values do not move it."""
    recent = list(values[-TREND_STEPS:])
    slope = median(
        (later - sooner) / (j - i) for (i, sooner), (j, later) in combinations(enumerate(recent), 2)
    )
    level = median(value - slope * at for at, value in enumerate(recent))
    return [level + slope * (len(recent) - 1 + step) for step in range(1, steps + 1)]


def holt(values: Sequence[float], season: int, steps: int) -> list[float]:
    """A level and a trend, each smoothed by the factor that would have missed the past least."""
    alpha, beta = min(product(SMOOTHING, SMOOTHING), key=lambda factors: _smooth(values, *factors)[2])
    level, slope, _ = _smooth(values, alpha, beta)
    return [level + slope * step for step in range(1, steps + 1)]


def _smooth(values: Sequence[float], alpha: float, beta: float) -> tuple[float, float, float]:
    level, slope, missed = values[0], 0.0, 0.0
    for value in values[1:]:
        missed += (value - level - slope) ** 2
        before, level = level, alpha * value + (1 - alpha) * (level + slope)
        slope = beta * (level - before) + (1 - beta) * slope
    return level, slope, missed


NAIVE = "seasonal naive"
METHODS: Mapping[str, Method] = {NAIVE: seasonal_naive, "Theil-Sen": theil_sen, "Holt": holt}
