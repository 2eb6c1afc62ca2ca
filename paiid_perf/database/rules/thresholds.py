"""Every number that a health check compares with, in one table, with its source."""

from __future__ import annotations

from paiid_perf.database.types import Threshold

_PGHERO = "PgHero's default"
_MB = 1024 * 1024

TABLE: tuple[Threshold, ...] = (
    Threshold("hit_ratio", 0.99, "ratio", _PGHERO),
    Threshold("hit_ratio_blocks", 10_000, "blocks", "80 MB read: under that, a ratio says nothing"),
    Threshold("slow_ms", 20, "ms", _PGHERO),
    Threshold("slow_calls", 100, "calls", _PGHERO),
    Threshold("mean_objective_ms", 10, "ms", "half of PgHero's slow query: the mean must be well under it"),
    Threshold("long_running_s", 60, "s", _PGHERO),
    Threshold(
        "idle_in_transaction_s", 60, "s", "as a long-running query: it holds its locks and vacuum just so"
    ),
    Threshold(
        "idle_in_transaction_critical_s", 600, "s", "pganalyze: blocking becomes critical after 10 min"
    ),
    Threshold("blocked_s", 5, "s", "over deadlock_timeout by far, so not a passing queue"),
    Threshold("prepared_s", 300, "s", "pganalyze's first blocking limit (5 min)"),
    Threshold("unused_bytes", 10 * _MB, "bytes", _PGHERO),
    Threshold(
        "duplicate_bytes",
        _MB,
        "bytes",
        "Django makes such indexes itself: a small one is harmless",
    ),
    Threshold("unused_days", 35, "days", "Azure SQL and pganalyze: a month's end must lie within"),
    Threshold("bloat_bytes", 100 * _MB, "bytes", _PGHERO),
    Threshold("bloat_ratio", 0.5, "ratio", "half empty: less comes back by itself under autovacuum's 20 %"),
    Threshold(
        "connections", 0.80, "ratio", "room for a deploy, when old and new processes hold connections at once"
    ),
    Threshold("connections_critical", 0.95, "ratio", "the reserved slots come next"),
    Threshold("pool_min", 5, "connections", "a worker's usual burst, so that requests find one open"),
    Threshold(
        "pool_max", 20, "connections", "over it, a second worker process gives more than a longer queue"
    ),
    Threshold("pool_queued", 0.05, "ratio", "one request in twenty waits: it shows in the 95th percentile"),
    Threshold(
        "max_connections",
        300,
        "connections",
        "snapshots and memory grow with each: a pool serves more people",
    ),
    Threshold("xid_age", 0.50, "ratio of 2^31", "pganalyze: warning at 50 %"),
    Threshold("xid_age_critical", 0.80, "ratio of 2^31", "pganalyze: critical at 80 %"),
    Threshold("xmin_age", 1_000_000, "transactions", "vacuum has removed nothing newer for that long"),
    Threshold("dead_ratio", 0.20, "ratio", "autovacuum_vacuum_scale_factor: over it, autovacuum is behind"),
    Threshold("dead_rows", 1_000, "rows", "small tables are over any ratio all the time"),
    Threshold("stale_ratio", 0.20, "ratio", "twice autovacuum_analyze_scale_factor"),
    Threshold("stale_rows", 1_000, "rows", "small tables are over any ratio all the time"),
    Threshold("never_analyzed_rows", 1_000, "rows", "the planner guesses sizes until the first ANALYZE"),
    Threshold("sequence", 0.90, "ratio", _PGHERO),
    Threshold("sequence_warning", 0.70, "ratio", "earlier than PgHero: widening a key takes weeks to plan"),
    Threshold("growth_days", 2, "days", "over less, a day's load and its clean-up hide the trend"),
    Threshold("growth_ratio", 0.05, "ratio a day", "doubles in a fortnight"),
    Threshold("growth_bytes", 1024 * _MB, "bytes a day", "small databases double in an afternoon"),
    Threshold("disk_days", 30, "days", "time to order a disk, or to write a retention rule"),
    Threshold(
        "freeze_age",
        0.90,
        "ratio of autovacuum_freeze_max_age",
        "a tenth is left: on a busy server that is days, and the vacuum can be chosen",
    ),
    Threshold("lag_s", 5, "s", _PGHERO),
    Threshold("lag_bytes", 100 * _MB, "bytes", "pganalyze: warning at 100 MB"),
    Threshold("slot_bytes", 1024 * _MB, "bytes", "pganalyze: critical at 1 GB"),
    Threshold(
        "rollback_ratio", 0.10, "ratio", "one transaction in ten fails: the application swallows errors"
    ),
    Threshold("rollback_count", 1_000, "transactions", "under that, a ratio says nothing"),
    Threshold(
        "checkpoints_requested",
        0.50,
        "ratio",
        "the manual, 28.5: max_wal_size is too small if often requested",
    ),
    Threshold("checkpoints", 20, "checkpoints", "under that, a ratio says nothing"),
    Threshold("temp_bytes_per_hour", 1024 * _MB, "bytes/h", "more than 1 GB an hour sorted on disk"),
    Threshold("hot_ratio", 0.50, "ratio", "under that, an update touches every index more often than not"),
    Threshold(
        "moved_ratio",
        0.50,
        "ratio",
        "half of the lost heap-only updates left a full page: more room helps, fewer indexes would not",
    ),
    Threshold("hot_window_updates", 1_000, "updates", "under that, a ratio says nothing"),
    Threshold(
        "vacuum_rows",
        100_000,
        "rows",
        "20 % of half a million rows: from there on, autovacuum's share means long pauses and long runs",
    ),
    Threshold("churn", 0.2, "updates per row", "autovacuum_vacuum_scale_factor: it has been due once"),
    Threshold(
        "row_error",
        100,
        "factor",
        "two orders of magnitude; Leis et al., VLDB 2015, on what that does to plans",
    ),
    Threshold("row_error_rows", 1_000, "rows", "fewer rows are quick under any plan"),
    Threshold("removed_rows", 10_000, "rows", "fewer are filtered in a few milliseconds"),
    Threshold("removed_ratio", 0.90, "ratio", "nine rows are read in vain for each that is kept"),
    Threshold("nested_loops", 10_000, "loops", "a hash join of as many rows takes milliseconds"),
    Threshold("jit_ratio", 0.25, "ratio", "the manual, 30.2: compiling must be small beside running"),
    Threshold("generic_ratio", 10, "factor", "an order of magnitude is no rounding of the cost model"),
    Threshold("scan_rows", 10_000, "rows", "smaller tables are read whole sooner than an index"),
    Threshold("offset_rows", 1_000, "rows", "the hundredth page of ten"),
    Threshold("in_list", 100, "values", "over a hundred, a join reads better than a list"),
    Threshold("count_rows", 100_000, "rows", "fewer are counted in some ten milliseconds"),
    Threshold(
        "correlation_error",
        3,
        "factor",
        "a wrong factor of two changes few plans; errors multiply over joins",
    ),
    Threshold(
        "partition_rows", 10_000_000, "rows", "under that, deletes in batches are over before anybody notices"
    ),
    Threshold("hot_updates", 10_000, "updates", "under that, a ratio says nothing"),
)

LIMITS = {threshold.name: threshold for threshold in TABLE}


def limit(name: str) -> float:
    """The value of one threshold."""
    return LIMITS[name].value


def source(name: str) -> str:
    """Where one threshold comes from."""
    return LIMITS[name].source
