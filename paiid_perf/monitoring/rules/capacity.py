"""How many workers the measured work needs, now and if more comes. Pure.

Little's law (Little, "A Proof for the Queuing Formula L = λW", Operations Research 1961): so many are busy as arrive in
the time that one takes. How many more are needed so that few have to wait is Erlang's C formula (1917), for arrivals
and service times at random; work that comes in bursts waits more, work of one length waits less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice

from paiid_perf.monitoring.types import Load, Sample, Staffing

#: Share of the arrivals that may find all workers busy.
MAY_WAIT = 0.05


def staffing(load: Load, factor: float = 1.0) -> Staffing:
    """What ``factor`` times the load needs, and how it would go with the workers that are there."""
    busy = load.arrivals * load.service_s * factor
    waits = None if load.have is None else waiting(load.have, busy)
    return Staffing(load, factor, busy, needed(busy), waits)


def waiting(workers: int, busy: float) -> float:
    """The share of arrivals that find every worker busy (Erlang C); 1 where the work is more than they can do."""
    if busy <= 0:
        return 0.0
    if workers <= busy:
        return 1.0
    return next(islice(_waits(busy), workers - 1, None))


def needed(busy: float, may_wait: float = MAY_WAIT) -> int:
    """The fewest workers with whom at most ``may_wait`` of the arrivals wait; 0 where nothing arrives."""
    if busy <= 0:
        return 0
    return next(workers for workers, waits in enumerate(_waits(busy), start=1) if waits <= may_wait)


def _waits(busy: float) -> Iterator[float]:
    """The share that waits with one worker, with two, and so on. Erlang's B by its recursion: nothing overflows."""
    blocked = 1.0
    for workers in count(1):
        blocked = busy * blocked / (workers + busy * blocked)
        yield blocked / (1 - (busy / workers) * (1 - blocked)) if workers > busy else 1.0


def busiest(samples: Sequence[tuple[Sample, float]]) -> tuple[float, float] | None:
    """Of hours as (arrivals a second, seconds each), the one with most work; None where there is none."""
    worked = [(sample.value, seconds) for sample, seconds in samples if sample.value > 0]
    return max(worked, key=lambda hour: hour[0] * hour[1], default=None)
