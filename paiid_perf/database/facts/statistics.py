"""How well the planner guesses the rows of two columns' most frequent combinations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from paiid_perf.database.rules.statistics import Probe
from paiid_perf.database.session import Session

#: Extended statistics that exist, of whatever kind.
KNOWN = """
SELECT concat(n.nspname, '.', c.relname) AS table,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY(s.stxkeys))
           AS columns
FROM pg_statistic_ext s JOIN pg_class c ON c.oid = s.stxrelid JOIN pg_namespace n ON n.oid = c.relnamespace
"""
_SIZE = """
SELECT greatest(c.reltuples, 0)::float8 AS rows,
       greatest(pg_relation_size(c.oid) / current_setting('block_size')::bigint, 1) AS pages
FROM pg_class c WHERE c.oid = to_regclass(%s) AND c.relkind IN ('r', 'm')
"""
# The same pages each time, so that what is measured before is measured after.
_SAMPLE = sql.SQL(
    "SELECT {first}::text AS first, {second}::text AS second, count(*) AS found, sum(count(*)) OVER () AS whole "
    "FROM {table} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0) "
    "WHERE {first} IS NOT NULL AND {second} IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {most}"
)
_GUESS = sql.SQL("EXPLAIN (FORMAT JSON) SELECT 1 FROM {table} WHERE {first} = {a} AND {second} = {b}")
#: Pages read of a table, and combinations asked about.
_PAGES, _COMBINATIONS = 1_000, 5


def known(session: Session) -> list[dict[str, Any]]:
    """The extended statistics that exist."""
    return session.rows(KNOWN)


def probe(session: Session, schema: str, table: str, columns: Sequence[str]) -> list[Probe]:
    """The most frequent combinations of a sample, each with the rows that the planner expects.

    Empty where the table is gone or may not be read.
    """
    name = sql.Identifier(schema, table)
    try:
        size = session.rows(_SIZE, [name.as_string(None)])
        return _probes(session, name, columns, size[0]) if size else []
    except psycopg.Error:
        if session.is_broken:
            raise
        return []


def _probes(
    session: Session, name: sql.Identifier, columns: Sequence[str], size: dict[str, Any]
) -> list[Probe]:
    first, second = (sql.Identifier(column) for column in columns)
    percent = sql.Literal(min(100.0, _PAGES / size["pages"] * 100))
    sample = _SAMPLE.format(
        table=name, first=first, second=second, percent=percent, most=sql.Literal(_COMBINATIONS)
    )
    found = []
    for row in session.rows(sample):
        guess = _GUESS.format(table=name, first=first, second=second, a=row["first"], b=row["second"])
        plan = session.rows(guess)[0]["QUERY PLAN"][0]["Plan"]
        found.append(Probe(float(plan["Plan Rows"]), float(row["found"] / row["whole"]) * size["rows"]))
    return found
