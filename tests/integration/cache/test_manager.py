"""get_or_compute and its family on a real Valkey and on locmem."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.db import connection, transaction

from paiid_perf import cache, wire
from paiid_perf.cache import manager
from paiid_perf.cache.backends import lock_key
from paiid_perf.cache.flights import FlightKey, flights
from paiid_perf.cache.keys import storage_key
from paiid_perf.cache.known import known
from paiid_perf.cache.serialization import NotCacheable
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.exceptions import ConfigurationError, NotRegistered
from paiid_perf.invalidation import bump, connect
from paiid_perf.stores import redis_gate

PLAIN = CacheStrategy("plain", ttl=timedelta(minutes=5), early=0)
GROUPS = CacheStrategy("groups", ttl=timedelta(minutes=5), depends_on=["auth.Group"], early=0)
VALUE = {"price": Decimal("1.50"), "at": datetime(2026, 1, 1, tzinfo=UTC), "pair": (1, b"x")}


def never() -> Any:
    raise AssertionError("this value should have been cached")


class Calls:
    def __init__(self, answer: Any = VALUE) -> None:
        self.answer, self.number = answer, 0

    def __call__(self) -> Any:
        self.number += 1
        return self.answer


# --- hits and misses -----------------------------------------------------------------------------------


def test_computed_once_and_the_same_for_ever(any_cache: str, counts: Any) -> None:
    compute = Calls()
    for _ in range(3):
        assert cache.get_or_compute("k", compute, strategy=PLAIN) == VALUE
    assert compute.number == 1
    assert counts.counts["cache.misses", "plain"] == 1
    assert counts.counts["cache.hits", "plain"] == 2
    assert len(counts.seen["cache.stored_bytes", "plain"]) == 1


def spent(client: Any, act: Callable[[], Any]) -> dict[str, int]:
    """The commands that ``act`` made the server run."""
    before = client.info("commandstats")
    act()
    after = client.info("commandstats")
    calls = {
        name.removeprefix("cmdstat_"): after[name]["calls"] - before.get(name, {"calls": 0})["calls"]
        for name in after
        if name not in {"cmdstat_info", "cmdstat_hello", "cmdstat_client|setinfo"}
    }
    return {name: number for name, number in calls.items() if number}


def test_a_hit_is_one_round_trip(redis_cache: Any) -> None:
    cache.get_or_compute("k", Calls(), strategy=PLAIN, tags=["a", "b"])
    seen = spent(redis_cache, lambda: cache.get_or_compute("k", never, strategy=PLAIN, tags=["a", "b"]))
    assert seen == {"mget": 1}


class Trips:
    """Counts what is written and waited for, and what is only written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = self.told = 0
        ask, note = wire.ask, wire.note

        def asked(*args: Any) -> Any:
            self.number += 1
            return ask(*args)

        def noted(*args: Any) -> None:
            self.told += 1
            note(*args)

        monkeypatch.setattr(wire, "ask", asked)
        monkeypatch.setattr(wire, "note", noted)


def test_a_set_is_one_round_trip_and_two_after_an_invalidation(
    redis_cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("k", VALUE, strategy=PLAIN, tags=["a", "b"])
    trips = Trips(monkeypatch)
    assert cache.set("k", VALUE, strategy=PLAIN, tags=["a", "b"])
    assert trips.number == 1
    redis_cache.incr("perf:tags")
    redis_cache.set("perf:tag:a", int(redis_cache.get("perf:tags")))
    assert cache.set("k", VALUE, strategy=PLAIN, tags=["a", "b"])
    assert trips.number == 3
    assert cache.get("k", strategy=PLAIN, tags=["a", "b"]) == VALUE


def test_a_miss_is_one_round_trip_and_a_word(redis_cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.set("other", VALUE, strategy=PLAIN, tags=["a"])
    trips = Trips(monkeypatch)
    cache.get_or_compute("k", Calls(), strategy=PLAIN, tags=["a"])
    assert (trips.number, trips.told) == (1, 1)


def test_a_value_that_another_process_made_old_costs_a_second_look(
    redis_cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.get_or_compute("k", lambda: "old", strategy=PLAIN, tags=["a"])
    trips = Trips(monkeypatch)
    redis_cache.delete(manager._entry("k", PLAIN, ()).key)
    assert cache.get_or_compute("k", lambda: "new", strategy=PLAIN, tags=["a"]) == "new"
    assert (trips.number, trips.told) == (2, 1)


def test_a_value_made_old_costs_a_second_look_once_for_all_that_share_the_tag(
    redis_cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = {"k": ["a"], "l": ["a", "of its own"]}
    for key in tags:
        cache.get_or_compute(key, lambda: "old", strategy=PLAIN, tags=tags[key])
    bump(["a"])
    known.forget()
    trips = Trips(monkeypatch)
    assert cache.get_or_compute("k", lambda: "new", strategy=PLAIN, tags=["a"]) == "new"
    assert trips.number == 2
    assert cache.get_or_compute("l", lambda: "new", strategy=PLAIN, tags=tags["l"]) == "new"
    assert trips.number == 3
    for key in tags:
        assert cache.get_or_compute(key, never, strategy=PLAIN, tags=tags[key]) == "new"


def test_a_look_leaves_no_turn_behind_that_it_did_not_need(redis_cache: Any) -> None:
    cache.get_or_compute("k", Calls(), strategy=PLAIN, tags=["a"])
    known.forget()
    assert cache.get_or_compute("k", never, strategy=PLAIN, tags=["a"]) == VALUE
    bump(["a"])
    known.forget()
    cache.get_or_compute("k", Calls(), strategy=PLAIN, tags=["a"])
    cache.get("k", strategy=PLAIN, tags=["a"])  # its reply comes after all that nobody waited for
    assert not [key for key in redis_cache.keys("*") if b":lock:" in key]


def test_who_got_the_turn_gives_it_to_who_leads(redis_cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread of the process leads, and has not got the turn yet: neither may wait for the other."""
    store, entry = manager.current_store(), manager._entry("k", PLAIN, ())
    key, lock = FlightKey((entry.key, 0)), lock_key(entry.key, 0)
    join, held, looked = flights.join, [], threading.Event()

    def joined(flight_key: FlightKey) -> Any:
        held.append(store.lock(lock, 10_000))
        looked.set()
        return join(flight_key)

    join(key)
    monkeypatch.setattr(flights, "join", joined)
    with ThreadPoolExecutor(1) as pool:
        follower = pool.submit(cache.get_or_compute, "k", never, strategy=PLAIN)
        assert looked.wait(5)
        while not (token := store.lock(lock, 10_000)):
            assert not follower.done()
        manager._keep(store, entry, 0, "theirs", 0.0, (lock, token))
        flights.land(key, store.read(entry.key, ()).stored)
        assert follower.result(5) == "theirs"
    assert held == [None]


def test_errors_are_the_hosts_and_nothing_is_kept(any_cache: str) -> None:
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute("k", lambda: 1 / 0, strategy=PLAIN)
    assert cache.get_or_compute("k", lambda: 2, strategy=PLAIN) == 2


def test_what_cannot_be_kept_is_said(any_cache: str) -> None:
    with pytest.raises(NotCacheable, match="dict of the fields"):
        cache.get_or_compute("k", lambda: {"group": Group(name="x")}, strategy=PLAIN)


def test_an_unknown_strategy_names_those_there_are(any_cache: str) -> None:
    with pytest.raises(NotRegistered, match="standard"):
        cache.get_or_compute("k", never, strategy="stanadrd")


def test_too_big_is_handed_out_and_counted(any_cache: str, counts: Any) -> None:
    small = CacheStrategy("small", ttl=timedelta(minutes=1), max_bytes=100, compress_over=None)
    compute = Calls("x" * 200)
    for _ in range(2):
        assert cache.get_or_compute("k", compute, strategy=small) == "x" * 200
    assert compute.number == 2
    assert counts.counts["cache.refused", "small"] == 2


def test_none_is_kept_for_a_short_while(any_cache: str) -> None:
    compute = Calls(None)
    for _ in range(2):
        assert cache.get_or_compute("k", compute, strategy=PLAIN) is None
    assert compute.number == 1
    unkept = CacheStrategy("unkept", ttl=timedelta(minutes=5), negative_ttl=timedelta(0))
    compute = Calls(None)
    for _ in range(2):
        assert cache.get_or_compute("k", compute, strategy=unkept) is None
    assert compute.number == 2


def test_ttl_with_jitter(redis_cache: Any) -> None:
    jittery = CacheStrategy("jittery", ttl=timedelta(seconds=100), jitter=0.2)
    for number in range(30):
        cache.set(str(number), 1, strategy=jittery)
    ttls = [redis_cache.pttl(storage_key("jittery", str(number))) for number in range(30)]
    assert 79_000 < min(ttls) < max(ttls) <= 100_000
    assert max(ttls) - min(ttls) > 2_000


def test_until_invalidated_does_not_stay_for_ever(redis_cache: Any) -> None:
    cache.set("k", 1, strategy="immutable")
    assert 20 < redis_cache.ttl(storage_key("immutable", "k")) / 86_400 <= 30


def test_damaged_bytes_are_a_miss(redis_cache: Any, counts: Any) -> None:
    redis_cache.set(storage_key("plain", "k"), b"\xa1garbage of some length")
    assert cache.get_or_compute("k", lambda: 5, strategy=PLAIN) == 5
    redis_cache.set(storage_key("plain", "k2"), b"")
    assert cache.get_or_compute("k2", lambda: 6, strategy=PLAIN) == 6
    assert counts.counts["cache.unreadable", "plain"] == 1  # the first one reads as a value of another time


def test_a_key_of_another_kind_is_a_miss(redis_cache: Any) -> None:
    redis_cache.lpush(storage_key("plain", "k"), "a list")
    assert cache.get_or_compute("k", lambda: 5, strategy=PLAIN) == 5


def test_get_set_delete(any_cache: str) -> None:
    assert cache.get("k", "nothing", strategy=PLAIN) == "nothing"
    assert cache.set("k", VALUE, strategy=PLAIN)
    assert cache.get("k", strategy=PLAIN) == VALUE
    assert cache.delete("k", "other", strategy=PLAIN) == 1
    assert cache.get("k", strategy=PLAIN) is None


def test_readers_do_not_share_objects(any_cache: str) -> None:
    first = cache.get_or_compute("k", lambda: {"a": [1]}, strategy=PLAIN)
    first["a"].append(2)
    assert cache.get("k", strategy=PLAIN) == {"a": [1]}


# --- early expiry ------------------------------------------------------------------------------------------


def test_early_refresh_by_one_while_others_are_served(
    any_cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    always = CacheStrategy("early", ttl=timedelta(minutes=5), early=1e12)
    cache.get_or_compute("k", _slowly(1), strategy=always)
    started, release = threading.Event(), threading.Event()

    def again() -> int:
        started.set()
        assert release.wait(10)
        return 2

    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(cache.get_or_compute, "k", again, strategy=always)
        assert started.wait(10)
        assert cache.get_or_compute("k", never, strategy=always) == 1
        release.set()
        assert refreshing.result() == 2
    assert cache.get("k", strategy=always) == 2


def _slowly(answer: int) -> Callable[[], int]:
    """A compute that took long, as far as the clock of this process can tell."""

    def compute() -> int:
        done = threading.Event()
        done.wait(0.02)
        return answer

    return compute


# --- invalidation -------------------------------------------------------------------------------------------


def test_tags_of_every_kind(any_cache: str, db: None) -> None:
    group = Group(pk=7, name="x")
    compute = Calls(1)
    for tag, bumped in (
        (group, "auth.group:7"),
        (Group, "auth.group"),
        ("Mine", "mine"),
        ("auth.Group", "auth.group"),
    ):
        compute = Calls(1)
        cache.get_or_compute(f"k{tag}", compute, strategy=PLAIN, tags=[tag])
        bump([bumped])
        cache.get_or_compute(f"k{tag}", compute, strategy=PLAIN, tags=[tag])
        assert compute.number == 2


@pytest.mark.django_db(transaction=True)
def test_a_commit_invalidates_and_a_rollback_does_not(any_cache: str, counts: Any) -> None:
    connect(["auth.Group"])

    def names() -> list[str]:
        return list(Group.objects.values_list("name", flat=True))

    assert cache.get_or_compute("names", names, strategy=GROUPS) == []
    with transaction.atomic():
        Group.objects.create(name="gone")
        transaction.set_rollback(True)
    assert cache.get_or_compute("names", never, strategy=GROUPS) == []
    Group.objects.create(name="here")
    assert cache.get_or_compute("names", names, strategy=GROUPS) == ["here"]
    assert cache.get_or_compute("names", never, strategy=GROUPS) == ["here"]
    told = [key for key in counts.counts.items() if key[0][0] == "cache.invalidations"]
    assert told == [(("cache.invalidations", "auth.group"), 1)]


@pytest.mark.django_db(transaction=True)
def test_uncommitted_rows_never_reach_the_cache(any_cache: str) -> None:
    connect(["auth.Group"])

    def names() -> list[str]:
        return list(Group.objects.values_list("name", flat=True))

    with transaction.atomic():
        Group.objects.create(name="maybe")
        assert cache.get_or_compute("names", names, strategy=GROUPS) == ["maybe"]
        assert cache.get("names", "nothing", strategy=GROUPS) == "nothing"
        assert not cache.set("names", ["maybe"], strategy=GROUPS)
        transaction.set_rollback(True)
    assert cache.get_or_compute("names", names, strategy=GROUPS) == []


def test_computed_before_an_invalidation_never_lands_after_it(any_cache: str) -> None:
    """The reader has read its rows, the writer commits and bumps, and only then does the reader store."""
    source, read_it, go_on = {"n": 1}, threading.Event(), threading.Event()

    def slow() -> int:
        seen = source["n"]
        read_it.set()
        assert go_on.wait(10)
        return seen

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(cache.get_or_compute, "k", slow, strategy=PLAIN, tags=["t"])
        assert read_it.wait(10)
        source["n"] = 2
        bump(["t"])
        # A request after the commit neither waits for the old computation nor gets its value.
        assert cache.get_or_compute("k", lambda: source["n"], strategy=PLAIN, tags=["t"]) == 2
        go_on.set()
        assert reader.result() == 1
    assert cache.get_or_compute("k", lambda: source["n"], strategy=PLAIN, tags=["t"]) == 2


def test_an_old_value_stored_last_is_not_served(any_cache: str) -> None:
    """As above, with nothing stored in between: the late write is all that there is, and it is old."""
    read_it, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        read_it.set()
        assert go_on.wait(10)
        return "old"

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(cache.get_or_compute, "k", slow, strategy=PLAIN, tags=["t"])
        assert read_it.wait(10)
        bump(["t"])
        go_on.set()
        reader.result()
    assert cache.get("k", strategy=PLAIN, tags=["t"]) is None
    assert cache.get_or_compute("k", lambda: "new", strategy=PLAIN, tags=["t"]) == "new"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("level", "kept"), [("READ_COMMITTED", True), ("REPEATABLE_READ", False)])
def test_what_an_old_snapshot_shows_is_not_kept(
    any_cache: str, monkeypatch: pytest.MonkeyPatch, level: str, kept: bool
) -> None:
    """The versions are newer than the rows that a transaction with a snapshot of its own sees."""
    with transaction.atomic():
        monkeypatch.setattr(connection, "isolation_level", psycopg.IsolationLevel[level])
        assert cache.get_or_compute("k", lambda: 1, strategy=PLAIN, tags=["t"]) == 1
    assert (cache.get("k", strategy=PLAIN, tags=["t"]) == 1) is kept


def test_a_connection_that_the_server_closed_is_opened_again(redis_cache: Any) -> None:
    cache.set("k", 1, strategy=PLAIN)
    ours = redis_gate.call(lambda client: client.client_id(), None)
    assert redis_cache.client_kill_filter(_id=ours) == 1
    assert cache.get_or_compute("k", never, strategy=PLAIN) == 1


def test_a_lost_tag_brings_no_old_value_back(redis_cache: Any) -> None:
    cache.get_or_compute("k", lambda: "old", strategy=PLAIN, tags=["t"])
    redis_cache.delete("perf:tag:t")
    assert cache.get_or_compute("k", lambda: "new", strategy=PLAIN, tags=["t"]) == "new"


# --- single-flight ------------------------------------------------------------------------------------------


def test_a_hundred_concurrent_misses_compute_once(any_cache: str, settings: Any) -> None:
    # A hundred threads that connect at once on a busy machine may take longer than a request would wait.
    settings.PAIID_PERF = {"REDIS_TIMEOUT": 10.0}
    computed, together = [], threading.Barrier(100)
    release = threading.Event()

    def slow() -> dict[str, Any]:
        computed.append(1)
        assert release.wait(10)
        return {"a": [1]}

    def ask() -> Any:
        together.wait()
        if len(computed) == 0:
            threading.Timer(0.2, release.set).start()
        return cache.get_or_compute("k", slow, strategy=PLAIN, tags=["t"])

    with ThreadPoolExecutor(100) as pool:
        values = list(pool.map(lambda _: ask(), range(100)))
    assert values == [{"a": [1]}] * 100
    assert len({id(value) for value in values}) == 100
    assert len(computed) == 1


def test_other_processes_wait_for_the_one_that_computes(
    redis_cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process is played by its lock: it holds it, stores, and lets go."""
    store = manager.current_store()
    entry = manager._entry("k", PLAIN, ())
    token = store.lock(lock_key(entry.key, 0), 10_000)
    assert token

    def other_process(_: float) -> None:
        manager._keep(store, entry, 0, "theirs", 0.0)
        store.unlock(lock_key(entry.key, 0), token)

    monkeypatch.setattr(manager.time, "sleep", other_process)
    assert cache.get_or_compute("k", never, strategy=PLAIN) == "theirs"


def test_the_wait_for_another_process_is_bounded(redis_cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store, slept = manager.current_store(), []
    assert store.lock(lock_key(manager._entry("k", PLAIN, ()).key, 0), 10_000)
    monkeypatch.setattr(manager.time, "sleep", slept.append)
    assert cache.get_or_compute("k", lambda: "mine", strategy=PLAIN) == "mine"
    assert PLAIN.wait.total_seconds() <= sum(slept) < PLAIN.wait.total_seconds() + 0.1


def test_a_dead_holders_work_is_taken_over(redis_cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = manager.current_store()
    lock = lock_key(manager._entry("k", PLAIN, ()).key, 0)
    assert store.lock(lock, 10_000)
    slept: list[float] = []

    def lease_ends(delay: float) -> None:
        slept.append(delay)
        redis_cache.delete(lock)

    monkeypatch.setattr(manager.time, "sleep", lease_ends)
    assert cache.get_or_compute("k", lambda: "mine", strategy=PLAIN) == "mine"
    assert len(slept) == 1


def test_followers_get_the_leaders_error(any_cache: str) -> None:
    joined, release = threading.Barrier(3), threading.Event()

    def fails() -> None:
        assert release.wait(10)
        raise ZeroDivisionError("once")

    def ask() -> BaseException | None:
        joined.wait()
        try:
            cache.get_or_compute("k", fails, strategy=PLAIN)
        except ZeroDivisionError as error:
            return error
        return None

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask) for _ in range(3)]
        threading.Timer(0.1, release.set).start()
        assert all(isinstance(one.result(), ZeroDivisionError) for one in asked)
    assert len(manager.flights) == 0


# --- async ------------------------------------------------------------------------------------------------------


def test_the_async_twin_computes_once(any_cache: str) -> None:
    calls = []

    async def slow() -> Any:
        calls.append(1)
        await asyncio.sleep(0.05)
        return VALUE

    async def main() -> list[Any]:
        return await asyncio.gather(
            *(cache.aget_or_compute("k", slow, strategy=PLAIN, tags=["t"]) for _ in range(50))
        )

    assert asyncio.run(main()) == [VALUE] * 50
    assert len(calls) == 1
    assert cache.get_or_compute("k", never, strategy=PLAIN, tags=["t"]) == VALUE


def test_a_plain_compute_in_async_code(any_cache: str) -> None:
    assert asyncio.run(cache.aget_or_compute("k", lambda: 3, strategy=PLAIN)) == 3


def test_a_cancelled_leader_does_not_cancel_the_others(any_cache: str) -> None:
    async def main() -> Any:
        started = asyncio.Event()

        async def endless() -> str:
            started.set()
            await asyncio.Event().wait()
            return "never"

        leader = asyncio.create_task(cache.aget_or_compute("k", endless, strategy=PLAIN))
        await started.wait()

        async def quick() -> str:
            return "mine"

        follower = asyncio.create_task(cache.aget_or_compute("k", quick, strategy=PLAIN))
        while not follower.done() and len(manager.flights) == 0:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        leader.cancel()
        return await follower

    assert asyncio.run(main()) == "mine"
    assert len(manager.flights) == 0


@pytest.mark.django_db(transaction=True)
def test_async_verbs(any_cache: str) -> None:
    async def main() -> Any:
        await cache.aset("k", 4, strategy=PLAIN, tags=["t"])
        found = await cache.aget("k", strategy=PLAIN, tags=["t"])
        await cache.ainvalidate("t")
        gone = await cache.aget("k", strategy=PLAIN, tags=["t"])
        await cache.adelete("k", strategy=PLAIN)
        return found, gone

    assert async_to_sync(main)() == (4, None)


# --- the decorator -----------------------------------------------------------------------------------------------


def test_cached_by_all_arguments(any_cache: str) -> None:
    calls = []

    @cache.cached(PLAIN)
    def total(a: int, b: Any = 0, *rest: int, **named: int) -> int:
        calls.append((a, b))
        return 1

    for arguments in ((1, 2), (1, "2"), (1, (2, 3)), (1, None), (1, "None")):
        total(*arguments)
        total(*arguments)
    assert len(calls) == 5
    assert total.key_for(1, 2) == total.key_for(b=2, a=1)
    total.forget(1, 2)
    total(1, 2)
    assert len(calls) == 6


def test_cached_by_template_and_tags(any_cache: str) -> None:
    calls = []

    @cache.cached(PLAIN, key="movers:{market}:{limit}", tags=lambda market, limit=10: [f"market:{market}"])
    def movers(market: str, limit: int = 10) -> int:
        calls.append(market)
        return limit

    assert movers("a") == movers("a", limit=10) == 10
    assert movers.key_for("a:1", 2) != movers.key_for("a", "1:2")
    bump(["market:a"])
    movers("a")
    assert calls == ["a", "a"]


def test_cached_async_functions_stay_async(any_cache: str) -> None:
    calls = []

    @cache.cached(PLAIN, key="x:{n}")
    async def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    async def main() -> tuple[int, int]:
        return await double(2), await double(2)

    assert asyncio.run(main()) == (4, 4)
    assert calls == [2]


def test_a_template_that_names_no_argument_fails_at_once() -> None:
    with pytest.raises(ConfigurationError, match="the arguments are: limit"):

        @cache.cached(PLAIN, key="movers:{limti}")
        def movers(limit: int) -> int:
            return limit


def test_switched_off_it_computes_each_time(any_cache: str, settings: Any) -> None:
    settings.PAIID_PERF = {"VALUE_CACHE": False}
    compute = Calls()
    for _ in range(2):
        assert cache.get_or_compute("k", compute, strategy=PLAIN) == VALUE
        assert asyncio.run(cache.aget_or_compute("k", compute, strategy=PLAIN)) == VALUE
    assert compute.number == 4
    assert not cache.set("k", 1, strategy=PLAIN)


# --- without Redis ---------------------------------------------------------------------------------------------


@pytest.fixture
def dead_redis(settings: Any) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    }


def test_a_dead_redis_costs_values_not_requests(dead_redis: None, counts: Any) -> None:
    compute = Calls()
    for _ in range(3):
        assert cache.get_or_compute("k", compute, strategy=PLAIN, tags=["t"]) == VALUE
        assert cache.get_or_compute("k2", compute, strategy=PLAIN) == VALUE
    assert compute.number == 6
    assert cache.get("k", "none", strategy=PLAIN) == "none"
    assert not cache.set("k", 1, strategy=PLAIN)
    assert cache.delete("k", strategy=PLAIN) == 0
    assert counts.counts["cache.hits", "plain"] == 0


def test_a_store_that_raises_costs_values_not_requests(settings: Any, tmp_path: Any) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(tmp_path / "cache"),
        }
    }
    assert cache.set("k", 0, strategy=PLAIN)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("not a directory")
    assert cache.get_or_compute("k", lambda: 1, strategy=PLAIN, tags=["t"]) == 1
