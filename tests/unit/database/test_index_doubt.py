"""What a plan bets on: rows that a condition keeps, partners in a join, what a LIMIT waits for, which constants."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from paiid_perf.database.index_types import Candidate, Catalog, IndexSpec, Statement, Table
from paiid_perf.database.rules.indexes import bind
from paiid_perf.database.rules.indexes.conditions import conjuncts, predicates
from paiid_perf.database.rules.indexes.parse import parse
from paiid_perf.database.rules.indexes.partners import corrected
from paiid_perf.database.rules.indexes.reckon import late, reckoned
from paiid_perf.database.rules.indexes.select import Item, Problem, select
from paiid_perf.database.rules.indexes.size import index_bytes
from tests.unit.database.test_index_reckon import facts
from tests.unit.database.test_index_rules import catalog, index, make_table, spec


def with_column(name: str, **changes: Any) -> Catalog:
    table = make_table()
    changed = {**table.columns, name: replace(table.columns[name], **changes)}
    return catalog(replace(table, columns=changed))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("(day > 1476)", [("day", "range", ("1476", ""))]),
        ("((a = 'x AND (y'::text) AND (b <= 2))", [("a", "eq", ("x AND (y",)), ("b", "range", ("", "2"))]),
        ("((kind)::text = 'R'::text)", [("kind", "eq", ("R",))]),
        ("(mode = ANY ('{AIR,\"AIR REG\"}'::bpchar[]))", [("mode", "in", ("AIR", "AIR REG"))]),
        ("(day >= (v.last_day + 1))", [("day", "range", (None, ""))]),
        ("(at < '2026-01-01 00:00:00'::timestamp without time zone)", [("at", "range", ("", "2026-01-01 00:00:00"))]),
        ("(hashed SubPlan 1)", []),
    ],
)  # fmt: skip
def test_conditions_are_read_as_explain_writes_them(text: str, found: list[object]) -> None:
    assert [(p.key, p.op, p.values) for p in predicates(text)] == found


def test_a_quoted_and_is_no_conjunction() -> None:
    assert conjuncts("((a = 'x) AND (y') AND (b = 1))") == ["(a = 'x) AND (y')", "(b = 1)"]


def scan(condition: str) -> dict[str, Any]:
    return {
        "Node Type": "Index Scan",
        "Relation Name": "t",
        "Index Name": "i",
        "Index Cond": condition,
        "Filter": "(customer = 7)",
        "Plan Rows": 10,
        "Total Cost": 500.0,
    }


def test_a_wide_range_is_paid_for_though_the_filter_keeps_little() -> None:
    histogram = tuple(str(n) for n in range(0, 10_001, 100))
    table = with_column("customer", histogram=histogram, common=()).tables["public.t"]
    told = replace(facts(), tables={"t": table})
    assert reckoned(scan("(customer > 2000)"), told) > 50 * reckoned(scan("(customer > 9990)"), told)


# --- partners ------------------------------------------------------------------------------------------------


def lines() -> Table:
    return make_table(index("t_pkey", "customer", "kind", unique=True), rows=40_000)


def joined(condition: str, kind: str = "Inner") -> dict[str, Any]:
    left = {
        "Node Type": "Seq Scan",
        "Relation Name": "o",
        "Alias": "o",
        "Plan Rows": 100_000,
        "Total Cost": 9.0,
    }
    right = {
        "Node Type": "Seq Scan",
        "Relation Name": "t",
        "Alias": "t",
        "Plan Rows": 40_000,
        "Total Cost": 9.0,
    }
    join = {
        "Node Type": "Hash Join",
        "Join Type": kind,
        "Hash Cond": condition,
        "Plan Rows": 25,
        "Total Cost": 50.0,
    }
    hashed = {"Node Type": "Hash", "Plan Rows": 40_000, "Total Cost": 9.0, "Plans": [right]}
    top = {"Node Type": "Sort", "Plan Rows": 25, "Total Cost": 60.0}
    return top | {"Plans": [join | {"Plans": [left, hashed]}]}


BOTH = "((o.customer = t.customer) AND (o.kind = t.kind))"
TABLES = {"t": lines(), "o": make_table(rows=100_000)}


def test_a_join_on_a_whole_key_gives_each_row_its_partner_up_to_the_top() -> None:
    plan = corrected(joined(BOTH), {**TABLES, "t": replace(lines(), rows=40_000)})
    # The planner reckons with 10,000 × 4 combinations; there are as many rows.
    assert plan["Plan Rows"] == 25
    fewer = corrected(joined(BOTH), {**TABLES, "t": replace(lines(), rows=400)})
    assert fewer["Plan Rows"] == fewer["Plans"][0]["Plan Rows"] == 2_500


@pytest.mark.parametrize("kind", ["Semi", "Anti"])
def test_who_only_asks_for_a_partner_has_no_more_rows(kind: str) -> None:
    few = {**TABLES, "t": replace(lines(), rows=400)}
    assert corrected(joined(BOTH, kind), few) == joined(BOTH, kind)


def test_a_join_on_a_part_of_the_key_stays_as_it_was() -> None:
    few = {**TABLES, "t": replace(lines(), rows=400)}
    assert corrected(joined("(o.customer = t.customer)"), few) == joined("(o.customer = t.customer)")


def test_a_look_up_whose_filter_completes_the_key_is_corrected_like_the_join_that_hashes() -> None:
    few = {**TABLES, "t": replace(lines(), rows=400)}
    outer = {"Node Type": "Seq Scan", "Relation Name": "t", "Alias": "t", "Plan Rows": 400, "Total Cost": 9.0}
    inner = {
        "Node Type": "Index Scan",
        "Relation Name": "o",
        "Alias": "o",
        "Index Cond": "(customer = t.customer)",
        "Filter": "(t.kind = kind)",
        "Plan Rows": 1,
        "Total Cost": 2.0,
    }
    join = {"Node Type": "Nested Loop", "Join Type": "Inner", "Plan Rows": 25, "Total Cost": 50.0}
    found = corrected(join | {"Plans": [outer, inner]}, few)
    assert found["Plan Rows"] == 2_500
    # Each of 400 keys has its share of 100,000 rows.
    assert found["Plans"][1]["Plan Rows"] == 100


# --- LIMIT ---------------------------------------------------------------------------------------------------


def test_what_a_limit_waits_for_may_lie_last_where_a_filter_keeps_little() -> None:
    assert late(0.01, passing=1.0) == pytest.approx(0.01)
    assert late(0.01, passing=0.001) == pytest.approx(0.1, rel=0.01)
    assert late(1.0, passing=0.5) == 1.0


@pytest.mark.parametrize(
    ("rows", "calls", "stops"),
    [
        (100, 1, 100.0),
        (60, 3, 20.0),
        (51, 3, 17.0),
        (563, 10, None),
        (19, 2, 10.0),
        (2, 5, None),
        (0, 0, 10.0),
    ],
)
def test_a_limit_is_what_calls_return_where_they_reach_it(rows: int, calls: int, stops: float | None) -> None:
    assert bind.limit(Statement("1", "", calls, 10.0, rows=rows)) == stops


# --- constants -----------------------------------------------------------------------------------------------

EITHER = """SELECT * FROM t JOIN t AS u ON u.id = t.id
    WHERE (t.customer = $1 AND u.kind = $2 AND t.at > $3) OR (t.customer = $4 AND u.kind = $5)"""


def test_an_or_over_two_tables_demands_something_of_each() -> None:
    first, second = parse(EITHER, catalog(make_table())).blocks[0].relations
    assert [(p.key, p.op) for p in first.predicates] == [("customer", "in")]
    assert [(p.key, p.op) for p in second.predicates] == [("kind", "in")]


def test_an_or_of_which_one_branch_leaves_a_table_free_demands_nothing_of_it() -> None:
    text = "SELECT * FROM t JOIN t AS u ON u.id = t.id WHERE t.customer = $1 OR u.kind = $2"
    assert all(not r.predicates for r in parse(text, catalog(make_table())).blocks[0].relations)


def test_every_parameter_in_an_or_is_known_by_what_it_is_compared_with() -> None:
    known = with_column("kind", common=(("7", 0.5), ("8", 0.5)))
    known = replace(known, tables={k: replace(t, columns={**t.columns, "customer": replace(
        t.columns["customer"], histogram=("1", "2", "3"))}) for k, t in known.tables.items()})  # fmt: skip
    values = bind.representative(parse(EITHER, known), known, Statement("1", EITHER, 1, 1.0))
    assert {values[1], values[4]} <= {"1", "2", "3"}
    assert {values[2], values[5]} <= {"7", "8"}


def test_numbers_stand_in_line_as_numbers() -> None:
    known = with_column("kind", common=tuple((str(n), 0.02) for n in range(1, 51)))
    text = "SELECT * FROM t WHERE kind BETWEEN $1 AND $2"
    values = bind.representative(parse(text, known), known, Statement("1", text, 1, 1.0))
    assert (values[1], values[2]) == ("46", "48")


def test_a_pattern_is_a_word_that_several_values_have() -> None:
    names = ("almond green", "blue green", "red", "white rose")
    known = with_column("name", histogram=names)
    text = "SELECT * FROM t WHERE name LIKE $1"
    assert bind.representative(parse(text, known), known, Statement("1", text, 1, 1.0)) == {1: "%green%"}


def test_of_a_skewed_column_the_rare_value_is_asked_for_as_well() -> None:
    text = "SELECT * FROM t WHERE name = $1 AND kind = $2"
    skewed = with_column("name", common=(("done", 0.97), ("ready", 0.03)))
    even = with_column("name", common=(("a", 0.5), ("b", 0.4)))
    assert bind.rare(parse(text, skewed), skewed) == {1: "ready"}
    assert bind.rare(parse(text, even), even) == {}


class Halves:
    """Each index leaves a fraction of what the others leave."""

    name = "halves"

    def cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        return 1e6 * math.prod({"customer": 0.01, "kind": 0.1}[s.keys[0].text] for s in added)


def test_an_index_is_weak_only_against_what_the_others_left() -> None:
    items = [Item(Candidate(spec(c), "workload"), 8 << 20, 0.0) for c in ("customer", "kind")]
    tables = {"q": frozenset({"public.t"})}
    problem = Problem([Statement("q", "q", 10, 1e6)], tables, Halves(), items, 64 << 20, 0.1)
    assert len(select(problem).picks) == 2


@pytest.mark.parametrize("kind", ["numeric(15,2)", "double precision", "character(10)", "integer[]", "jsonb"])
def test_equal_keys_of_types_that_may_look_different_are_stored_each(kind: str) -> None:
    plain, unalike = with_column("kind"), with_column("kind", type=kind)
    sizes = [index_bytes(spec("kind"), known.tables["public.t"]) for known in (plain, unalike)]
    assert sizes[1] > 2 * sizes[0]


def test_no_index_has_a_key_that_is_several_groupings() -> None:
    for grouping in (
        "ROLLUP (kind, customer)",
        "CUBE (kind, customer)",
        "GROUPING SETS ((kind), (customer))",
    ):
        text = f"SELECT kind, count(*) FROM t GROUP BY {grouping}"
        assert parse(text, catalog(make_table())).blocks[0].group == ()
