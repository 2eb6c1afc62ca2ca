"""One behaviour for every place that cached values can live in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import call_command

from paiid_perf import invalidation
from paiid_perf.cache.backends import Store, current_store, lock_key
from paiid_perf.cache.envelope import HEADER_BYTES, Envelope, seal

KEY, OTHER = "perf:c:x:one", "perf:c:x:two"
VALUE = bytes(range(256))


@pytest.fixture(params=["locmem", "file", "database", "redis"])
def store(request: pytest.FixtureRequest, settings: Any, tmp_path: Any) -> Iterator[Store]:
    request.getfixturevalue(f"_{request.param}")
    yield current_store()
    caches["default"].clear()


@pytest.fixture
def _locmem(settings: Any) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "contract"}
    }


@pytest.fixture
def _file(settings: Any, tmp_path: Any) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(tmp_path),
        }
    }


@pytest.fixture
def _database(settings: Any, transactional_db: None) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "perf_test_cache"}
    }
    call_command("createcachetable", verbosity=0)


@pytest.fixture
def _redis(redis_cache: Any) -> None:
    """redis_cache has switched the settings already."""


def test_an_empty_store_gives_no_value_and_usable_versions(store: Store) -> None:
    reading = store.read(KEY, ["a", "b"])
    assert reading.reachable
    assert reading.stored is None
    assert len(reading.versions) == 2
    assert min(reading.versions) >= 0


def test_bytes_come_back_as_they_were(store: Store) -> None:
    assert store.write(KEY, VALUE, 60_000)
    assert store.read(KEY, []).stored == VALUE
    assert store.read(OTHER, []).stored is None


def test_versions_stand_still_until_a_bump(store: Store) -> None:
    before = store.read(KEY, ["a", "b"]).versions
    assert store.read(KEY, ["a", "b"]).versions == before
    invalidation.bump(["a"])
    after = store.read(KEY, ["a", "b"]).versions
    assert after[0] > max(before)
    assert after[1] == before[1]


def test_heads_have_the_headers_in_order(store: Store) -> None:
    store.write(KEY, VALUE, 60_000)
    nothing, head = store.heads([OTHER, KEY])
    assert nothing is None
    assert head is not None
    assert head[:HEADER_BYTES] == VALUE[:HEADER_BYTES]
    assert store.heads([]) == []


def test_delete_counts_what_was_there(store: Store) -> None:
    store.write(KEY, VALUE, 60_000)
    assert store.delete([KEY, OTHER]) == 1
    assert store.delete([]) == 0
    assert store.read(KEY, []).stored is None


def test_one_holder_a_lock(store: Store) -> None:
    token = store.lock("perf:c:x:lock", 30_000)
    assert token
    assert store.lock("perf:c:x:lock", 30_000) is None
    store.unlock("perf:c:x:lock", "somebody else's token")
    assert store.lock("perf:c:x:lock", 30_000) is None
    store.unlock("perf:c:x:lock", token)
    assert store.lock("perf:c:x:lock", 30_000)


def test_a_value_as_old_as_the_call_carries_the_versions_of_the_call(store: Store) -> None:
    tags = ["a", "b"]
    for _ in range(2):
        stamps: list[int] = []

        def sealed(stamp: int, stamps: list[int] = stamps) -> bytes:
            stamps.append(stamp)
            return f"{stamp:>40}".encode()

        assert store.put(KEY, sealed, 60_000, tags)
        reading = store.read(KEY, tags)
        assert reading.stored == f"{max(reading.versions):>40}".encode()
        assert stamps[-1] == max(reading.versions)
        invalidation.bump(["a"])


def test_a_value_without_tags_is_put_with_stamp_zero(store: Store) -> None:
    assert store.put(KEY, lambda stamp: b"%d" % stamp, 60_000, [])
    assert store.read(KEY, []).stored == b"0"


def test_taking_a_turn_shows_what_is_there(store: Store) -> None:
    store.write(KEY, VALUE, 60_000)
    token, reading = store.take("perf:c:x:turn", 30_000, KEY, ["a"])
    assert token
    assert reading.stored == VALUE
    assert min(reading.versions) >= 0
    taken, again = store.take("perf:c:x:turn", 30_000, KEY, ["a"])
    assert taken is None
    assert again == reading


def test_a_look_finds_what_is_there_and_takes_no_turn(store: Store) -> None:
    stamp = max(store.read(KEY, ["a", "b"]).versions)
    value = seal(Envelope(1, stamp, 0, 0, b"body"))
    store.write(KEY, value, 60_000)
    reading, turn = store.look(KEY, ["a", "b"], 30_000)
    assert reading == store.read(KEY, ["a", "b"])
    assert (reading.stored, turn) == (value, None)
    assert store.lock(lock_key(KEY, stamp), 30_000)


@pytest.mark.parametrize("tags", [[], ["a", "b"]])
def test_of_what_is_not_there_or_old_one_look_may_take_the_turn(store: Store, tags: list[str]) -> None:
    for old in (None, seal(Envelope(1, 1, 0, 0, b"body"))):
        if old:
            store.write(KEY, old, 60_000)
        versions = store.read(KEY, tags).versions
        reading, turn = store.look(KEY, tags, 30_000)
        assert reading.versions == versions
        if turn:
            assert turn[0] == lock_key(KEY, max(versions, default=0))
            assert store.look(KEY, tags, 30_000)[1] is None
            assert store.lock(turn[0], 30_000) is None
            store.unlock(*turn)


def test_landing_keeps_the_bytes_and_gives_the_turn_back(store: Store) -> None:
    token, _ = store.take("perf:c:x:turn", 30_000, KEY, [])
    assert store.land(KEY, VALUE, 60_000, "perf:c:x:turn", token or "")
    assert store.read(KEY, []).stored == VALUE
    assert store.lock("perf:c:x:turn", 30_000)


def test_who_took_longer_than_its_turn_lands_all_the_same(store: Store) -> None:
    store.lock("perf:c:x:turn", 30_000)
    assert store.land(KEY, VALUE, 60_000, "perf:c:x:turn", "mine was over")
    assert store.read(KEY, []).stored == VALUE


def test_a_value_of_another_kind_is_no_value(store: Store) -> None:
    caches["default"].set("perf:c:x:foreign", {"not": "bytes"})
    assert store.read("perf:c:x:foreign", []).stored is None
