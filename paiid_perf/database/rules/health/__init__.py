"""The checks that a DBA makes, each a function of what was read: facts → findings with their remedies.

The list is PgHero's, with what the manual adds; every number is in ``thresholds``. A panel that could not be read
yields no finding: the phase says what it lacks.
"""

from __future__ import annotations

from datetime import datetime

from paiid_perf.database.health_types import Health
from paiid_perf.database.rules.health import indexes, replication, room, sessions, vacuum, work
from paiid_perf.database.rules.health.common import Rule
from paiid_perf.database.types import Finding

#: Every check, in the order in which people see them.
RULES: tuple[Rule, ...] = (
    vacuum.wraparound,
    sessions.blocked,
    sessions.idle_in_transaction,
    sessions.long_running,
    sessions.prepared,
    sessions.connections,
    room.sequences,
    room.integer_keys,
    room.growth,
    replication.inactive_slots,
    replication.replication_lag,
    indexes.invalid_indexes,
    indexes.invalid_constraints,
    indexes.duplicate_indexes,
    indexes.unused_indexes,
    vacuum.dead_rows,
    sessions.vacuum_held_back,
    vacuum.autovacuum_danger,
    vacuum.stale_statistics,
    vacuum.bloat,
    work.low_hit_ratio,
    work.slow_queries,
    work.spills,
    work.rollbacks,
)


def judge(health: Health, now: datetime) -> list[Finding]:
    """Every finding of every check."""
    return [finding for rule in RULES for finding in rule(health, now)]
