"""What warming that traffic taught is worth: hits after a flush, cold beside warmed, the same requests both times.

    python -m tests.benchmarks.warming [--json] [--requests 4000] [--keys 1000]

Zipf traffic over calls of one ``cached`` function, whose values take 3–30 ms to compute. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from datetime import timedelta
from typing import Any
from unittest import mock

from tests.benchmarks.cache import own_valkey

#: Requests after the flush whose hits are counted.
FIRST = 300


def main() -> None:
    """Start a Valkey of its own, teach, flush, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--keys", type=int, default=1000)
    options = parser.parse_args()
    with own_valkey():
        result = run(options.requests, options.keys)
    json.dump(result, sys.stdout, indent=1 if options.json else None)
    print()


def run(requests: int, keys: int) -> dict[str, Any]:
    """``measured``, where this module counts as an app's: only those may be called by what a table says."""
    from paiid_perf.cache import learning

    with mock.patch.object(learning.apps, "get_containing_app_config", bool):
        return measured(requests, keys)


def measured(requests: int, keys: int) -> dict[str, Any]:
    """Ratios of hits (0–1): the steady one, and of the first requests after a flush, cold and warmed."""
    from django.core.management import call_command

    from paiid_perf.cache import cached, learning, warming
    from paiid_perf.cache.types import CacheStrategy
    from paiid_perf.registry import registry
    from paiid_perf.stores import redis_gate

    call_command("migrate", verbosity=0)
    registry.register(CacheStrategy("shop", ttl=timedelta(hours=1)))
    globals()["value_of"] = cached("shop")(value_of)
    client: Any = redis_gate.patient()
    traffic = _traffic(requests + 2 * FIRST, keys)
    hits = [_hit(symbol) for symbol in traffic[:requests]]
    _store(learning.learner)
    after = traffic[requests:]
    client.flushdb()
    cold = [_hit(symbol) for symbol in after[:FIRST]]
    client.flushdb()
    began = time.perf_counter()
    reports = warming.warm(budget=timedelta(seconds=10))
    took = time.perf_counter() - began
    warmed = [_hit(symbol) for symbol in after[:FIRST]]
    return {
        "steady": _ratio(hits[-1000:]),
        "cold": _ratio(cold),
        "warmed": _ratio(warmed),
        "warm_seconds": round(took, 2),
        "keys_warmed": sum(report.warmed for report in reports),
        "keys_in_traffic": len(set(traffic)),
    }


def _traffic(requests: int, keys: int) -> list[int]:
    dice = random.Random(7)  # no secret
    weights = [1 / rank for rank in range(1, keys + 1)]
    return dice.choices(range(keys), weights, k=requests)


def value_of(number: int) -> dict[str, Any]:
    """What the host's function computes."""
    _computed.append(number)
    threading.Event().wait(0.003 + number % 10 * 0.003)
    return {"number": number, "text": "x" * (number % 7 * 100)}


_computed: list[int] = []


def _hit(number: int) -> bool:
    before = len(_computed)
    value_of(number)
    return len(_computed) == before


def _store(learner: Any) -> None:
    from paiid_perf import telemetry
    from paiid_perf.telemetry import recorder, table

    learner.report()
    recorder.flush()
    for batch_id, rows in telemetry.drain():
        table.store(batch_id, rows)


def _ratio(hits: list[bool]) -> float:
    return round(sum(hits) / len(hits), 3)


if __name__ == "__main__":
    main()
