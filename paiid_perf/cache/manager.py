"""The cache as a host uses it: ``get_or_compute``, its async twin, ``cached``, and the plain verbs.

A hit is one round trip: the value and the versions of its tags come together. On a miss one caller computes
(among threads by a flight, among processes by a lock with a lease) and the others wait, for a bounded time.
The versions are read *before* computing and stay with the value, so that a value computed before an
invalidation never passes for one computed after it. A dead store costs its time-out once; then values are
computed and handed out as if there were no cache.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import wait as wait_for_flights
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar, cast

from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections

from paiid_perf import invalidation
from paiid_perf.cache.backends import Reading, Store, Turn, current_store, lock_key
from paiid_perf.cache.envelope import Envelope, is_early, is_fresh, open_, seal, stamp_of
from paiid_perf.cache.flights import FlightKey, flights
from paiid_perf.cache.keys import key_maker, storage_key
from paiid_perf.cache.known import known
from paiid_perf.cache.learning import learner
from paiid_perf.cache.serialization import Unreadable, decode, encode
from paiid_perf.cache.strategies import KEPT_UNTIL_INVALIDATED
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.conf import get_settings
from paiid_perf.exceptions import PerfError
from paiid_perf.invalidation import Target, tag_of
from paiid_perf.lifetimes.edited import with_edited_ttl
from paiid_perf.registry import registry
from paiid_perf.telemetry import looks, recorder

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Strategy = str | CacheStrategy
_MILLISECOND = timedelta(milliseconds=1)
#: Seconds between looks for the value that another process computes: at first, and at the most.
POLL_FROM, POLL_TO = 0.002, 0.05


class CacheUnavailable(PerfError):
    """The store does not answer, or the transaction under way has changed what the value depends on."""


class _Entry(NamedTuple):
    key: str
    strategy: CacheStrategy
    tags: tuple[str, ...]

    @property
    def lease_ms(self) -> int:
        return self.strategy.lease // _MILLISECOND


def _left_out(entry: _Entry) -> bool:
    """Whether the value is to be computed and not kept: caching is off, or this transaction has changed it."""
    return not get_settings().VALUE_CACHE or invalidation.touched(entry.tags)


class _Seen(NamedTuple):
    """What a look found: maybe a value, and the stamp that a value computed now would carry."""

    stamp: int | None
    found: bool = False
    value: Any = None
    early: bool = False
    stored: bytes | None = None
    cost_ms: int = 0
    turn: Turn | None = None
    """To compute it, where the look got that as well."""


# --- the host's functions ------------------------------------------------------------------------------


def get_or_compute(
    key: str, compute: Callable[[], T], *, strategy: Strategy = "standard", tags: Iterable[Target] = ()
) -> T:
    """The cached value of ``key``, or ``compute()``, which is then cached.

    ``tags`` (labels, models, instances or names of your own) join the strategy's ``depends_on``: a commit that
    touches one, or ``invalidate(tag)``, makes the value old. Pass the same ones on every call. Inside a
    transaction that has itself changed one of them, the value is computed and not kept.

    Raises:
        NotRegistered: no strategy has that name.
        NotCacheable: the strategy's serializer would not give the computed value back as it is.
        Whatever ``compute`` raises; nothing is cached then, and those who waited get the same error.
    """
    entry = _entry(key, strategy, tags)
    if _left_out(entry):
        return compute()
    store = current_store()
    seen = _look(store, entry, computes=True)
    if seen.found and not seen.early:
        return cast(T, seen.value)
    if seen.stamp is None:
        return compute()
    flight_key = FlightKey((entry.key, seen.stamp))
    flight, leads = flights.join(flight_key)
    if leads:
        with _Landing(flight_key) as landing:
            value, landing.left = _lead(store, entry, seen, compute)
            return value
    if seen.turn:
        store.unlock(*seen.turn)  # for who leads, and waits for it
    if seen.found:
        return cast(T, seen.value)
    wait_for_flights([flight], timeout=entry.strategy.wait.total_seconds())
    if not flight.done():
        return compute()
    left = flight.result()
    if left is None:
        return get_or_compute(key, compute, strategy=strategy, tags=tags)
    return cast(T, _decoded(entry, left))


async def aget_or_compute(
    key: str,
    compute: Callable[[], T | Awaitable[T]],
    *,
    strategy: Strategy = "standard",
    tags: Iterable[Target] = (),
) -> T:
    """``get_or_compute`` for async code. ``compute`` may be an async function or a plain one (run in a thread)."""
    entry = _entry(key, strategy, tags)
    if await _in_thread(_left_out, entry):
        return await _computed(compute)
    store = current_store()
    seen = await _in_thread(functools.partial(_look, store, entry, computes=True))
    if seen.found and not seen.early:
        return cast(T, seen.value)
    if seen.stamp is None:
        return await _computed(compute)
    flight_key = FlightKey((entry.key, seen.stamp))
    flight, leads = flights.join(flight_key)
    if leads:
        with _Landing(flight_key) as landing:
            value, landing.left = await _alead(store, entry, seen, compute)
            return value
    if seen.turn:
        await _in_thread(store.unlock, *seen.turn)
    if seen.found:
        return cast(T, seen.value)
    done, _ = await asyncio.wait([asyncio.wrap_future(flight)], timeout=entry.strategy.wait.total_seconds())
    if not done:
        return await _computed(compute)
    left = done.pop().result()
    if left is None:
        return await aget_or_compute(key, compute, strategy=strategy, tags=tags)
    return cast(T, _decoded(entry, left))


def get(
    key: str, default: Any = None, *, strategy: Strategy = "standard", tags: Iterable[Target] = ()
) -> Any:
    """The cached value, or ``default`` where there is none that is fresh."""
    entry = _entry(key, strategy, tags)
    if _left_out(entry):
        return default
    seen = _look(current_store(), entry)
    return seen.value if seen.found else default


def set(key: str, value: Any, *, strategy: Strategy = "standard", tags: Iterable[Target] = ()) -> bool:
    """Cache a value that you have; whether it was kept.

    It is as old as this call, whatever it was computed from: where it comes from the database, prefer
    ``get_or_compute``, which reads the tags' versions first.

    Raises:
        NotCacheable: the strategy's serializer would not give the value back as it is.
    """
    entry = _entry(key, strategy, tags)
    if _left_out(entry):
        return False
    sealed, ttl_ms = _sealed(entry, value, 0.0), _ttl_ms(entry.strategy, value)
    stored = sealed(0, ttl_ms)
    if not _may_keep(entry, stored, ttl_ms):
        return False
    kept = current_store().put(entry.key, lambda stamp: sealed(stamp, ttl_ms), ttl_ms, entry.tags)
    return _counted(entry, stored, kept)


def refresh(
    key: str, compute: Callable[[], T], *, strategy: Strategy = "standard", tags: Iterable[Target] = ()
) -> T:
    """``compute()`` whatever is cached, and cached again: what warming does. Counts as no hit and no miss.

    Raises:
        CacheUnavailable: the store does not answer; nothing was computed.
        NotCacheable: the strategy's serializer would not give the computed value back as it is.
    """
    entry = _entry(key, strategy, tags)
    store = current_store()
    stamp = stamp_of(store.read(entry.key, entry.tags).versions)
    if stamp is None or invalidation.touched(entry.tags):
        raise CacheUnavailable(f"{key!r} cannot be cached now; what uses it computes it.")
    began = time.perf_counter()
    value = compute()
    _keep(store, entry, stamp, value, time.perf_counter() - began)
    return value


def delete(*keys: str, strategy: Strategy = "standard") -> int:
    """Forget values by key; how many there were.

    Prefer tags and ``invalidate``: a value that somebody is computing at this moment lands after a delete, but never
    after an invalidation of one of its tags.
    """
    named = strategy_named(strategy)
    return current_store().delete([storage_key(named.name, key) for key in keys])


invalidate = invalidation.invalidate
aget = sync_to_async(get)
aset = sync_to_async(set)
adelete = sync_to_async(delete)
ainvalidate = sync_to_async(invalidate)


def cached(
    strategy: Strategy = "standard",
    *,
    key: str | Callable[..., str] | None = None,
    tags: Iterable[Target] | Callable[..., Iterable[Target]] = (),
) -> Callable[[F], F]:
    """A decorator: the function's answers, cached by its arguments. Async functions stay async.

    ``key`` is a template over the arguments (``"movers:{limit}"``), a callable of them, or None for the
    function's name with all its arguments; ``tags`` may be a callable of the arguments too. The function gets
    ``key_for(*args)`` and ``forget(*args)``.
    """

    def decorate(function: F) -> F:
        make_key = key_maker(function, key)
        tags_for = tags if callable(tags) else lambda *_, **__: tags
        wrap = _acached if inspect.iscoroutinefunction(function) else _cached
        wrapper: Any = wrap(function, make_key, strategy, tags_for)
        wrapper.warm_entry = functools.partial(_warm_entry, function, make_key, strategy, tags_for)
        wrapper.key_for = make_key
        wrapper.forget = lambda *args, **kwargs: delete(make_key(*args, **kwargs), strategy=strategy)
        return cast(F, wrapper)

    return decorate


class WarmEntry(NamedTuple):
    """One call of a ``cached`` function, as a warmer yields it."""

    strategy: str
    key: str
    compute: Callable[[], Any]
    tags: Iterable[Target]


def _warm_entry(
    function: Callable[..., Any],
    make_key: Callable[..., str],
    strategy: Strategy,
    tags_for: Callable[..., Iterable[Target]],
    *args: Any,
    **kwargs: Any,
) -> WarmEntry:
    plain = async_to_sync(function) if inspect.iscoroutinefunction(function) else function
    return WarmEntry(
        strategy_named(strategy).name,
        make_key(*args, **kwargs),
        functools.partial(plain, *args, **kwargs),
        tags_for(*args, **kwargs),
    )


def _remember(key: str, strategy: Strategy, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    named = strategy if isinstance(strategy, str) else strategy.name
    learner.made_by(storage_key(named, key), function, args, kwargs)


def _cached(
    function: Callable[..., T], make_key: Callable[..., str], strategy: Strategy, tags_for: Callable[..., Any]
) -> Callable[..., T]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> T:
        key = make_key(*args, **kwargs)
        _remember(key, strategy, function, args, kwargs)
        return get_or_compute(
            key,
            lambda: function(*args, **kwargs),
            strategy=strategy,
            tags=tags_for(*args, **kwargs),
        )

    return wrapper


def _acached(
    function: Callable[..., Awaitable[T]],
    make_key: Callable[..., str],
    strategy: Strategy,
    tags_for: Callable[..., Any],
) -> Callable[..., Awaitable[T]]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> T:
        key = make_key(*args, **kwargs)
        _remember(key, strategy, function, args, kwargs)
        return await aget_or_compute(
            key,
            lambda: function(*args, **kwargs),
            strategy=strategy,
            tags=tags_for(*args, **kwargs),
        )

    return wrapper


# --- looking -------------------------------------------------------------------------------------------


def strategy_named(strategy: Strategy) -> CacheStrategy:
    """The declared strategy of that name; a strategy itself is what it is.

    Raises:
        NotRegistered: no strategy has that name.
    """
    if isinstance(strategy, str):
        strategy = registry.get(CacheStrategy, strategy)
    return with_edited_ttl(strategy, strategy.name)


def _entry(key: str, strategy: Strategy, tags: Iterable[Target]) -> _Entry:
    named = strategy_named(strategy)
    wanted = dict.fromkeys(tag_of(target) for target in (*named.depends_on, *tags))
    return _Entry(storage_key(named.name, key), named, tuple(wanted))


def _look(store: Store, entry: _Entry, *, computes: bool = False) -> _Seen:
    """What there is; for who computes what is not there, with the turn to, where the look may get it."""
    began = time.perf_counter()
    seen = _seen_or_turn(store, entry) if computes else _seen(store, entry)
    name = entry.strategy.name
    recorder.count("cache.hits" if seen.found else "cache.misses", name)
    recorder.observe("cache.read_ms", name, (time.perf_counter() - began) * 1000)
    learner.looked(entry.key, seen.cost_ms, len(seen.stored or b""))
    looks.saw(name, entry.key, seen.found)
    return seen


def _seen_or_turn(store: Store, entry: _Entry) -> _Seen:
    # A script costs the server more than a plain look, and saves a round trip where there is nothing to find.
    if known.is_there(entry.key, _now_ms()):
        return _seen(store, entry)
    reading, turn = store.look(entry.key, entry.tags, entry.lease_ms)
    return _judged(entry, reading)._replace(turn=turn)


def _seen(store: Store, entry: _Entry) -> _Seen:
    return _judged(entry, store.read(entry.key, entry.tags))


def _judged(entry: _Entry, reading: Reading) -> _Seen:
    stamp = stamp_of(reading.versions)
    if reading.stored is None:
        return _missed(entry, stamp)
    try:
        envelope, now = open_(reading.stored), _now_ms()
        if not is_fresh(envelope, stamp, now):
            return _missed(entry, stamp)
        value = _value(entry, envelope)
    except Unreadable:
        recorder.count("cache.unreadable", entry.strategy.name)
        return _missed(entry, stamp)
    known.until(entry.key, envelope.expires_ms)
    early = is_early(envelope, now, entry.strategy.early, 1.0 - random.random())  # noqa: S311 # no secret
    return _Seen(stamp, True, value, early, reading.stored, envelope.cost_ms)


def _missed(entry: _Entry, stamp: int | None) -> _Seen:
    known.forget(entry.key)
    return _Seen(stamp)


def _value(entry: _Entry, envelope: Envelope) -> Any:
    return decode(envelope.codec, envelope.body, allow_pickle=entry.strategy.allow_pickle)


def _decoded(entry: _Entry, stored: bytes) -> Any:
    return _value(entry, open_(stored))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


# --- computing -----------------------------------------------------------------------------------------


class _Landing:
    """Ends a flight whatever happens: with the bytes, with the error, or (cancelled) with nothing."""

    def __init__(self, key: FlightKey) -> None:
        self._key = key
        self.left: bytes | None = None

    def __enter__(self) -> _Landing:
        return self

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        flights.land(self._key, self.left, error if isinstance(error, Exception) else None)


def _lead(store: Store, entry: _Entry, seen: _Seen, compute: Callable[[], T]) -> tuple[T, bytes | None]:
    turn, seen = (seen.turn, seen) if seen.turn else _take_turn(store, entry, seen)
    try:
        if _is_good(seen, turn):
            return cast(T, seen.value), seen.stored
        began = time.perf_counter()
        value = compute()
        stored, kept = _keep(store, entry, seen.stamp, value, time.perf_counter() - began, turn)
        turn = None if kept else turn
        return value, stored
    finally:
        if turn:
            store.unlock(*turn)


async def _alead(
    store: Store, entry: _Entry, seen: _Seen, compute: Callable[[], T | Awaitable[T]]
) -> tuple[T, bytes | None]:
    turn, seen = (seen.turn, seen) if seen.turn else await _atake_turn(store, entry, seen)
    try:
        if _is_good(seen, turn):
            return cast(T, seen.value), seen.stored
        began = time.perf_counter()
        value = await _computed(compute)
        seconds = time.perf_counter() - began
        stored, kept = await _in_thread(_keep, store, entry, seen.stamp, value, seconds, turn)
        turn = None if kept else turn
        return value, stored
    finally:
        if turn:
            await _in_thread(store.unlock, *turn)


def _take_turn(store: Store, entry: _Entry, seen: _Seen) -> tuple[Turn | None, _Seen]:
    """The lock and what there is now; no lock where another process' value came, or never came."""
    for delay in _delays(entry.strategy.wait.total_seconds()):
        turn, seen = _try_turn(store, entry, seen)
        if turn or seen.found:
            return turn, seen
        time.sleep(delay)
    return None, _seen(store, entry)


async def _atake_turn(store: Store, entry: _Entry, seen: _Seen) -> tuple[Turn | None, _Seen]:
    for delay in _delays(entry.strategy.wait.total_seconds()):
        turn, seen = await _in_thread(_try_turn, store, entry, seen)
        if turn or seen.found:
            return turn, seen
        await asyncio.sleep(delay)
    return None, await _in_thread(_seen, store, entry)


def _try_turn(store: Store, entry: _Entry, seen: _Seen) -> tuple[Turn | None, _Seen]:
    lock = lock_key(entry.key, seen.stamp or 0)
    # It looks again after taking the lock: who had it until now has left the value.
    token, reading = store.take(lock, entry.lease_ms, entry.key, entry.tags)
    if not token and seen.found:
        return None, seen
    return (lock, token) if token else None, _judged(entry, reading)


def _is_good(seen: _Seen, turn: Turn | None) -> bool:
    """Whether there is nothing to compute: a value, which is not ours to refresh."""
    return seen.found and not (turn and seen.early)


def _delays(total: float) -> Iterator[float]:
    """Growing pauses that add up to about ``total`` seconds; always one at least."""
    delay = POLL_FROM
    yield delay
    while (total := total - delay) > 0:
        delay = min(delay * 2, POLL_TO)
        yield delay


def _keep(
    store: Store, entry: _Entry, stamp: int | None, value: Any, seconds: float, turn: Turn | None = None
) -> tuple[bytes, bool]:
    """The bytes of a value just computed, and whether they were stored. Gives the turn back, where it may store."""
    recorder.observe("cache.compute_ms", entry.strategy.name, seconds * 1000)
    ttl_ms = _ttl_ms(entry.strategy, value)
    stored = _sealed(entry, value, seconds)(stamp or 0, ttl_ms)
    if stamp is None or not _may_keep(entry, stored, ttl_ms):
        return stored, False
    kept = store.land(entry.key, stored, ttl_ms, *turn) if turn else store.write(entry.key, stored, ttl_ms)
    return stored, _counted(entry, stored, kept)


def _sealed(entry: _Entry, value: Any, seconds: float) -> Callable[[int, int], bytes]:
    """From a stamp and a life in ms to the bytes to store.

    Raises:
        NotCacheable: the strategy's serializer would not give the value back as it is.
    """
    codec, body = encode(value, entry.strategy)
    ends = entry.strategy.ttl is not None or value is None
    now, cost = _now_ms(), int(seconds * 1000)
    return lambda stamp, ttl_ms: seal(Envelope(codec, stamp, now + ttl_ms if ends else 0, cost, body))


def _may_keep(entry: _Entry, stored: bytes, ttl_ms: int) -> bool:
    if ttl_ms <= 0 or _reads_a_snapshot():
        return False
    if len(stored) > entry.strategy.max_bytes:
        recorder.count("cache.refused", entry.strategy.name)
        return False
    return True


def _counted(entry: _Entry, stored: bytes, kept: bool) -> bool:
    if kept:
        recorder.observe("cache.stored_bytes", entry.strategy.name, len(stored))
        known.until(entry.key, open_(stored).expires_ms)
    return kept


def _reads_a_snapshot() -> bool:
    """Whether a transaction of this thread may see rows older than the tags' versions that were read in it."""
    return any(
        str(getattr(level, "name", level)).lower().replace("_", " ") in {"repeatable read", "serializable"}
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block and (level := getattr(connection, "isolation_level", None)) is not None
    )


def _ttl_ms(strategy: CacheStrategy, value: Any) -> int:
    ttl = (strategy.ttl or KEPT_UNTIL_INVALIDATED) * (1 - strategy.jitter * random.random())  # noqa: S311
    return (min(ttl, strategy.negative_ttl) if value is None else ttl) // _MILLISECOND


async def _computed(compute: Callable[[], T | Awaitable[T]]) -> T:
    if inspect.iscoroutinefunction(compute):
        return cast(T, await compute())
    answer = await _in_thread(compute)
    return cast(T, await answer if inspect.isawaitable(answer) else answer)


async def _in_thread(function: Callable[..., T], *args: Any) -> T:
    # thread_sensitive, so that a database cache or the transaction's state is that of the host's async ORM calls.
    return await sync_to_async(function)(*args)
