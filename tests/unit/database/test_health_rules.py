"""What each health check finds, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.database.health_types import (
    Evidence,
    Growth,
    Health,
    KeyFact,
    Panel,
    PreparedFact,
    ReplicaFact,
    SlotFact,
)
from paiid_perf.database.rules import health as rules
from paiid_perf.database.rules.health import indexes, sessions, vacuum, work
from paiid_perf.database.rules.thresholds import LIMITS, TABLE, limit
from tests.unit.database import build
from tests.unit.database.build import MB, NOW

XIDS = 2**31
YESTERDAY = NOW - timedelta(days=1)
WATCHED = Evidence(NOW - timedelta(days=400), {"public.orders_a": NOW - timedelta(days=36)})

#: (check, what was read, the subjects that it finds)
CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("hit_ratio", {"database": [build.database(blocks_hit=98_000, blocks_read=2_000)]}, ["shop"]),
    ("hit_ratio", {"database": [build.database(blocks_hit=99_500, blocks_read=500)]}, []),
    ("hit_ratio", {"database": [build.database(blocks_hit=10, blocks_read=90)]}, []),
    ("slow_query", {"statements": [build.statement(mean_ms=25)]}, ["1"]),
    ("slow_query", {"statements": [build.statement(mean_ms=25, calls=99)]}, []),
    ("slow_query", {"statements": [build.statement(mean_ms=19.9)]}, []),
    (
        "temp_files",
        {"database": [build.database(temp_bytes=30 * 1024 * MB, stats_reset=YESTERDAY)]},
        ["shop"],
    ),
    ("temp_files", {"database": [build.database(temp_bytes=20 * 1024 * MB, stats_reset=YESTERDAY)]}, []),
    ("rollbacks", {"database": [build.database(commits=5_000, rollbacks=1_000)]}, ["shop"]),
    ("rollbacks", {"database": [build.database(commits=50_000, rollbacks=1_000)]}, []),
    ("invalid_index", {"indexes": [build.index(is_valid=False)]}, ["public.orders_a"]),
    ("invalid_index", {"indexes": [build.index(is_valid=False, being_built=True)]}, []),
    ("invalid_constraint", {"constraints": [build.constraint()]}, ["public.orders.orders_fk"]),
    ("dead_rows", {"tables": [build.table(live=7_000, dead=3_000)]}, ["public.orders"]),
    ("dead_rows", {"tables": [build.table(live=70, dead=30, vacuum_at=70)]}, []),
    ("dead_rows", {"tables": [build.table(live=7_000, dead=3_000, vacuum_at=5_000)]}, []),
    ("stale_statistics", {"tables": [build.table(modified_since_analyze=2_001)]}, ["public.orders"]),
    ("stale_statistics", {"tables": [build.table(modified_since_analyze=2_000)]}, []),
    ("stale_statistics", {"tables": [build.table(live=100, modified_since_analyze=100)]}, []),
    ("stale_statistics", {"tables": [build.table(analyzed_at=None, rows_estimated=-1)]}, ["public.orders"]),
    ("table_bloat", {"tables": [build.table(pages=20_000, heap_bytes=160 * MB)]}, ["public.orders"]),
    ("table_bloat", {"tables": [build.table(pages=20_000, heap_bytes=160 * MB, row_bytes=None)]}, []),
    ("table_bloat", {"tables": [build.table(pages=100, heap_bytes=MB)]}, []),
    ("index_bloat", {"indexes": [build.index(pages=20_000, bytes=160 * MB)]}, ["public.orders_a"]),
    ("index_bloat", {"indexes": [build.index(pages=20_000, bytes=160 * MB, method="gin")]}, []),
    ("wraparound", {"database": [build.database(xid_age=int(XIDS * 0.5))]}, ["transaction id"]),
    ("wraparound", {"database": [build.database(multixact_age=int(XIDS * 0.9))]}, ["multixact id"]),
    ("wraparound", {"database": [build.database(xid_age=200_000_000)]}, []),
    ("xmin_horizon", {"sessions": [build.session(xmin_age=1_000_000)]}, ["100"]),
    ("xmin_horizon", {"sessions": [build.session(xmin_age=None)]}, []),
    ("connections", {"pool": build.pool(in_use=78)}, ["shop"]),
    ("connections", {"pool": build.pool(in_use=77)}, []),
    ("connections", {"pool": build.pool(max_connections=0)}, []),
    ("long_running", {"sessions": [build.session(query_seconds=60)]}, ["100"]),
    ("long_running", {"sessions": [build.session(query_seconds=None)]}, []),
    (
        "idle_in_transaction",
        {"sessions": [build.session(state="idle in transaction", state_seconds=61)]},
        ["100"],
    ),
    (
        "idle_in_transaction",
        {"sessions": [build.session(state="idle in transaction (aborted)", state_seconds=61)]},
        ["100"],
    ),
    ("idle_in_transaction", {"sessions": [build.session(state="idle", state_seconds=9_999)]}, []),
    ("blocked", {"sessions": [build.session(blocked_by=(7,), query_seconds=6)]}, ["100"]),
    ("blocked", {"sessions": [build.session(blocked_by=(7,), query_seconds=1)]}, []),
    ("prepared", {"prepared": [PreparedFact("x'y", "app", 301)]}, ["x'y"]),
    ("prepared", {"prepared": [PreparedFact("x", "app", 10)]}, []),
    ("sequence", {"sequences": [build.sequence(int(2**31 * 0.75))]}, ["public.orders.id"]),
    ("sequence", {"sequences": [build.sequence(int(2**31 * 0.65))]}, []),
    ("sequence", {"sequences": [build.sequence(2**31 - 2, cycles=True)]}, []),
    (
        "integer_key",
        {"keys": [KeyFact("public", "line", "order_id", "integer", 1_600_000_000, 2**31 - 1)]},
        ["public.line.order_id"],
    ),
    ("integer_key", {"keys": [KeyFact("public", "line", "order_id", "integer", 1_000_000, 2**31 - 1)]}, []),
    ("growth", {"growth": Growth(40 * 1024 * MB, 60 * 1024 * MB, 5, None)}, ["shop"]),
    ("growth", {"growth": Growth(400 * 1024 * MB, 405 * 1024 * MB, 5, 20 * 1024 * MB)}, ["shop"]),
    ("growth", {"growth": Growth(400 * 1024 * MB, 405 * 1024 * MB, 5, 200 * 1024 * MB)}, []),
    ("growth", {"growth": Growth(40 * 1024 * MB, 60 * 1024 * MB, 1, None)}, []),
    ("growth", {"growth": Growth(60 * 1024 * MB, 40 * 1024 * MB, 5, 1)}, []),
    (
        "autovacuum_danger",
        {
            "tables": [build.table(xid_age=190_000_000)],
            "settings": [build.setting("autovacuum_freeze_max_age", "200000000")],
        },
        ["public.orders"],
    ),
    (
        "autovacuum_danger",
        {
            "tables": [build.table(xid_age=170_000_000)],
            "settings": [build.setting("autovacuum_freeze_max_age", "200000000")],
        },
        [],
    ),
    ("replication_lag", {"replicas": [ReplicaFact("r1", "10.0.0.2", "streaming", 6, 0)]}, ["r1 10.0.0.2"]),
    ("replication_lag", {"replicas": [ReplicaFact("r1", "10.0.0.2", "streaming", None, None)]}, []),
    ("inactive_slot", {"slots": [SlotFact("old", "physical", False, 5, "reserved")]}, ["old"]),
    ("inactive_slot", {"slots": [SlotFact("new", "physical", True, 5, "reserved")]}, []),
    ("unused_index", {"indexes": [build.index(scans=0)], "evidence": WATCHED}, ["public.orders_a"]),
    ("unused_index", {"indexes": [build.index(scans=0)]}, []),
    (
        "unused_index",
        {"indexes": [build.index(scans=0)], "evidence": replace(WATCHED, scans={"public.orders_a": 1})},
        [],
    ),
    (
        "unused_index",
        {
            "indexes": [build.index(scans=0)],
            "evidence": replace(WATCHED, seen={"public.orders_a": NOW - timedelta(days=34)}),
        },
        [],
    ),
    ("unused_index", {"indexes": [build.index(scans=0, is_unique=True)], "evidence": WATCHED}, []),
    ("unused_index", {"indexes": [build.index(scans=0, supports_foreign_key=True)], "evidence": WATCHED}, []),
    ("unused_index", {"indexes": [build.index(scans=0, bytes=MB)], "evidence": WATCHED}, []),
    ("unused_index", {"indexes": [build.index(scans=1)], "evidence": WATCHED}, []),
]


@pytest.mark.parametrize(("check", "facts", "subjects"), CASES)
def test_check(check: str, facts: dict[str, Any], subjects: list[str]) -> None:
    found = rules.judge(build.health(**facts), NOW)

    assert [f.subject for f in found if f.check == check] == subjects


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_every_rule_has_a_case_that_makes_it_speak(rule: rules.Rule) -> None:
    twins = {"indexes": [build.index(name="one"), build.index(name="two")]}
    facts = [case[1] for case in CASES] + [twins]

    assert any(list(rule(build.health(**read), NOW)) for read in facts)


def test_nothing_read_is_nothing_found() -> None:
    assert rules.judge(Health(build.server()), NOW) == []


@pytest.mark.parametrize(
    ("check", "facts", "severity"),
    [
        ("wraparound", {"database": [build.database(xid_age=int(XIDS * 0.81))]}, "critical"),
        ("wraparound", {"database": [build.database(xid_age=int(XIDS * 0.79))]}, "warning"),
        ("sequence", {"sequences": [build.sequence(int(2**31 * 0.91))]}, "critical"),
        ("connections", {"pool": build.pool(in_use=96)}, "critical"),
        (
            "idle_in_transaction",
            {"sessions": [build.session(state="idle in transaction", state_seconds=600)]},
            "critical",
        ),
        ("inactive_slot", {"slots": [SlotFact("old", "logical", False, 2 * 1024 * MB, None)]}, "critical"),
    ],
)
def test_severity(check: str, facts: dict[str, Any], severity: str) -> None:
    (found,) = (f for f in rules.judge(build.health(**facts), NOW) if f.check == check)

    assert found.severity == severity


# --- duplicates --------------------------------------------------------------------------------------

A, B = "a int4_ops 0", "b int4_ops 0"
SAME_KEYS = [
    ("prefix", {"keys": (A,)}, {"keys": (A, B)}, True),
    ("not a prefix", {"keys": (B,)}, {"keys": (A, B)}, False),
    ("descending", {"keys": ("a int4_ops 3",)}, {"keys": (A, B)}, False),
    ("another operator class", {"keys": ("a text_pattern_ops 0",)}, {"keys": ("a text_ops 0", B)}, False),
    ("another predicate", {"predicate": "(a > 0)"}, {"keys": (A, B)}, False),
    ("the other is partial", {"keys": (A,)}, {"keys": (A, B), "predicate": "(a > 0)"}, False),
    ("another method", {"method": "hash"}, {"keys": (A, B)}, False),
    ("brin is no prefix matter", {"method": "brin"}, {"method": "brin", "keys": (A, B)}, False),
    ("includes more", {"included": ("c",)}, {"keys": (A, B)}, False),
    ("includes what the other has as key", {"included": ("b",)}, {"keys": (A, B)}, True),
    ("unique", {"is_unique": True}, {"keys": (A, B)}, False),
    ("replica identity", {"is_replica_identity": True}, {"keys": (A, B)}, False),
    ("the other is invalid", {"keys": (A,)}, {"keys": (A, B), "is_valid": False}, False),
    ("same as the primary key", {"keys": (A,)}, {"keys": (A,), "is_primary": True, "is_unique": True}, True),
]


@pytest.mark.parametrize(
    ("narrow", "wide", "redundant"), [case[1:] for case in SAME_KEYS], ids=[c[0] for c in SAME_KEYS]
)
def test_redundant(narrow: dict[str, Any], wide: dict[str, Any], redundant: bool) -> None:
    index, wider = build.index(name="narrow", **narrow), build.index(name="wide", **wide)

    assert indexes.makes_redundant(wider, index) is redundant


def test_of_two_equal_indexes_one_is_named_and_it_is_the_one_less_used() -> None:
    twins = [build.index(name="one", scans=5), build.index(name="two", scans=50)]

    found = [f for f in rules.judge(build.health(indexes=twins), NOW) if f.check == "duplicate_index"]

    assert [f.subject for f in found] == ["public.one"]
    assert found[0].how == 'DROP INDEX CONCURRENTLY "public"."one";'


def test_a_small_prefix_index_is_left_in_peace_but_a_small_twin_is_not() -> None:
    small = {"bytes": 8192}
    prefix = [build.index(name="fk", **small), build.index(name="both", keys=(A, B), **small)]
    twins = [build.index(name="x", **small), build.index(name="y", **small)]

    assert list(indexes.duplicate_indexes(build.health(indexes=prefix), NOW)) == []
    assert len(list(indexes.duplicate_indexes(build.health(indexes=twins), NOW))) == 1


keys = st.lists(st.sampled_from([A, B, "c text_ops 100 0"]), min_size=1, max_size=3, unique=True).map(tuple)
some_index = st.builds(
    build.index,
    name=st.text("pqrstuvw", min_size=1, max_size=6),
    keys=keys,
    predicate=st.sampled_from(["", "(a > 0)"]),
    scans=st.integers(0, 3),
    is_unique=st.booleans(),
)


@given(st.lists(some_index, max_size=8, unique_by=lambda i: i.name))
def test_what_is_dropped_is_always_served_by_an_index_that_stays(found: list[Any]) -> None:
    dropped = {i.name for i in found if any(indexes.makes_redundant(w, i) for w in found)}
    staying = [i for i in found if i.name not in dropped]

    for index in found:
        if index.name in dropped:
            assert any(
                tuple(w.keys[: len(index.keys)]) == tuple(index.keys) and w.predicate == index.predicate
                for w in staying
            )


# --- blocking ------------------------------------------------------------------------------------------


def test_the_root_of_a_queue_is_named() -> None:
    queue = [
        build.session(pid=1, query="UPDATE a"),
        build.session(pid=2, blocked_by=(1,), query_seconds=9),
        build.session(pid=3, blocked_by=(2,), query_seconds=8),
    ]

    roots = {
        f.subject: f.numbers["root"]
        for f in rules.judge(build.health(sessions=queue), NOW)
        if f.check == "blocked"
    }

    assert roots == {"2": 1, "3": 1}


@given(st.dictionaries(st.integers(1, 6), st.integers(0, 6), max_size=6))
def test_a_ring_of_waiters_ends(edges: dict[int, int]) -> None:
    waiting = {pid: build.session(pid=pid, blocked_by=(to,)) for pid, to in edges.items()}

    for session in waiting.values():
        assert sessions.blocking_root(session, waiting) in {*edges.values(), *edges}


# --- texts and the table ---------------------------------------------------------------------------------


def test_names_that_need_quoting_are_quoted() -> None:
    odd = build.index(schema='My"Schema', name="Order Index", is_valid=False)

    (finding,) = indexes.invalid_indexes(build.health(indexes=[odd]), NOW)

    assert finding.how == 'REINDEX INDEX CONCURRENTLY "My""Schema"."Order Index";'


def test_a_literal_in_a_remedy_cannot_break_out() -> None:
    (finding,) = sessions.prepared(
        build.health(prepared=[PreparedFact("x'; DROP TABLE t; --", "app", 999)]), NOW
    )

    assert finding.how.startswith("ROLLBACK PREPARED 'x''; DROP TABLE t; --';")


def test_every_threshold_is_named_once_and_has_a_source() -> None:
    assert len(LIMITS) == len(TABLE)
    assert all(threshold.source and threshold.unit for threshold in TABLE)


def test_a_panel_that_could_not_be_read_is_told_and_finds_nothing() -> None:
    facts = build.health(sessions=Panel(unavailable="GRANT pg_monitor TO app;"), database=[build.database()])

    assert facts.missing() == {"sessions": "GRANT pg_monitor TO app;"}
    assert rules.judge(facts, NOW) == []


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_hit_ratio_is_a_ratio_or_not_said(hit: int, read: int) -> None:
    value = work.hit_ratio(build.database(blocks_hit=hit, blocks_read=read))

    assert (value is None) == (hit + read < limit("hit_ratio_blocks"))
    assert value is None or 0 <= value <= 1


def test_the_blocking_tree_has_its_holders_at_the_top() -> None:
    waiting = [
        build.session(pid=1, query="holds"),
        build.session(pid=2, query="waits", blocked_by=(1,)),
        build.session(pid=3, query="waits too", blocked_by=(2,)),
        build.session(pid=4, query="waits for nobody seen", blocked_by=(0,)),
        build.session(pid=5, query="has nothing to do with it"),
    ]

    lines = [" ".join(line.split("gunicorn local: ")) for line in sessions.blocking_tree(waiting)]

    assert [line[: len(line) - len(line.lstrip())] + line.split()[0] for line in lines] == [
        "0",
        "  4",
        "1",
        "  2",
        "    3",
    ]


def test_a_ring_of_waiting_ends() -> None:
    ring = [build.session(pid=1, blocked_by=(2,)), build.session(pid=2, blocked_by=(1,))]

    assert sessions.blocking_tree(ring) == []


def test_what_was_measured_stands_in_place_of_the_estimate() -> None:
    health = build.health(tables=[build.table(pages=20_000, heap_bytes=160 * MB)])
    (found,) = vacuum.bloat(health, NOW)

    measured = vacuum.measured_bloat(found, 120 * MB)
    assert measured is not None
    assert measured.numbers["wasted_bytes"] == 120 * MB
    assert vacuum.measured_bloat(found, 10 * MB) is None
