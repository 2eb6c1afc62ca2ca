"""The scored facts of the database: what counts, from where it earns full marks, and where none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _

from paiid_perf.database.health_types import Health, StatementFact, TableFact
from paiid_perf.database.rules.health.common import XID_SPACE
from paiid_perf.database.rules.health.indexes import duplicate_indexes, invalid_indexes
from paiid_perf.database.rules.health.sessions import connection_share
from paiid_perf.database.rules.health.vacuum import dead_share, is_stale
from paiid_perf.database.rules.health.work import hit_ratio
from paiid_perf.database.rules.thresholds import limit
from paiid_perf.database.types import Scored


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the score: how it is read from the facts (None: cannot be said), and its marks."""

    name: str
    label: Callable[[], str]
    read: Callable[[Health], float | None]
    target: float
    worst: float
    weight: float
    unit: str
    hint: Callable[[], str]


def _cache_hits(health: Health) -> float | None:
    database = health.database.first()
    return hit_ratio(database) if database else None


def workload_mean_ms(health: Health) -> float | None:
    """Mean execution time over all calls in ms; None where there are no statistics or too few calls."""
    calls = sum(statement.calls for statement in health.statements.rows)
    if calls < limit("slow_calls"):
        return None
    return sum(statement.total_ms for statement in health.statements.rows) / calls


def _big(health: Health) -> list[TableFact]:
    return [table for table in health.tables.rows if table.live + table.dead >= limit("dead_rows")]


def _dead(health: Health) -> float | None:
    if health.tables.unavailable:
        return None
    return max((dead_share(table) for table in _big(health)), default=0.0)


def _stale(health: Health) -> float | None:
    return None if health.tables.unavailable else float(sum(map(is_stale, health.tables.rows)))


def _longest_transaction(health: Health) -> float | None:
    if health.sessions.unavailable or health.sessions.limited:
        return None
    return max((session.transaction_seconds or 0.0 for session in health.sessions.rows), default=0.0)


def _blocked(health: Health) -> float | None:
    if health.sessions.unavailable or health.sessions.limited:
        return None
    return float(sum(bool(session.blocked_by) for session in health.sessions.rows))


def _index_faults(health: Health) -> float | None:
    if health.indexes.unavailable:
        return None
    now = health.server.started_at
    return float(sum(1 for rule in (invalid_indexes, duplicate_indexes) for _finding in rule(health, now)))


def _xids(health: Health) -> float | None:
    database = health.database.first()
    return max(database.xid_age, database.multixact_age) / XID_SPACE * 100 if database else None


def _keys(health: Health) -> float | None:
    if health.sequences.unavailable:
        return None
    used = [s.used for s in health.sequences.rows if not s.cycles] + [k.used for k in health.keys.rows]
    return max(used, default=0.0) * 100


def _connections(health: Health) -> float | None:
    share = connection_share(health)
    return None if share is None else share * 100


MEASURES: tuple[Measure, ...] = (
    Measure(
        "cache_hit_ratio",
        lambda: _("Blocks read from shared buffers"),
        _cache_hits,
        limit("hit_ratio"),
        0.90,
        15,
        "",
        lambda: _("Index the heaviest reads, then raise shared_buffers."),
    ),
    Measure(
        "workload_mean",
        lambda: _("Mean time of a query"),
        workload_mean_ms,
        limit("mean_objective_ms"),
        limit("mean_objective_ms") * 10,
        25,
        "ms",
        lambda: _("Apply the advised indexes; see the slow queries."),
    ),
    Measure(
        "dead_rows",
        lambda: _("Dead rows in the worst table"),
        _dead,
        limit("dead_ratio"),
        0.60,
        10,
        "",
        lambda: _("VACUUM it, and let autovacuum start earlier there."),
    ),
    Measure(
        "stale_statistics",
        lambda: _("Tables with old planner statistics"),
        _stale,
        0,
        5,
        5,
        "",
        lambda: _("ANALYZE them."),
    ),
    Measure(
        "connections",
        lambda: _("Connections in use"),
        _connections,
        limit("connections") * 100,
        100,
        10,
        "%",
        lambda: _("Pool connections before raising max_connections."),
    ),
    Measure(
        "longest_transaction",
        lambda: _("Longest open transaction"),
        _longest_transaction,
        limit("long_running_s"),
        3600,
        10,
        "s",
        lambda: _("End it, and set idle_in_transaction_session_timeout."),
    ),
    Measure(
        "blocked",
        lambda: _("Queries that wait for a lock"),
        _blocked,
        0,
        5,
        5,
        "",
        lambda: _("End the transaction at the head of the queue."),
    ),
    Measure(
        "index_faults",
        lambda: _("Invalid and duplicate indexes"),
        _index_faults,
        0,
        5,
        5,
        "",
        lambda: _("Rebuild the invalid, drop the duplicate ones."),
    ),
    Measure(
        "wraparound",
        lambda: _("Transaction ids used up"),
        _xids,
        limit("xid_age") * 100,
        limit("xid_age_critical") * 100,
        5,
        "%",
        lambda: _("VACUUM (FREEZE) the oldest tables."),
    ),
    Measure(
        "sequences",
        lambda: _("Keys used up in the fullest sequence"),
        _keys,
        limit("sequence_warning") * 100,
        100,
        5,
        "%",
        lambda: _("Widen the column to bigint."),
    ),
)


def since(
    statements: Iterable[StatementFact], baseline: Mapping[int, tuple[float, float]]
) -> list[StatementFact]:
    """The statements less what ``baseline`` (queryid → calls, ms) had counted: what ran since indexes last changed.

    One that counts less than its baseline began anew, and stays whole.
    """
    return [_less(statement, *baseline.get(statement.queryid, (0, 0.0))) for statement in statements]


def _less(statement: StatementFact, calls: float, milliseconds: float) -> StatementFact:
    left = statement.calls - int(calls)
    if not calls or left < 0:
        return statement
    total = max(0.0, statement.total_ms - milliseconds)
    return replace(statement, calls=left, total_ms=total, mean_ms=total / left if left else 0.0)


def scored(health: Health, missing_indexes: int | None) -> list[Scored]:
    """Every scored fact; ``missing_indexes`` is how many advised indexes nobody has built (None: not known)."""
    rows = [
        Scored(m.name, m.label(), m.read(health), m.target, m.worst, m.weight, m.unit, m.hint())
        for m in MEASURES
    ]
    pending = None if missing_indexes is None else float(missing_indexes)
    label, hint = _("Advised indexes not built yet"), _("Approve or apply them.")
    return [*rows, Scored("missing_indexes", label, pending, 0, 5, 10, "", hint)]
