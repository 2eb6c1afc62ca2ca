"""A peer: for each statement, of every single column imagined at once, those that the planner picks.

What index_advisor (PostgreSQL's extension of that name) does, written anew; here it sees the literal statements,
which it can all explain, not their normalised texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql

Plan = Mapping[str, Any]
_IMAGINE = "SELECT indexname FROM hypopg_create_index(%s)"


def picked(
    connection: psycopg.Connection[Any], texts: Iterable[str], columns: Iterable[tuple[str, str]]
) -> list[str]:
    """CREATE INDEX for each column that some statement's plan uses when it may use any."""
    connection.execute("SELECT hypopg_reset()")
    known: dict[str, str] = {}
    for table, column in columns:
        wanted = sql.SQL("CREATE INDEX ON {} ({})").format(sql.Identifier(table), sql.Identifier(column))
        statement = wanted.as_string(connection)
        try:
            row = connection.execute(_IMAGINE, [statement]).fetchone()
        except psycopg.Error:
            continue
        if row is not None:
            known[row[0]] = statement
    used = {name for text in texts for name in _used(connection, text)}
    connection.execute("SELECT hypopg_reset()")
    return [statement for name, statement in known.items() if name in used]


def _used(connection: psycopg.Connection[Any], text: str) -> Iterator[str]:
    row = connection.execute(f"EXPLAIN (FORMAT JSON) {text}".encode()).fetchone()
    return _names(row[0][0]["Plan"]) if row else iter(())


def _names(plan: Plan) -> Iterator[str]:
    if "Index Name" in plan:
        yield plan["Index Name"]
    for child in plan.get("Plans", ()):
        yield from _names(child)
