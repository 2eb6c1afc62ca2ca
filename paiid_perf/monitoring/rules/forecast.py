"""A look ahead: the method that would have forecast the series' own past best. Pure; equal steps, oldest first.

Methods: seasonal-naive (the yardstick), Theil–Sen trend (Sen, "Estimates of the regression coefficient based on
Kendall's tau", JASA 1968) and exponential smoothing with a trend (Holt 1957; without one where its factor is 0), the
last two with and without a season. The choice comes from a rolling-origin back-test (Hyndman and Athanasopoulos,
"Forecasting: Principles and Practice", 5.10), and so does the interval, which is at the least what lasting shocks make
of it (ibid. 5.5 and 8.7): a few origins cannot tell a random walk from noise around a level, all steps together can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import combinations, pairwise, product
from statistics import fmean, median

from paiid_perf.monitoring.types import Band, Forecast, Reach, Sample

Method = Callable[[Sequence[float], int, int], list[float]]
#: Absolute errors of a back-test: one list for each origin, step by step.
Errors = Sequence[Sequence[float]]

#: Origins from which the past is forecast again.
FOLDS = 6
#: A forecast looks no further ahead than this share of the past it has seen.
REACH = 0.5
#: Share of the back-test's errors within the band.
COVERAGE = 0.9
#: Seasons of the past that a forecast needs, and those that a season is learnt from.
SEASONS, SEASONS_LEARNT = 2, 3
#: Steps that the back-test looks ahead: a share of the past, and no more than a month of days.
TEST_SHARE, TEST_STEPS = 3, 30
#: Where errors grow, all steps from one origin err together, and only the origins count: the band is wider by this
#: times the growth, over their number.
FEW_ORIGINS = 4.0
#: Steps that may be missing between two values.
LONGEST_GAP = 3
#: Theil–Sen looks at every pair: only the newest steps keep that cheap.
TREND_STEPS = 120
#: Shares of a shock that may last.
SHARES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
LEVELS = (0.1, 0.3, 0.5, 0.8)
TRENDS = (0.0, 0.1, 0.3)


def forecast(
    values: Sequence[float], season: int, horizon: int, more: Mapping[str, Method] | None = None
) -> Forecast | None:
    """``horizon`` steps ahead, or as far as the past carries; None where there is too little past.

    ``season`` is the steps in which a pattern comes back (7 for daily values). A method that does not beat
    seasonal-naive on the past is never used, nor is one of ``more`` that does not beat those of METHODS.
    """
    if len(values) < max(SEASONS * season, 8):
        return None
    steps = min(horizon, int(len(values) * REACH))
    methods = {**METHODS, **(more or {})}
    errors = {name: back_test(method, values, season) for name, method in methods.items()}
    scores = {name: fmean(error for fold in found for error in fold) for name, found in errors.items()}
    ranked = sorted(filter(lambda name: math.isfinite(scores[name]), scores), key=scores.__getitem__)
    best, middles = next(
        (name, middles)
        for name in ranked
        if all(map(math.isfinite, middles := methods[name](values, season, steps)))
    )
    missed, shocks = widths(errors[best]), lasting(values, season)
    ahead = tuple(
        _band(middle, max(missed(step), shocks(step))) for step, middle in enumerate(middles, start=1)
    )
    return Forecast(best, scores[best], scores[NAIVE], ahead)


def reach(found: Forecast, limit: float) -> Reach | None:
    """When the band first touches ``limit`` from below and when all of it is past; None where it never does."""
    earliest = next((step for step, band in enumerate(found.ahead, 1) if band.high >= limit), None)
    if earliest is None:
        return None
    latest = next((step for step, band in enumerate(found.ahead, 1) if band.low >= limit), None)
    return Reach(earliest, latest)


def trends(found: Forecast, season: int = 1) -> bool:
    """Whether the forecast says more than the last value and its noise: the same place in the season moves."""
    whole = (len(found.ahead) - 1) // season * season or len(found.ahead) - 1
    first, last = found.ahead[0], found.ahead[whole]
    return abs(last.middle - first.middle) > (first.high - first.low) / 2


def evenly(samples: Sequence[Sample], step: timedelta) -> list[float]:
    """The values in equal steps, oldest first: small gaps are bridged, and what lies before a long one is left out.

    The first bucket is left out too: the series may have begun in its middle. The last one must be whole.
    """
    values: list[float] = []
    for sooner, later in pairwise(samples[1:]):
        missing = round((later.at - sooner.at) / step)
        if missing > LONGEST_GAP:
            values = []
        else:
            rise = (later.value - sooner.value) / missing
            values += [sooner.value + rise * n for n in range(missing)]
    return [*values, samples[-1].value] if len(samples) > 1 else []


# --- the back-test -------------------------------------------------------------------------------------


def back_test(method: Method, values: Sequence[float], season: int) -> list[list[float]]:
    """Absolute errors of the method at every step from each of several origins in the past."""
    steps = max(1, min(TEST_STEPS, len(values) // TEST_SHARE))
    newest, oldest = len(values) - steps, max(season, len(values) // 3)
    stride = max(1, math.ceil((newest - oldest) / (FOLDS - 1)))
    return [
        [
            abs(expected - seen)
            for expected, seen in zip(
                method(values[:origin], season, steps), values[origin : origin + steps], strict=True
            )
        ]
        for origin in range(newest, oldest - 1, -stride)
    ]


def widths(errors: Errors) -> Callable[[int], float]:
    """Half the band's width at each step: what COVERAGE of the errors stayed in, growing as they grew."""
    growth = _growth(errors)
    scaled = sorted(error / step**growth for fold in errors for step, error in enumerate(fold, 1))
    width = _within(scaled) * (1 + FEW_ORIGINS * growth / len(errors))
    return lambda step: float(width * step**growth)


def _growth(errors: Errors) -> float:
    """The power of the step that the error grows with: 0 of noise around a level, ½ of a random walk, 1 of a slope."""
    half = len(errors[0]) // 2
    near = fmean(error for fold in errors for error in fold[:half]) if half else 0.0
    far = fmean(error for fold in errors for error in fold[half:])
    if near <= 0:
        return 0.0
    # The halves' middles are a quarter and three quarters of the way: three times as far.
    return max(0.0, min(1.0, math.log(far / near, 3))) if far > 0 else 0.0


def lasting(values: Sequence[float], season: int) -> Callable[[int], float]:
    """Half the band's width at each step by what COVERAGE of the single steps' shocks were, and how much of one lasts.

    The share that lasts is the factor of the exponential smoothing that fits best without trend and season: about 0 of
    noise around a level, 1 of a random walk. A trend is known as badly as shocks that last have bent it.
    """
    length = len(values)
    if length >= SEASONS_LEARNT * season:
        pattern = _pattern(values, season)
        values = [value - pattern[at % season] for at, value in enumerate(values)]
    slope = _slope(values[-TREND_STEPS:])
    level = [value - slope * at for at, value in enumerate(values)]
    shocks = {share: _shocks(level, share) for share in SHARES}
    share = min(shocks, key=lambda share: fmean(shock**2 for shock in shocks[share]))
    usual = _within(sorted(abs(shock) for shock in shocks[share]))
    return lambda step: usual * math.sqrt(1 + share**2 * (step - 1) * (1 + step / length))


def _shocks(values: Sequence[float], share: float) -> list[float]:
    """What each step was off a level that takes up this share of each."""
    level, found = median(values) if share < 1 else values[0], []
    for value in values:
        found.append(value - level)
        level += share * found[-1]
    return found


def _within(ascending: Sequence[float]) -> float:
    """What COVERAGE of them, and of one more, are at the most."""
    return ascending[min(len(ascending), math.ceil(COVERAGE * (len(ascending) + 1))) - 1]


def _band(middle: float, width: float) -> Band:
    return Band(middle - width, middle, middle + width)


# --- the methods -------------------------------------------------------------------------------------


def seasonal_naive(values: Sequence[float], season: int, steps: int) -> list[float]:
    """What it was one season ago."""
    last = values[-season:]
    return [last[step % len(last)] for step in range(steps)]


def theil_sen(values: Sequence[float], season: int, steps: int) -> list[float]:
    """The median of all pairs' slopes: outliers up to 29 % of the values do not move it."""
    recent = list(values[-TREND_STEPS:])
    slope = _slope(recent)
    level = median(value - slope * at for at, value in enumerate(recent))
    return [level + slope * (len(recent) - 1 + step) for step in range(1, steps + 1)]


def smoothing(values: Sequence[float], season: int, steps: int) -> list[float]:
    """A level and a trend, each smoothed by the factor that would have missed the past least."""
    alpha, beta = min(product(LEVELS, TRENDS), key=lambda factors: _smooth(values, *factors)[2])
    level, slope, _ = _smooth(values, alpha, beta)
    return [level + slope * step for step in range(1, steps + 1)]


def with_season(method: Method, values: Sequence[float], season: int, steps: int) -> list[float]:
    """The method on what remains without the season, and the season on top; as it is while few seasons are known."""
    if len(values) < SEASONS_LEARNT * season:
        return method(values, season, steps)
    pattern = _pattern(values, season)
    level = method([value - pattern[at % season] for at, value in enumerate(values)], season, steps)
    return [value + pattern[(len(values) + step) % season] for step, value in enumerate(level)]


def _pattern(values: Sequence[float], season: int) -> list[float]:
    """How far each place in the season is from the mean of the season around it."""
    half = season // 2
    off: list[list[float]] = [[] for _ in range(season)]
    for at in range(half, len(values) - season + half + 1):
        off[at % season].append(values[at] - fmean(values[at - half : at - half + season]))
    found = [median(place) for place in off]
    return [value - fmean(found) for value in found]


def _slope(values: Sequence[float]) -> float:
    pairs = combinations(enumerate(values), 2)
    return median((later - sooner) / (j - i) for (i, sooner), (j, later) in pairs)


def _smooth(values: Sequence[float], alpha: float, beta: float) -> tuple[float, float, float]:
    level, slope, missed = values[0], 0.0, 0.0
    for value in values[1:]:
        missed += (value - level - slope) ** 2
        before, level = level, alpha * value + (1 - alpha) * (level + slope)
        slope = beta * (level - before) + (1 - beta) * slope
    return level, slope, missed


NAIVE = "seasonal naive"
METHODS: Mapping[str, Method] = {
    NAIVE: seasonal_naive,
    "Theil-Sen": theil_sen,
    "Theil-Sen with season": partial(with_season, theil_sen),
    "exponential smoothing": smoothing,
    "exponential smoothing with season": partial(with_season, smoothing),
}
