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

# One row: the counters of this database, its share of the server's connections, and what holds others up.
# Lag: of the replica that is furthest behind, as the primary hears it; on a replica, of itself (0 when it has replayed
# all it received). Who may not see pg_stat_replication gets none. Transaction ids: the server refuses new ones three
# million before 2^31 (PostgreSQL manual, "Preventing Transaction ID Wraparound Failures").
COUNTERS = """
SELECT s.blks_hit AS hit, s.blks_read AS read, s.xact_commit + s.xact_rollback AS transactions,
       s.xact_rollback AS rollbacks, s.deadlocks, s.temp_bytes, s.temp_files, pg_database_size(s.datid) AS bytes,
       (SELECT sum(numbackends) FROM pg_stat_database)::int AS connections,
       current_setting('max_connections')::int AS most, a.*,
       (SELECT max(age(datfrozenxid)) FROM pg_database) / (2147483648.0 - 3000000) * 100 AS txid_percent,
       CASE WHEN NOT pg_is_in_recovery() THEN
              (SELECT max(coalesce(extract(epoch FROM replay_lag), 0)) FROM pg_stat_replication WHERE state IS NOT NULL)
            WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END AS lag,
       (SELECT sum(n_dead_tup) / nullif(sum(n_dead_tup + n_live_tup), 0) * 100 FROM pg_stat_user_tables) AS dead_percent
FROM pg_stat_database s,
     LATERAL (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start))
                              FILTER (WHERE pid <> pg_backend_pid()), 0) AS oldest,
                     count(*) FILTER (WHERE wait_event_type = 'Lock') AS blocked,
                     count(*) FILTER (WHERE state = 'active' AND pid <> pg_backend_pid()) AS active,
                     count(*) FILTER (WHERE state = 'idle') AS idle,
                     count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction
              FROM pg_stat_activity WHERE datid = s.datid AND backend_type = 'client backend') a
WHERE s.datname = current_database()
"""


#: gauge → its column; NULL is no value
AS_THEY_ARE = {
    "db.bytes": "bytes",
    "db.longest_transaction_s": "oldest",
    "db.blocked_sessions": "blocked",
    "db.sessions_active": "active",
    "db.sessions_idle": "idle",
    "db.sessions_idle_in_transaction": "idle_in_transaction",
    "db.txid_age_percent": "txid_percent",
    "db.replication_lag_s": "lag",
    "db.dead_rows_percent": "dead_percent",
}
#: gauge → (its counter, in how many seconds)
RATES = {
    "db.transactions_per_s": ("transactions", 1),
    "db.rollbacks_per_s": ("rollbacks", 1),
    "db.deadlocks_per_h": ("deadlocks", 3600),
    "db.temp_bytes_per_s": ("temp_bytes", 1),
    "db.temp_files_per_h": ("temp_files", 3600),
    "db.growth_bytes_per_h": ("bytes", 3600),
}


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
    values = {"db.connections_percent": counters["connections"] / counters["most"] * 100}
    values |= {
        name: float(counters[column]) for name, column in AS_THEY_ARE.items() if counters[column] is not None
    }
    if hit + read:
        values["db.hit_ratio"] = hit / (hit + read)
    if seconds > 0:
        for name, (column, each) in RATES.items():
            values[name] = float(counters[column] - base[column]) / seconds * each
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
