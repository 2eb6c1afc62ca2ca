"""Warming: the declared values are computed before somebody asks, within a budget, skipping what is fresh.

A warm is idempotent and changes nothing that it would take an undo to put right, so it is a plain action under
the policy ``cache_warm``, not a change in the ledger.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from operator import itemgetter
from typing import Any

from django.db import DatabaseError
from django.utils import timezone
from redis.exceptions import RedisError

from paiid_perf import invalidation
from paiid_perf.cache import rules
from paiid_perf.cache.backends import Store, current_store
from paiid_perf.cache.envelope import is_fresh, open_, stamp_of
from paiid_perf.cache.facts import read_server, recipes
from paiid_perf.cache.keys import storage_key
from paiid_perf.cache.learning import Recipe, function_of
from paiid_perf.cache.manager import CacheUnavailable, WarmEntry, refresh, strategy_named
from paiid_perf.cache.serialization import Unreadable
from paiid_perf.cache.types import CacheStrategy, CacheWarmer, WarmReport
from paiid_perf.conf import get_settings
from paiid_perf.invalidation import tag_of
from paiid_perf.registry import registry
from paiid_perf.stores import redis_gate
from paiid_perf.telemetry import recorder

logger = logging.getLogger("paiid_perf")
#: Keys whose freshness is looked up in one round trip.
BATCH = 100
#: Name of the warmer of what traffic taught about a strategy.
LEARNED = "learned {}"
Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class _Wanted:
    key: str
    compute: Callable[[], Any]
    tags: tuple[str, ...]


@dataclass(slots=True)
class Budget:
    """Wall time and memory that a pass may take. ``clock`` gives seconds; ``has_room`` asks the server."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    has_room: Callable[[], bool] = lambda: True
    _ends: float = field(init=False)

    def __post_init__(self) -> None:
        self._ends = self.clock() + self.seconds

    def is_spent(self) -> bool:
        return self.clock() >= self._ends

    def share(self, among: int) -> Budget:
        """An equal part of what is left."""
        return Budget(max(0.0, self._ends - self.clock()) / max(1, among), self.clock, self.has_room)


def warm(
    *names: str,
    budget: timedelta | None = None,
    dry_run: bool = False,
    progress: Progress = lambda fraction, step: None,
) -> tuple[WarmReport, ...]:
    """Warm the named warmers (where none is named all, and what traffic taught); what each did.

    Errors of a host's code are reported.
    ``budget`` (CACHE_WARM_BUDGET where None) is shared: what one leaves the next may use. With ``dry_run`` nothing
    is computed, and ``left`` says how many keys would be.
    """
    return _warm_all(_named(names) if names else _warmers(), budget, dry_run, progress)


def _warm_all(
    warmers: Sequence[CacheWarmer], budget: timedelta | None, dry_run: bool, progress: Progress
) -> tuple[WarmReport, ...]:
    seconds = (budget or get_settings().CACHE_WARM_BUDGET).total_seconds()
    whole = Budget(seconds, has_room=_server_has_room)
    reports = []
    for number, warmer in enumerate(warmers):
        progress(number / len(warmers), warmer.name)
        reports.append(_warm_alone(warmer, whole.share(len(warmers) - number), dry_run))
    return tuple(reports)


def warm_due(
    budget: timedelta | None = None, hand_over: Callable[[str], bool] = lambda name: False
) -> tuple[WarmReport, ...]:
    """Warm what no process has warmed within its ``every``, learned calls too (for a schedule).

    All but the first are handed over, by name, so that other workers warm them at the same time; where ``hand_over``
    returns False (nobody takes it), it is warmed here.
    """
    store = current_store()
    due = [w for w in _warmers() if store.lock(_key("due", w.name), _ms(w.every))]
    here = [w for place, w in enumerate(due) if place == 0 or not hand_over(w.name)]
    return _warm_all(here, budget, dry_run=False, progress=lambda fraction, step: None)


def _warmers() -> tuple[CacheWarmer, ...]:
    """Those that the host declares, then those that traffic taught."""
    return (*registry.all(CacheWarmer), *_learned())


def _named(names: Sequence[str]) -> tuple[CacheWarmer, ...]:
    declared = tuple(warmer for warmer in registry.all(CacheWarmer) if warmer.name in names)
    others = set(names) - {warmer.name for warmer in declared}
    return declared + tuple(warmer for warmer in _learned() if warmer.name in others) if others else declared


def _learned() -> Iterator[CacheWarmer]:
    """A warmer for each strategy whose ``cached`` functions traffic has shown to be worth it, the best calls first."""
    found: dict[str, list[WarmEntry]] = {}
    try:
        taught = tuple(recipes(timezone.now()))
    except DatabaseError:
        logger.warning("what traffic taught cannot be read; only the declared warmers run.", exc_info=True)
        return
    for entry in filter(None, map(_entry_of, taught)):
        found.setdefault(entry.strategy, []).append(entry)
    for strategy, entries in found.items():
        yield CacheWarmer(
            LEARNED.format(strategy),
            warm=partial(map, itemgetter(slice(1, None)), entries),
            strategy=strategy,
        )


def _entry_of(recipe: Recipe) -> WarmEntry | None:
    """None where the code no longer takes such a call."""
    function = function_of(recipe)
    try:
        entry: WarmEntry | None = function and function.warm_entry(*recipe.args, **recipe.kwargs)
    except Exception:
        logger.info("traffic taught a call that the code no longer takes: %s", recipe.function, exc_info=True)
        return None
    return entry


def _warm_alone(warmer: CacheWarmer, budget: Budget, dry_run: bool) -> WarmReport:
    """One process at a time warms a warmer: the lock outlives the budget, and ends with it if we are killed."""
    store, lock = current_store(), _key("lock", warmer.name)
    token = store.lock(lock, max(1000, int(budget.seconds * 2000)))
    if token is None:
        return WarmReport(warmer.name, error="another process is warming it")
    began = time.perf_counter()
    try:
        report = run_warmer(warmer, store, budget, dry_run=dry_run)
    finally:
        store.unlock(lock, token)
    return replace(report, seconds=round(time.perf_counter() - began, 3))


def run_warmer(warmer: CacheWarmer, store: Store, budget: Budget, *, dry_run: bool = False) -> WarmReport:
    """Go through what the warmer yields, a batch at a time, until the budget is spent."""
    report = WarmReport(warmer.name)
    try:
        strategy = strategy_named(warmer.strategy_name)
        wanted = (_wanted(item, strategy) for item in warmer.warm())
        while batch := list(itertools.islice(wanted, BATCH)):
            report = _warm_batch(report, batch, strategy, store, budget, dry_run)
            if budget.is_spent():
                break
    except CacheUnavailable as error:
        return replace(report, error=str(error))
    except Exception as error:
        logger.exception("the cache warmer %s failed", warmer.name)
        return replace(report, error=f"{type(error).__name__}: {error}")
    return report


def _wanted(item: Sequence[Any], strategy: CacheStrategy) -> _Wanted:
    key, compute, *rest = item
    tags = rest[0] if rest else ()
    return _Wanted(key, compute, tuple(dict.fromkeys(tag_of(t) for t in (*strategy.depends_on, *tags))))


def _warm_batch(
    report: WarmReport,
    batch: Sequence[_Wanted],
    strategy: CacheStrategy,
    store: Store,
    budget: Budget,
    dry_run: bool,
) -> WarmReport:
    cold = list(_cold(batch, strategy, store))
    report = replace(report, fresh=report.fresh + len(batch) - len(cold))
    for number, wanted in enumerate(cold):
        if dry_run or budget.is_spent() or not budget.has_room():
            return replace(report, left=report.left + len(cold) - number)
        report = _warm_one(report, wanted, strategy)
    return report


def _warm_one(report: WarmReport, wanted: _Wanted, strategy: CacheStrategy) -> WarmReport:
    try:
        refresh(wanted.key, wanted.compute, strategy=strategy, tags=wanted.tags)
    except CacheUnavailable:
        raise
    except Exception as error:
        logger.warning("warming %r failed: %s", wanted.key, error, exc_info=True)
        return replace(report, failed=report.failed + 1, error=f"{type(error).__name__}: {error}")
    recorder.count("cache.warmed", strategy.name)
    return replace(report, warmed=report.warmed + 1)


def _cold(batch: Sequence[_Wanted], strategy: CacheStrategy, store: Store) -> Iterator[_Wanted]:
    """Those that are not there, old, or near their end: two round trips for the batch."""
    heads = store.heads([storage_key(strategy.name, wanted.key) for wanted in batch])
    tags = tuple(dict.fromkeys(tag for wanted in batch for tag in wanted.tags))
    versions = dict(zip(tags, invalidation.versions(tags), strict=True))
    now_ms = time.time_ns() // 1_000_000
    for wanted, head in zip(batch, heads, strict=True):
        if not _is_warm(head, [versions[tag] for tag in wanted.tags], strategy, now_ms):
            yield wanted


def _is_warm(head: bytes | None, versions: Sequence[int], strategy: CacheStrategy, now_ms: int) -> bool:
    if head is None:
        return False
    try:
        envelope = open_(head)
    except Unreadable:
        return False
    fresh = is_fresh(envelope, stamp_of(versions), now_ms)
    return fresh and rules.is_warm(envelope.expires_ms, now_ms, strategy.ttl)


def _server_has_room() -> bool:
    client = redis_gate.patient() if redis_gate.is_redis() else None
    try:
        return rules.has_room(read_server(client) if client else None)
    except (RedisError, OSError):
        return True


def _key(room: str, name: str) -> str:
    return f"{get_settings().KEY_PREFIX}:warm:{room}:{name}"


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
