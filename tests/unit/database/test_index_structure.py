"""What the cost model knows of a query's structure: joins that follow from joins, negations, sub-queries of a row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.database.index_types import Catalog, Column, Index, IndexSpec, Join, KeyPart, Statement, Table
from paiid_perf.database.rules.indexes.candidates import candidates
from paiid_perf.database.rules.indexes.equalities import closed, spanning
from paiid_perf.database.rules.indexes.factor import factored
from paiid_perf.database.rules.indexes.parse import parse
from paiid_perf.database.rules.indexes.planner import QueryPlanner
from paiid_perf.database.rules.indexes.selectivity import combined
from paiid_perf.database.rules.indexes.sources import EstimatedCosts


def table(name: str, rows: float, *columns: Column) -> Table:
    key = Index(f"{name}_pkey", IndexSpec(f"public.{name}", (KeyPart("id"),)), unique=True, primary=True)
    found = (Column("id", "integer", "number", distinct=rows), *columns)
    return Table("public", name, rows, rows / 50, {c.name: c for c in found}, (key,))


def number(name: str, distinct: float) -> Column:
    return Column(name, "integer", "number", distinct=distinct)


NAME = Column("name", "character varying(80)", "text", distinct=5000, null_fraction=0.1)
TABLES = (
    table("region", 5),
    table("nation", 25, number("region", 5)),
    table("customer", 20_000, number("nation", 25), NAME),
    table("supplier", 1_500, number("nation", 25)),
    table("sale", 200_000, number("customer", 20_000), number("supplier", 1_500), number("amount", 1_000)),
)
CATALOG = Catalog(
    {t.key: t for t in TABLES}, {t.name: t.key for t in TABLES}, extensions=frozenset({"pg_trgm"})
)


def planner(text: str) -> QueryPlanner:
    return QueryPlanner(parse(text, CATALOG), Statement("1", text, 1, 1, rows=1), CATALOG)


def keeps(where: str) -> float:
    relation = parse(f"SELECT id FROM customer WHERE {where}", CATALOG).blocks[0].relations[0]
    return combined(CATALOG.tables["public.customer"], relation.predicates)


# --- joins that follow from joins ---------------------------------------------------------------------------


def pairs(joins: tuple[Join, ...]) -> set[frozenset[str]]:
    return {frozenset({j.left, j.right}) for j in joins}


def test_what_equals_the_same_is_joined() -> None:
    written = (Join("a", "x", "b", "y"), Join("b", "y", "c", "z"))
    found = closed(written)
    assert found[:2] == written
    assert pairs(found[2:]) == {frozenset("ac")}


def test_other_columns_and_outer_joins_imply_nothing() -> None:
    assert closed((Join("a", "x", "b", "y"), Join("b", "other", "c", "z"))) == (
        Join("a", "x", "b", "y"),
        Join("b", "other", "c", "z"),
    )
    assert len(closed((Join("a", "x", "b", "y", "left"), Join("b", "y", "c", "z")))) == 2


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("efgh")), max_size=6))
def test_as_many_joins_keep_rows_apart_as_tables_are_tied(edges: list[tuple[str, str]]) -> None:
    joins = tuple(Join(left, "k", right, "k") for left, right in edges)
    tied = {alias for edge in edges for alias in edge}
    everything = closed(joins)
    kept = spanning(everything)
    groups = len(spanning(joins))
    assert len(kept) == groups < max(1, len(tied)) + 1
    assert set(kept) <= set(joins), "those that are written come before those that follow"


def test_a_join_that_follows_gives_a_way_and_takes_no_rows() -> None:
    text = (
        "SELECT 1 FROM sale, customer, supplier, nation, region WHERE sale.customer = customer.id "
        "AND sale.supplier = supplier.id AND customer.nation = supplier.nation "
        "AND supplier.nation = nation.id AND nation.region = region.id AND region.id = $1"
    )
    block = planner(text).blocks[0]
    assert block.rows(frozenset({"customer", "nation", "region"})) == pytest.approx(20_000 / 5)
    everything = block.rows(frozenset(block.relations))
    assert everything == pytest.approx(200_000 / 25 / 5, rel=0.01)


# --- negations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "share"),
    [
        ("nation <> $1", 24 / 25),
        ("NOT nation = $1", 24 / 25),
        ("nation NOT IN ($1, $2)", 23 / 25),
        ("name NOT LIKE $1", 1 - 0.04 - 0.1),
        ("NOT (nation = $1 OR id = $2)", 24 / 25),
    ],
)
def test_a_negation_keeps_what_it_does_not_deny(where: str, share: float) -> None:
    assert keeps(where) == pytest.approx(share, rel=0.01)


@pytest.mark.parametrize("where", ["name NOT LIKE $1", "name NOT ILIKE '%abc%'", "nation <> $1"])
def test_no_index_is_made_for_what_is_denied(where: str) -> None:
    query = parse(f"SELECT id FROM customer WHERE {where}", CATALOG)
    assert not list(candidates(query, CATALOG, 3))


def test_an_or_of_three_branches_that_was_factored_demands_something_of_each_table() -> None:
    branch = "(sale.customer = customer.id AND customer.nation = ${} AND sale.amount = ${})"
    text = f"SELECT 1 FROM sale, customer WHERE {' OR '.join(branch.format(n, n + 1) for n in (1, 3, 5))}"
    relations = parse(factored(text), CATALOG).blocks[0].relations
    assert {r.alias: [(p.key, p.op) for p in r.predicates] for r in relations} == {
        "sale": [("amount", "in")],
        "customer": [("nation", "in")],
    }


# --- sub-queries of a row ------------------------------------------------------------------------------------


def test_what_is_compared_with_a_sub_query_of_the_same_row_serves_no_index() -> None:
    text = (
        "SELECT 1 FROM sale WHERE amount > "
        "(SELECT avg(s.amount) FROM sale s WHERE s.customer = sale.customer)"
    )
    query = parse(text, CATALOG)
    assert [p.op for p in query.blocks[0].relations[0].predicates] == ["asked"]
    assert not any(spec.key_texts[0] == "amount" for spec in candidates(query, CATALOG, 3))


def test_what_equals_a_sub_query_of_another_row_is_joined_to_it() -> None:
    text = (
        "SELECT 1 FROM customer, sale WHERE sale.amount = "
        "(SELECT max(s.amount) FROM sale s WHERE s.customer = customer.id)"
    )
    (join,) = parse(text, CATALOG).blocks[0].joins
    assert (join.left, join.left_key, join.right) == ("sale", "amount", "customer")


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("SELECT sum(amount) FROM sale WHERE amount > (SELECT avg(amount) FROM sale s WHERE {})", 200_000),
        ("SELECT sum(amount) FROM sale WHERE amount > (SELECT avg(amount) FROM sale s)", 1),
        (
            "SELECT 1 FROM customer, sale WHERE sale.customer = customer.id AND customer.nation = $1 "
            "AND sale.amount = (SELECT max(amount) FROM sale s WHERE s.customer = customer.id)",
            200_000 / 25,
        ),
        ("SELECT id, (SELECT count(*) FROM sale s WHERE {}) FROM sale WHERE id = $1", 1),
    ],
)
def test_a_sub_query_runs_for_the_rows_that_it_filters(text: str, times: float) -> None:
    found = planner(text.format("s.customer = sale.customer"))
    whole, inner = found.outcome({}), found.blocks[1].outcome({})
    outer = found.blocks[0].outcome({})
    assert whole.cost == pytest.approx(outer.cost + times * inner.cost, rel=0.01)


def test_an_index_under_a_sub_query_is_worth_as_often_as_it_runs() -> None:
    text = (
        "SELECT sum(amount) FROM sale WHERE amount > "
        "(SELECT avg(amount) FROM sale s WHERE s.customer = sale.customer)"
    )
    statement = Statement("1", text, 1, 10_000, rows=1)
    costs = EstimatedCosts([(statement, parse(text, CATALOG))], CATALOG)
    index = IndexSpec("public.sale", (KeyPart("customer"),))
    assert costs.cost("1", frozenset({index})) < costs.cost("1", frozenset()) / 100


def test_an_index_that_checks_what_a_sub_query_says_asks_it_once_a_row_of_the_other_table() -> None:
    text = (
        "SELECT sum(sale.amount) FROM sale, customer WHERE sale.customer = customer.id AND customer.nation = $1 "
        "AND sale.amount < (SELECT avg(s.amount) FROM sale s WHERE s.customer = customer.id)"
    )
    found = planner(text)
    inner, narrow = found.query.blocks[1], IndexSpec("public.sale", (KeyPart("customer"),))
    wide = IndexSpec("public.sale", (KeyPart("customer"), KeyPart("amount")))
    customers, sales = 20_000 / 25, 200_000 / 25
    assert found.blocks[0].asking(inner, {"public.sale": (narrow,)}) == pytest.approx(sales, rel=0.01)
    assert found.blocks[0].asking(inner, {"public.sale": (wide,)}) == pytest.approx(customers, rel=0.01)


def test_using_joins_what_sub_queries_put_out() -> None:
    text = (
        "WITH sold AS (SELECT customer, sum(amount) AS q FROM sale GROUP BY customer), "
        "bought AS (SELECT customer, count(*) AS n FROM sale GROUP BY customer) "
        "SELECT 1 FROM sold JOIN bought USING (customer)"
    )
    (join,) = parse(text, CATALOG).blocks[0].joins
    assert (join.left, join.left_key, join.right, join.right_key) == (
        "sold",
        "customer",
        "bought",
        "customer",
    )


def test_a_cte_that_is_named_twice_is_computed_once_and_whole() -> None:
    text = (
        "WITH spent AS (SELECT customer, sum(amount) AS total FROM sale GROUP BY customer) "
        "SELECT 1 FROM spent a JOIN spent b USING (customer) WHERE a.customer = $1"
    )
    blocks = parse(text, CATALOG).blocks
    assert [r.child for r in blocks[0].relations] == [1, 1]
    assert [len(b.relations) for b in blocks] == [2, 1]
    assert not blocks[1].relations[0].predicates
    once = parse(text.replace("JOIN spent b USING (customer)", ""), CATALOG).blocks
    assert [p.key for p in once[1].relations[0].predicates] == ["customer"]


def test_a_filter_from_within_reaches_a_sub_query_that_was_named_outside() -> None:
    text = (
        "SELECT 1 FROM (SELECT customer, sum(amount) AS q FROM sale GROUP BY customer) sold "
        "WHERE EXISTS (SELECT 1 FROM customer c WHERE c.id = sold.customer AND sold.customer > $1)"
    )
    assert [p.key for p in parse(text, CATALOG).blocks[1].relations[0].predicates] == ["customer"]
