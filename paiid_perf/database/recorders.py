"""The database's gauges for monitoring, as (name, read, unit): ``read()`` yields (alias, value) pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from paiid_perf.conf import get_settings
from paiid_perf.database.facts.metrics import Meter
from paiid_perf.database.facts.table_sizes import Scale

meter = Meter()
scale = Scale()

UNITS = {
    "db.connections_percent": "%",
    "db.hit_ratio": "",
    "db.bytes": "bytes",
    "db.longest_transaction_s": "s",
    "db.transactions_per_s": "/s",
    "db.rollbacks_per_s": "/s",
    "db.deadlocks_per_h": "/h",
    "db.temp_bytes_per_s": "bytes/s",
    "db.temp_files_per_h": "/h",
    "db.growth_bytes_per_h": "bytes/h",
    "db.blocked_sessions": "",
    "db.sessions_active": "",
    "db.sessions_idle": "",
    "db.sessions_idle_in_transaction": "",
    "db.txid_age_percent": "%",
    "db.replication_lag_s": "s",
    "db.dead_rows_percent": "%",
}


def _reader(name: str) -> Callable[[], Iterable[tuple[str, float]]]:
    def read() -> Iterable[tuple[str, float]]:
        chosen = get_settings()
        values = meter.read(chosen.DATABASE, chosen.STATEMENT_TIMEOUT, chosen.LOCK_TIMEOUT)
        return [(chosen.DATABASE, values[name])] if name in values else []

    return read


def _table_bytes() -> Iterable[tuple[str, float]]:
    return scale.read(get_settings(), time.monotonic())


RECORDERS = (
    *((name, _reader(name), unit) for name, unit in UNITS.items()),
    ("db.table_bytes", _table_bytes, "bytes"),
)
