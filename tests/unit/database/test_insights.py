"""What plans and texts say, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from paiid_perf.database.rules import insights
from paiid_perf.database.rules.insights import Studied, judge, masked


def node(kind: str = "Seq Scan", **fields: Any) -> dict[str, Any]:
    known = {"Node Type": kind, "Plan Rows": 10, "Actual Rows": 10, "Actual Loops": 1, "Total Cost": 100.0}
    names = {
        "relation": "Relation Name",
        "filter": "Filter",
        "plans": "Plans",
        "rows": "Actual Rows",
        "rows_removed_by_filter": "Rows Removed by Filter",
    }
    return known | {names.get(name, name.replace("_", " ").title()): value for name, value in fields.items()}


def said(text: str = "SELECT 1", plan: dict[str, Any] | None = None, **fields: Any) -> list[str]:
    executed = plan is not None and fields.pop("executed", True)
    extra = {key: fields.pop(key) for key in ("JIT", "Execution Time") if key in fields}
    whole = None if plan is None else {"Plan": plan, "Execution Time": 10.0} | extra
    known: dict[str, Any] = {"calls": 100, "mean_ms": 30.0, "table_rows": {"orders": 500_000.0}}
    studied = Studied("1", text, plan=whole, executed=executed, **known | fields)
    return [finding.check.removeprefix("query_") for finding in judge([studied])]


def scan(condition: str, **fields: Any) -> dict[str, Any]:
    return node(relation="orders", filter=condition, **fields)


@pytest.mark.parametrize(
    ("plan", "found"),
    [
        (node(), []),
        (node(plan_rows=10, rows=1_000), ["misestimate"]),
        (node(plan_rows=10, rows=900), []),
        (node(plan_rows=200_000, rows=1), ["misestimate"]),
        (node(plan_rows=1, rows=200, actual_loops=0), []),
        (node("Sort", sort_space_type="Disk", sort_space_used=20_000), ["spill"]),
        (node("Sort", sort_space_type="Memory", sort_space_used=20_000), []),
        (node("Hash", hash_batches=4, peak_memory_usage=4_000), ["spill"]),
        (node("Hash", hash_batches=1, peak_memory_usage=4_000), []),
        (node("Aggregate", disk_usage=10_000), ["spill"]),
        (node(rows_removed_by_filter=100_000, filter="(a = 1)"), ["filter"]),
        (node(rows_removed_by_filter=9_000, filter="(a = 1)"), []),
        (node(rows_removed_by_filter=20_000, rows=10_000, plan_rows=10_000), []),
        (
            node("Nested Loop", plans=[node(), node("Index Scan", actual_loops=50_000, rows=0)]),
            ["nested_loop"],
        ),
        (node("Nested Loop", plans=[node(), node("Index Scan", actual_loops=500)]), []),
    ],
)
def test_plan(plan: dict[str, Any], found: list[str]) -> None:
    assert said(plan=plan) == found


def test_what_was_not_run_has_no_wrong_rows() -> None:
    assert said(plan=node(plan_rows=1, rows=100_000), executed=False) == []


def test_the_lowest_wrong_guess_is_told() -> None:
    below = node(
        relation="orders", filter="((city = 'Bonn'::text) AND (zip = 53111))", plan_rows=1, rows=5_000
    )
    plan = node("Hash Join", plan_rows=1, rows=5_000, plans=[below])
    (found,) = judge([Studied("1", "SELECT", 1, 1.0, {"Plan": plan}, executed=True)])

    assert 'CREATE STATISTICS (dependencies, mcv) ON "city", "zip" FROM "orders"' in found.how
    assert "Bonn" not in found.why + found.how
    assert "53111" not in found.why + found.how


@pytest.mark.parametrize(("total", "whole", "found"), [(9.0, 20.0, ["jit"]), (9.0, 2_000.0, [])])
def test_jit(total: float, whole: float, found: list[str]) -> None:
    assert said(plan=node(), JIT={"Timing": {"Total": total}}, **{"Execution Time": whole}) == found


@pytest.mark.parametrize(("generic", "found"), [(1_000.0, ["generic_plan"]), (900.0, []), (None, [])])
def test_generic_plan(generic: float | None, found: list[str]) -> None:
    assert said(plan=node(), generic_cost=generic) == found


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("(name ~~ '%x%'::text)", ["infix"]),
        ("((name)::text ~~* '%x%'::text)", ["infix"]),
        ("(orders.name ~~ '%x'::text)", ["infix"]),
        ("(name ~~ 'x%'::text)", []),
        ("(lower(name) = 'x'::text)", ["folded"]),
        ("(upper((name)::text) = 'X'::text)", ["folded"]),
        ("(name = lower('X'::text))", []),
        ("((at)::date = '2026-01-01'::date)", ["cast"]),
        ("((at AT TIME ZONE 'UTC'::text)::date = '2026-01-01'::date)", ["cast"]),
        ("((id)::numeric = 5.0)", ["cast"]),
        ("((name)::text = 'x'::text)", []),
    ],
)
def test_conditions_that_no_index_serves(condition: str, found: list[str]) -> None:
    assert said(plan=scan(condition)) == found
    assert said(plan=scan(condition), table_rows={"orders": 100.0}) == []
    assert said(plan=scan(condition) | {"Node Type": "Index Scan"}) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT * FROM a WHERE id NOT IN (SELECT a_id FROM b)", ["not_in"]),
        ("SELECT * FROM a WHERE NOT (id IN (SELECT a_id FROM b))", ["not_in"]),
        ("SELECT * FROM a WHERE id IN (SELECT a_id FROM b)", []),
        ("SELECT * FROM a WHERE id NOT IN ($1, $2)", []),
        (f"SELECT * FROM a WHERE id IN ({', '.join(f'${n}' for n in range(1, 101))})", ["in_list"]),
        (f"SELECT * FROM a WHERE id IN ({', '.join(f'${n}' for n in range(1, 100))})", []),
        ("SELECT count(*) FROM orders", ["count"]),
        ('SELECT COUNT(*) AS "__count" FROM "orders" WHERE "orders"."a" = $1', ["count"]),
        ("SELECT count(*) FROM small", []),
        ("SELECT count(*), sum(a) FROM orders", []),
        ("SELECT count(*) FROM orders JOIN a USING (id)", []),
        ("not SQL at all (", []),
    ],
)
def test_text(text: str, found: list[str]) -> None:
    assert said(text) == found


def test_a_long_array_is_a_long_list() -> None:
    numbers = ",".join(map(str, range(150)))

    assert said(plan=node("Index Scan", index_cond=f"(id = ANY ('{{{numbers}}}'::integer[]))")) == ["in_list"]


@pytest.mark.parametrize(
    ("text", "read", "found"),
    [
        ("SELECT * FROM orders ORDER BY id LIMIT $1 OFFSET $2", 5_010, ["offset"]),
        ("SELECT * FROM orders ORDER BY id LIMIT $1 OFFSET $2", 110, []),
        ("SELECT * FROM orders ORDER BY id LIMIT $1", 5_010, []),
    ],
)
def test_offset(text: str, read: int, found: list[str]) -> None:
    below = node("Index Scan", plan_rows=read, rows=read)

    assert said(text, node("Limit", plans=[below])) == found


def test_the_orm_is_told_by_the_models_name() -> None:
    plan = {"Plan": scan("((at)::date = '2026-01-01'::date)"), "Execution Time": 1.0}
    known: dict[str, Any] = {"table_rows": {"orders": 1e6}, "models": {"orders": "Order"}}
    (found,) = judge([Studied("1", "SELECT", 1, 1.0, plan, True, **known)])

    assert "Order.objects.filter(at__gte=day, at__lt=day + timedelta(days=1))" in found.how


def test_constants_are_masked() -> None:
    assert masked("((a = 'it''s'::text) AND (b2 > 5.5))") == "((a = ?::text) AND (b2 > ?))"


def test_each_insight_is_told_once_for_a_statement() -> None:
    plan = {"Plan": node("Append", plans=[scan("(name ~~ '%x%'::text)")] * 2)}
    studied = Studied("1", "SELECT", 1, 1.0, plan, True, table_rows={"orders": 1e6})

    assert len(judge([studied])) == 1
    assert len(insights.INSIGHTS) == len(set(insights.INSIGHTS))
