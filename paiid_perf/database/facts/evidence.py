"""What it takes to call an index unused: since when it is watched, and what the replicas did with it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import psycopg
from django.db import DatabaseError
from django.utils.connection import ConnectionDoesNotExist

from paiid_perf.conf import Settings
from paiid_perf.database.health_types import Evidence
from paiid_perf.database.session import Session, connect
from paiid_perf.models import IndexSighting

logger = logging.getLogger("paiid_perf")

#: A database's own reset is NULL until the first one (from 15 on), and a crash, which takes all statistics with it,
#: leaves its time in pg_stat_bgwriter only: the later of both is from when on they count.
_SERVER = """
SELECT greatest((SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
                (SELECT stats_reset FROM pg_stat_bgwriter)) AS since,
       pg_is_in_recovery() AS is_replica,
       (SELECT count(*) FROM pg_stat_replication r
         WHERE r.state IS DISTINCT FROM 'backup' AND r.application_name IS DISTINCT FROM 'pg_receivewal'
           AND NOT EXISTS (SELECT 1 FROM pg_replication_slots s
                            WHERE s.slot_type = 'logical' AND s.active_pid = r.pid)) AS replicas
"""
_SCANS = """
SELECT schemaname || '.' || indexrelname AS index, idx_scan AS scans FROM pg_stat_user_indexes WHERE idx_scan > 0
"""
_INDEXES = """
SELECT i.indexrelid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'pg_toast') AND n.nspname !~ '^pg_(toast_)?temp_'
"""


@dataclass(frozen=True, slots=True)
class _Replica:
    since: datetime | None
    scans: dict[str, int]


def read(session: Session, settings: Settings) -> Evidence:
    """From when on each index is watched, and its scans on every replica that ``settings.REPLICAS`` names.

    Raises:
        psycopg.Error: the server itself does not answer, or not in time.
    """
    server = session.rows(_SERVER)[0]
    if server["is_replica"]:
        return Evidence(is_complete=False)
    asked = list(_asked(settings))
    beginnings = [server["since"], *(replica.since for replica in asked)]
    scans: Counter[str] = Counter()
    for replica in asked:
        scans.update(replica.scans)
    return Evidence(
        None if None in beginnings else max(beginnings),
        first_seen(session.alias),
        scans,
        len(asked) == len(settings.REPLICAS) and server["replicas"] <= len(asked),
    )


def _asked(settings: Settings) -> Iterator[_Replica]:
    """The replicas that answer; why one does not stands in the log."""
    for alias in settings.REPLICAS:
        try:
            with connect(alias, statement=settings.STATEMENT_TIMEOUT, lock=settings.LOCK_TIMEOUT) as session:
                server = session.rows(_SERVER)[0]
                if server["is_replica"]:
                    yield _Replica(server["since"], {r["index"]: r["scans"] for r in session.rows(_SCANS)})
                else:
                    logger.warning("REPLICAS names %r, which is no standby", alias)
        except (psycopg.Error, ConnectionDoesNotExist) as error:
            logger.warning("replica %r was not asked what it uses: %s", alias, error)


def first_seen(alias: str) -> dict[str, datetime]:
    """``schema.name`` → when the index was first seen; empty where our tables were never migrated."""
    try:
        rows = list(IndexSighting.objects.filter(alias=alias))
    except DatabaseError:
        return {}
    return {f"{row.schema}.{row.name}": row.first_seen_at for row in rows}


def remember(session: Session, now: datetime) -> None:
    """Note the indexes that were not seen before, and forget those that are gone; one built anew is a new one.

    Does nothing where our tables were never migrated.
    """
    there = {row["oid"]: row for row in session.rows(_INDEXES)}
    try:
        known = IndexSighting.objects.filter(alias=session.alias)
        known.exclude(oid__in=there).delete()
        fresh = there.keys() - set(known.values_list("oid", flat=True))
        IndexSighting.objects.bulk_create(
            (IndexSighting(alias=session.alias, first_seen_at=now, **there[oid]) for oid in sorted(fresh)),
            ignore_conflicts=True,
        )
    except DatabaseError as error:
        logger.debug("indexes are not remembered: %s", error)
