"""What the facts of a cache mean: pure functions from facts to advice, marks and choices."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from django.utils.translation import gettext_lazy as _

from paiid_perf.cache.types import (
    CacheFacts,
    CacheStrategy,
    ConfigAdvice,
    GroupFacts,
    KeyFacts,
    Mark,
    ServerFacts,
    StrategyAdvice,
    UseFacts,
)

MEGABYTE = 1024 * 1024
#: Under this much memory, resident over used says more about the server's fixed costs than about fragmentation.
FRAGMENTATION_FROM = 100 * MEGABYTE
#: The Redis manual ("Memory optimization", INFO): above 1.5 is worth defragmenting.
FRAGMENTED = 1.5
#: A strategy with fewer lookups in the window is not judged.
ENOUGH_LOOKUPS = 200
LOW_HIT_RATIO = 0.5
USELESS_HIT_RATIO = 0.1
BIG_VALUE = 100 * 1024
IDLE = timedelta(days=1)
#: Fewer sampled keys of a group say nothing about it.
ENOUGH_KEYS = 20
#: A warm value is computed again when less than this part of its life is left.
REFRESH_UNDER = 0.25
#: Warming stops where the server is this full: more would push out what traffic brought in.
FULL = 0.9

#: Groups of the sample that are not the app's own.
OTHER = "other"


# --- the server's settings --------------------------------------------------------------------------


def config_advice(facts: CacheFacts) -> tuple[ConfigAdvice, ...]:
    """The server settings that should be others, with the reason. Nothing where the cache is not Redis."""
    if facts.server is None:
        return ()
    advice = (_policy(facts, facts.server), _limit(facts.server), _defragmentation(facts.server))
    return tuple(one for one in advice if one is not None)


def better_policy(facts: CacheFacts) -> tuple[str, str]:
    """(``maxmemory-policy``, why): what may be evicted, and in which order.

    Source: the Valkey and Redis manuals, "Key eviction". LFU (from Redis 4) keeps what is asked for often
    through one pass over cold keys, which is what Zipf-like web traffic wants; LRU forgets it.
    """
    if _persistent_others(facts.sample):
        return "volatile-lfu", str(
            _(
                "Other programs keep keys without a time to live on this server (queues, sessions): only keys "
                "that have one may be evicted."
            )
        )
    return "allkeys-lfu", str(
        _("Everything on this server can be computed again: the least used key may go.")
    )


def _policy(facts: CacheFacts, server: ServerFacts) -> ConfigAdvice | None:
    wanted, reason = better_policy(facts)
    if server.policy == "noeviction":
        why = str(_("With noeviction a full server refuses every write: the cache stops taking values."))
    elif server.policy.startswith("allkeys-") and wanted.startswith("volatile-"):
        why = _("%(policy)s may evict keys of other programs that nobody can compute again.") % {
            "policy": server.policy
        }
    else:
        return None
    evidence = {"policy": server.policy, "keys_of_others_without_ttl": _persistent_others(facts.sample)}
    return ConfigAdvice("maxmemory-policy", wanted, server.policy, f"{why} {reason}", evidence)


def _limit(server: ServerFacts) -> ConfigAdvice | None:
    if server.limit_bytes:
        return None
    wanted = sensible_limit(server)
    return ConfigAdvice(
        "maxmemory",
        str(wanted),
        "0",
        str(
            _(
                "No maxmemory is set: the cache grows until the machine has no memory left and the kernel kills a "
                "process. The value proposed leaves twice the peak seen so far, at most half of the machine."
            )
        ),
        {
            "used_bytes": server.used_bytes,
            "peak_bytes": server.peak_bytes,
            "system_bytes": server.system_bytes,
        },
        "medium",
        applicable=False,
    )


def sensible_limit(server: ServerFacts) -> int:
    """Bytes of ``maxmemory``: twice the peak, at least 64 MB, at most half of the machine; whole megabytes."""
    most = server.system_bytes // 2 or 2 * server.peak_bytes
    wanted = min(max(2 * server.peak_bytes, 64 * MEGABYTE), max(most, 64 * MEGABYTE))
    return -(-wanted // MEGABYTE) * MEGABYTE


def _defragmentation(server: ServerFacts) -> ConfigAdvice | None:
    if not is_fragmented(server):
        return None
    return ConfigAdvice(
        "activedefrag",
        "yes",
        "no",
        str(
            _("The server holds %(ratio).1f times the memory that its keys use; the rest is fragmentation.")
            % {"ratio": server.fragmentation}
        ),
        {
            "fragmentation": server.fragmentation,
            "used_bytes": server.used_bytes,
            "rss_bytes": server.rss_bytes,
        },
        "medium",
        applicable=False,
    )


def is_fragmented(server: ServerFacts) -> bool:
    """Whether fragmentation is high on a server large enough for the ratio to mean something."""
    return server.used_bytes >= FRAGMENTATION_FROM and server.fragmentation > FRAGMENTED


def _persistent_others(sample: Iterable[KeyFacts]) -> int:
    return sum(1 for key in sample if key.group == OTHER and not key.has_ttl)


# --- the strategies -----------------------------------------------------------------------------------


def strategy_advice(facts: CacheFacts, strategies: Sequence[CacheStrategy]) -> tuple[StrategyAdvice, ...]:
    """What to change in the host's declarations."""
    known = {strategy.name: strategy for strategy in strategies}
    hits = [_low_hits(use, known[use.strategy]) for use in facts.use if use.strategy in known]
    sizes = [_big_values(group) for group in groups(facts.sample) if group.group in known]
    idle = [_idle(group, known[group.group]) for group in groups(facts.sample) if group.group in known]
    return tuple(one for one in (*hits, *sizes, *idle, _unshared(facts)) if one is not None)


def _low_hits(use: UseFacts, strategy: CacheStrategy) -> StrategyAdvice | None:
    if use.lookups < ENOUGH_LOOKUPS or use.ratio is None or use.ratio >= LOW_HIT_RATIO:
        return None
    useless = use.ratio < USELESS_HIT_RATIO
    how = (
        _("Stop caching these values, or find out why no two requests share a key.")
        if useless
        else _("Tag values by instance instead of by model, or give CacheStrategy(%(name)r) a longer ttl.")
        % {"name": strategy.name}
    )
    return StrategyAdvice(
        strategy.name,
        str(_("The cache strategy %(name)s is rarely hit") % {"name": strategy.name}),
        str(
            _("%(hits)d of %(lookups)d lookups were hits (%(ratio).0f %%); each miss pays twice.")
            % {"hits": use.hits, "lookups": use.lookups, "ratio": use.ratio * 100}
        ),
        str(how),
        {"hits": use.hits, "misses": use.misses, "ttl_seconds": _seconds(strategy.ttl)},
    )


def _big_values(group: GroupFacts) -> StrategyAdvice | None:
    if not group.keys or group.mean_bytes < BIG_VALUE:
        return None
    return StrategyAdvice(
        group.group,
        str(_("Values of the cache strategy %(name)s are big") % {"name": group.group}),
        str(
            _(
                "A value takes %(kilobytes)d kB on average: each hit carries it over the network and unpacks it."
            )
            % {"kilobytes": group.mean_bytes // 1024}
        ),
        str(
            _("Cache smaller parts under keys of their own, or compress (compress_over, compressor='zstd').")
        ),
        {"mean_bytes": round(group.mean_bytes), "keys_sampled": group.keys},
    )


def _idle(group: GroupFacts, strategy: CacheStrategy) -> StrategyAdvice | None:
    if group.keys < ENOUGH_KEYS or group.idle_keys * 2 <= group.keys:
        return None
    return StrategyAdvice(
        group.group,
        str(_("Most values of the cache strategy %(name)s are not read") % {"name": group.group}),
        str(
            _("%(idle)d of %(keys)d sampled keys have not been read for a day.")
            % {"idle": group.idle_keys, "keys": group.keys}
        ),
        str(
            _("Give CacheStrategy(%(name)r) a shorter ttl: the memory goes to what is read.")
            % {"name": strategy.name}
        ),
        {"idle_keys": group.idle_keys, "keys_sampled": group.keys, "ttl_seconds": _seconds(strategy.ttl)},
    )


def _unshared(facts: CacheFacts) -> StrategyAdvice | None:
    if facts.shared:
        return None
    return StrategyAdvice(
        facts.backend,
        str(_("The cache is private to each process")),
        str(
            _(
                "%(backend)s lives in one process: the others do not see its values, and what one of them "
                "invalidates stays in the others until it expires."
            )
            % {"backend": facts.backend}
        ),
        str(
            _(
                "Use django_redis.cache.RedisCache in settings.CACHES as soon as there is more than one process."
            )
        ),
    )


def _seconds(ttl: timedelta | None) -> float | None:
    return None if ttl is None else ttl.total_seconds()


def groups(sample: Iterable[KeyFacts]) -> tuple[GroupFacts, ...]:
    """The sample by strategy, the largest first."""
    keys: dict[str, list[KeyFacts]] = defaultdict(list)
    for key in sample:
        keys[key.group].append(key)
    found = (
        GroupFacts(
            group,
            len(members),
            sum(key.bytes for key in members),
            sum(
                1
                for key in members
                if key.idle_seconds is not None and key.idle_seconds >= IDLE.total_seconds()
            ),
        )
        for group, members in keys.items()
    )
    return tuple(sorted(found, key=lambda group: -group.bytes))


#: Keys that a report names as the largest, and characters that it shows of another program's key.
LARGEST, SHOWN = 10, 20


def largest(sample: Iterable[KeyFacts]) -> tuple[KeyFacts, ...]:
    """The largest keys. The name of one that is not ours is cut: it may hold a secret, such as a session's key."""
    found = sorted(sample, key=lambda key: -key.bytes)[:LARGEST]
    return tuple(replace(key, name=_cut(key.name)) if key.group == OTHER else key for key in found)


#: Key patterns that a report names.
PATTERNS = 10
#: What differs between keys of one pattern: a part with a digit in it (numbers, digests, dates).
_DIFFERS = re.compile(r"[^:/|,=()\[\]]*[0-9][^:/|,=()\[\]]*")


def pattern_of(key: KeyFacts) -> str:
    """The key with ``*`` for each part that has a digit in it; of another program's key only its beginning."""
    if key.group == OTHER:
        return _cut(key.name)
    return _DIFFERS.sub("*", key.name)


def patterns(sample: Iterable[KeyFacts]) -> tuple[GroupFacts, ...]:
    """The sample by pattern, those that take most first."""
    return groups(replace(key, group=pattern_of(key)) for key in sample)[:PATTERNS]


def _cut(name: str) -> str:
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}…"


# --- marks ----------------------------------------------------------------------------------------------


def marks(facts: CacheFacts) -> tuple[Mark, ...]:
    """The scored facts of the area. What cannot be known has no value; what does not apply is left out."""
    found = [_hit_mark(facts.use)]
    if facts.is_redis:
        found += _server_marks(facts.server)
    else:
        found.append(
            Mark(
                "shared",
                _("Processes that share the cache"),
                100.0 if facts.shared else 0.0,
                100,
                0,
                2,
                "%",
                _("Use a cache that all processes share, best Redis or Valkey with django-redis."),
            )
        )
    return tuple(found)


def hit_ratio(use: Iterable[UseFacts]) -> float | None:
    """Hits over lookups of all strategies together (0–1); None without enough lookups."""
    total: Counter[str] = Counter()
    for one in use:
        total["hits"] += one.hits
        total["lookups"] += one.lookups
    return total["hits"] / total["lookups"] if total["lookups"] >= ENOUGH_LOOKUPS else None


def _hit_mark(use: Sequence[UseFacts]) -> Mark:
    ratio = hit_ratio(use)
    return Mark(
        "hit_ratio",
        _("Cache hit ratio, last hour"),
        None if ratio is None else ratio * 100,
        95,
        50,
        4,
        "%",
        _("Lengthen the TTL of what invalidation keeps fresh anyway, tag by instance, and declare warmers."),
    )


def _server_marks(server: ServerFacts | None) -> list[Mark]:
    found = [
        Mark(
            "memory",
            _("Memory in use of what the cache may take"),
            None if server is None else fullness(server) * 100,
            80,
            100,
            2,
            "%",
            _("Raise maxmemory, compress more, or shorten the TTL of large values."),
        ),
        Mark(
            "memory_limit",
            _("A memory limit with eviction is set"),
            None if server is None else (_bounded(server) * 100.0),
            100,
            0,
            2,
            "%",
            _("Set maxmemory, and a maxmemory-policy that evicts."),
        ),
        Mark(
            "evictions",
            _("Keys evicted per 100 lookups"),
            None if server is None else server.evicted_share * 100,
            0.1,
            5,
            2,
            "",
            _("Raise maxmemory: values are thrown out before they expire."),
        ),
    ]
    if server is None or server.used_bytes >= FRAGMENTATION_FROM:
        hint = _("Turn activedefrag on, or restart the server in a quiet hour.")
        ratio = None if server is None else server.fragmentation
        found.append(Mark("fragmentation", _("Memory fragmentation"), ratio, FRAGMENTED, 3, 1, "", hint))
    return found


def fullness(server: ServerFacts) -> float:
    """Used memory as a fraction of ``maxmemory``, or of the machine where there is no limit."""
    room = server.limit_bytes or server.system_bytes
    return server.used_bytes / room if room else 0.0


def _bounded(server: ServerFacts) -> float:
    return ((server.limit_bytes > 0) + (server.policy != "noeviction")) / 2


# --- warming --------------------------------------------------------------------------------------------


def is_warm(expires_ms: int, now_ms: int, ttl: timedelta | None) -> bool:
    """Whether a fresh value has enough of its life left to be skipped by a warming pass."""
    if not expires_ms or ttl is None:
        return True
    return expires_ms - now_ms >= ttl.total_seconds() * 1000 * REFRESH_UNDER


def has_room(server: ServerFacts | None) -> bool:
    """Whether warming may add values to this server without pushing others out."""
    return server is None or not server.limit_bytes or server.used_bytes < server.limit_bytes * FULL
