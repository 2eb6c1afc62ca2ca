"""The cache beside its peers (those that are installed): one server, one process, one run.

    python -m tests.benchmarks.cache [--json] [--rounds 2000] [--keys 100000]

Times are medians of interleaved calls, in µs. A ratio above 1 means that this app is ahead. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pickle
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
OURS = "paiid_perf"
#: Threads that miss the same value at once.
CROWD = 100
CACHEX = "django-cachex"
#: Needs Python 3.12.
_CACHEX = {CACHEX: "django_cachex.cache.RedisCache"} if find_spec("django_cachex") else {}
BACKENDS = {"default": "django_redis.cache.RedisCache"} | _CACHEX


def values() -> dict[str, Any]:
    """What a trading site caches: one row, a portfolio of 20 positions, a market with 50 ticks."""
    row = {"symbol": "AAPL", "price": Decimal("187.4400"), "volume": 1200, "at": NOW, "name": "Apple Inc."}
    positions = [
        {
            "symbol": f"SYM{n:03}",
            "quantity": Decimal(n * 7 + 1),
            "price": Decimal(f"{90 + n * 1.37:.4f}"),
            "value": Decimal(f"{(n * 7 + 1) * (90 + n * 1.37):.2f}"),
            "cost": Decimal(f"{(n * 7 + 1) * 88.5:.2f}"),
        }
        for n in range(20)
    ]
    ticks = [
        {
            "at": NOW - timedelta(seconds=17 * n),
            "price": Decimal(f"{187 + (n * 37 % 90) / 100:.4f}"),
            "volume": n * 100,
        }
        for n in range(50)
    ]
    return {
        "row": row,
        "portfolio": {"value": Decimal("91234.55"), "profit": Decimal("1234.50"), "positions": positions},
        "market": {"symbol": "AAPL", "name": "Apple Inc.", "price": Decimal("187.4400"), "ticks": ticks},
    }


@dataclass(frozen=True)
class Peer:
    """One way to cache, as its users use it."""

    name: str
    set: Callable[[str, Any], Any]
    get: Callable[[str], Any]
    get_or_compute: Callable[[str, Callable[[], Any]], Any]
    stored_key: Callable[[str], str]


# --- the peers -----------------------------------------------------------------------------------------


def configure(url: str) -> None:
    """Django with one django-redis cache, and cacheops on the same server."""
    import django
    from django.conf import settings

    apps = ["django.contrib.contenttypes", "django.contrib.auth", "paiid_perf"]
    settings.configure(
        SECRET_KEY="benchmark",
        USE_TZ=True,
        INSTALLED_APPS=apps + (["cacheops"] if find_spec("cacheops") else []),
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        CACHES={name: {"BACKEND": backend, "LOCATION": url} for name, backend in BACKENDS.items()},
        CACHEOPS_REDIS=url,
        CACHEOPS={},
        PAIID_PERF={"FLUSH_INTERVAL": timedelta(0), "REDIS_TIMEOUT": 5.0},
    )
    django.setup()


def peers() -> list[Peer]:
    """This app under three of its strategies, the Django backends, cacheops."""
    found = [
        _ours(OURS, "hot"),
        _ours(f"{OURS} compressed", "long"),
        _ours(f"{OURS} json", "standard"),
        _backend("django-redis", "default"),
    ]
    if CACHEX in BACKENDS:
        found.append(_backend(CACHEX, CACHEX))
    return [*found, _cacheops()] if find_spec("cacheops") else found


def _backend(name: str, alias: str) -> Peer:
    from django.core.cache import caches

    backend = caches[alias]
    return Peer(
        name,
        lambda key, value: backend.set(f"{name}:{key}", value, 300),
        lambda key: backend.get(f"{name}:{key}"),
        lambda key, compute: backend.get_or_set(f"{name}:{key}", compute, 300),
        lambda key: f":1:{name}:{key}",
    )


def _ours(name: str, declared: str) -> Peer:
    from paiid_perf import cache
    from paiid_perf.cache.keys import storage_key
    from paiid_perf.cache.types import CacheStrategy
    from paiid_perf.registry import registry

    # As long a life as the peers' values have: the benchmark must not outlive them.
    strategy = replace(registry.get(CacheStrategy, declared), ttl=timedelta(minutes=5))

    def missing() -> Any:
        raise AssertionError("not cached")

    return Peer(
        name,
        lambda key, value: cache.set(key, value, strategy=strategy, tags=["benchmark"]),
        lambda key: cache.get_or_compute(key, missing, strategy=strategy, tags=["benchmark"]),
        lambda key, compute: cache.get_or_compute(key, compute, strategy=strategy, tags=["benchmark"]),
        lambda key: storage_key(declared, key),
    )


def _cacheops() -> Peer:
    from cacheops import cache
    from cacheops.simple import CacheMiss

    def get_or_compute(key: str, compute: Callable[[], Any]) -> Any:
        try:
            return cache.get(key)
        except CacheMiss:
            value = compute()
            cache.set(key, value, timeout=300)
            return value

    return Peer(
        "cacheops", lambda key, value: cache.set(key, value, timeout=300), cache.get, get_or_compute, str
    )


# --- what is measured -------------------------------------------------------------------------------------


def latency(found: list[Peer], rounds: int) -> dict[str, Any]:
    """Medians in µs of a hit, of a set, and of a miss whose value costs nothing to compute, by value and peer."""
    return {
        name: {
            "get_us": _hits(found, name, value, rounds),
            "set_us": _sets(found, name, value, rounds),
            "miss_us": _misses(found, name, value, rounds // 4),
        }
        for name, value in values().items()
    }


def _hits(found: list[Peer], name: str, value: Any, rounds: int) -> dict[str, float]:
    for peer in found:
        peer.set(name, value)
        assert peer.get(name) == value, peer.name
    return _interleaved({peer.name: lambda peer=peer: peer.get(name) for peer in found}, rounds)


def _sets(found: list[Peer], name: str, value: Any, rounds: int) -> dict[str, float]:
    return _interleaved({peer.name: lambda peer=peer: peer.set(name, value) for peer in found}, rounds // 4)


def _misses(found: list[Peer], name: str, value: Any, rounds: int) -> dict[str, float]:
    new = itertools.count()
    return _interleaved(
        {
            peer.name: lambda peer=peer: peer.get_or_compute(f"miss:{name}:{next(new)}", lambda: value)
            for peer in found
        },
        rounds,
    )


def _interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    seen: dict[str, list[int]] = {name: [] for name in calls}
    order, dice = list(calls.items()), random.Random(7)  # no secret
    for _ in range(rounds):
        dice.shuffle(order)  # who comes after its like finds the processor's caches warm
        for name, call in order:
            began = time.perf_counter_ns()
            call()
            seen[name].append(time.perf_counter_ns() - began)
    return {name: round(statistics.median(times) / 1000, 1) for name, times in seen.items()}


def memory(found: list[Peer], client: Any) -> dict[str, dict[str, int]]:
    """Bytes in the server of one key with each value, names and overhead included."""
    return {
        name: {peer.name: _bytes(peer, name, value, client) for peer in found}
        for name, value in values().items()
    }


def _bytes(peer: Peer, name: str, value: Any, client: Any) -> int:
    peer.set(name, value)
    return int(client.memory_usage(peer.stored_key(name)))


def stampede(found: list[Peer]) -> dict[str, int]:
    """How often a value that takes 50 ms is computed when CROWD threads miss it at once."""
    return {peer.name: _computed(peer) for peer in found}


def _computed(peer: Peer) -> int:
    together, calls = threading.Barrier(CROWD), []

    def compute() -> dict[str, int]:
        calls.append(1)
        threading.Event().wait(0.05)
        return {"a": 1}

    def ask(_: int) -> None:
        together.wait()
        peer.get_or_compute(f"stampede:{peer.name}", compute)

    with ThreadPoolExecutor(CROWD) as pool:
        list(pool.map(ask, range(CROWD)))
    return len(calls)


def invalidation(client: Any, keys: int) -> dict[str, Any]:
    """Milliseconds to make ``keys`` cached values old, each way, with the longest stall of another client."""
    ways = {OURS: (_fill_ours, _bump), "django-redis": (_fill_django, _delete_pattern)}
    if find_spec("cacheops"):
        ways["cacheops"] = (_fill_cacheops, _invalidate_dict)
    return {name: _timed(client, keys, fill, act) for name, (fill, act) in ways.items()}


def _timed(
    client: Any, keys: int, fill: Callable[[Any, int], None], act: Callable[[], None]
) -> dict[str, float]:
    client.flushdb()
    fill(client, keys)
    done, stalls = threading.Event(), [0.0]

    def watch() -> None:
        while not done.is_set():
            began = time.perf_counter()
            client.ping()
            stalls.append(time.perf_counter() - began)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    act()
    took = time.perf_counter() - began
    done.set()
    watcher.join()
    return {"ms": round(took * 1000, 2), "stall_ms": round(max(stalls) * 1000, 2)}


def _filled(client: Any, keys: int, name: Callable[[int], str], body: bytes) -> None:
    for start in range(0, keys, 10_000):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, min(start + 10_000, keys)):
            pipeline.set(name(number), body, ex=300)
        pipeline.execute()


def _fill_ours(client: Any, keys: int) -> None:
    from paiid_perf import cache
    from paiid_perf.cache.keys import storage_key

    cache.set("0", {"a": 1}, strategy="hot", tags=["benchmark"])
    body = client.get(storage_key("hot", "0"))
    _filled(client, keys, lambda number: storage_key("hot", str(number)), body)


def _bump() -> None:
    from paiid_perf.invalidation import bump

    bump(["benchmark"])


def _fill_django(client: Any, keys: int) -> None:
    _filled(client, keys, lambda number: f":1:benchmark:{number}", pickle.dumps({"a": 1}))


def _delete_pattern() -> None:
    from django.core.cache import cache as django_cache

    django_cache.delete_pattern("benchmark:*", itersize=10_000)


def _fill_cacheops(client: Any, keys: int) -> None:
    from cacheops.getset import cache_thing

    for number in range(keys):
        cache_thing("", f"q:{number}", {"a": 1}, {"auth_group": [{"id": 7}]}, 300)


def _invalidate_dict() -> None:
    from cacheops.invalidation import invalidate_dict
    from django.contrib.auth.models import Group

    invalidate_dict(Group, {"id": 7, "name": "x"})


# --- the report ----------------------------------------------------------------------------------------------


def run(rounds: int, keys: int) -> dict[str, Any]:
    """Everything, with the peers' ratios to this app."""
    from paiid_perf.stores import redis_gate

    client: Any = redis_gate.patient()
    found = peers()
    result: dict[str, Any] = {"latency": latency(found, rounds), "memory": memory(found, client)}
    result["stampede"] = stampede(found)
    result["invalidation"] = {"keys": keys} | invalidation(client, keys)
    result["ratios"] = ratios(result)
    return result


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """Peer over ours: above 1, we are ahead. Memory is compared under the compressing strategy."""
    found: dict[str, float] = {}
    for value, times in result["latency"].items():
        for kind, by_peer in times.items():
            for peer in _others(by_peer):
                found[f"{kind} {value} {peer}"] = round(by_peer[peer] / by_peer[OURS], 2)
    for value, sizes in result["memory"].items():
        for peer in _others(sizes):
            found[f"bytes {value} {peer}"] = round(sizes[peer] / sizes[f"{OURS} compressed"], 2)
    return found


def _others(by_peer: dict[str, Any]) -> list[str]:
    return [name for name in by_peer if not name.startswith(OURS)]


@contextmanager
def own_valkey() -> Iterator[None]:
    """A Valkey that nobody else uses, with Django's caches on it."""
    from project.embedded import start_valkey

    with tempfile.TemporaryDirectory() as directory:
        valkey = start_valkey(Path(directory))
        try:
            configure(valkey.url)
            yield
        finally:
            valkey.stop()


def main() -> None:
    """Start a Valkey of its own, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--keys", type=int, default=100_000)
    options = parser.parse_args()
    with own_valkey():
        result = run(options.rounds, options.keys)
        _hand_over()
    if options.json:
        json.dump(result, sys.stdout, indent=1)
        print()
    else:
        _print(result)


def _hand_over() -> None:
    from paiid_perf.telemetry import recorder

    recorder.flush()


def _print(result: dict[str, Any]) -> None:
    for value, times in result["latency"].items():
        for kind, by_peer in times.items():
            print(f"{kind:8} {value:10}", *(f"{name} {time_}" for name, time_ in by_peer.items()), sep="   ")
    for value, sizes in result["memory"].items():
        print(f"bytes    {value:10}", *(f"{name} {size}" for name, size in sizes.items()), sep="   ")
    print("computed", result["stampede"])
    print("invalidated", result["invalidation"])
    print("ratios", json.dumps(result["ratios"], indent=1))


if __name__ == "__main__":
    main()
