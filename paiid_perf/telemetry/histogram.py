"""Mergeable log-bucket histograms: constant memory, any percentile within 1 % of the true value.

The mapping is DDSketch's (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019): bucket i holds (gamma^(i-1), gamma^i], gamma = (1 + a) / (1 - a), and
is answered by 2·gamma^i / (gamma + 1), which is within the relative accuracy a of everything in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

RELATIVE_ACCURACY = 0.01
GAMMA = (1 + RELATIVE_ACCURACY) / (1 - RELATIVE_ACCURACY)
_INVERSE_LOG_GAMMA = 1 / math.log(GAMMA)
_MIDDLE = 2 / (GAMMA + 1)
#: Everything at or under this (in the unit observed; ms for times) is one bucket.
SMALLEST = 1e-3
_LOWEST = math.ceil(math.log(SMALLEST) * _INVERSE_LOG_GAMMA)
#: Everything from about 28 hours in ms (or 1e8 of any unit) on is one bucket.
LARGEST = 1e8
_HIGHEST = math.ceil(math.log(LARGEST) * _INVERSE_LOG_GAMMA)

Buckets = Mapping[int, int]


def bucket_of(value: float) -> int:
    """The index of the bucket that ``value`` falls into; what is no number (NaN) counts as the smallest."""
    if not value > SMALLEST:
        return _LOWEST
    return math.ceil(math.log(value) * _INVERSE_LOG_GAMMA) if value < LARGEST else _HIGHEST


def value_of(bucket: int) -> float:
    """The value that answers for a bucket, in the unit that was observed."""
    return float(_MIDDLE * GAMMA**bucket)


def merge(histograms: Iterable[Buckets]) -> dict[int, int]:
    """The histogram of all observations together (exact: counts add up)."""
    merged: dict[int, int] = {}
    for histogram in histograms:
        for bucket, count in histogram.items():
            merged[bucket] = merged.get(bucket, 0) + count
    return merged


def percentile(buckets: Buckets, q: float) -> float | None:
    """The value at or under which a fraction ``q`` (0–1) of the observations lies; None if there are none.

    Nearest rank: the smallest bucket whose cumulated count reaches ``ceil(q·n)``.
    """
    found = percentiles(buckets, (q,))
    return found[0] if found else None


def percentiles(buckets: Buckets, ascending: Sequence[float]) -> list[float]:
    """``percentile`` of each of several fractions, the smallest first; empty where there are no observations."""
    total = sum(buckets.values())
    if total == 0:
        return []
    ranks = [max(1, math.ceil(q * total)) for q in ascending]
    found: list[float] = []
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        while seen >= ranks[len(found)]:
            found.append(value_of(bucket))
            if len(found) == len(ranks):
                return found
    raise AssertionError("the ranks of a histogram end at its total")
