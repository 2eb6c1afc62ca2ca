"""What a server's memory goes to: ``MEMORY STATS`` in parts that a person can act on.

The names of the figures are Redis' and Valkey's own (https://valkey.io/commands/memory-stats/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _
from redis.exceptions import RedisError

from paiid_perf.cache.types import Part, StrategyAdvice

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

#: A part that takes less is never too much.
HEAVY_FROM = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kind:
    """A part of the memory: the figures that it adds up, and what a reader should know of it."""

    figures: tuple[str, ...]
    label: StrOrPromise
    meaning: StrOrPromise
    most: float = float("inf")
    """The share of the used memory from which it is too much."""
    how: StrOrPromise = ""
    """What to do where it is too much."""
    outside: bool = False
    """Whether it comes on top of what the server counts as used."""


KINDS: Mapping[str, Kind] = {
    "dataset": Kind(
        ("dataset.bytes",),
        _("Keys and values"),
        _("What the cache is for. Compression, shorter lives and smaller values make it less."),
    ),
    "key_index": Kind(
        ("overhead.hashtable.main", "overhead.hashtable.expires", "overhead.hashtable.slot-to-keys"),
        _("Tables of the keys"),
        _("Grows with the number of keys: fewer, larger values (a hash instead of a key for each field)."),
        0.5,
        _("Keep what is read together under one key."),
    ),
    "clients": Kind(
        ("clients.normal",),
        _("Buffers of the clients"),
        _("Answers that clients have not fetched yet, and commands that are being read."),
        0.2,
        _(
            "Find the client with CLIENT LIST (omem, qbuf), ask for less at a time, and set maxmemory-clients."
        ),
    ),
    "replicas": Kind(
        ("clients.slaves", "replication.backlog"),
        _("Replicas and backlog"),
        _("What replicas have still to receive, and what is kept for one that comes back."),
        0.3,
        _("Look for a slow or broken replica, or lower repl-backlog-size."),
    ),
    "append_only_file": Kind(
        ("aof.buffer",),
        _("Buffer of the append-only file"),
        _("Writes that are not on the disk yet."),
        0.2,
        _("The disk is slower than the writes: a cache needs no appendonly yes."),
    ),
    "scripts": Kind(
        ("lua.caches", "functions.caches"),
        _("Scripts"),
        _("Lua scripts that the server remembers until it restarts."),
        0.1,
        _(
            "A program sends scripts with values in their text: pass them as KEYS and ARGV, then SCRIPT FLUSH."
        ),
    ),
    "server": Kind(
        ("startup.allocated",),
        _("The server itself"),
        _("What it takes before the first key; it does not grow."),
    ),
    "fragmentation": Kind(
        ("allocator-fragmentation.bytes",),
        _("Gaps between values"),
        _("Freed room that new values do not fit into. Active defragmentation closes it."),
        outside=True,
    ),
    "held_back": Kind(
        ("allocator-rss.bytes", "rss-overhead.bytes"),
        _("Kept by the allocator"),
        _("Free memory that was not given back to the machine; MEMORY PURGE gives it back."),
        outside=True,
    ),
}


def read(client: Any) -> tuple[Part, ...]:
    """The parts of a server's memory; none where it does not tell (an ACL, a managed service, an old version)."""
    try:
        stats = client.memory_stats()
    except (RedisError, NotImplementedError):
        return ()
    return tuple(parts(stats))


def parts(stats: Mapping[Any, Any]) -> list[Part]:
    """The parts, those within the used memory first, the larger before the smaller; nothing of empty ones. Pure."""
    known: dict[str, int] = {}
    for name, value in _flat(stats):
        known[name] = known.get(name, 0) + value
    used = known.get("total.allocated", 0)
    sizes = {name: sum(known.get(figure, 0) for figure in kind.figures) for name, kind in KINDS.items()}
    found = [Part(name, size, size / used if used else 0.0) for name, size in sizes.items() if size > 0]
    return sorted(found, key=lambda part: (KINDS[part.name].outside, -part.bytes))


def advice(parts: tuple[Part, ...]) -> Iterator[StrategyAdvice]:
    """What to do about the parts that take more than they should. Pure."""
    for part in parts:
        kind = KINDS[part.name]
        if part.bytes >= HEAVY_FROM and part.share >= kind.most:
            yield StrategyAdvice(
                part.name,
                str(_("Memory of the cache goes to: %(part)s") % {"part": kind.label}),
                f"{kind.meaning} "
                + str(
                    _("It takes %(megabytes)d MB, %(share).0f %% of the used memory.")
                    % {"megabytes": part.bytes // 2**20, "share": part.share * 100}
                ),
                str(kind.how),
                {"bytes": part.bytes, "share": round(part.share, 3)},
            )


def _flat(stats: Mapping[Any, Any]) -> Iterator[tuple[str, int]]:
    """Every figure by its name; those of each database, which come as a mapping of their own, too."""
    for name, value in stats.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif isinstance(value, int):
            yield (name.decode(errors="replace") if isinstance(name, bytes) else str(name)), value
