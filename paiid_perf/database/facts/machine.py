"""The machine under the server where it is this one, and how this process reaches the server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
from django.db import DatabaseError, connections
from django.db.models import Sum

from paiid_perf.database.health_types import Disk, Health, Machine, PoolFact
from paiid_perf.database.session import Session
from paiid_perf.models import Metric

_LOCAL = frozenset({"", "localhost", "127.0.0.1", "::1"})


def read(alias: str) -> Machine:
    """Memory and cores of the server's machine; all None where the server is elsewhere."""
    return Machine(_memory(), psutil.cpu_count(), _rotational()) if _is_here(alias) else Machine()


def _is_here(alias: str) -> bool:
    host = str(connections[alias].settings_dict["HOST"] or "")
    return host in _LOCAL or host.startswith("/")


#: Where new tables and indexes of the database lie; reading data_directory takes pg_read_all_settings.
_PLACE = """
SELECT coalesce(nullif(pg_tablespace_location(dattablespace), ''), current_setting('data_directory')) AS place
  FROM pg_database WHERE datname = current_database()
"""


def disk(session: Session) -> Disk | None:
    """The disk that the database lies on; None where the server is elsewhere, or we may not know where it writes."""
    if not _is_here(session.alias):
        return None
    try:
        place = session.rows(_PLACE)[0]["place"]
        found = psutil.disk_usage(place)
    except (psycopg.errors.InsufficientPrivilege, OSError):
        return None
    return Disk(int(found.total), int(found.free))


def _memory() -> int:
    """Bytes that this machine, or the container we are in, may use."""
    total = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        text = limit.read_text().strip()
    except OSError:
        return total
    return min(total, int(text)) if text.isdigit() else total


def _rotational() -> bool | None:
    """Whether the disks turn; None where there are both kinds, or only virtual ones, which say anything."""
    found = {flag.read_text().strip() for flag in Path("/sys/block").glob("[!lrzvx]*/queue/rotational")}
    return {"0": False, "1": True}[found.pop()] if len(found) == 1 else None


def pool(session: Session, alias: str, health: Health) -> PoolFact:
    """The pool and persistence options of the alias against what the server has to give."""
    configured: dict[str, Any] = connections[alias].settings_dict
    minimum, maximum = _sizes(configured["OPTIONS"].get("pool"))
    values = {setting.name: setting.value for setting in health.settings.rows}
    database = health.database.first()
    return PoolFact(
        min_size=minimum,
        max_size=maximum,
        persistent_seconds=configured["CONN_MAX_AGE"],
        pgbouncer=session.behind_pgbouncer,
        server_side_cursors=not configured.get("DISABLE_SERVER_SIDE_CURSORS", False),
        max_connections=int(values.get("max_connections", 0)),
        reserved=sum(int(values.get(name, 0)) for name in _RESERVED),
        in_use=database.connections_all if database else len(health.sessions.rows),
        alias=alias,
        **_use(health),
        **_waits(alias, bool(configured["OPTIONS"].get("pool")), datetime.now(UTC)),
    )


#: Connections and requests from which a share says something.
_ENOUGH = 100


def _use(health: Health) -> dict[str, float]:
    """What the server's counters tell of how connections are used."""
    database = health.database.first()
    if database is None or database.sessions < _ENOUGH:
        return {}
    since = database.stats_reset or health.server.started_at
    seconds = max(1.0, (datetime.now(UTC) - since).total_seconds())
    done = database.commits + database.rollbacks
    return {
        "transactions_per_connection": done / database.sessions,
        "busy": database.active_ms / 1000 / seconds,
    }


#: How far back the pools of all processes are looked at.
_LATELY = timedelta(days=1)


def _waits(alias: str, pooled: bool, now: datetime) -> dict[str, float]:
    """How many requests for a connection had to wait, and how long: of every process over the last day, as recorded;
    of this process alone where nothing is."""
    if not pooled:
        return {}
    asked, queued, waited = _recorded(alias, now)
    if asked < _ENOUGH:
        stats = connections[alias].pool.get_stats()  # type: ignore[attr-defined]
        asked, queued, waited = (
            stats.get(name, 0) for name in ("requests_num", "requests_queued", "requests_wait_ms")
        )
    return {"queued": queued / asked, "waited_ms": waited / max(1, queued)} if asked >= _ENOUGH else {}


def _recorded(alias: str, now: datetime) -> tuple[int, ...]:
    """Requests, those that waited, and milliseconds waited; zeros where our tables were never migrated."""
    names = ("pool.requests", "pool.waits", "pool.wait_ms")
    rows = Metric.objects.filter(
        name__in=names, subject=alias, resolution=Metric.Resolution.MINUTE, at__gte=now - _LATELY
    )
    try:
        found = dict(rows.values_list("name").annotate(Sum("count")))
    except DatabaseError:
        return (0, 0, 0)
    return tuple(found.get(name, 0) for name in names)


_RESERVED = ("superuser_reserved_connections", "reserved_connections")


def _sizes(options: Any) -> tuple[int | None, int | None]:
    """(min, max) of psycopg_pool's ConnectionPool, whose own defaults are 4 and min_size."""
    if not options:
        return None, None
    given = options if isinstance(options, dict) else {}
    minimum = int(given.get("min_size", 4))
    return minimum, int(given.get("max_size") or minimum)
