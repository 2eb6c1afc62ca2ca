"""The gauges of a database for monitoring: what is between two readings, not since the server began."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from paiid_perf.database.session import connect, is_postgresql

logger = logging.getLogger("paiid_perf")

# One row: the counters of this database and its share of the server's connections.
COUNTERS = """
SELECT s.blks_hit AS hit, s.blks_read AS read, s.xact_commit + s.xact_rollback AS transactions,
       s.deadlocks, s.temp_bytes, pg_database_size(s.datid) AS bytes,
       (SELECT sum(numbackends) FROM pg_stat_database)::int AS connections,
       current_setting('max_connections')::int AS most,
       (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
        FROM pg_stat_activity WHERE datid = s.datid AND pid <> pg_backend_pid()) AS oldest
FROM pg_stat_database s WHERE s.datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters at one moment (``at`` on the monotonic clock)."""

    at: float
    counters: Mapping[str, Any]


def gauges(now: Sample, before: Sample | None) -> dict[str, float]:
    """Metric name → value. Ratios and rates are of the time since ``before``; there are no rates without it. Pure."""
    counters = now.counters
    reset = before is None or any(
        counters[key] < before.counters[key] for key in ("hit", "read", "transactions")
    )
    base = {key: 0 if reset or before is None else before.counters[key] for key in counters}
    seconds = 0.0 if reset or before is None else now.at - before.at
    hit, read = counters["hit"] - base["hit"], counters["read"] - base["read"]
    values = {
        "db.connections_percent": counters["connections"] / counters["most"] * 100,
        "db.bytes": float(counters["bytes"]),
        "db.longest_transaction_s": float(counters["oldest"]),
    }
    if hit + read:
        values["db.hit_ratio"] = hit / (hit + read)
    if seconds > 0:
        values["db.transactions_per_s"] = (counters["transactions"] - base["transactions"]) / seconds
        values["db.deadlocks_per_h"] = (counters["deadlocks"] - base["deadlocks"]) / seconds * 3600
        values["db.temp_bytes_per_s"] = (counters["temp_bytes"] - base["temp_bytes"]) / seconds
    return values


class Meter:
    """Reads the counters of one alias at most once in ``every`` seconds, for all of its gauges."""

    def __init__(self, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, tuple[Sample, dict[str, float]]] = {}

    def read(self, alias: str, statement: timedelta, lock: timedelta) -> dict[str, float]:
        """The gauges now; empty where the database is not PostgreSQL or does not answer (that is logged)."""
        if not is_postgresql(alias):
            return {}
        with self._lock:
            last = self._last.get(alias)
            now = self._clock()
            if last is not None and now - last[0].at < self._every:
                return last[1]
            return self._read(alias, now, last[0] if last else None, statement, lock)

    def _read(
        self, alias: str, now: float, before: Sample | None, statement: timedelta, lock: timedelta
    ) -> dict[str, float]:
        try:
            with connect(alias, statement=statement, lock=lock) as session:
                sample = Sample(now, session.rows(COUNTERS)[0])
        except psycopg.Error as error:
            logger.warning("no database metrics: %s", error)
            return {}
        values = gauges(sample, before)
        self._last[alias] = (sample, values)
        return values
