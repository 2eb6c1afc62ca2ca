"""What can be read about a cache: INFO, a bounded sample of the keys, and the app's own counters."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.db.models import Sum
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from paiid_perf.cache import footprint, rules
from paiid_perf.cache.keys import ROOM, strategy_of
from paiid_perf.cache.learning import Recipe
from paiid_perf.cache.types import CacheFacts, KeyFacts, ServerFacts, UseFacts
from paiid_perf.conf import get_settings
from paiid_perf.models import Metric
from paiid_perf.stores import redis_gate

#: Keys that one sample looks at, and how many go into one round trip.
SAMPLE, BATCH = 500, 100
USE_WINDOW = timedelta(hours=1)
#: Back to when traffic is asked for what it taught, and how many keys are named.
LEARNED_WITHIN, LEARNED = timedelta(days=1), 500


def read_facts(now: datetime) -> CacheFacts:
    """Everything that the rules judge. A server that does not answer is said to be so, not raised."""
    backend = caches[get_settings().CACHE]
    name, use, worth = type(backend).__name__, read_use(now), tuple(worthiest(now))
    client = redis_gate.patient() if redis_gate.is_redis() else None
    if client is None:
        return CacheFacts(
            name, False, not isinstance(backend, LocMemCache | DummyCache), use=use, worth=worth
        )
    try:
        sample = tuple(read_sample(client))
        server, writable, total = read_server(client), config_writable(client), client.dbsize()
        memory = footprint.read(client)
    except (RedisError, OSError) as error:
        return CacheFacts(
            name, True, True, use=use, worth=worth, unreachable=f"{type(error).__name__}: {error}"
        )
    return CacheFacts(
        name,
        True,
        True,
        server,
        writable,
        use=use,
        sample=sample,
        worth=worth,
        sampled_of=_number(total),
        footprint=memory,
    )


# --- the server -------------------------------------------------------------------------------------------


def read_server(client: Redis) -> ServerFacts:
    """INFO, as facts.

    Raises:
        RedisError: the server does not answer, or an ACL forbids INFO.
    """
    info: Any = client.info()
    databases = [value for key, value in info.items() if key.startswith("db") and isinstance(value, dict)]
    return ServerFacts(
        version=str(info.get("valkey_version") or info.get("redis_version", "")),
        uptime_seconds=_number(info.get("uptime_in_seconds")),
        used_bytes=_number(info.get("used_memory")),
        rss_bytes=_number(info.get("used_memory_rss")),
        peak_bytes=_number(info.get("used_memory_peak")),
        limit_bytes=_number(info.get("maxmemory")),
        system_bytes=_number(info.get("total_system_memory")),
        policy=str(info.get("maxmemory_policy", "")),
        fragmentation=float(info.get("mem_fragmentation_ratio") or 1.0),
        evicted_keys=_number(info.get("evicted_keys")),
        expired_keys=_number(info.get("expired_keys")),
        keyspace_hits=_number(info.get("keyspace_hits")),
        keyspace_misses=_number(info.get("keyspace_misses")),
        keys=sum(_number(database.get("keys")) for database in databases),
        keys_with_ttl=sum(_number(database.get("expires")) for database in databases),
        role=str(info.get("role", "master")),
    )


def config_writable(client: Redis) -> bool:
    """Whether this user may use CONFIG SET (managed services forbid it).

    Asks for a setting that does not exist: only who may set one is told so, and nothing changes.
    """
    try:
        client.config_set("paiid-perf-probe", "1")
    except ResponseError as error:
        return any(words in str(error).lower() for words in _NO_SUCH_SETTING)
    return True


#: Redis 7 and Valkey; Redis 6 and before.
_NO_SUCH_SETTING = ("unknown option", "unsupported config parameter")


def read_config(client: Redis, setting: str) -> str | None:
    """A server setting's present value; None if it does not exist or may not be read."""
    try:
        found: Any = client.config_get(setting)
    except ResponseError:
        return None
    value = found.get(setting)
    return None if value is None else str(value)


def _number(value: Any) -> int:
    return int(value or 0)


# --- keys ---------------------------------------------------------------------------------------------------


def read_sample(client: Redis, most: int = SAMPLE) -> Iterator[KeyFacts]:
    """Up to ``most`` keys with their bytes, idle time and whether they expire.

    SCAN walks the hash table's buckets, so its first keys are as good a sample as any. The cost is bounded:
    ``most`` / BATCH round trips, none of them long.
    """
    for names in scan(client, most, "*"):
        yield from _measured(client, names)


def scan(client: Redis, most: int, pattern: str) -> Iterator[list[bytes]]:
    """Batches of key names that match, ``most`` in all, giving up after 50 × ``most`` keys that do not."""
    cursor, found = 0, 0
    for _ in range(max(1, 50 * most // BATCH)):
        answer: Any = client.scan(cursor, match=pattern, count=BATCH)
        cursor, names = answer
        names = names[: most - found]
        found += len(names)
        if names:
            yield names
        if cursor == 0 or found >= most:
            return


def _measured(client: Redis, names: Sequence[bytes]) -> Iterator[KeyFacts]:
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.memory_usage(name)
        pipeline.object("idletime", name)
        pipeline.pttl(name)
    answers = pipeline.execute(raise_on_error=False)
    for name, size, idle, ttl in zip(names, answers[::3], answers[1::3], answers[2::3], strict=True):
        # A key that went away meanwhile has no size; under an LFU policy none has an idle time.
        if isinstance(size, int):
            text = name.decode(errors="replace")
            yield KeyFacts(text, group_of(text), size, idle if isinstance(idle, int) else None, ttl != -1)


def group_of(key: str) -> str:
    """The strategy of one of our keys, ``perf:<room>`` for the app's other keys, or ``other``."""
    prefix = get_settings().KEY_PREFIX + ":"
    if not key.startswith(prefix):
        return rules.OTHER
    room = key[len(prefix) :].split(":", 1)[0]
    return (strategy_of(key) or rules.OTHER) if room == ROOM else prefix + room


# --- the app's own counters -----------------------------------------------------------------------------------


def read_use(now: datetime, window: timedelta = USE_WINDOW) -> tuple[UseFacts, ...]:
    """Hits and misses by strategy in the window before ``now``, from the metric roll-ups."""
    rows = (
        Metric.objects.filter(
            resolution=Metric.Resolution.MINUTE,
            name__in=("cache.hits", "cache.misses"),
            at__gt=now - window,
            at__lte=now,
        )
        .values_list("subject", "name")
        .annotate(seen=Sum("count"))
        .order_by("subject")
    )
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for subject, name, seen in rows:
        counts[subject][name] = seen
    return tuple(
        UseFacts(subject, seen.get("cache.hits", 0), seen.get("cache.misses", 0))
        for subject, seen in counts.items()
    )


def worthiest(now: datetime, most: int = 50) -> list[tuple[str, int]]:
    """(``c:<strategy>:<key>``, ms of computing saved per kB) of the keys that the cache saved most with in a day."""
    return list(_best("cache.worth", now, most))


def recipes(now: datetime, most: int = LEARNED) -> Iterator[Recipe]:
    """The calls of ``cached`` functions that are worth warming by the last day's traffic, the best first."""
    for text, _ in _best("cache.recipe", now, most):
        yield Recipe(*json.loads(text))


def _best(name: str, now: datetime, most: int) -> Iterator[tuple[str, int]]:
    rows = (
        Metric.objects.filter(
            name=name, resolution=Metric.Resolution.MINUTE, at__gt=now - LEARNED_WITHIN, at__lte=now
        )
        .values_list("subject")
        .annotate(worth=Sum("count"))
        .order_by("-worth", "subject")
    )
    yield from rows[:most]
