"""How honest forecasts are: the share of the future inside the band, and the error beside seasonal-naive's.

``python -m tests.benchmarks.forecast --json`` prints both for each kind of series (made from seeds) and length of past.
The band claims nine in ten. A random walk has no trend, whatever its past looks like: it is there to say so.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping

from paiid_perf.monitoring.rules.forecast import forecast, seasonal_naive

WEEK = 7
LENGTHS = (21, 42, 90)


def made(kind: str, seed: int, length: int) -> list[float]:
    """A series of days."""
    rng = random.Random(f"{kind} {seed}")
    noise, slope = rng.uniform(0.5, 3), rng.choice((-1, 1)) * rng.uniform(0.1, 1.5)
    if kind in WALKS:
        found, value = [], 50.0
        for _ in range(length):
            value += WALKS[kind] * abs(slope) + rng.gauss(0, noise)
            found.append(value)
        return found
    return [SHAPES[kind](day, slope) + rng.gauss(0, noise) for day in range(length)]


def _week(day: int) -> float:
    return 10.0 if day % WEEK < 5 else -10.0


SHAPES: Mapping[str, Callable[[int, float], float]] = {
    "flat": lambda day, slope: 50.0,
    "trend": lambda day, slope: 50 + slope * day,
    "week": lambda day, slope: 50 + _week(day),
    "week and trend": lambda day, slope: 50 + _week(day) + slope * day,
}
#: kind → how much of the slope a random walk drifts with
WALKS: Mapping[str, float] = {"walk": 0.0, "drifting walk": 1.0}


def measure(kind: str, length: int, seeds: int) -> dict[str, object]:
    inside = seen = 0
    missed = naive = 0.0
    methods: Counter[str] = Counter()
    for seed in range(seeds):
        ahead = length // 2
        values = made(kind, seed, length + ahead)
        past, future = values[:length], values[length:]
        found = forecast(past, WEEK, ahead)
        assert found is not None
        methods[found.method] += 1
        inside += sum(b.low <= value <= b.high for b, value in zip(found.ahead, future, strict=True))
        missed += sum(abs(b.middle - value) for b, value in zip(found.ahead, future, strict=True))
        last_week = seasonal_naive(past, WEEK, ahead)
        naive += sum(abs(a - b) for a, b in zip(last_week, future, strict=True))
        seen += ahead
    return {
        "series": kind,
        "days": length,
        "inside": round(inside / seen, 3),
        "error_over_naive": round(missed / naive, 3),
        "methods": dict(methods),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = [measure(kind, length, chosen.seeds) for kind in (*SHAPES, *WALKS) for length in LENGTHS]
    if chosen.json:
        json.dump(rows, sys.stdout, indent=1)
    else:
        for row in rows:
            print(*row.values(), sep="\t")
    print()


if __name__ == "__main__":
    main()
