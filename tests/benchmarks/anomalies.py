"""How anomalies are found: planted level shifts within five minutes, and false alarms on clean series.

``python -m tests.benchmarks.anomalies --json`` prints, for each kind of series and of noise, the share of the planted
shifts that were found and the alarms of a week in which nothing happened. Series are made from seeds: flat, a sine a
day, one with quiet weekends, business hours with hard edges (each day, or on workdays), a slow trend; noise that is
independent, that lasts (autocorrelation 0.7), that has one spike of six spreads in fifty, or heavy tails (Laplace's).
A shift is six to ten spreads of the noise. The ideas of the public Numenta Anomaly Benchmark (Lavin and Ahmad, 2015),
not its data.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from paiid_perf.monitoring.rules.anomalies import Oddity, look
from paiid_perf.monitoring.types import Sample

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY, WEEK = 1440, 7 * 1440
WEEKS = 4
SPREAD = 4.0
SHIFTS = (6, 8, 10)
WITHIN = 5
#: Where an alarm that is on goes off: the rule's clear threshold.
CLEAR = 0.7

Shape = Callable[[int], float]
SHAPES: Mapping[str, Shape] = {
    "flat": lambda minute: 50.0,
    "sine": lambda minute: 100 + 40 * math.sin(2 * math.pi * minute / DAY),
    "weekend": lambda minute: (
        (100 + 40 * math.sin(2 * math.pi * minute / DAY)) * (0.4 if minute // DAY % 7 >= 5 else 1)
    ),
    "edges": lambda minute: 120.0 if 540 <= minute % DAY < 1080 else 40.0,
    "office": lambda minute: 120.0 if 540 <= minute % DAY < 1080 and minute // DAY % 7 < 5 else 40.0,
    "trend": lambda minute: 50 + minute / DAY,
}


def independent(rng: random.Random, length: int) -> list[float]:
    return [rng.gauss(0, SPREAD) for _ in range(length)]


def lasting(rng: random.Random, length: int) -> list[float]:
    found, value = [], 0.0
    for _ in range(length):
        value = 0.7 * value + rng.gauss(0, SPREAD * math.sqrt(1 - 0.49))
        found.append(value)
    return found


def spiky(rng: random.Random, length: int) -> list[float]:
    return [rng.gauss(0, SPREAD * (6 if rng.random() < 0.02 else 1)) for _ in range(length)]


def heavy(rng: random.Random, length: int) -> list[float]:
    return [rng.choice((-1, 1)) * rng.expovariate(math.sqrt(2) / SPREAD) for _ in range(length)]


NOISES: Mapping[str, Callable[[random.Random, int], list[float]]] = {
    "independent": independent,
    "lasting": lasting,
    "spiky": spiky,
    "heavy": heavy,
}


def series(shape: str, noise: str, seed: int) -> list[float]:
    """Four weeks of minutes."""
    found = NOISES[noise](random.Random(f"{shape} {noise} {seed}"), WEEKS * WEEK)
    return [SHAPES[shape](minute) + off for minute, off in enumerate(found)]


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def hours(values: Sequence[float], end: int) -> list[Sample]:
    """The means of the whole hours before ``end``."""
    return [Sample(at(60 * n), sum(values[60 * n : 60 * n + 60]) / 60) for n in range(end // 60)]


def judged(values: Sequence[float], known: Sequence[Sample], end: int) -> Oddity:
    """What is said at the end of a minute, knowing what lies before it."""
    seen = (*range(end - 27 * 60, end - 21 * 60), *range(end - 360, end))
    found = look(known, [Sample(at(n), values[n]) for n in seen], at(end), 0.0)
    assert found is not None
    return found


def found_share(values: Sequence[float], tries: int, seed: int) -> float:
    """The share of planted shifts that are outside their band within WITHIN minutes."""
    rng = random.Random(seed)
    return sum(_found(values, rng) for _ in range(tries)) / tries


def _found(values: Sequence[float], rng: random.Random) -> bool:
    begin = rng.randrange(WEEK * (WEEKS - 1), WEEK * WEEKS - WITHIN)
    size = rng.choice((-1, 1)) * rng.choice(SHIFTS) * SPREAD
    shifted = [*values[:begin], *(value + size for value in values[begin : begin + WITHIN])]
    ends = range(begin + 1, begin + WITHIN + 1)
    return any(judged(shifted, hours(shifted, end), end).ratio > 1 for end in ends)


def alarms(values: Sequence[float], step: int, begin: int = WEEK * (WEEKS - 1), length: int = WEEK) -> int:
    """Alarms in a stretch in which nothing happened, looking every ``step`` minutes."""
    count, on, known = 0, False, hours(values, begin)
    for end in range(begin, begin + length, step):
        if len(known) < end // 60:
            known = hours(values, end)
        ratio = judged(values, known, end).ratio
        count += ratio > 1 and not on
        on = ratio > (CLEAR if on else 1)
    return count


def measure(tries: int, step: int) -> list[dict[str, object]]:
    return [
        {
            "series": shape,
            "noise": noise,
            "found": round(found_share(series(shape, noise, 1), tries, 2), 3),
            "alarms_a_week": alarms(series(shape, noise, 1), step),
        }
        for shape in SHAPES
        for noise in NOISES
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=40, help="shifts planted in each kind of series")
    parser.add_argument("--step", type=int, default=1, help="minutes between two looks at the clean week")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = measure(chosen.tries, chosen.step)
    found = sum(float(str(row["found"])) for row in rows) / len(rows)
    whole = {
        "rows": rows,
        "found": round(found, 3),
        "most_alarms": max(int(str(r["alarms_a_week"])) for r in rows),
    }
    if chosen.json:
        json.dump(whole, sys.stdout, indent=1)
    else:
        for row in rows:
            print(*row.values(), sep="\t")
    print()


if __name__ == "__main__":
    main()
