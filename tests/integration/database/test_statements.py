"""Every statement that an application may send is read and costed, as this server's pg_stat_statements spells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import psycopg
import pytest
from django.db import connection

from paiid_perf.database.facts import catalog as catalog_facts
from paiid_perf.database.facts import plans, workload
from paiid_perf.database.index_types import Catalog, Query, Statement
from paiid_perf.database.rules.indexes.parse import Unparsable, parse
from paiid_perf.database.rules.indexes.texts import reason_to_leave_out
from paiid_perf.database.session import Session
from tests.benchmarks.advisor_tpch import TPCH
from tests.integration.database.conftest import SCHEMA
from tests.integration.database.counters import V15
from tests.integration.database.statements import NASTY, PREPARED, TABLES, UTILITY

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def looking_there(plant: Callable[..., list[Any]]) -> Iterator[Callable[..., list[Any]]]:
    """Statements without a schema mean the planted one, for the advisor's own session too."""
    name = psycopg.sql.Identifier(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(
            psycopg.sql.SQL("ALTER DATABASE {} SET search_path = {}, public").format(
                name, psycopg.sql.Identifier(SCHEMA)
            )
        )
        cursor.execute("SELECT pg_stat_statements_reset()")
    yield plant
    with connection.cursor() as cursor:
        cursor.execute(psycopg.sql.SQL("ALTER DATABASE {} RESET search_path").format(name))


def costed(session: Session) -> dict[str, str]:
    """Text → what is wrong with it, of all that was counted and is not left out."""
    counters = workload.counters(session)
    assert counters is not None
    kept = [s for s in counters.statements.values() if not reason_to_leave_out(s.text)]
    catalog = catalog_facts.read(session, [s.text for s in kept])
    return {s.text: _fault(session, s, catalog) for s in kept}


def _fault(session: Session, statement: Statement, catalog: Catalog) -> str:
    try:
        query: Query = parse(statement.text, catalog)
    except Unparsable as error:
        return f"not parsed: {error}"
    if not query.tables and not query.write and "FROM" in statement.text:
        return "no table found"
    sql = next(plans.variants_of(session, statement, catalog, 1, writes=True), None)
    if sql is None:
        return "the server does not accept it"
    return "" if plans.explain(session, sql) else f"no plan: {sql}"


def test_every_nasty_statement_is_read_and_costed(
    looking_there: Callable[..., list[Any]], request: pytest.FixtureRequest
) -> None:
    nasty = [s for s in NASTY.values() if connection.pg_version >= V15 or not s.startswith("MERGE")]
    looking_there(TABLES, *nasty, *PREPARED, *UTILITY)
    found = costed(request.getfixturevalue("session"))
    assert {text: fault for text, fault in found.items() if fault} == {}
    assert len(found) >= len(nasty)
    assert not any(text.lower().startswith(("set ", "show ", "analyze", "vacuum")) for text in found)


def test_all_22_analytical_queries_are_read_and_costed(
    looking_there: Callable[..., list[Any]], request: pytest.FixtureRequest
) -> None:
    chance = Random(7)
    looking_there(*TPCH.ddl, *(template.make(chance) for template in TPCH.queries))
    found = costed(request.getfixturevalue("session"))
    assert {text: fault for text, fault in found.items() if fault} == {}
    assert sum("lineitem" in t or "partsupp" in t or "customer" in t for t in found) == len(TPCH.queries)
