"""What plans cost in processor time, which statements can be explained, and what the selection makes of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.database.advisor.look import UNFINISHED_MS, with_unfinished
from paiid_perf.database.index_types import (
    Candidate,
    IndexSpec,
    KeyPart,
    Relation,
    Statement,
    Table,
    Workload,
)
from paiid_perf.database.rules.indexes import retype
from paiid_perf.database.rules.indexes.candidates import could_serve, merged
from paiid_perf.database.rules.indexes.factor import factored
from paiid_perf.database.rules.indexes.parse import parse
from paiid_perf.database.rules.indexes.planner import QueryPlanner, existing
from paiid_perf.database.rules.indexes.reckon import (
    RATES,
    Facts,
    believed,
    heap_missed_ns,
    missed_ns,
    planned,
    reckoned,
)
from paiid_perf.database.rules.indexes.select import Item, Problem, select
from tests.unit.database.test_index_rules import catalog, index, make_table, spec

SEQUENTIAL = {"Node Type": "Seq Scan", "Relation Name": "t", "Plan Rows": 50, "Total Cost": 20_000.0}


def nested(outer_rows: int, condition: str, index: str = "i", filtered: bool = True) -> dict[str, Any]:
    inner: dict[str, Any] = {
        "Node Type": "Index Scan",
        "Relation Name": "t",
        "Index Name": index,
        "Index Cond": condition,
        "Plan Rows": 1,
        "Total Cost": 5.0,
    }
    if filtered:
        inner["Filter"] = "(kind = 1)"
    outer = {"Node Type": "Seq Scan", "Relation Name": "o", "Plan Rows": outer_rows, "Total Cost": 10.0}
    return {"Node Type": "Nested Loop", "Plan Rows": outer_rows, "Total Cost": 50.0, "Plans": [outer, inner]}


def facts() -> Facts:
    table = make_table()
    return Facts({"t": table}, {"i": spec("customer")})


def test_a_look_up_per_row_of_a_large_outer_side_costs_more_than_reading_the_table_once() -> None:
    few, many = nested(10, "(customer = o.id)"), nested(200_000, "(customer = o.id)")
    assert reckoned(few, facts()) < reckoned(SEQUENTIAL, facts()) < reckoned(many, facts())


def test_rows_that_the_filter_throws_away_are_paid_for() -> None:
    filtered = reckoned(nested(1_000, "(customer = o.id)"), facts())
    assert filtered > reckoned(nested(1_000, "(customer = o.id)", filtered=False), facts())


def test_a_limit_pays_for_what_it_reads_only() -> None:
    scan = SEQUENTIAL | {"Startup Cost": 0.0}
    limit = {"Node Type": "Limit", "Plan Rows": 10, "Total Cost": 200.0, "Plans": [scan]}
    assert reckoned(limit, facts()) < 0.05 * reckoned(scan, facts())


def test_what_the_processor_takes_longer_for_is_slower_whatever_the_planner_says() -> None:
    assert believed(0.5, 1.6) == 1.6
    assert believed(0.25, 1.0) == 0.5


def test_where_the_planner_finds_two_plans_even_the_slower_one_is_half_believed() -> None:
    assert 1.0 < believed(0.99, 1.6) < 1.6


def test_what_is_memoized_is_looked_up_as_often_as_the_cost_says() -> None:
    plan = nested(100_000, "(customer = o.id)", filtered=False)
    memo = {"Node Type": "Memoize", "Plan Rows": 1, "Total Cost": 5.01, "Plans": [plan["Plans"][1]]}
    dear = plan | {"Total Cost": 10 + 100_000 * 5.02, "Plans": [plan["Plans"][0], memo]}
    cheap = dear | {"Total Cost": 10 + 100_000 * 0.07}
    assert reckoned(cheap, facts()) < 0.2 * reckoned(plan, facts())
    assert reckoned(dear, facts()) > 0.9 * reckoned(plan, facts())


def test_what_is_materialised_is_made_once() -> None:
    outer = {"Node Type": "Seq Scan", "Relation Name": "o", "Plan Rows": 100, "Total Cost": 10.0}
    kept = {"Node Type": "Materialize", "Plan Rows": 50, "Total Cost": 20_001.0, "Plans": [SEQUENTIAL]}
    loop = {"Node Type": "Nested Loop", "Plan Rows": 100, "Total Cost": 20_100.0}
    assert reckoned(loop | {"Plans": [outer, kept]}, facts()) < 2 * reckoned(SEQUENTIAL, facts())
    assert reckoned(loop | {"Plans": [outer, SEQUENTIAL]}, facts()) > 50 * reckoned(SEQUENTIAL, facts())


def asking(condition: str, rows: int) -> dict[str, Any]:
    sub = SEQUENTIAL | {"Parent Relationship": "SubPlan"}
    whole = {
        "Node Type": "Seq Scan",
        "Relation Name": "c",
        "Startup Cost": 0.0,
        "Total Cost": 18_000 * 20_000.0,
    }
    return whole | {"Plan Rows": rows, "Filter": condition, "Plans": [sub]}


def test_a_sub_plan_runs_for_the_rows_that_the_cheap_conditions_leave() -> None:
    all_rows = asking("((SubPlan 1) > 3)", 50)
    few = asking("((country = 'x (AND'::text) AND ((SubPlan 1) > 3))", 50)
    assert reckoned(few, facts()) < 0.02 * reckoned(all_rows, facts())
    assert planned(few, facts()) < 0.02 * planned(all_rows, facts())
    assert planned(all_rows, facts()) == all_rows["Total Cost"]


def test_a_plan_without_sub_plans_costs_what_the_planner_says() -> None:
    plan = nested(10, "(customer = o.id)")
    assert planned(plan, facts()) == plan["Total Cost"]


@given(st.floats(0.001, 1.0), st.floats(0.001, 1.0))
def test_belief_lies_between_the_two(planned: float, processor: float) -> None:
    assert min(planned, processor) * 0.999 <= believed(planned, processor) <= max(planned, processor) * 1.001


def test_a_join_on_all_of_a_unique_key_has_a_partner_for_each_row() -> None:
    text = "SELECT a.ok FROM t a, t b WHERE a.customer = b.customer AND b.kind = a.kind"
    assert joined_rows(text, make_table(rows=900_000)) > 10 * 900_000
    assert (
        joined_rows(text, make_table(index("key", "at", "customer", unique=True), rows=900_000))
        > 10 * 900_000
    )
    text = "SELECT a.ok FROM t a, t b WHERE a.at = b.at AND b.customer = a.customer"
    assert joined_rows(text, make_table(rows=900_000)) < 0.01 * 900_000
    assert (
        joined_rows(text, make_table(index("key", "at", "customer", unique=True), rows=900_000))
        > 0.99 * 900_000
    )


def joined_rows(text: str, table: Table) -> float:
    known = catalog(table)
    planner = QueryPlanner(parse(text, known), Statement("1", text, 1, 1, rows=1), known)
    return planner.blocks[0].actual(frozenset({"a", "b"}))


def test_the_planner_foresees_the_partners_of_a_declared_foreign_key_only() -> None:
    text = "SELECT a.ok FROM t a, t b WHERE a.at = b.at AND b.customer = a.customer"
    table = make_table(index("key", "at", "customer", unique=True), rows=900_000)
    for declared, sees in (((), False), ((("at", "customer"),), True), ((("at",),), False)):
        known = catalog(replace(table, foreign_keys=declared))
        block = QueryPlanner(parse(text, known), Statement("1", text, 1, 1), known).blocks[0]
        both = frozenset({"a", "b"})
        assert block.actual(both) > 0.99 * 900_000
        assert (block.rows(both) == block.actual(both)) is sees


def test_what_the_planner_likes_for_the_few_rows_it_expects_takes_the_time_of_those_that_come() -> None:
    """Its nested loop over a million rows that it takes for one."""
    text = "SELECT c.name FROM t a, t b, t c WHERE a.at = b.at AND b.customer = a.customer AND c.id = a.kind"
    keys = (index("key", "at", "customer", unique=True), index("pk", "id", unique=True))
    known = catalog(make_table(*keys))
    planner = QueryPlanner(parse(text, known), Statement("1", text, 1, 1), known)
    foreseen = catalog(make_table(*keys, foreign_keys=(("at", "customer"),)))
    told = QueryPlanner(parse(text, foreseen), Statement("1", text, 1, 1), foreseen)
    having = existing(known)
    assert planner.cost(having) < told.cost(having)
    assert planner.outcome(having).work > 1.5 * told.outcome(having).work


# --- pages that are not in shared buffers ------------------------------------------------------------------


def test_pages_that_shared_buffers_do_not_hold_are_paid_for() -> None:
    held, not_held = make_table(), make_table(uncached=0.5)
    scan, look_ups = SEQUENTIAL, nested(1_000, "(customer = o.id)")
    for plan in (scan, look_ups):
        cheap, dear = (reckoned(plan, Facts({"t": t}, {"i": spec("customer")})) for t in (held, not_held))
        assert dear > cheap
    assert missed_ns(not_held, 10) == 5 * RATES.miss
    assert missed_ns(held, 10) == 0


@given(st.floats(1, 1e7), st.floats(0, 1), st.floats(1, 1e5))
def test_no_scan_reads_more_pages_than_the_table_has(fetched: float, order: float, loops: float) -> None:
    table = make_table(uncached=0.5)
    missed = heap_missed_ns(table, fetched, order, loops)
    assert 0 < missed * loops <= missed_ns(table, table.pages) * 1.0001
    assert missed <= heap_missed_ns(table, fetched, 0.0, loops) * 1.0001
    assert missed * loops <= missed_ns(table, fetched * loops + 1) * 1.0001


def test_a_condition_on_what_a_cte_computed_from_one_column_is_no_filter_of_this_block() -> None:
    text = """WITH x AS (SELECT t.customer AS c, avg(sum(t.kind)) OVER (PARTITION BY t.at) AS m, t.at AS y FROM t, t u
        WHERE t.id = u.id GROUP BY t.customer, t.at),
        z AS (SELECT x.*, o.m AS p FROM x, x o WHERE x.c = o.c)
        SELECT * FROM z WHERE y = $1 AND m > $2 AND CASE WHEN m > $3 THEN abs(p - m) / m ELSE $4 END > $5 ORDER BY p"""
    assert parse(text, catalog(make_table())).tables == {"public.t"}


# --- texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("d < date $2 + interval $3 year", "d < date $2 + interval '1 year'"),
        ("d < $1::date - $2::interval", f"d < $1::date - interval '{retype.SPAN}'"),
        ("extract($1 from d)", "extract(year from d)"),
        ("x between $4 - $5 and $6 + $7", "x between $4 and $6"),
        ("substring(p from $1 for $2)", "substring(p from CAST($1 AS integer) for CAST($2 AS integer))"),
        ("x + $1 > $2", "x + $1 > $2"),
    ],
)
def test_a_parameter_that_can_only_be_one_thing_becomes_that(text: str, simple: str) -> None:
    assert retype.simplified(text) == simple


def test_parameters_are_counted_without_gaps() -> None:
    assert retype.renumbered("a = $3 and b = $7 and c = $3") == ("a = $1 and b = $2 and c = $1", {3: 1, 7: 2})


def test_casts_are_tried_where_the_server_points() -> None:
    def ask(text: str) -> tuple[str, ...] | retype.Complaint | None:
        if "THEN CAST($1 AS numeric)" in text or "ELSE CAST($2 AS numeric)" in text:
            return ("numeric", "numeric")
        return retype.Complaint(text.index("sum("))

    found = retype.casts("SELECT sum(CASE WHEN x THEN $1 ELSE $2 END)", ask)
    assert found is not None
    assert "CAST($" in found[0]
    assert retype.casts("SELECT sum($1)", lambda text: None) is None
    assert retype.casts("SELECT sum($1)", lambda text: retype.Complaint(7)) is None


def test_values_that_do_not_fit_the_type_are_left_out() -> None:
    values = {1: "1998-06-12", 2: "7", 3: "x", 4: "1998-06-12"}
    assert retype.fitting(values, ("interval", "integer", "numeric", "date")) == {2: "7", 4: "1998-06-12"}
    assert retype.sql_type("character") == "bpchar"


def test_what_every_branch_demands_is_demanded_once() -> None:
    text = "SELECT 1 FROM a, b WHERE (a.id = b.id AND a.x = 1) OR (a.id = b.id AND a.x = 2)"
    assert " ".join(factored(text).split()).startswith("SELECT 1 FROM a, b WHERE (a.id = b.id AND (")
    assert factored("SELECT 1 WHERE a = 1 OR b = 2") == "SELECT 1 WHERE a = 1 OR b = 2"
    assert factored("SELECT ( or") == "SELECT ( or"


# --- candidates and selection ----------------------------------------------------------------------------------


def test_two_covering_indexes_with_the_same_keys_merge() -> None:
    one, two = replace(spec("at"), include=("kind",)), replace(spec("at"), include=("customer",))
    assert replace(spec("at"), include=("customer", "kind")) in set(merged([one, two]))
    longer = IndexSpec("public.t", (KeyPart("at"), KeyPart("customer")))
    assert replace(longer, include=("kind",)) in set(merged([one, longer]))
    assert not list(merged([spec("at"), spec("kind")]))


def test_an_index_matters_where_its_first_key_is_read_or_it_holds_all_that_is_read() -> None:
    relation = Relation("t", "public.t", columns=frozenset({"customer", "at"}))
    assert could_serve(spec("customer"), relation)
    assert not could_serve(spec("kind"), relation)
    assert could_serve(replace(spec("kind"), include=("at", "customer")), relation)
    assert not could_serve(spec("customer"), replace(relation, table="public.other"))


def test_what_never_finished_counts_as_the_slowest() -> None:
    found = with_unfinished(Workload((Statement("1", "x", 5, 100.0), Statement("2", "y", 0, 0.0))))
    assert [(s.queryid, s.mean_ms) for s in found.statements] == [("2", UNFINISHED_MS), ("1", 20.0)]


class Told:
    """Costs by statement and the first keys that are there."""

    name = "told"

    def __init__(self, costs: Mapping[str, Mapping[str, float]]) -> None:
        self.costs = costs

    def cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        left = [self.costs[queryid].get(s.keys[0].text, 1.0) for s in added]
        slower = max([x for x in left if x > 1.0], default=1.0)
        return 100.0 * min([*left, 1.0]) * slower


def chosen(costs: Mapping[str, Mapping[str, float]], times: Mapping[str, float], **more: Any) -> set[str]:
    items = [Item(Candidate(spec(c), "workload"), 8 << 20, 0.0) for c in ("customer", "kind", "at")]
    statements = [Statement(q, q, 10, ms) for q, ms in times.items()]
    tables = {q: frozenset({"public.t"}) for q in times}
    problem = Problem(statements, tables, Told(costs), items, 64 << 20, 0.1, **more)
    return {p.candidate.spec.keys[0].text for p in select(problem).picks}


def test_a_light_statement_is_heard_beside_a_heavy_one() -> None:
    times = {"heavy": 1e6, "light": 100.0}
    assert chosen({"heavy": {"customer": 0.5}, "light": {"at": 0.1}}, times) == {"customer", "at"}


def test_an_index_that_slows_another_statement_must_gain_thrice_as_much() -> None:
    times = {"a": 1000.0, "b": 1000.0}
    assert chosen({"a": {"customer": 0.7}, "b": {"customer": 1.3}}, times) == set()
    assert chosen({"a": {"customer": 0.05}, "b": {"customer": 1.1}}, times) == {"customer"}


def test_bytes_have_a_price() -> None:
    times = {f"q{n}": 1000.0 for n in range(40)}
    costs = {q: ({"customer": 0.8} if q == "q0" else {}) for q in times}
    assert chosen(costs, times) == {"customer"}
    assert chosen(costs, times, data_bytes=16 << 20) == set()
