"""The health of a server, as named queries. One that fails takes only its own panel with it.

Relations that somebody holds exclusively are left out, or sized by pg_class, so that reading never queues behind DDL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import psycopg
from django.utils.translation import gettext as _
from psycopg import errors

from paiid_perf.database.facts import growth, machine
from paiid_perf.database.health_types import (
    CheckpointFact,
    ConstraintFact,
    DatabaseFact,
    Health,
    IndexFact,
    KeyFact,
    Panel,
    PreparedFact,
    ReplicaFact,
    SequenceFact,
    ServerFact,
    SessionFact,
    SettingFact,
    SlotFact,
    StatementFact,
    TableFact,
    VacuumFact,
)
from paiid_perf.database.session import APPLICATION_NAME, Session

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class NamedQuery(Generic[Row]):
    """One query: what it is for, where the idea comes from, and the SQL (by server version where it differs)."""

    panel: str
    row: type[Row]
    purpose: str
    source: str
    sql: str
    newer: tuple[tuple[int, str], ...] = ()
    """(first server_version_num, SQL), newest first."""

    def for_version(self, version: int) -> str:
        return next((text for first, text in self.newer if version >= first), self.sql)


SERVER = """
SELECT current_setting('server_version_num')::int AS version,
       current_user::text AS role,
       session_user::text AS login,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS reads_all_stats,
       pg_is_in_recovery() AS in_recovery,
       current_database()::text AS database,
       pg_postmaster_start_time() AS started_at,
       ARRAY(SELECT extname::text FROM pg_extension ORDER BY 1) AS extensions,
       ARRAY(SELECT name::text FROM pg_available_extensions ORDER BY 1) AS available,
       coalesce((SELECT CASE rolname WHEN 'rds_superuser' THEN 'rds' WHEN 'cloudsqlsuperuser' THEN 'cloudsql'
                                     WHEN 'azure_pg_admin' THEN 'azure' WHEN 'avnadmin' THEN 'aiven'
                                     ELSE 'supabase' END
                 FROM pg_roles
                 WHERE rolname IN ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'avnadmin',
                                   'supabase_admin')
                 ORDER BY rolname LIMIT 1), '') AS managed_by
"""

DATABASE = NamedQuery(
    "database",
    DatabaseFact,
    "Cache hit ratio, rollbacks, deadlocks, spills, connections and transaction-id age",
    "PostgreSQL manual, 27.2.17 pg_stat_database and 24.1.5 wraparound",
    """
SELECT pg_database_size(d.oid) AS bytes,
       s.numbackends AS connections,
       (SELECT sum(numbackends) FROM pg_stat_database)::int AS connections_all,
       s.xact_commit AS commits, s.xact_rollback AS rollbacks, s.deadlocks,
       s.blks_hit AS blocks_hit, s.blks_read AS blocks_read,
       s.temp_files, s.temp_bytes, s.stats_reset, s.sessions, s.active_time AS active_ms,
       age(d.datfrozenxid) AS xid_age, mxid_age(d.datminmxid) AS multixact_age
FROM pg_database d JOIN pg_stat_database s ON s.datid = d.oid
WHERE d.datname = current_database()
""",
)

# String and number literals are taken out on the server: they may be secrets, and nobody needs them here.
SESSIONS = NamedQuery(
    "sessions",
    SessionFact,
    "Connections by state and source; long, idle-in-transaction and blocked ones with who blocks them",
    "PgHero's connections, long_running and blocked queries; pg_blocking_pids()",
    r"""
SELECT pid, usename::text AS role, datname::text AS database,
       coalesce(application_name, '') AS application,
       coalesce(host(client_addr), 'local') AS source, state,
       left(regexp_replace(regexp_replace(coalesce(query, ''), '''([^'']|'''')*(''|$)', '''?''', 'g'),
                           '\m[0-9]+(\.[0-9]+)?\M', '?', 'g'), 500) AS query,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_seconds,
       CASE WHEN state = 'active' THEN extract(epoch FROM clock_timestamp() - query_start)::float8 END
           AS query_seconds,
       extract(epoch FROM clock_timestamp() - state_change)::float8 AS state_seconds,
       concat_ws(': ', wait_event_type, wait_event) AS wait,
       CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) ELSE '{}' END AS blocked_by,
       age(backend_xmin) AS xmin_age
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name <> '%APP%'
ORDER BY xact_start NULLS LAST, pid
""".replace("%APP%", APPLICATION_NAME),
)

TABLES = NamedQuery(
    "tables",
    TableFact,
    "Size, dead rows, vacuum and analyze history, transaction-id age and hit ratio of each table",
    "pg_stat_user_tables, pg_statio_user_tables; the autovacuum formula of the manual, 24.1.6",
    """
WITH locked AS MATERIALIZED (
    SELECT DISTINCT relation FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL
), widths AS MATERIALIZED (
    SELECT schemaname, tablename, sum(avg_width * (1 - null_frac))::float8 AS bytes
    FROM pg_stats WHERE NOT inherited GROUP BY 1, 2
), options AS MATERIALIZED (
    SELECT c.oid, jsonb_object_agg(o.option_name, o.option_value) AS set
    FROM pg_class c, pg_options_to_table(c.reloptions) o WHERE c.relkind IN ('r', 'm') GROUP BY 1
), defaults AS (
    SELECT current_setting('block_size')::bigint AS page,
           current_setting('autovacuum_vacuum_threshold')::float8 AS base,
           current_setting('autovacuum_vacuum_scale_factor')::float8 AS scale,
           nullif(current_setting('autovacuum_vacuum_max_threshold', true), '')::float8 AS cap
)
SELECT s.schemaname::text AS schema, s.relname::text AS name,
       s.n_live_tup AS live, s.n_dead_tup AS dead,
       s.n_tup_ins + s.n_tup_upd + s.n_tup_del AS writes,
       s.n_tup_upd AS updates, s.n_tup_hot_upd AS hot_updates,
       s.seq_scan AS seq_scans, coalesce(s.idx_scan, 0) AS index_scans,
       s.n_mod_since_analyze AS modified_since_analyze,
       greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at,
       greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
       CASE WHEN l.relation IS NULL THEN pg_total_relation_size(c.oid) ELSE c.relpages * d.page END AS bytes,
       CASE WHEN l.relation IS NULL THEN pg_relation_size(c.oid) ELSE c.relpages * d.page END AS heap_bytes,
       c.relpages AS pages, c.reltuples::float8 AS rows_estimated, w.bytes AS row_bytes,
       coalesce((o.set ->> 'fillfactor')::int, 100) AS fillfactor,
       coalesce((o.set ->> 'autovacuum_enabled')::bool, true) AS autovacuum,
       least(coalesce((o.set ->> 'autovacuum_vacuum_threshold')::float8, d.base)
             + coalesce((o.set ->> 'autovacuum_vacuum_scale_factor')::float8, d.scale) * greatest(c.reltuples, 0),
             nullif(d.cap, -1)) AS vacuum_at,
       age(c.relfrozenxid) AS xid_age,
       coalesce(io.heap_blks_hit, 0) AS blocks_hit, coalesce(io.heap_blks_read, 0) AS blocks_read,
       coalesce(io.idx_blks_hit, 0) AS index_blocks_hit, coalesce(io.idx_blks_read, 0) AS index_blocks_read,
       (to_jsonb(s) ->> 'n_tup_newpage_upd')::bigint AS moved_updates, coalesce(o.set, '{}') AS options,
       pg_has_role(c.relowner, 'USAGE') AS owned
FROM pg_stat_user_tables s
JOIN pg_class c ON c.oid = s.relid AND c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
JOIN pg_statio_user_tables io ON io.relid = s.relid
CROSS JOIN defaults d
LEFT JOIN locked l ON l.relation = c.oid
LEFT JOIN options o ON o.oid = c.oid
LEFT JOIN widths w ON w.schemaname = s.schemaname AND w.tablename = s.relname
ORDER BY 1, 2
""",
)

# pg_get_indexdef() waits for whoever holds the table exclusively, so an index that is being worked on is left out.
INDEXES = NamedQuery(
    "indexes",
    IndexFact,
    "Every index with what it covers, its size and its use: one read for unused, duplicate, invalid and bloated",
    "pg_index; PgHero's indexes(); constraints and replica identity as the manual has them",
    """
WITH locked AS MATERIALIZED (
    SELECT DISTINCT relation FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL
), widths AS MATERIALIZED (
    SELECT schemaname, tablename, attname, avg_width FROM pg_stats WHERE NOT inherited
), keyed AS MATERIALIZED (
    SELECT i.indexrelid, CASE WHEN count(w.avg_width) = count(*) THEN sum(w.avg_width) END AS bytes
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_attribute b ON b.attrelid = t.oid AND b.attnum = i.indkey[a.attnum - 1]
    LEFT JOIN widths w ON w.schemaname = n.nspname
         AND w.tablename = CASE WHEN b.attname IS NULL THEN c.relname ELSE t.relname END
         AND w.attname = coalesce(b.attname, a.attname)
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    GROUP BY 1
)
SELECT n.nspname::text AS schema, t.relname::text AS table, c.relname::text AS name, m.amname::text AS method,
       ARRAY(SELECT concat_ws(' ', pg_get_indexdef(c.oid, k, true), op.opcname,
                              nullif(i.indcollation[k - 1], 0), i.indoption[k - 1])
             FROM generate_series(1, i.indnkeyatts) k JOIN pg_opclass op ON op.oid = i.indclass[k - 1]
             ORDER BY k) AS keys,
       ARRAY(SELECT pg_get_indexdef(c.oid, k, true) FROM generate_series(i.indnkeyatts + 1, i.indnatts) k
             ORDER BY k) AS included,
       coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
       pg_get_indexdef(c.oid) AS definition,
       i.indisunique AS is_unique, i.indisprimary AS is_primary, i.indisvalid AND i.indisready AS is_valid,
       EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.conrelid = i.indrelid
               AND k.contype IN ('p', 'u', 'x')) AS is_constraint,
       i.indisreplident AS is_replica_identity, i.indisclustered AS is_clustered,
       EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = i.indrelid AND k.contype = 'f'
               AND k.conkey[1] = i.indkey[0]) AS supports_foreign_key,
       EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid) AS being_built,
       pg_relation_size(c.oid) AS bytes,
       coalesce(s.idx_scan, 0) AS scans,
       c.relpages AS pages, c.reltuples::float8 AS rows_estimated,
       k.bytes::float8 AS key_bytes,
       coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions)
                 WHERE option_name = 'fillfactor'), 90) AS fillfactor
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i' AND c.relpersistence <> 't'
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_am m ON m.oid = c.relam
LEFT JOIN keyed k ON k.indexrelid = c.oid
LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = c.oid
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'
  AND NOT EXISTS (SELECT FROM locked l WHERE l.relation IN (c.oid, t.oid))
ORDER BY 1, 2, 3
""",
)

CONSTRAINTS = NamedQuery(
    "constraints",
    ConstraintFact,
    "Constraints added NOT VALID that were never validated",
    "PgHero's invalid_constraints",
    """
SELECT n.nspname::text AS schema, t.relname::text AS table, k.conname::text AS name,
       pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE NOT k.convalidated AND k.contype IN ('f', 'c', 'n')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1, 2, 3
""",
    newer=(
        (
            180000,
            """
SELECT n.nspname::text AS schema, t.relname::text AS table, k.conname::text AS name,
       pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE NOT k.convalidated AND k.conenforced AND k.contype IN ('f', 'c', 'n')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1, 2, 3
""",
        ),
    ),
)

SEQUENCES = NamedQuery(
    "sequences",
    SequenceFact,
    "How much of each sequence is used up, against the smaller of its own and its column's maximum",
    "PgHero's sequence_danger, by the column's type",
    """
SELECT q.schemaname::text AS schema, q.sequencename::text AS name,
       t.relname::text AS table, a.attname::text AS column, format_type(a.atttypid, NULL) AS column_type,
       q.last_value AS last_value,
       least(q.max_value, CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                                          ELSE 9223372036854775807 END) AS max_value,
       q.cycle AS cycles
FROM pg_sequences q
JOIN pg_namespace n ON n.nspname = q.schemaname
JOIN pg_class s ON s.relname = q.sequencename AND s.relnamespace = n.oid AND s.relkind = 'S'
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('a', 'i')
     AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
JOIN pg_class t ON t.oid = d.refobjid
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE q.last_value IS NOT NULL AND q.increment_by > 0
ORDER BY 1, 2
""",
)

KEYS = NamedQuery(
    "keys",
    KeyFact,
    "The largest value that the statistics know in each integer column of a key that has no sequence of its own",
    "pg_stats' histogram; the other half of PgHero's sequence_danger: a foreign key narrower than what it refers to",
    """
SELECT n.nspname::text AS schema, t.relname::text AS table, a.attname::text AS column,
       format_type(a.atttypid, NULL) AS column_type,
       (s.histogram_bounds::text::bigint[])[array_upper(s.histogram_bounds::text::bigint[], 1)] AS largest,
       CASE a.atttypid WHEN 'int2'::regtype THEN 32767 ELSE 2147483647 END::bigint AS max_value
FROM pg_constraint k
JOIN pg_class t ON t.oid = k.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (k.conkey)
     AND a.atttypid IN ('int2'::regtype, 'int4'::regtype)
JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = t.relname AND s.attname = a.attname
     AND NOT s.inherited AND s.histogram_bounds IS NOT NULL
WHERE k.contype IN ('p', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
                  AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i') AND d.classid = 'pg_class'::regclass
                  AND EXISTS (SELECT FROM pg_class q WHERE q.oid = d.objid AND q.relkind = 'S'))
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY 1, 2, 3
""",
)

REPLICAS = NamedQuery(
    "replicas",
    ReplicaFact,
    "Standbys and how far they are behind",
    "pg_stat_replication; PgHero's replication_lag",
    """
SELECT coalesce(application_name, '') AS application, coalesce(host(client_addr), 'local') AS source,
       coalesce(state, '') AS state, extract(epoch FROM replay_lag)::float8 AS lag_seconds,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint END
           AS lag_bytes
FROM pg_stat_replication ORDER BY 1, 2
""",
)

SLOTS = NamedQuery(
    "slots",
    SlotFact,
    "Replication slots and the WAL that they hold back",
    "pg_replication_slots; PgHero's replication_slots",
    """
SELECT slot_name::text AS name, slot_type::text AS kind, active,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END
           AS retained_bytes,
       wal_status::text AS wal_status
FROM pg_replication_slots ORDER BY 1
""",
)

SETTINGS = NamedQuery(
    "settings",
    SettingFact,
    "The server's settings, for tuning advice",
    "pg_settings",
    """
SELECT name, setting AS value, coalesce(unit, '') AS unit, context, source, pending_restart,
       coalesce(sourcefile LIKE '%postgresql.auto.conf', false) AS by_alter_system
FROM pg_settings ORDER BY name
""",
)

VACUUMS = NamedQuery(
    "vacuums",
    VacuumFact,
    "VACUUMs at work now and how far they are",
    "pg_stat_progress_vacuum",
    """
SELECT pid, relid::regclass::text AS table, phase,
       (heap_blks_scanned::float8 / greatest(heap_blks_total, 1)) AS done
FROM pg_stat_progress_vacuum WHERE datname = current_database() ORDER BY pid
""",
)

PREPARED = NamedQuery(
    "prepared",
    PreparedFact,
    "Prepared transactions: they hold locks and stop vacuum until somebody ends them",
    "PostgreSQL manual, PREPARE TRANSACTION",
    """
SELECT gid, owner::text AS owner, extract(epoch FROM clock_timestamp() - prepared)::float8 AS seconds
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared
""",
)

STATEMENTS = NamedQuery(
    "statements",
    StatementFact,
    "The costliest normalised queries; transaction control and our own are left out",
    "pg_stat_statements; PgHero's query_stats",
    r"""
SELECT queryid, left(min(query), 2000) AS text, sum(calls)::bigint AS calls,
       sum(total_exec_time) / greatest(sum(calls), 1) AS mean_ms, sum(total_exec_time) AS total_ms,
       sum(rows)::bigint AS rows, sum(temp_blks_written)::bigint AS temp_blocks
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = current_database() AND queryid IS NOT NULL AND calls > 0
  AND query ~* '^\s*(--[^\n]*\n\s*|/\*.*?\*/\s*)*\(*\s*(select|insert|update|delete|merge|with)\y'
  AND query !~* '\y(pg_\w+|paiid_perf_\w+|current_setting|set_config)\y'
GROUP BY queryid ORDER BY total_ms DESC LIMIT 500
""",
)

_CHECKPOINTS_BEFORE_17 = """
SELECT checkpoints_timed AS timed, checkpoints_req AS requested FROM pg_stat_bgwriter
"""

CHECKPOINTS = NamedQuery(
    "checkpoints",
    CheckpointFact,
    "Checkpoints forced by WAL volume against those by the clock",
    "pg_stat_checkpointer; pg_stat_bgwriter before PostgreSQL 17",
    _CHECKPOINTS_BEFORE_17,
    newer=((170000, "SELECT num_timed AS timed, num_requested AS requested FROM pg_stat_checkpointer"),),
)

QUERIES: tuple[NamedQuery[Any], ...] = (
    DATABASE,
    SESSIONS,
    TABLES,
    INDEXES,
    CONSTRAINTS,
    SEQUENCES,
    KEYS,
    REPLICAS,
    SLOTS,
    SETTINGS,
    VACUUMS,
    PREPARED,
    STATEMENTS,
    CHECKPOINTS,
)

#: Panels of which a role without pg_read_all_stats sees only its own part.
_PARTLY_HIDDEN = frozenset({"sessions", "replicas", "statements"})


def read(session: Session, alias: str, progress: Callable[[str], None] = lambda name: None) -> Health:
    """Ask every named query once.

    Raises:
        psycopg.OperationalError: the server went away.
    """
    server = session.rows_of(ServerFact, SERVER)[0]
    panels: dict[str, Any] = {}
    for query in QUERIES:
        progress(query.panel)
        panels[query.panel] = _panel(session, server, query)
    health = Health(server, machine=machine.read(alias), **panels)
    grown = growth.read(alias, machine.disk(session))
    return replace(health, pool=machine.pool(session, alias, health), growth=grown)


def _panel(session: Session, server: ServerFact, query: NamedQuery[Row]) -> Panel[Row]:
    try:
        rows = tuple(session.rows_of(query.row, query.for_version(server.version)))
    except psycopg.Error as error:
        if session.is_broken:
            raise
        return Panel(unavailable=explain(error, server.role, query.panel))
    return Panel(rows, limited=_limits(server, query.panel))


def _limits(server: ServerFact, panel: str) -> str:
    if server.reads_all_stats or panel not in _PARTLY_HIDDEN:
        return ""
    return _("shows only what the role %(role)s owns; %(grant)s shows the rest.") % {
        "role": server.role,
        "grant": _grant(server.role),
    }


def explain(error: psycopg.Error, role: str, panel: str) -> str:
    """What is missing and the statement or setting that gives it, in words."""
    if isinstance(error, errors.InsufficientPrivilege):
        return _("the role %(role)s may not read this; %(grant)s") % {"role": role, "grant": _grant(role)}
    if isinstance(error, errors.QueryCanceled | errors.LockNotAvailable):
        return _("took longer than STATEMENT_TIMEOUT or LOCK_TIMEOUT allows; read again later or raise them.")
    if panel == "statements" and isinstance(error, errors.ObjectNotInPrerequisiteState):
        return _(
            "pg_stat_statements is not loaded: shared_preload_libraries = 'pg_stat_statements', then restart."
        )
    if panel == "statements" and isinstance(error, errors.UndefinedTable):
        return _(
            "pg_stat_statements is not installed: CREATE EXTENSION pg_stat_statements; "
            "(it must be in shared_preload_libraries too, which needs a restart)."
        )
    return str(error).strip().splitlines()[0]


def _grant(role: str) -> str:
    quoted = '"' + role.replace('"', '""') + '"'
    return f"GRANT pg_monitor TO {quoted};"
