"""Planted pathologies: small databases with a known right answer, on a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection

from paiid_perf.conf import get_settings
from paiid_perf.database.advisor import advise
from paiid_perf.database.facts import evidence
from paiid_perf.database.index_types import Advice, Statement
from paiid_perf.database.rules.indexes import render, script
from paiid_perf.database.session import connect
from paiid_perf.database.types import IndexCandidate
from tests.integration.database.counters import V15, hand_over

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

#: 40,000 orders of 2,000 customers over a year; one in fifty open.
ORDERS = """
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint NOT NULL, product_id int NOT NULL,
  status text NOT NULL, active boolean NOT NULL DEFAULT true, amount numeric NOT NULL, email text NOT NULL,
  shipped_at timestamptz, at timestamptz NOT NULL, note text);
INSERT INTO orders (customer_id, product_id, status, amount, email, shipped_at, at, note)
SELECT i::bigint * 7919 % 2000, i % 300, CASE WHEN i % 50 = 0 THEN 'open' ELSE 'done' END, i % 1000,
       'User' || i % 20000 || '@example.org', CASE WHEN i % 50 = 0 THEN NULL ELSE timestamptz '2025-06-01' END,
       timestamptz '2025-01-01' + (i::bigint * 104729 % 525600) * interval '1 minute', repeat('x', 40)
  FROM generate_series(1, 40000) i;
"""
CUSTOMERS = """
CREATE TABLE customers (id bigserial PRIMARY KEY, name varchar(80) NOT NULL, country text NOT NULL,
  data jsonb, tags text[]);
INSERT INTO customers (name, country, data, tags)
SELECT md5(i::text), 'C' || i % 150, jsonb_build_object('plan', i % 500, 'n', i), ARRAY['t' || i % 90, 'u' || i % 70]
  FROM generate_series(1, 20000) i;
"""

AMOUNTS = tuple(
    f"UPDATE orders SET amount = amount + 1 WHERE id BETWEEN {n} AND {n + 400}" for n in range(1, 2000, 400)
)


@dataclass(frozen=True)
class Case:
    """A planted pathology. Each ``wants`` pattern must match a proposal's key; no key may match ``never``."""

    name: str
    tables: str
    queries: tuple[str, ...]
    wants: tuple[str, ...] = ()
    never: str = r"(?!)"
    times: int = 6


CASES = [
    Case("equality", ORDERS, ("SELECT * FROM orders WHERE customer_id = 7",), (r"orders \(customer_id",)),
    Case(
        "equality before range",
        ORDERS,
        ("SELECT amount FROM orders WHERE customer_id = 7 AND at > '2025-11-01'",),
        (r"orders \(customer_id",),
        r"orders \(at, customer_id",
    ),
    Case(
        "filter, sort and limit",
        ORDERS,
        ("SELECT * FROM orders WHERE product_id = 7 ORDER BY at DESC LIMIT 5",),
        (r"orders \(product_id, at\)",),
    ),
    Case(
        "mixed directions",
        ORDERS,
        ("SELECT * FROM orders WHERE product_id = 7 ORDER BY amount DESC, at LIMIT 5",),
        (r"orders \(product_id, amount",),
    ),
    Case(
        "sort and limit alone",
        ORDERS,
        ("SELECT * FROM orders ORDER BY at DESC LIMIT 5",),
        (r"orders \(at\)",),
    ),
    Case("maximum", ORDERS, ("SELECT max(at) FROM orders",), (r"orders \(at\)",)),
    Case(
        "latest per group",
        ORDERS + CUSTOMERS,
        (
            "SELECT c.id, (SELECT o.amount FROM orders o WHERE o.customer_id = c.id ORDER BY o.at DESC LIMIT 1) "
            "FROM customers c WHERE c.country = 'C7'",
        ),
        (r"orders \(customer_id, at\)",),
    ),
    Case(
        "served by the prefix of another",
        ORDERS + "CREATE INDEX wide ON orders (customer_id, at);",
        ("SELECT * FROM orders WHERE customer_id = 7",),
        never=r"orders \(customer_id",
    ),
    Case(
        "an expression index does not serve the column",
        ORDERS + "CREATE INDEX low ON orders (lower(email));",
        ("SELECT id FROM orders WHERE email = 'User7@example.org'",),
        (r"orders \(email",),
    ),
    Case(
        "an expression index that serves",
        ORDERS + "CREATE INDEX low ON orders (lower(email));",
        ("SELECT id FROM orders WHERE lower(email) = 'user7@example.org'",),
        never=r"email",
    ),
    Case(
        "a partial index does not serve all rows",
        ORDERS + "CREATE INDEX part ON orders (customer_id) WHERE status = 'open';",
        ("SELECT * FROM orders WHERE customer_id = 7",),
        (r"orders \(customer_id",),
    ),
    Case(
        "an index that is invalid serves nothing",
        ORDERS
        + "CREATE INDEX broken ON orders (customer_id);"
        + "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass;",
        ("SELECT * FROM orders WHERE customer_id = 7",),
        (r"orders \(customer_id",),
    ),
    Case(
        "twenty rows",
        "CREATE TABLE tiny (id int PRIMARY KEY, kind int);"
        "INSERT INTO tiny SELECT i, i % 5 FROM generate_series(1, 20) i;",
        ("SELECT * FROM tiny WHERE kind = 3",),
        never=r"tiny",
    ),
    Case("always true", ORDERS, ("SELECT count(*) FROM orders WHERE active",), never=r"orders \(active\)"),
    Case(
        "half of the rows",
        ORDERS,
        ("SELECT sum(length(note)) FROM orders WHERE at < '2025-07-01'",),
        never=r"orders \(at\)$",
    ),
    Case(
        "jsonb containment",
        CUSTOMERS,
        ("""SELECT id FROM customers WHERE data @> '{"plan": 77}'""",),
        (r"customers using gin \(data jsonb_path_ops\)",),
    ),
    Case(
        "jsonb key as text",
        CUSTOMERS,
        ("SELECT id FROM customers WHERE data ->> 'plan' = '77'",),
        never=r"customers \(data\)",
    ),
    Case(
        "array containment",
        CUSTOMERS,
        ("SELECT id FROM customers WHERE tags @> ARRAY['t3', 'u11']",),
        (r"customers using gin \(tags\)",),
    ),
    Case(
        "infix ILIKE",
        CUSTOMERS,
        ("SELECT id FROM customers WHERE name ILIKE '%abcd1%'",),
        (r"customers using gin \(name gin_trgm_ops\)",),
    ),
    Case(
        "NOT LIKE, which no index serves",
        CUSTOMERS,
        ("SELECT count(*) FROM customers WHERE name NOT LIKE '%abcd1%'",),
        never=r"customers (using gin )?\(name",
    ),
    Case(
        "a comparison with a sub-query of the same row",
        ORDERS,
        (
            "SELECT count(*) FROM orders o WHERE product_id = 7 AND amount > "
            "(SELECT avg(amount) FROM orders i WHERE i.customer_id = o.customer_id)",
        ),
        (r"orders \(customer_id",),
        r"orders \([^)]*amount, ",
    ),
    Case(
        "icontains",
        CUSTOMERS,
        ("SELECT id FROM customers WHERE UPPER(name::text) LIKE UPPER('%abcd1%')",),
        (r'customers using gin \(UPPER\("name"\) gin_trgm_ops\)',),
    ),
    Case(
        "case-insensitive equality",
        ORDERS,
        ("SELECT id FROM orders WHERE upper(email) = 'USER7@EXAMPLE.ORG'",),
        (r'orders \(UPPER\("email"\)',),
    ),
    Case(
        "IN (SELECT …)",
        ORDERS + CUSTOMERS,
        (
            "SELECT name FROM customers WHERE id IN (SELECT customer_id FROM orders WHERE email = 'User7@example.org')",
        ),
        (r"orders \(email",),
    ),
    Case(
        "EXISTS",
        ORDERS + CUSTOMERS,
        (
            "SELECT c.id FROM customers c WHERE c.country = 'C7' AND EXISTS "
            "(SELECT 1 FROM orders o WHERE o.customer_id = c.id AND o.status = 'open')",
        ),
        (r"orders \((customer_id|status)",),
    ),
    Case(
        "comments before and after",
        ORDERS,
        ("/* route=/orders */ -- who?\n SELECT * FROM orders WHERE customer_id = 7 /* trace=1 */",),
        (r"orders \(customer_id",),
    ),
    Case(
        "CTE, UNION and window",
        ORDERS,
        (
            "WITH mine AS (SELECT * FROM orders WHERE customer_id = 7) SELECT id, rank() OVER (ORDER BY at) FROM mine "
            "UNION ALL SELECT id, 0 FROM orders WHERE email = 'User7@example.org'",
        ),
        (r"orders \(customer_id", r"orders \(email"),
    ),
    Case(
        "OR over two columns needs both",
        ORDERS,
        ("SELECT id, note FROM orders WHERE customer_id = 7 OR email = 'User7@example.org'",),
        (r"orders \(customer_id", r"orders \(email"),
    ),
    Case(
        "join, filter and sort",
        ORDERS + CUSTOMERS,
        (
            "SELECT o.* FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.name = md5('77') "
            "ORDER BY o.at DESC LIMIT 5",
        ),
        (r"customers \(name", r"orders \(customer_id"),
    ),
    Case(
        "a queue of what is left to do",
        ORDERS,
        ("SELECT id FROM orders WHERE shipped_at IS NULL ORDER BY at LIMIT 10",),
        (r"orders \((at|shipped_at).*(where \"shipped_at\" IS NULL|\))",),
    ),
    Case(
        "texts that are not SQL as they stand",
        ORDERS,
        (
            "SELECT sum(amount) FROM orders WHERE at >= date '2025-06-01' "
            "AND at < date '2025-06-01' + interval '1' day "
            "AND extract(year FROM at) = 2025",
        ),
        (r"orders \(at",),
    ),
    Case(
        "other schema, mixed case, blanks",
        'CREATE SCHEMA "Sales"; CREATE TABLE "Sales"."Order Lines" '
        '("Id" serial PRIMARY KEY, "Customer Id" int, "Note" text);'
        'INSERT INTO "Sales"."Order Lines" ("Customer Id", "Note") '
        "SELECT i % 3000, md5(i::text) FROM generate_series(1, 30000) i;",
        ('SELECT "Note" FROM "Sales"."Order Lines" WHERE "Customer Id" = 7',),
        (r"Sales\.Order Lines \(Customer Id",),
    ),
    Case(
        "partitioned parent",
        "CREATE TABLE events (id bigint, kind int, at date NOT NULL) PARTITION BY RANGE (at);"
        "CREATE TABLE events_a PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2025-07-01');"
        "CREATE TABLE events_b PARTITION OF events FOR VALUES FROM ('2025-07-01') TO ('2026-01-01');"
        "INSERT INTO events SELECT i, i % 2000, date '2025-01-01' + i % 360 FROM generate_series(1, 40000) i;",
        ("SELECT * FROM events WHERE kind = 7",),
        (r"public\.events \(kind",),
    ),
    Case(
        "through a view",
        ORDERS
        + "CREATE VIEW open_orders AS SELECT id, customer_id AS who, at FROM orders WHERE status = 'open';",
        ("SELECT * FROM open_orders WHERE who = 50",),
        (r"orders \((customer_id|status)",),
    ),
    Case(
        "foreign table",
        "CREATE EXTENSION IF NOT EXISTS file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;"
        "CREATE FOREIGN TABLE outside (a int) SERVER files OPTIONS (program 'seq 1 2000');",
        ("SELECT * FROM outside WHERE a = 7",),
        never=r"outside",
    ),
    Case(
        "covering, for an index-only scan",
        ORDERS,
        tuple(f"SELECT sum(amount) FROM orders WHERE product_id BETWEEN {n} AND {n + 30}" for n in (10, 90)),
        (r"orders \(product_id(, amount)?\)( include \(amount\))?",),
    ),
    Case(
        "append-only time",
        "CREATE TABLE ticks (id bigserial PRIMARY KEY, at timestamptz NOT NULL, price numeric, note text);"
        "INSERT INTO ticks (at, price, note) SELECT timestamptz '2025-01-01' + i * interval '1 second', i % 100, "
        "repeat('x', 120) FROM generate_series(1, 60000) i;",
        ("SELECT avg(price) FROM ticks WHERE at BETWEEN '2025-01-01 05:00' AND '2025-01-01 05:30'",),
        (r"ticks (using brin )?\(at",),
    ),
    Case(
        "full text",
        CUSTOMERS + "ALTER TABLE customers ADD words tsvector; UPDATE customers SET words = "
        "to_tsvector('simple', 'w' || id % 4000 || ' v' || id % 3000);",
        ("SELECT id FROM customers WHERE words @@ to_tsquery('simple', 'w77')",),
        (r"customers using gin \(words\)",),
    ),
    Case(
        "an update looks for its rows",
        ORDERS,
        ("UPDATE orders SET note = 'seen' WHERE customer_id = 77 AND product_id = 3",),
        (r"orders \(customer_id",),
    ),
    Case(
        "a delete looks for its rows",
        ORDERS,
        ("DELETE FROM orders WHERE email = 'User7@example.org' AND amount < 0",),
        (r"orders \(email",),
    ),
    Case(
        "a delete by another table",
        ORDERS + CUSTOMERS,
        (
            "DELETE FROM orders o USING customers c WHERE c.id = o.customer_id AND c.name = md5('77') AND o.amount < 0",
        ),
        (r"(customers \(name|orders \(customer_id)",),
    ),
    Case(
        "a merge finds its target",
        ORDERS
        + "CREATE TABLE news (who bigint, what numeric); INSERT INTO news VALUES (7, 1), (8, 2); ANALYZE news;",
        (
            "MERGE INTO orders o USING news n ON o.customer_id = n.who AND o.product_id = 1 "
            "WHEN MATCHED THEN UPDATE SET note = 'm'",
        ),
        (r"orders \((customer_id|product_id)",),
    ),
    Case(
        "lateral, the newest few of each",
        ORDERS + CUSTOMERS,
        (
            "SELECT c.id, l.at FROM customers c CROSS JOIN LATERAL (SELECT o.at FROM orders o "
            "WHERE o.customer_id = c.id ORDER BY o.at DESC LIMIT 3) l WHERE c.country = 'C9'",
        ),
        (r"orders \(customer_id",),
    ),
    Case(
        "what a foreign key's cascade looks for",
        ORDERS + CUSTOMERS,
        ("SELECT 1 FROM ONLY public.orders x WHERE customer_id OPERATOR(pg_catalog.=) 7 FOR KEY SHARE OF x",),
        (r"orders \(customer_id",),
    ),
    Case(
        "a materialized view is a table to read",
        ORDERS
        + "CREATE MATERIALIZED VIEW totals AS SELECT customer_id, product_id, sum(amount) AS total FROM orders "
        "GROUP BY 1, 2;",
        ("SELECT total FROM totals WHERE customer_id = 7",),
        (r"totals \(customer_id",),
    ),
    Case(
        "a page further on",
        ORDERS,
        ("SELECT * FROM orders WHERE (at, id) < ('2025-06-01', 77) ORDER BY at DESC, id DESC LIMIT 10",),
        (r"orders \(at",),
    ),
    Case(
        "a list of values",
        ORDERS,
        ("SELECT * FROM orders WHERE customer_id IN (7, 9, 11) AND status = 'open'",),
        (r"orders \((customer_id|status)",),
    ),
    Case(
        "any of an array",
        ORDERS,
        ("SELECT * FROM orders WHERE customer_id = ANY('{7,9}'::bigint[])",),
        (r"orders \(customer_id",),
    ),
    Case(
        "asked once, in a database that asks something else all day",
        ORDERS,
        (
            "SELECT count(*) FROM orders WHERE customer_id = 7",
            *("SELECT sum(length(note)) FROM orders",) * 60,
        ),
        never=r"note",
        times=2,
    ),
    Case(
        "a primary key and a unique constraint stay, used or not",
        CUSTOMERS
        + "ALTER TABLE customers ADD CONSTRAINT one UNIQUE (name); CREATE INDEX more ON customers (name, id);",
        ("SELECT id FROM customers WHERE name = 'x'",),
        never=r"public\.(one|customers_pkey)$",
    ),
    Case(
        "a partial index is not made redundant by one with another predicate",
        ORDERS + "CREATE INDEX few ON orders (customer_id) WHERE status = 'open';"
        "CREATE INDEX others ON orders (customer_id, at) WHERE status = 'done';",
        ("SELECT * FROM orders WHERE customer_id = 50 AND status = 'open'",),
        never=r"public\.(few|others)$",
    ),
    Case(
        "a shorter one with more INCLUDE stays",
        ORDERS + "CREATE INDEX short ON orders (customer_id) INCLUDE (amount); "
        "CREATE INDEX wide ON orders (customer_id, at);",
        ("SELECT amount FROM orders WHERE customer_id = 50",),
        never=r"public\.short$",
    ),
    Case(
        "every order updates it",
        ORDERS,
        ("SELECT id FROM orders WHERE amount = 123 LIMIT 1", *AMOUNTS),
        never=r"amount",
        times=3,
    ),
    Case(
        "the primary key in another order",
        "CREATE TABLE pair (a int, b int, PRIMARY KEY (a, b));"
        "INSERT INTO pair SELECT i / 100, i % 100 FROM generate_series(1, 30000) i;",
        ("SELECT * FROM pair WHERE b = 7 AND a = 9",),
        never=r"pair \((b, a|a, b)\)",
    ),
    Case(
        "a redundant prefix goes",
        ORDERS
        + "CREATE INDEX narrow ON orders (customer_id); CREATE INDEX wide ON orders (customer_id, at);",
        ("SELECT * FROM orders WHERE customer_id = 7",),
        (r"^public\.narrow$",),
        r"public\.wide",
    ),
    Case(
        "a unique prefix stays",
        CUSTOMERS
        + "CREATE UNIQUE INDEX one ON customers (name); CREATE INDEX wide ON customers (name, country);",
        ("SELECT * FROM customers WHERE name = 'x'",),
        never=r"public\.one",
    ),
    Case(
        "a prefix in another order, class or collation stays",
        CUSTOMERS
        + 'CREATE INDEX pattern ON customers (name text_pattern_ops); CREATE INDEX c ON customers (name COLLATE "C");'
        "CREATE INDEX backwards ON customers (country DESC); CREATE INDEX wide ON customers (name, country);"
        "CREATE INDEX wider ON customers (country, name);",
        ("SELECT * FROM customers WHERE name = 'x'", "SELECT 1 FROM customers WHERE country = 'C1'"),
        never=r"public\.(pattern|c|backwards|wide|wider)$",
    ),
    Case(
        "twins",
        ORDERS + "CREATE INDEX twin_a ON orders (customer_id); CREATE INDEX twin_b ON orders (customer_id);",
        ("SELECT * FROM orders WHERE customer_id = 7",),
        (r"^public\.twin_b$",),
        r"public\.twin_a",
    ),
]


@pytest.fixture
def clean_database() -> Iterator[None]:
    """The tables of a test are dropped again, whatever they are called; the counters begin at nothing."""
    before = _relations()
    _forget_statements()
    yield
    with connection.cursor() as cursor:
        cursor.execute('DROP SCHEMA IF EXISTS "Sales" CASCADE')
        cursor.execute("DROP SERVER IF EXISTS files CASCADE")
        for name, kind in _relations() - before:
            cursor.execute(f'DROP {kind} IF EXISTS "{name}" CASCADE')


def _relations() -> set[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END "
            "FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') "
            "AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = pg_class.oid AND d.deptype = 'e')"
        )
        return set(cursor.fetchall())


def _forget_statements() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_statements_reset()")


def plant(tables: str, queries: tuple[str, ...], times: int = 6) -> None:
    """Make the tables, then run the workload ``times`` times with counters that begin after the making."""
    with psycopg.connect(**_params(), autocommit=True) as host:
        host.execute(tables)
        host.execute("VACUUM ANALYZE")
        host.execute("SELECT pg_stat_statements_reset()")
        for _ in range(times):
            for query in queries:
                host.execute(query)  # type: ignore[call-overload]


def _params() -> dict[str, Any]:
    params = connection.get_connection_params()
    return {k: v for k, v in params.items() if k not in {"cursor_factory", "context", "prepare_threshold"}}


def given(**options: Any) -> Advice:
    return advise(get_settings(), now=NOW, candidates=options.pop("candidates", ()), **options)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_planted_pathology(case: Case, clean_database: None) -> None:
    if connection.pg_version < V15 and any("MERGE" in query for query in case.queries):
        pytest.skip("this server has no MERGE")
    plant(case.tables, case.queries, case.times)
    advice = given()
    keys = [p.key for p in advice.proposals]
    refused = [f"{r.candidate}: {r.because}" for r in advice.refused]
    for wanted in case.wants:
        assert any(re.search(wanted, k) for k in keys), (wanted, keys, refused, advice.workload)
    assert not any(re.search(case.never, k) for k in keys), (case.never, keys)


#: No autovacuum changes the statistics between two looks.
ANALYZED_ONCE = """
DO $$ DECLARE t regclass; BEGIN
  FOR t IN SELECT oid FROM pg_class WHERE relname IN ('orders', 'customers') AND relkind = 'r' LOOP
    EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', t);
  END LOOP;
END $$;
"""

#: As many scans of the table as a busy site makes in 40 days.
BUSY = "DO $$ BEGIN FOR n IN 1..41000 LOOP PERFORM 1 FROM orders WHERE id = n; END LOOP; END $$"


def test_what_nothing_used_for_five_weeks_goes_and_what_a_foreign_key_needs_stays(
    clean_database: None,
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_reset()")
    plant(
        ORDERS
        + "CREATE TABLE buyers (id bigint PRIMARY KEY); INSERT INTO buyers SELECT generate_series(0, 2000);"
        "ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES buyers;"
        "CREATE INDEX fk ON orders (customer_id, note); CREATE INDEX idle ON orders (note, at);",
        (BUSY, "SELECT amount FROM orders WHERE id = 7", hand_over(), "SELECT 1"),
        1,
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()")
        ((since,),) = cursor.fetchall()
    with connect("default", statement=timedelta(seconds=10), lock=timedelta(seconds=1)) as session:
        evidence.remember(session, since)
    for days, dropped in ((30, []), (40, ["public.idle"])):
        advice = advise(get_settings(), now=since + timedelta(days=days), candidates=())
        assert [p.key for p in advice.proposals if p.kind == "index_drop"] == dropped


def test_what_is_proposed_can_be_executed_and_is_then_not_proposed_again(clean_database: None) -> None:
    queries = tuple(q for c in CASES if c.tables in {ORDERS, CUSTOMERS} for q in c.queries)
    plant(ORDERS + CUSTOMERS + ANALYZED_ONCE, queries, 2)
    advice = given()
    lines = render.as_sql(advice).splitlines()
    assert len(lines) >= 5
    with psycopg.connect(**_params(), autocommit=True) as host:
        for line in lines:
            host.execute(line)  # type: ignore[call-overload]
    plant("SELECT 1", queries, 2)
    # On a busy machine what took microseconds may seem worth another index; none is proposed twice, or dropped.
    again = given().proposals
    assert not {p.key for p in again} & {p.key for p in advice.proposals}, lines
    assert not [p.how for p in again if p.kind == "index_drop"]
    assert len(again) <= 2, again


def test_the_same_database_gets_the_same_advice(clean_database: None) -> None:
    plant(ORDERS + ANALYZED_ONCE, tuple(q for c in CASES if c.tables == ORDERS for q in c.queries), 2)
    first, second = given(), given()
    assert [p.key for p in first.proposals] == [p.key for p in second.proposals]
    assert first.refused == second.refused


def test_the_storage_budget_is_kept(clean_database: None) -> None:
    plant(ORDERS, tuple(q for c in CASES if c.tables == ORDERS for q in c.queries), 2)
    advice = given(storage_budget_mb=1.0)
    sizes = [p.evidence["size_bytes"] for p in advice.proposals if p.kind == "index_create"]
    assert sizes
    assert sum(sizes) <= 2**20
    assert any("it would pay" in r.because and "budget of 1.0 MB" in r.because for r in advice.refused)


def test_a_declared_candidate_that_does_not_pay_says_why(clean_database: None) -> None:
    plant(ORDERS, ("SELECT 1 FROM orders WHERE customer_id = 7",))
    advice = given(
        candidates=(IndexCandidate("auth.User", ["is_staff"]), IndexCandidate("auth.User", ["nonsense"]))
    )
    reasons = {r.candidate: r.because for r in advice.refused if r.source == "declared"}
    assert "rows" in reasons["auth.User(is_staff)"]
    assert "no field" in reasons["auth.User(nonsense)"]


def test_a_role_that_may_only_read_is_advised(clean_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(ORDERS, ("SELECT * FROM orders WHERE customer_id = 7",))
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE only_reads; GRANT pg_read_all_data, pg_read_all_stats TO only_reads")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"assume_role": "only_reads"})
    try:
        proposals = given().proposals
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP ROLE only_reads")
    assert [p.key for p in proposals if "customer_id" in p.key]
    assert all(p.risk != "low" for p in proposals)


def test_statements_may_come_from_elsewhere(clean_database: None) -> None:
    plant(ORDERS, ())
    text = "SELECT * FROM orders WHERE customer_id = $1"
    advice = given(statements=[Statement("1", text, calls=100, total_ms=900.0, rows=2000)])
    assert advice.workload["source"] == "file"
    assert [p for p in advice.proposals if p.key.startswith("public.orders (customer_id")]


#: Conditions on ``customers`` (and one on ``orders``) → the index for each, as it can really be built.
EXPRESSIONS = {
    "data ->> 'plan' = '77'": "(\"data\" ->> 'plan')",
    "(data ->> 'n')::int = 77": "(CAST((\"data\" ->> 'n') AS INT))",
    "to_tsvector('english', name) @@ to_tsquery('english', 'fish')": "gin ((TO_TSVECTOR('english', \"name\")))",
    "upper(country) = 'C7'": '(UPPER("country"))',
    "coalesce(country, '') = 'c7'": "(COALESCE(\"country\", ''))",
    "id::text = '77'": '(CAST("id" AS TEXT))',
}
NO_EXPRESSIONS = (
    "SELECT count(*) FROM orders WHERE date(at) = '2025-03-04'",
    "SELECT count(*) FROM orders WHERE date_trunc('day', at) = '2025-03-04'",
    "SELECT date_trunc('day', at), count(*) FROM orders GROUP BY 1 ORDER BY 1 LIMIT 3",
    "SELECT count(*) FROM orders WHERE to_char(at, 'YYYY-MM') = '2025-03'",
    "SELECT count(*) FROM orders WHERE at::text LIKE '2025-03%'",
    "SELECT count(*) FROM orders WHERE concat(email, status) = 'x'",
    "SELECT count(*) FROM orders WHERE email = current_user",
)


def test_expressions_of_a_file_are_indexed_as_they_are_written(clean_database: None) -> None:
    plant(CUSTOMERS, ())
    texts = [f"SELECT count(*) FROM customers WHERE {condition}" for condition in EXPRESSIONS]
    advice = given(statements=script.statements(";".join(texts)), storage_budget_mb=500)
    built = render.as_sql(advice).splitlines()
    for index in EXPRESSIONS.values():
        assert any(index in statement for statement in built), index
    with connection.cursor() as cursor:
        for statement in built:
            cursor.execute(statement)


@pytest.mark.parametrize("text", NO_EXPRESSIONS)
def test_what_could_not_be_built_is_not_proposed(clean_database: None, text: str) -> None:
    plant(ORDERS, ())
    advice = given(statements=script.statements(text))
    with connection.cursor() as cursor:
        for statement in render.as_sql(advice).splitlines():
            cursor.execute(statement)
    assert not [p for p in advice.proposals if "(" in p.key.partition("(")[2] or " where " in p.key]


def test_past_the_time_limit_the_best_so_far_is_returned(clean_database: None) -> None:
    plant(ORDERS, ("SELECT * FROM orders WHERE customer_id = 7",))
    advice = given(time_limit=1e-6)
    assert advice.out_of_time
    assert advice.proposals == ()


def test_without_pg_stat_statements_the_advice_says_what_to_do(
    clean_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paiid_perf.database.facts.workload.counters", lambda session: None)
    advice = given()
    assert advice.proposals == ()
    assert "shared_preload_libraries" in advice.notes[0]


def test_nothing_is_written(clean_database: None) -> None:
    plant(ORDERS, ("SELECT * FROM orders WHERE customer_id = 7",))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn()")
        before = cursor.fetchone()
        given()
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'pf\\_%'")
        assert cursor.fetchone() == (0,)
    assert before is not None


def test_settings_can_narrow_the_advice(clean_database: None) -> None:
    plant(ORDERS, ("SELECT * FROM orders WHERE product_id = 7 AND customer_id = 3 ORDER BY at DESC LIMIT 5",))
    settings = replace(get_settings(), INDEX_MAX_WIDTH=1)
    advice = advise(settings, now=NOW, candidates=())
    assert advice.proposals
    assert all(
        len(re.findall(r",", p.key.partition("(")[2].partition(")")[0])) == 0 for p in advice.proposals
    )
