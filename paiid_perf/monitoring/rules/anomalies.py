"""Whether a metric has left the band where the season says it should be. Pure; the time is an argument.

The band's middle is the season's profile (the median of each hour of the week on the weeks' trend, or of the day
while there are no two weeks of past), moved by what the last hours were above or below it. Its width is a multiple
of the spread (median absolute deviation: Leys et al., "Detecting outliers", J. Exp. Soc. Psych. 2013) that the
five-minute medians of this time of day had around the profile, and wider where the steps from minute to minute have
heavier tails than a normal distribution's. What is judged is the median of the last five minutes:
two odd minutes are no anomaly, three are. Where the profile has a step, yesterday tells when it came: around that time
both its sides are usual, and before and after it one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import inf
from statistics import median

from paiid_perf.monitoring.types import Sample

MINUTE, HOUR, DAY, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=7)
#: Spreads to either side that are still usual.
WIDTH = 4.8
#: From the median absolute deviation to the standard deviation of a normal distribution.
TO_SIGMA = 1.4826
#: Minutes whose median is judged, and how many of them have to be there.
JUDGED, ENOUGH = 5, 3
#: The band learns nothing from the newest minutes: they may be the anomaly.
GAP = timedelta(minutes=15)
#: The hours that say how far today is from the profile.
LATELY = timedelta(hours=6)
#: The hours around this time of day that say how wide the band is.
AROUND = timedelta(hours=3)
#: How far a step may come earlier or later than yesterday.
STEP = timedelta(minutes=15)
#: Half-widths from which on a rise within an hour is a step; what is less may be a slope.
SUDDEN = 4
#: Minutes of the past without which nothing is said.
KNOWN = 120
#: Where the past that ``look`` wants lies, as (from, to) before now: hours, and the minutes of today and yesterday.
HOURS = (4 * WEEK, timedelta(0))
TODAY = (LATELY, timedelta(0))
YESTERDAY = (DAY + AROUND, DAY - AROUND)
#: The share of the steps from minute to minute that tells their tails, and how many median steps a normal
#: distribution's are there. The band lies further out, where tails differ by more: by this power.
TAIL, NORMAL_TAIL, FURTHER = 0.97, 3.217, 1.5
#: How much wider the band gets by them at the most.
WIDEST = 1.5
#: A spread is never taken for less than this share of the level.
LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Oddity:
    """The last minutes against their band. ``ratio``: distance to the middle in half-widths; above 1 is outside."""

    value: float
    low: float
    middle: float
    high: float

    @property
    def ratio(self) -> float:
        side = self.high - self.middle if self.value >= self.middle else self.middle - self.low
        return abs(self.value - self.middle) / side


@dataclass(frozen=True, slots=True)
class Usual:
    """What the profile says of one moment, and of the middles of the hours to its left and right."""

    left: float
    middle: float
    right: float

    @property
    def low(self) -> float:
        return min(self.left, self.right)

    @property
    def high(self) -> float:
        return max(self.left, self.right)


Profile = Callable[[float], Usual | None]
#: (seconds since 1970, distance to the profile)
Residual = tuple[float, float]


def look(hours: Sequence[Sample], minutes: Sequence[Sample], now: datetime, least: float) -> Oddity | None:
    """The last minutes against the band; None where there is too little to know one.

    ``hours`` are the means of whole hours (HOURS), ``minutes`` those of TODAY and YESTERDAY, oldest first; a
    half-width is ``least`` at the least, in the metric's unit.
    """
    usual = profile(hours)
    judged = now - (JUDGED + 1) / 2 * MINUTE  # the middle of the last minutes
    expected = usual(judged.timestamp()) if usual else None
    if usual is None or expected is None:
        return None
    off = list(_residuals(minutes, usual))
    last = [residual for at, residual in off if at >= (now - JUDGED * MINUTE).timestamp()]
    known = _between(off, now - YESTERDAY[0], now - GAP)
    if len(last) < ENOUGH or len(known) < KNOWN:
        return None
    offset = median(_values(_between(known, now - LATELY, now)) or _values(known))
    near = [
        _between(known, *span) for span in ((now - AROUND, now), (now - DAY - AROUND, now - DAY + AROUND))
    ]
    half = max(least, WIDTH * max(_spread(near) * _tails(near), LEAST_SHARE * abs(expected.middle)))
    low, high = _levels(expected, usual, known, judged - DAY, half)
    return Oddity(
        value=expected.middle + median(last),
        low=low + offset - half,
        middle=min(max(expected.middle, low), high) + offset,
        high=high + offset + half,
    )


def profile(hours: Sequence[Sample]) -> Profile | None:
    """What is usual at any time: hourly medians of the season on the trend, joined by straight lines. None under two
    days.
    """
    past = hours[-1].at - hours[0].at if hours else timedelta(0)
    if past < 2 * DAY - HOUR:
        return None
    is_long = past >= 2 * WEEK - HOUR
    season = int((WEEK if is_long else DAY) / HOUR)
    rise = _rise(hours) if is_long else 0.0
    found: dict[int, list[float]] = {}
    for sample in hours:
        hour = sample.at.timestamp() // 3600
        found.setdefault(int(hour) % season, []).append(sample.value - rise * hour)
    medians = {slot: median(values) for slot, values in found.items()}

    def usual(at: float) -> Usual | None:
        hour, share = divmod(at / 3600 - 0.5, 1)  # a mean of an hour stands in its middle
        left, right = medians.get(int(hour) % season), medians.get(int(hour + 1) % season)
        if left is None or right is None:
            return None
        left, right = left + rise * hour, right + rise * (hour + 1)
        return Usual(left, left + share * (right - left), right)

    return usual


def _rise(hours: Sequence[Sample]) -> float:
    """What an hour adds: the median of what a week added, an hour of the week at a time."""
    values = {int(sample.at.timestamp() // 3600): sample.value for sample in hours}
    week = int(WEEK / HOUR)
    rises = [value - values[hour - week] for hour, value in values.items() if hour - week in values]
    return median(rises) / week if rises else 0.0


def _residuals(minutes: Sequence[Sample], usual: Profile) -> Iterator[Residual]:
    for sample in minutes:
        at = sample.at.timestamp()
        if (expected := usual(at)) is not None:
            yield at, sample.value - expected.middle


def _between(residuals: Sequence[Residual], start: datetime, end: datetime) -> Sequence[Residual]:
    """Those after ``start``, up to ``end``; they are in order."""
    first = bisect_right(residuals, (start.timestamp(), inf))
    return residuals[first : bisect_right(residuals, (end.timestamp(), inf))]


def _values(residuals: Sequence[Residual]) -> list[float]:
    return [value for _, value in residuals]


def _spread(near: Sequence[Sequence[Residual]]) -> float:
    """The deviation that five-minute medians have at this time of day, today and yesterday."""
    smooth = [_smoothed(_values(residuals)) for residuals in near]
    deviations = [
        abs(value - level) for values in smooth if values for level in (median(values),) for value in values
    ]
    return TO_SIGMA * median(deviations) if deviations else 0.0


def _tails(near: Sequence[Sequence[Residual]]) -> float:
    """How much heavier the tails of the steps from minute to minute are than a normal distribution's, 1 to WIDEST.

    Of steps, since the few that the season makes do not reach TAIL, where the distances to the profile would.
    """
    steps = sorted(abs(later[1] - sooner[1]) for residuals in near for sooner, later in pairwise(residuals))
    usual = median(steps) if steps else 0.0
    if not usual:
        return 1.0
    heavier = steps[int(TAIL * len(steps))] / usual / NORMAL_TAIL
    return float(min(WIDEST, max(1.0, heavier) ** FURTHER))


def _smoothed(values: Sequence[float]) -> list[float]:
    return [sorted(values[end - JUDGED : end])[JUDGED // 2] for end in range(JUDGED, len(values) + 1)]


def _levels(
    expected: Usual, usual: Profile, known: Sequence[Residual], then: datetime, half: float
) -> tuple[float, float]:
    """The lowest and the highest level that are usual now, by the profile and by yesterday at this time (``then``)."""
    before, near = usual(then.timestamp()), _between(known, then - STEP, then + STEP)
    if before is None or len(near) < JUDGED:
        return expected.low, expected.high
    level = median(_values(_between(known, then - AROUND, then + AROUND)))
    rise, rose = expected.right - expected.left, before.right - before.left
    if abs(rise) > SUDDEN * half:
        if abs(rise - rose) > half:
            return expected.low, expected.high
        moved = expected.left - before.left - level
        return _reached(expected, [_absolute(residual, usual) + moved for residual in near], half)
    if abs(rose) > SUDDEN * half:
        return expected.low, expected.high
    below, above = _stepped([value - level for value in _values(near)], half)
    return expected.low + below, expected.high + above


def _absolute(residual: Residual, usual: Profile) -> float:
    at, off = residual
    expected = usual(at)
    assert expected is not None  # it has a residual
    return expected.middle + off


def _reached(expected: Usual, then: Sequence[float], half: float) -> tuple[float, float]:
    """How much of the profile's step yesterday had around this time: one of its sides, or both."""
    low, high, smooth = expected.low, expected.high, _smoothed(then)
    lowest = max(low, min(smooth)) if min(smooth) < high - half else high
    highest = min(high, max(smooth)) if max(smooth) > low + half else low
    return (lowest, highest) if lowest <= highest else (low, high)


def _stepped(then: Sequence[float], half: float) -> tuple[float, float]:
    """How far yesterday went below and above where the profile has no step; what is within the band is none."""
    smooth = _smoothed(then)
    below, above = min(smooth), max(smooth)
    return (below if below < -half else 0.0), (above if above > half else 0.0)
