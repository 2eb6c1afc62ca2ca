"""How large the largest tables are, for the forecast of their growth."""

from __future__ import annotations

import logging

import psycopg

from paiid_perf.conf import Settings
from paiid_perf.database.session import connect, is_postgresql

logger = logging.getLogger("paiid_perf")

#: A size says more by the day than by the minute: a process reads them this often (seconds).
EVERY = 600
TABLES = 10

# Chosen by the pages that the last VACUUM or ANALYZE counted, then measured: only those few are opened.
SIZES = """
SELECT format('%%I.%%I', n.nspname, t.relname) AS name, pg_total_relation_size(t.oid) AS bytes
FROM (SELECT oid, relname, relnamespace FROM pg_class WHERE relkind IN ('r', 'm') AND relpersistence <> 't'
      ORDER BY relpages DESC LIMIT %s) t
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
"""


class Scale:
    """Weighs the largest tables of a database, with their indexes and TOAST, now and then.

    In between it says what it weighed last: alert rules and exporters ask each minute, and take silence for no data.
    """

    def __init__(self) -> None:
        self._read_at: dict[str, float] = {}
        self._weighed: dict[str, list[tuple[str, float]]] = {}

    def read(self, settings: Settings, now: float) -> list[tuple[str, float]]:
        """(table, bytes), at the most EVERY old; nothing without PostgreSQL, or where it does not answer."""
        alias = settings.DATABASE
        if not is_postgresql(alias):
            return []
        if now - self._read_at.get(alias, -EVERY) >= EVERY:
            self._read_at[alias], self._weighed[alias] = now, _weigh(settings)
        return self._weighed[alias]


def _weigh(settings: Settings) -> list[tuple[str, float]]:
    try:
        with connect(
            settings.DATABASE, statement=settings.STATEMENT_TIMEOUT, lock=settings.LOCK_TIMEOUT
        ) as session:
            found = [(row["name"], float(row["bytes"])) for row in session.rows(SIZES, [2 * TABLES])]
            return found[:TABLES]
    except psycopg.Error as error:
        logger.warning("no table sizes: %s", error)
        return []
