"""What other times to live would have made of the look-ups that were seen. Pure.

A miss of a key that was computed longer ago than its time to live had expired: a longer time would have made it a hit,
unless an event had made it old since it was last looked at. How likely that is comes from the looks at what had *not*
expired: a hit has outlived the gap since the look before it, a miss has not (it was invalidated, or evicted). As if
events struck every key alike, at random: the chance to outlive ``s`` seconds is ``exp(-rate * s)``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, expm1, inf
from typing import Protocol

#: Fewer look-ups say nothing.
ENOUGH = 200
#: A time to live is changed for a hit ratio that is higher by so much.
WORTHWHILE = 0.05
#: Of what the longest time tried would bring, the one proposed brings this part: the rest is memory for little.
MOST_OF_IT = 0.9
#: Times tried: so many times the present one, and none longer than a day.
FACTORS = (2, 4, 8, 16, 32, 64)
LONGEST = 86_400.0
#: What was computed this part of its time ago may have expired already (jitter takes off up to a tenth).
SURELY_FRESH = 0.85


class Seen(Protocol):
    """A look-up, as ``telemetry.looks.Look``."""

    @property
    def key(self) -> int: ...
    @property
    def at(self) -> float: ...
    @property
    def hit(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Reuse:
    """What the sampled look-ups of one strategy say. Times in seconds."""

    subject: str
    ttl: float
    looks: int = 0
    hits: int = 0
    keys: int = 0
    once: int = 0
    """Keys that were asked for once: to keep them brought nothing."""
    lost: int = 0
    """Misses of what had not expired."""
    span: float = 0.0
    """Between the first look-up and the last."""
    expected: tuple[tuple[float, float], ...] = ()
    """(a longer time to live, the hit ratio that it would have had)"""

    @property
    def ratio(self) -> float:
        """Hits of all look-ups, 0–1."""
        return self.hits / self.looks if self.looks else 0.0


def reuse(subject: str, looks: Sequence[Seen], ttl: float) -> Reuse:
    """What the look-ups (by time) of a strategy with this time to live (seconds) say."""
    if not looks:
        return Reuse(subject, ttl)
    by_key: defaultdict[int, list[Seen]] = defaultdict(list)
    for look in looks:
        by_key[look.key].append(look)
    span = looks[-1].at - looks[0].at
    outlived, lost = _gaps(by_key, ttl)
    rate = rate_of(outlived, lost)
    return Reuse(
        subject,
        ttl,
        len(looks),
        sum(look.hit for look in looks),
        len(by_key),
        sum(len(seen) == 1 for seen in by_key.values()),
        len(lost),
        span,
        tuple((longer, _expected(by_key, ttl, longer, rate) / len(looks)) for longer in _tried(ttl, span)),
    )


def better(found: Reuse) -> tuple[float, float] | None:
    """(time to live, expected hit ratio) that is worth a change: the shortest with most of the gain. None: stay."""
    if found.looks < ENOUGH or not found.expected:
        return None
    best = max(ratio for _, ratio in found.expected)
    if best - found.ratio < WORTHWHILE:
        return None
    enough = found.ratio + MOST_OF_IT * (best - found.ratio)
    return next(tried for tried in found.expected if tried[1] >= enough)


def _tried(ttl: float, span: float) -> Iterator[float]:
    # Nothing is known of what is asked for again after longer than was watched.
    return (ttl * factor for factor in FACTORS if ttl * factor <= min(span, LONGEST))


def _gaps(by_key: Mapping[int, Iterable[Seen]], ttl: float) -> tuple[float, list[float]]:
    """Seconds between looks that what was kept has outlived, in all, and those that it has not, one by one."""
    outlived, lost = 0.0, []
    for looks in by_key.values():
        computed = before = -inf
        for look in looks:
            is_young = look.at - computed < ttl * SURELY_FRESH
            if look.hit and is_young:
                outlived += look.at - before
            elif is_young:
                lost.append(look.at - before)
            if not look.hit:
                computed = look.at
            before = look.at
    return outlived, lost


def rate_of(outlived: float, lost: Sequence[float]) -> float:
    """Events a second, the likeliest: the root of ``sum(g / (exp(rate * g) - 1) for g in lost) = outlived``."""
    if not lost:
        return 0.0
    low, high = 0.0, 10.0
    for _ in range(60):
        rate = (low + high) / 2
        low, high = (rate, high) if sum(map(partial(_pull, rate), lost)) > outlived else (low, rate)
    return high


def _pull(rate: float, gap: float) -> float:
    growth = expm1(min(rate * gap, 700.0))
    return gap / growth if growth else 1 / rate


def _expected(by_key: Mapping[int, Iterable[Seen]], ttl: float, longer: float, rate: float) -> float:
    """The hits to expect of a longer time to live: those that there were, and of the misses those that it saves."""
    return sum(_saved(looks, ttl, longer, rate) for looks in by_key.values())


def _saved(looks: Iterable[Seen], ttl: float, longer: float, rate: float) -> float:
    hits, made, computed, before = 0.0, -inf, -inf, -inf
    for look in looks:
        if look.hit:
            hits += 1
        elif look.at - computed >= ttl * SURELY_FRESH and look.at - made < longer:
            # It had expired; with the longer time it would be the one made before.
            hits += exp(-rate * (look.at - before))
            computed = look.at
        else:
            made = computed = look.at
        before = look.at
    return hits
