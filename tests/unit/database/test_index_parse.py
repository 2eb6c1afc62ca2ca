"""What the parser makes of the shapes that statements come in."""

from __future__ import annotations

import pytest

from paiid_perf.database.index_types import Block, Catalog, Column, Join, Query, Relation, Table
from paiid_perf.database.rules.indexes.parse import (
    Bindings,
    Unparsable,
    canonical_conjuncts,
    canonical_sql,
    parse,
)
from paiid_perf.database.rules.indexes.texts import reason_to_leave_out, repaired, shape, without_comments


def table(name: str, *columns: str, schema: str = "public") -> Table:
    kinds = {c: Column(c, *(("text", "text") if c == "n" else ("integer", "number"))) for c in columns}
    return Table(schema, name, 1e5, 1e3, kinds)


TABLES = (
    table("t", "id", "a", "b", "c", "d", "j", "n", "ok"),
    table("u", "id", "x", "t_id", "at"),
    table("Order Lines", "Id", "Customer", schema="Sales"),
)
CATALOG = Catalog(
    {t.key: t for t in TABLES},
    {"t": "public.t", "u": "public.u", "v": "public.v", "grouped": "public.grouped"},
    {
        "public.v": " SELECT t.id, t.a AS aa FROM t WHERE t.b = 1;",
        "public.grouped": "SELECT t.a, count(*) AS n FROM t GROUP BY t.a",
    },
)


def read(text: str, bindings: Bindings | None = None) -> Query:
    return parse(text, CATALOG, bindings)


def only(text: str) -> Relation:
    return read(text).blocks[0].relations[0]


def said(relation: Relation) -> list[tuple[str, str]]:
    return [(p.key, p.op) for p in relation.predicates]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("a = $1", [("a", "eq")]),
        ("$1 = a", [("a", "eq")]),
        ("a IN ($1, $2)", [("a", "in")]),
        ("a IN ($1)", [("a", "eq")]),
        ("a IN ($1 /*, ... */)", [("a", "in")]),
        ("a = ANY($1)", [("a", "in")]),
        ("a > $1 AND a <= $2", [("a", "range"), ("a", "range")]),
        ("$1 < a", [("a", "range")]),
        ("a BETWEEN $1 AND $2", [("a", "range")]),
        ("(a, b) > ($1, $2)", [("a", "range")]),
        ("a IS NULL", [("a", "null")]),
        ("a IS NOT NULL", [("a", "notnull")]),
        ("NOT a IS NULL", [("a", "notnull")]),
        ("ok", [("ok", "eq")]),
        ("NOT ok", [("ok", "eq")]),
        ("ok IS TRUE", [("ok", "eq")]),
        ("n LIKE $1", [("n", "like")]),
        ("n ILIKE $1", [("n", "ilike")]),
        ("n::text LIKE $1 ESCAPE $2", [("n", "like")]),
        ("j @> $1", [("j", "contains")]),
        ("j && $1", [("j", "overlap")]),
        ("j @@ to_tsquery($1)", [("j", "search")]),
        ("a = $1 OR a = $2", [("a", "in")]),
        ("a = $1 OR b = $2", [("", "or")]),
        ("NOT (a = $1 OR b IS NULL)", [("", "not"), ("b", "notnull")]),
        ("lower(n) = $1", [('LOWER("n")', "eq")]),
        ("upper(n::text) LIKE upper($1)", [('UPPER("n")', "like")]),
        ("a + b > $1", [('"a" + "b"', "range")]),
        ("a <> $1", [("", "not")]),
        ("n NOT LIKE $1", [("", "not")]),
        ("n NOT ILIKE $1 ESCAPE $2", [("", "not")]),
        ("a NOT IN ($1, $2)", [("", "not")]),
        ("NOT a BETWEEN $1 AND $2", [("", "not")]),
        ("a > (SELECT avg(x) FROM u WHERE u.t_id = t.id)", [("", "asked")]),
        ("a = b", [("", "other")]),
        ("d >= date $1 AND d < date $1 + interval $2 day", [("d", "range"), ("d", "range")]),
        ("extract($1 from d) = $2", [('EXTRACT(YEARS FROM "d")', "eq")]),
        ("a = (SELECT max(x) FROM u)", [("a", "eq")]),
    ],
)
def test_predicates(where: str, expected: list[tuple[str, str]]) -> None:
    found = said(only(f"SELECT id FROM t WHERE {where}"))
    assert sorted(found) == sorted(expected)


def _order(block: Block) -> list[tuple[str, bool]]:
    return [(k.key, k.descending) for k in block.order]


def test_comments_before_inside_and_after_change_nothing() -> None:
    plain = read("SELECT id FROM t WHERE a = $1")
    assert (
        read("/* route='/x' */ -- hello\nSELECT id /* y */ FROM t WHERE a = $1 /* traceparent=1 */;") == plain
    )


def test_order_limit_and_positions() -> None:
    block = read("SELECT a AS first, d FROM t WHERE b = $1 ORDER BY 2 DESC, first LIMIT 10 OFFSET 5").blocks[
        0
    ]
    assert _order(block) == [("d", True), ("a", False)]
    assert block.limit == 15


def test_a_limit_that_is_a_parameter_is_nought() -> None:
    assert read("SELECT id FROM t LIMIT $1").blocks[0].limit == 0
    assert read("SELECT id FROM t FETCH FIRST $1 ROWS ONLY").blocks[0].limit == 0
    assert read("SELECT id FROM t").blocks[0].limit is None


def test_an_order_by_an_aggregate_is_a_sort_that_no_index_gives() -> None:
    block = read("SELECT a, count(*) AS n FROM t GROUP BY a ORDER BY n DESC LIMIT 5").blocks[0]
    assert block.sorts
    assert block.order == ()
    assert [k.key for k in block.group] == ["a"]


def test_a_lone_maximum_is_the_first_row_in_order() -> None:
    block = read("SELECT max(at) FROM u WHERE x = $1").blocks[0]
    assert (_order(block), block.limit, block.aggregates) == ([("at", True)], 1.0, False)
    assert read("SELECT max(at), min(x) FROM u").blocks[0].aggregates


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("SELECT t.a FROM t JOIN u ON u.t_id = t.id", "inner"),
        ("SELECT t.a FROM t, u WHERE t.id = u.t_id", "inner"),
        ("SELECT t.a FROM t LEFT JOIN u ON u.t_id = t.id", "left"),
        ("SELECT a FROM t WHERE id IN (SELECT t_id FROM u)", "semi"),
        ("SELECT a FROM t WHERE id = ANY (SELECT t_id FROM u)", "semi"),
        ("SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id)", "semi"),
        ("SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id)", "anti"),
    ],
)
def test_joins(text: str, kind: str) -> None:
    (join,) = read(text).blocks[0].joins
    assert {join.left_key, join.right_key} == {"id", "t_id"}
    assert join.kind == kind


def test_a_join_through_using() -> None:
    assert read("SELECT 1 FROM t JOIN u USING (id)").blocks[0].joins == (Join("t", "id", "u", "id"),)


def test_a_filter_of_the_outer_side_in_a_left_join_filters_nothing_of_it() -> None:
    left, right = (
        read("SELECT 1 FROM t LEFT JOIN u ON u.t_id = t.id AND u.x = $1 AND t.a = $2").blocks[0].relations
    )
    assert said(left) == []
    assert said(right) == [("x", "eq")]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT s.k FROM (SELECT a AS k, b FROM t WHERE d = $1) s WHERE s.b = $2",
        "WITH s AS (SELECT a AS k, b FROM t WHERE d = $1) SELECT k FROM s WHERE b = $2",
        "WITH r AS (SELECT * FROM t WHERE d = $1), s AS (SELECT r.a AS k, r.b FROM r) SELECT s.k FROM s WHERE s.b = $2",
    ],
)
def test_simple_sub_queries_are_flattened(text: str) -> None:
    query = read(text)
    assert len(query.blocks) == 1
    assert said(query.blocks[0].relations[0]) == [("d", "eq"), ("b", "eq")]


def test_a_filter_goes_down_to_the_key_of_a_grouped_sub_query() -> None:
    query = read(
        "WITH c AS (SELECT t_id, max(at) m FROM u GROUP BY t_id) SELECT m FROM c WHERE t_id = $1 AND m > $2"
    )
    assert said(query.blocks[1].relations[0]) == [("t_id", "eq")]


def test_views_are_their_queries() -> None:
    assert said(only("SELECT aa FROM v WHERE aa = $1")) == [("b", "eq"), ("a", "eq")]
    assert said(read("SELECT n FROM grouped WHERE a = $1").blocks[1].relations[0]) == [("a", "eq")]


def test_a_correlated_sub_query_runs_once_a_row_and_another_once() -> None:
    query = read(
        "SELECT (SELECT at FROM u WHERE u.t_id = t.id ORDER BY at LIMIT 1), (SELECT max(x) FROM u) FROM t"
    )
    assert sorted(str(b.per_row_of) for b in query.blocks) == ["0", "None", "None"]


def test_lateral() -> None:
    query = read(
        "SELECT z.x FROM t CROSS JOIN LATERAL (SELECT x FROM u WHERE u.t_id = t.id ORDER BY at LIMIT 3) z"
    )
    inner = query.blocks[1]
    assert inner.per_row_of == 0
    assert said(inner.relations[0]) == [("t_id", "eq")]


def test_every_branch_of_a_union_is_a_block() -> None:
    query = read("SELECT id FROM t WHERE a = $1 UNION ALL (SELECT id FROM u WHERE x = $2) ORDER BY 1 LIMIT 3")
    assert [said(b.relations[0]) for b in query.blocks] == [[("a", "eq")], [("x", "eq")]]


def test_window_functions_do_not_aggregate() -> None:
    assert not read("SELECT rank() OVER (PARTITION BY a ORDER BY b) FROM t WHERE c = $1").blocks[0].aggregates


def test_quoted_and_folded_names() -> None:
    assert only('SELECT "Id" FROM "Sales"."Order Lines" WHERE "Customer" = $1').table == "Sales.Order Lines"
    assert said(only("SELECT T.A FROM PUBLIC.T WHERE T.A = $1")) == [("a", "eq")]
    assert only('SELECT 1 FROM "T"').table is None


def test_writes_and_what_they_read() -> None:
    update = read("UPDATE t SET a = $1, b = $2 WHERE c = $3")
    assert update.write is not None
    assert update.write.columns == {"a", "b"}
    assert said(update.blocks[0].relations[0]) == [("c", "eq")]
    delete = read("DELETE FROM t USING u WHERE t.id = u.t_id AND u.x = $1")
    assert delete.write is not None
    assert delete.write.kind == "delete"
    assert len(delete.blocks[0].joins) == 1
    insert = read("INSERT INTO t (a, b) VALUES ($1,$2) ON CONFLICT (a) DO UPDATE SET b = excluded.b")
    assert insert.write is not None
    assert (insert.write.kind, insert.blocks) == ("insert", ())


def test_columns_read_are_known_for_index_only_scans() -> None:
    relation = only("SELECT a, count(*) FROM t WHERE b = $1 GROUP BY a")
    assert (relation.columns, relation.star) == ({"a", "b"}, False)
    assert only("SELECT * FROM t WHERE b = $1").star


def test_a_value_that_every_sample_had_is_a_constant() -> None:
    text = "SELECT id FROM t WHERE a = $1 AND b = $2"
    relation = read(text, Bindings({1: "'open'", 2: "7"}, stable=frozenset({1}))).blocks[0].relations[0]
    assert [(p.text, p.values) for p in relation.predicates] == [
        ("\"a\" = 'open'", ("open",)),
        ('"b" = $2', ("7",)),
    ]


@pytest.mark.parametrize("text", ["", "SELECT FROM WHERE", "VACUUM t", "selectt 1 fromm"])
def test_what_is_no_statement_says_so(text: str) -> None:
    with pytest.raises(Unparsable):
        read(text)


def test_nesting_has_an_end() -> None:
    text = "SELECT 1 FROM t WHERE a = " + "(SELECT max(a) FROM t WHERE a = " * 40 + "1" + ")" * 40
    with pytest.raises(Unparsable):
        read(text)


@pytest.mark.parametrize(
    ("catalogue", "query"),
    [
        ("upper((name)::text)", 'UPPER("t"."name"::text)'),
        ("lower(name)", "LOWER(t.name)"),
        ("(data ->> 'plan'::text)", "t.data ->> 'plan'"),
        ("((a + b))", "a + b"),
        ("((a + b) - c)", "a + b - c"),
        ("((data -> 'a'::text) ->> 'b'::text)", "data -> 'a' ->> 'b'"),
        ("((COALESCE(a, ''::text) || ' '::text) || b)", "coalesce(a, '') || ' ' || b"),
    ],
)
def test_equal_expressions_have_one_text(catalogue: str, query: str) -> None:
    assert canonical_sql(catalogue) == canonical_sql(query)


def test_parentheses_that_count_stay() -> None:
    assert canonical_sql("a - (b - c)") != canonical_sql("a - b - c")


def test_a_predicate_is_its_conjuncts() -> None:
    assert canonical_conjuncts("((status = 'open'::text) AND (shipped_at IS NULL))") == canonical_conjuncts(
        "shipped_at IS NULL AND status = 'open'"
    )


# --- texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("date $1", "CAST( $1  AS date)"),
        ("interval $2 day", "CAST( $2  AS interval)"),
        ("timestamp with time zone $1", "CAST( $1  AS timestamp with time zone)"),
        ("extract($3 from x)", "EXTRACT(years FROM x)"),
        ("IN ($1 /*, ... */)", "IN ( $1 ,  $1 ,  $1 ,  $1 ,  $1 )"),
        ("'date $1'", "'date $1'"),
        ('"date $1"', '"date $1"'),
    ],
)
def test_repairs(text: str, expected: str) -> None:
    assert repaired(text) == expected


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("BEGIN", True),
        ("/* x */ SET search_path TO a", True),
        ("EXPLAIN SELECT 1 FROM t", True),
        ("SELECT * FROM pg_stat_activity", True),
        ("SELECT relname FROM pg_catalog.pg_class", True),
        ("SELECT * FROM paiid_perf_metric", True),
        ("SELECT a FROM t WHERE n = 'pg_class'", False),
        ("UPDATE t SET a = $1", False),
        ("WITH x AS (SELECT 1) SELECT * FROM x", False),
    ],
)
def test_what_is_left_out(text: str, left_out: bool) -> None:
    assert bool(reason_to_leave_out(text)) is left_out


def test_a_sample_has_the_shape_of_its_normalised_text() -> None:
    normalised = 'SELECT "t"."a" FROM "t" WHERE "t"."n" = $1 AND "t"."a" IN ($2, $3) AND ok LIMIT $4'
    sample = 'SELECT "t"."a" FROM "t" WHERE "t"."n" = \'it\'\'s $1\' AND "t"."a" IN (4, 5) AND ok LIMIT 21'
    assert shape(sample)[0] == shape(normalised)[0]
    assert shape(sample)[1] == ("'it''s $1'", "4", "5", "21")


def test_comments_go_and_squashed_lists_stay() -> None:
    assert (
        without_comments("/* a */ SELECT 1 -- b\n IN ($1 /*, ... */);") == "SELECT 1  \n IN ($1 /*, ... */)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '/* -- it''s */'",
        """SELECT "a--b" FROM "/* t */" """.strip(),
        "SELECT $$ -- it's $$, $x$ /* $x$",
        r"SELECT E'\'--', 1",
    ],
)
def test_what_only_looks_like_a_comment_stays(text: str) -> None:
    assert without_comments(text) == text


def test_comments_nest() -> None:
    assert without_comments("SELECT /* a /* it's */ b */ 1 /* open") == "SELECT   1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval $1 year to month", "CAST( $1  AS interval)"),
        ("interval $1 second(1)", "CAST( $1  AS interval)"),
        ("interval(3) $1", "CAST( $1  AS interval)"),
        ("a OPERATOR(pg_catalog.=) $1", "a  =   $1 "),
    ],
)
def test_more_repairs(text: str, expected: str) -> None:
    assert repaired(text) == expected


# --- statements that write -----------------------------------------------------------------------------------


def test_a_merge_reads_its_source_and_finds_its_target() -> None:
    query = read(
        "MERGE INTO t USING u ON t.id = u.t_id AND t.a = $1 WHEN MATCHED THEN UPDATE SET b = u.x "
        "WHEN NOT MATCHED THEN INSERT (id) VALUES (u.t_id)"
    )
    assert query.write is not None
    assert (query.write.table, query.write.kind, query.write.columns) == ("public.t", "update", {"b"})
    (block,) = query.blocks
    assert [r.table for r in block.relations] == ["public.u", "public.t"]
    assert [(j.left_key, j.right_key, j.kind) for j in block.joins] == [("t_id", "id", "left")]
    assert said(block.relations[1]) == [("a", "eq")]


@pytest.mark.parametrize(
    ("whens", "kind"),
    [
        ("WHEN MATCHED THEN DELETE", "delete"),
        ("WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (id) VALUES (1)", "insert"),
    ],
)
def test_what_a_merge_writes(whens: str, kind: str) -> None:
    write = read(f"MERGE INTO t USING u ON t.id = u.t_id {whens}").write
    assert write is not None
    assert write.kind == kind


def test_a_cte_that_writes_is_read_too() -> None:
    query = read("WITH gone AS (DELETE FROM u WHERE x = $1 RETURNING t_id) SELECT * FROM gone")
    assert [("x", "eq")] in [said(r) for b in query.blocks for r in b.relations]


def test_values_alone_read_nothing() -> None:
    assert read("VALUES ($1, $2)").tables == frozenset()
