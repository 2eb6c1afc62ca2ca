"""How fast an availability objective's error budget burns. Pure.

Multi-window, multi-burn-rate: "The Site Reliability Workbook" (Google, 2018), chapter 5, table 5-8. A fast burn
counts only while the short window burns too, so that an alert resolves soon after the trouble ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from paiid_perf.monitoring.types import Requests

#: Fewer requests than this in a window say nothing about a rate of errors.
ENOUGH_REQUESTS = 20
#: An objective of 1 leaves no budget: any error then burns it many times over.
LEAST_BUDGET = 1e-6


@dataclass(frozen=True, slots=True)
class Pair:
    """A long window, its short one, and the burn rate from which both together are an alert."""

    long: timedelta
    short: timedelta
    factor: float


#: 2 % of a month's budget in an hour, 5 % in six: somebody has to come now.
PAGES = (
    Pair(timedelta(hours=1), timedelta(minutes=5), 14.4),
    Pair(timedelta(hours=6), timedelta(minutes=30), 6.0),
)
#: 10 % of it in three days: somebody has to look tomorrow.
TICKETS = (Pair(timedelta(days=3), timedelta(hours=6), 1.0),)
PAIRS = (*PAGES, *TICKETS)


def burn(
    requests: Callable[[timedelta], Requests], objective: float, pairs: Sequence[Pair] = PAIRS
) -> float | None:
    """The worst pair's burn rate as a multiple of what it may be: an alert above 1.

    ``requests(span)`` says what the last ``span`` had; ``objective`` is a fraction under 1 (0.999). None where
    too few requests came to say anything.
    """
    rates = [rate for pair in pairs if (rate := _of_pair(pair, requests, objective)) is not None]
    return max(rates, default=None)


def _of_pair(pair: Pair, requests: Callable[[timedelta], Requests], objective: float) -> float | None:
    windows = (requests(pair.long), requests(pair.short))
    if any(window.total < ENOUGH_REQUESTS for window in windows):
        return None
    budget = max(1 - objective, LEAST_BUDGET)
    return min(window.failed / window.total for window in windows) / budget / pair.factor
