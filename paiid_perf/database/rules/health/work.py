"""Cache, spills, rollbacks, checkpoints and slow queries: how well the server works."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.utils.translation import gettext as _

from paiid_perf.database.health_types import DatabaseFact, Health, StatementFact
from paiid_perf.database.rules.health.common import ratio
from paiid_perf.database.rules.sizes import readable
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding


def hit_ratio(database: DatabaseFact) -> float | None:
    """Share of block reads that shared buffers served; None while too few were read to say."""
    blocks = database.blocks_hit + database.blocks_read
    return None if blocks < limit("hit_ratio_blocks") else database.blocks_hit / blocks


def low_hit_ratio(health: Health, now: datetime) -> Iterator[Finding]:
    database = health.database.first()
    value = hit_ratio(database) if database else None
    if value is not None and value < limit("hit_ratio"):
        yield Finding(
            "hit_ratio",
            health.server.database,
            "warning",
            _("Only %(percent).1f %% of block reads come from shared buffers") % {"percent": value * 100},
            _("The working set does not fit: indexes for the heaviest reads first, then shared_buffers."),
            source=source("hit_ratio"),
            numbers={"hit_ratio": round(value, 4)},
        )


def slow_queries(health: Health, now: datetime) -> Iterator[Finding]:
    for statement in filter(_is_slow, health.statements.rows):
        yield Finding(
            "slow_query",
            str(statement.queryid),
            "warning",
            _("A query takes %(ms).0f ms on average") % {"ms": statement.mean_ms},
            _("%(calls)d calls, %(seconds).1f s in all: %(text)s")
            % {
                "calls": statement.calls,
                "seconds": statement.total_ms / 1000,
                "text": " ".join(statement.text.split())[:500],
            },
            how=_("See whether an index is advised for it; else EXPLAIN (ANALYZE, BUFFERS) it."),
            source=source("slow_ms"),
            numbers={"calls": statement.calls, "mean_ms": statement.mean_ms, "total_ms": statement.total_ms},
        )


def _is_slow(statement: StatementFact) -> bool:
    return statement.mean_ms >= limit("slow_ms") and statement.calls >= limit("slow_calls")


def spills(health: Health, now: datetime) -> Iterator[Finding]:
    database = health.database.first()
    if database is None:
        return
    since = database.stats_reset or health.server.started_at
    hours = max((now - since).total_seconds() / 3600, 1.0)
    if database.temp_bytes / hours > limit("temp_bytes_per_hour"):
        worst = max(health.statements.rows, key=lambda s: s.temp_blocks, default=None)
        yield Finding(
            "temp_files",
            health.server.database,
            "warning",
            _("Sorts and hashes write %(size)s an hour to disk")
            % {"size": readable(database.temp_bytes / hours)},
            _("%(files)d temporary files; the worst query: %(text)s")
            % {"files": database.temp_files, "text": worst.text[:300] if worst else "–"},
            how=_("Raise work_mem for the role that runs them: ALTER ROLE … SET work_mem = '64MB';"),
            undo="ALTER ROLE … RESET work_mem;",
            source=source("temp_bytes_per_hour"),
            numbers={"temp_files": database.temp_files, "temp_bytes": database.temp_bytes},
        )


def rollbacks(health: Health, now: datetime) -> Iterator[Finding]:
    database = health.database.first()
    if database is None or database.rollbacks < limit("rollback_count"):
        return
    share = ratio(database.rollbacks, database.commits + database.rollbacks)
    if share is not None and share > limit("rollback_ratio"):
        yield Finding(
            "rollbacks",
            health.server.database,
            "info",
            _("%(percent).0f %% of transactions roll back") % {"percent": share * 100},
            _("Find the statement that fails in the server's log."),
            source=source("rollback_ratio"),
            numbers={"rollbacks": database.rollbacks, "commits": database.commits},
        )


def forced_checkpoints(health: Health) -> float | None:
    """Share of the checkpoints that WAL volume forced; None of too few."""
    counts = health.checkpoints.first()
    if counts is None or counts.timed + counts.requested < limit("checkpoints"):
        return None
    return counts.requested / (counts.timed + counts.requested)
