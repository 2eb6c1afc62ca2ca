"""Advice and marks, by table: (facts) → (what is said)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paiid_perf.cache import rules
from paiid_perf.cache.changes import judge
from paiid_perf.cache.strategies import STRATEGIES
from paiid_perf.cache.types import CacheFacts, CacheStrategy, CacheWarmer, KeyFacts, ServerFacts, UseFacts
from paiid_perf.conf import Settings
from paiid_perf.contracts import Measurement

#: A busy machine is no failure.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

MB, GB = 1024**2, 1024**3
SERVER = ServerFacts(
    version="9.1",
    uptime_seconds=3600,
    used_bytes=200 * MB,
    rss_bytes=220 * MB,
    peak_bytes=250 * MB,
    limit_bytes=512 * MB,
    system_bytes=8 * GB,
    policy="allkeys-lfu",
    fragmentation=1.1,
    evicted_keys=0,
    expired_keys=10,
    keyspace_hits=9_500,
    keyspace_misses=500,
    keys=1000,
    keys_with_ttl=1000,
)
QUEUE = KeyFacts("celery", rules.OTHER, 100, has_ttl=False)
SESSION = KeyFacts(":1:session", rules.OTHER, 100, has_ttl=True)
OUR_TAG = KeyFacts("perf:tag:x", "perf:tag", 100, has_ttl=False)


def facts(sample: tuple[KeyFacts, ...] = (), use: tuple[UseFacts, ...] = (), **server: Any) -> CacheFacts:
    return CacheFacts("RedisCache", True, True, replace(SERVER, **server), True, "", use, sample, len(sample))


LOCMEM = CacheFacts("LocMemCache", False, False)
DATABASE = CacheFacts("DatabaseCache", False, True)

ADVICE: tuple[tuple[str, CacheFacts, dict[str, str]], ...] = (
    ("all is well", facts(), {}),
    ("own tags are no others' keys", facts((OUR_TAG, SESSION)), {}),
    ("noeviction", facts(policy="noeviction"), {"maxmemory-policy": "allkeys-lfu"}),
    ("noeviction with queues", facts((QUEUE,), policy="noeviction"), {"maxmemory-policy": "volatile-lfu"}),
    ("queues may be evicted", facts((QUEUE,), policy="allkeys-lru"), {"maxmemory-policy": "volatile-lfu"}),
    ("queues are safe", facts((QUEUE,), policy="volatile-lru"), {}),
    ("no limit", facts(limit_bytes=0), {"maxmemory": str(500 * MB)}),
    ("no limit, small", facts(limit_bytes=0, peak_bytes=MB), {"maxmemory": str(64 * MB)}),
    ("no limit, huge", facts(limit_bytes=0, peak_bytes=3 * GB), {"maxmemory": str(4 * GB)}),
    ("fragmented", facts(fragmentation=1.9), {"activedefrag": "yes"}),
    ("fragmented and small", facts(fragmentation=9, used_bytes=MB), {}),
    ("not Redis", LOCMEM, {}),
)


@pytest.mark.parametrize(("given_facts", "expected"), [a[1:] for a in ADVICE], ids=[a[0] for a in ADVICE])
def test_config_advice(given_facts: CacheFacts, expected: dict[str, str]) -> None:
    advice = rules.config_advice(given_facts)
    assert {one.setting: one.value for one in advice} == expected
    assert all(one.why and one.previous for one in advice)


def test_only_the_policy_is_set_without_a_person() -> None:
    bad = facts(policy="noeviction", limit_bytes=0, fragmentation=3)
    assert {one.setting for one in rules.config_advice(bad) if one.applicable} == {"maxmemory-policy"}


def names(found: Any) -> set[str]:
    return {one.strategy for one in found}


def test_low_hits_need_enough_lookups() -> None:
    low = (UseFacts("standard", 100, 300), UseFacts("hot", 1, 50), UseFacts("long", 900, 100))
    assert names(rules.strategy_advice(facts(use=low), STRATEGIES)) == {"standard"}
    (advice,) = rules.strategy_advice(facts(use=(UseFacts("user", 5, 995),)), STRATEGIES)
    assert "Stop caching" in advice.how


def test_use_of_what_is_not_declared_is_left_alone() -> None:
    assert not rules.strategy_advice(facts(use=(UseFacts("response:x", 0, 5000),)), STRATEGIES)


def test_big_and_idle_values() -> None:
    big = tuple(KeyFacts(f"b{n}", "long", 300_000) for n in range(3))
    idle = tuple(KeyFacts(f"i{n}", "standard", 100, 2 * 86_400) for n in range(30))
    read = tuple(KeyFacts(f"r{n}", "hot", 100, 5) for n in range(30))
    assert names(rules.strategy_advice(facts(big + idle + read), STRATEGIES)) == {"long", "standard"}


def test_a_private_cache_is_said() -> None:
    assert names(rules.strategy_advice(LOCMEM, STRATEGIES)) == {"LocMemCache"}
    assert not rules.strategy_advice(DATABASE, STRATEGIES)


def marks(given_facts: CacheFacts) -> dict[str, float | None]:
    return {mark.name: mark.value for mark in rules.marks(given_facts)}


def test_marks_of_a_server() -> None:
    use = (UseFacts("a", 600, 100), UseFacts("b", 350, 50))
    found = marks(facts(use=use, evicted_keys=100))
    assert found == {
        "hit_ratio": pytest.approx(950 / 11),
        "memory": pytest.approx(200 / 512 * 100),
        "memory_limit": 100,
        "evictions": pytest.approx(1),
        "fragmentation": pytest.approx(1.1),
    }


MARKS: tuple[tuple[CacheFacts, str, float | None], ...] = (
    (facts(), "hit_ratio", None),
    (facts(use=(UseFacts("a", 100, 99),)), "hit_ratio", None),
    (facts(limit_bytes=0), "memory_limit", 50),
    (facts(limit_bytes=0, policy="noeviction"), "memory_limit", 0),
    (facts(limit_bytes=0), "memory", pytest.approx(200 / 8192 * 100)),
    (facts(keyspace_hits=0, keyspace_misses=0, evicted_keys=5), "evictions", 0),
    (CacheFacts("RedisCache", True, True, unreachable="gone"), "memory", None),
    (CacheFacts("RedisCache", True, True, unreachable="gone"), "evictions", None),
    (LOCMEM, "shared", 0),
    (DATABASE, "shared", 100),
)


@pytest.mark.parametrize(("given_facts", "name", "value"), MARKS, ids=range(len(MARKS)))
def test_one_mark(given_facts: CacheFacts, name: str, value: float | None) -> None:
    assert marks(given_facts)[name] == value


def test_marks_point_one_way_and_have_hints() -> None:
    for given_facts in (facts(), LOCMEM):
        for mark in rules.marks(given_facts):
            assert mark.target != mark.worst
            assert str(mark.label)
            assert str(mark.hint)


def test_a_server_that_cannot_be_asked_takes_no_mark_away() -> None:
    unknown = marks(replace(facts(), server=None))
    assert set(unknown) == set(marks(facts()))  # or its loss could raise the score
    assert unknown["fragmentation"] is None


def test_a_small_server_has_no_fragmentation_mark() -> None:
    assert "fragmentation" not in marks(facts(used_bytes=MB, fragmentation=20))


@CALM
@given(
    peak=st.integers(0, 64 * GB),
    system=st.integers(0, 256 * GB),
)
def test_a_limit_is_whole_megabytes_and_leaves_room(peak: int, system: int) -> None:
    limit = rules.sensible_limit(replace(SERVER, peak_bytes=peak, system_bytes=system))
    assert limit % MB == 0
    assert limit >= 64 * MB
    assert limit <= max(64 * MB, (system // 2 or 2 * peak) + MB)


# --- warming ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires", "ttl", "warm"),
    [
        (0, timedelta(minutes=1), True),
        (5, None, True),
        (115_000, timedelta(seconds=60), True),
        (115_000, timedelta(seconds=61), False),
        (100_000, timedelta(seconds=60), False),
    ],
)
def test_is_warm_while_a_quarter_of_its_life_is_left(expires: int, ttl: timedelta | None, warm: bool) -> None:
    assert rules.is_warm(expires, 100_000, ttl) is warm


def test_room_for_warming() -> None:
    assert rules.has_room(None)
    assert rules.has_room(replace(SERVER, limit_bytes=0))
    assert rules.has_room(SERVER)
    assert not rules.has_room(replace(SERVER, used_bytes=500 * MB))


# --- judging a setting -------------------------------------------------------------------------------------


def measured(in_place: float = 1, hits: float = 0, lookups: float = 0) -> Measurement:
    return Measurement("window", numbers={"in_place": in_place, "hits": hits, "lookups": lookups})


@pytest.mark.parametrize(
    ("before", "after", "keep"),
    [
        (measured(0, 9_000, 10_000), measured(1, 18_000, 20_000), True),
        (measured(0, 9_000, 10_000), measured(1, 12_000, 20_000), False),
        (measured(0, 9_000, 10_000), measured(1, 9_000, 10_500), True),
        (measured(0, 9_000, 10_000), measured(1, 10, 20), True),
        (measured(0), measured(0), False),
    ],
)
def test_a_setting_is_kept_unless_it_is_gone_or_hits_fell(
    before: Measurement, after: Measurement, keep: bool
) -> None:
    verdict = judge(before, after, Settings())
    assert verdict.keep is keep
    assert verdict.reason


# --- built-ins ---------------------------------------------------------------------------------------------


def test_five_strategies_without_pickle() -> None:
    assert [strategy.name for strategy in STRATEGIES] == ["hot", "standard", "long", "user", "immutable"]
    assert not any(strategy.allow_pickle for strategy in STRATEGIES)


def test_a_warmer_has_its_own_name_as_strategy() -> None:
    assert CacheWarmer("a", warm=list).strategy_name == "a"
    assert CacheWarmer("a", warm=list, strategy="b").strategy_name == "b"
    assert CacheStrategy("a", ttl=None).serializer == "msgpack"


def test_keys_of_one_kind_share_a_pattern_and_other_programs_keep_their_secrets():
    ours = [
        KeyFacts(f"perf:c:portfolios:{n}:a{n}f", "portfolios", 100, idle)
        for n, idle in ((1, 0), (22, 90_000))
    ]
    named = KeyFacts("perf:c:movers:all", "movers", 500)
    session = KeyFacts(":1:django.contrib.sessions.cacheabcdefghijkl", rules.OTHER, 50)
    found = {
        group.group: (group.keys, group.bytes, group.idle_keys)
        for group in rules.patterns([*ours, named, session])
    }
    assert found.pop("perf:c:portfolios:*:*") == (2, 200, 1)
    assert found.pop("perf:c:movers:all") == (1, 500, 0)
    (theirs,) = found
    assert "abcdefghijkl" not in theirs


def test_the_largest_keys_are_named_but_no_secret_is():
    ours = KeyFacts("perf:v1:standard:GET /api/orders/", "standard", 900)
    session = KeyFacts(":1:django.contrib.sessions.cachexk3jf93kd", rules.OTHER, 1000)
    small = [KeyFacts(f"k{n}", rules.OTHER, n) for n in range(30)]

    found = rules.largest([*small, ours, session])

    assert len(found) == rules.LARGEST
    assert (found[0].bytes, found[1].name) == (1000, ours.name)
    assert "xk3jf93kd" not in found[0].name
    assert found[2].name == "k29"
