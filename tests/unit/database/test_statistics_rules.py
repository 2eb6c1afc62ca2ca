"""Which pairs of columns are asked about, and when extended statistics pay."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.conf import Settings
from paiid_perf.contracts import Measurement
from paiid_perf.database.index_types import (
    Block,
    Catalog,
    Column,
    Index,
    IndexSpec,
    KeyPart,
    Predicate,
    Query,
    Relation,
    Statement,
    Table,
)
from paiid_perf.database.rules import statistics as rules
from paiid_perf.database.rules.statistics import Pair, Probe
from paiid_perf.database.statistics_changes import judge

KEY = Index("pk", IndexSpec("public.shops", (KeyPart("id"),)), unique=True, primary=True)


def table(rows: float = 100_000, **fields: Any) -> Table:
    columns = {name: Column(name, "text", "text") for name in ("city", "zip", "id")}
    columns["body"] = Column("body", "json", "json", indexable=False)
    return Table("public", "shops", rows, 1_000, columns, (KEY,), **fields)


def asked(*columns: str, op: Any = "eq", ms: float = 100.0) -> tuple[Statement, Query]:
    predicates = tuple(Predicate(name, True, op) for name in columns)
    block = Block((Relation("s", "public.shops", predicates),))
    return Statement("1", "SELECT", 10, ms), Query((block,))


def pairs(*queries: Any, known: Any = (), found: Table | None = None) -> list[tuple[str, str]]:
    return [pair.columns for pair in rules.pairs(queries, known, Catalog({"public.shops": found or table()}))]


@pytest.mark.parametrize(
    ("queries", "found"),
    [
        ([asked("city", "zip")], [("city", "zip")]),
        ([asked("zip", "city", op="in")], [("city", "zip")]),
        ([asked("city")], []),
        ([asked("city", "zip", op="range")], []),
        ([asked("city", "id")], []),
        ([asked("city", "body")], []),
    ],
)
def test_pairs(queries: Any, found: list[tuple[str, str]]) -> None:
    assert pairs(*queries) == found


def test_what_is_known_or_small_or_partitioned_is_left_out() -> None:
    query = asked("city", "zip")

    assert pairs(query, known=[{"table": "public.shops", "columns": ["zip", "city", "x"]}]) == []
    assert pairs(query, found=table(rows=500)) == []
    assert pairs(query, found=table(kind="partitioned")) == []


def test_advice_names_the_error_and_the_undo() -> None:
    (found,) = rules.advise(Pair(table(), ("city", "zip")), [Probe(10, 1_000), Probe(100, 1_000)])

    assert found.numbers["error"] == 31.62
    assert found.how.startswith(
        'CREATE STATISTICS IF NOT EXISTS "public"."shops_city_zip_stat" (dependencies, mcv)'
    )
    assert found.undo == 'DROP STATISTICS IF EXISTS "public"."shops_city_zip_stat";'
    assert found.change["columns"] == ["city", "zip"]
    assert not list(rules.advise(Pair(table(), ("city", "zip")), [Probe(900, 1_000)]))


def test_a_table_of_somebody_else_is_advice_only() -> None:
    (found,) = rules.advise(Pair(table(owned=False), ("city", "zip")), [Probe(10, 1_000)])

    assert not found.change


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), max_size=6))
def test_an_error_is_never_below_one(values: list[tuple[float, float]]) -> None:
    assert rules.error([Probe(*pair) for pair in values]) >= 1.0


@pytest.mark.parametrize(
    ("was", "now", "keep"), [(100.0, 1.1, True), (100.0, 90.0, False), (4.0, 8.0, False), (1.0, 1.0, False)]
)
def test_judged_by_the_error(was: float, now: float, keep: bool) -> None:
    def measured(error: float) -> Measurement:
        return Measurement("none", (), {"error": error, "probes": 5.0})

    assert judge(measured(was), measured(now), Settings()).keep is keep
    assert not judge(measured(was), Measurement("none"), Settings()).keep
