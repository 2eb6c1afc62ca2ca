"""Bad habits on a real server, and what their real plans say."""

from __future__ import annotations

from typing import Any

import pytest

from paiid_perf.database.facts import insights as facts
from paiid_perf.database.health_types import StatementFact
from paiid_perf.database.rules import insights
from paiid_perf.database.rules.insights import Studied


@pytest.fixture
def orders(plant: Any) -> Any:
    plant(
        "CREATE TABLE insight_orders (id int PRIMARY KEY, a int, b int, name varchar(40), at timestamptz)",
        "INSERT INTO insight_orders SELECT i, i % 200, i % 200, 'name ' || i,"
        " '2026-01-01'::timestamptz + i * interval '1 minute' FROM generate_series(1, 40000) i",
        "CREATE TABLE insight_refs AS SELECT i AS order_id FROM generate_series(1, 200) i",
        "ANALYZE insight_orders, insight_refs",
    )
    return plant


T = "planted.insight_orders"


def study(session: Any, *statements: StatementFact) -> list[Studied]:
    return facts.study(session, facts.heavy(session, statements))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"SELECT * FROM {T} WHERE name LIKE '%999%'", "infix"),
        (f"SELECT * FROM {T} WHERE lower(name) = 'name 7'", "folded"),
        (f"SELECT * FROM {T} WHERE upper(name::text) = 'NAME 7'", "folded"),
        (f"SELECT * FROM {T} WHERE (at AT TIME ZONE 'UTC')::date = '2026-01-02'", "cast"),
        (f"SELECT * FROM {T} WHERE at::date = '2026-01-02'", "cast"),
        (f"SELECT * FROM {T} WHERE id::numeric = 7.0", "cast"),
        (f"SELECT * FROM {T} ORDER BY id LIMIT 10 OFFSET 30000", "offset"),
        (f"SELECT * FROM {T} WHERE name = 'name 7'", "filter"),
        (f"SELECT * FROM {T} WHERE id NOT IN (SELECT order_id FROM planted.insight_refs)", "not_in"),
        (f"SELECT * FROM {T} WHERE a % 2 + b % 2 = 2", "misestimate"),
    ],
)
def test_habit(orders: Any, session: Any, text: str, found: str) -> None:
    studied = study(session, StatementFact(1, text, 100, 20.0, 2_000.0, 100, 0))

    assert studied[0].executed
    assert f"query_{found}" in {f.check for f in insights.judge(studied)}


def test_what_takes_long_is_explained_only(orders: Any, session: Any) -> None:
    slow = StatementFact(1, f"SELECT * FROM {T} WHERE name LIKE '%999%'", 10, 60_000.0, 600_000.0, 1, 0)
    (studied,) = study(session, slow)

    assert not studied.executed
    assert studied.plan is not None
    assert "query_infix" in {f.check for f in insights.judge([studied])}


def test_what_writes_is_never_run(orders: Any, session: Any) -> None:
    writes = StatementFact(1, f"UPDATE {T} SET b = b + 1 WHERE a = $1", 100, 1.0, 100.0, 100, 0)
    studied = study(session, writes)

    assert all(not one.executed for one in studied)
    assert orders(f"SELECT count(*) FROM {T} WHERE a <> b")[0][0] == 0


def test_constants_come_from_the_statistics(orders: Any, session: Any) -> None:
    (studied,) = study(session, StatementFact(1, f"SELECT * FROM {T} WHERE a = $1", 9, 1.0, 9.0, 1, 0))

    assert studied.executed
    assert studied.plan["Plan"]["Actual Rows"] == 200


def test_a_function_that_may_have_effects_is_not_called(orders: Any, session: Any) -> None:
    orders(
        "CREATE FUNCTION quiet(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1'",
        "CREATE FUNCTION loud(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'",
    )
    quiet, loud = (f"SELECT planted.{name}(a) FROM {T} WHERE id = 7" for name in ("quiet", "loud"))
    studied = study(
        session, StatementFact(1, quiet, 100, 1.0, 100.0, 1, 0), StatementFact(2, loud, 100, 1.0, 100.0, 1, 0)
    )

    assert {one.queryid: one.executed for one in studied} == {"1": True, "2": False}


def test_the_plan_for_any_constant_is_known_on_every_version(orders: Any, session: Any) -> None:
    text = f"SELECT * FROM {T} WHERE a = $1 AND id BETWEEN $2 AND $3"
    (studied,) = study(session, StatementFact(1, text, 100, 20.0, 2_000.0, 100, 0))
    prepared = facts._explained_generic(session, text)

    assert prepared is not None
    assert studied.generic_cost == prepared["Plan"]["Total Cost"]
    assert "$1" in str(prepared["Plan"])
    assert session.rows("SELECT 1 FROM pg_prepared_statements") == []
    assert facts._explained_generic(session, "SELECT $1 FROM nowhere") is None
