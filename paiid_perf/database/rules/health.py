"""The checks that a DBA makes, each a function of what was read: facts → findings with their remedies.

The list is PgHero's, with what the manual adds; every number is in ``thresholds``. A panel that could not be read
yields no finding: the phase says what it lacks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from paiid_perf.database.rules.sizes import index_bloat, readable, table_bloat
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import (
    DatabaseFact,
    Finding,
    Health,
    IndexFact,
    SequenceFact,
    SessionFact,
    Severity,
    SlotFact,
    StatementFact,
    TableFact,
)

XID_SPACE = 2**31
Rule = Callable[[Health, datetime], Iterable[Finding]]


def quoted(*names: str) -> str:
    """An SQL identifier, each part quoted."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None of nothing."""
    return part / whole if whole else None


# --- cache and work --------------------------------------------------------------------------------


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


# --- indexes and constraints -------------------------------------------------------------------------


def invalid_indexes(health: Health, now: datetime) -> Iterator[Finding]:
    for index in health.indexes.rows:
        if not index.is_valid and not index.being_built:
            name = quoted(index.schema, index.name)
            yield Finding(
                "invalid_index",
                index.label,
                "warning",
                _("Index %(index)s is invalid") % {"index": index.label},
                _("A concurrent build was broken off: writes pay for it, and no query can use it."),
                how=f"REINDEX INDEX CONCURRENTLY {name};",
                undo=f"DROP INDEX CONCURRENTLY {name};",
                source="PgHero, invalid indexes",
                numbers={"bytes": index.bytes},
            )


def duplicate_indexes(health: Health, now: datetime) -> Iterator[Finding]:
    by_table: dict[tuple[str, str], list[IndexFact]] = defaultdict(list)
    for index in health.indexes.rows:
        by_table[index.schema, index.table].append(index)
    for indexes in by_table.values():
        for index in indexes:
            wider = next((other for other in indexes if makes_redundant(other, index)), None)
            if wider is not None and (wider.keys == index.keys or index.bytes >= limit("duplicate_bytes")):
                yield _duplicate(index, wider)


def makes_redundant(wider: IndexFact, index: IndexFact) -> bool:
    """Whether all that ``index`` does, ``wider`` does too: same method and predicate, keys a leading part."""
    if wider.name == index.name or index.is_protected or not (wider.is_valid and index.is_valid):
        return False
    if (wider.method, wider.predicate) != (index.method, index.predicate):
        return False
    if not _covers(wider, index):
        return False
    same = list(wider.keys) == list(index.keys) and list(wider.included) == list(index.included)
    return not same or wider.is_protected or (wider.scans, index.name) > (index.scans, wider.name)


def _covers(wider: IndexFact, index: IndexFact) -> bool:
    prefix = list(wider.keys[: len(index.keys)]) == list(index.keys)
    if index.method != "btree":
        prefix = list(wider.keys) == list(index.keys)
    columns = {key.split(" ")[0] for key in wider.keys} | set(wider.included)
    return prefix and columns.issuperset(index.included)


def _duplicate(index: IndexFact, wider: IndexFact) -> Finding:
    return Finding(
        "duplicate_index",
        index.label,
        "warning",
        _("Index %(index)s does nothing that %(wider)s does not")
        % {"index": index.label, "wider": wider.name},
        _(
            "Its columns are the leading part of the other's, with the same method, operator classes and predicate."
        ),
        how=f"DROP INDEX CONCURRENTLY {quoted(index.schema, index.name)};",
        undo=index.definition + ";",
        source="PgHero, duplicate indexes",
        numbers={"bytes": index.bytes, "covered_by": wider.definition},
    )


def unused_indexes(health: Health, now: datetime) -> Iterator[Finding]:
    for index in health.indexes.rows:
        since = health.evidence.watched_since(index.label)
        elsewhere = health.evidence.scans.get(index.label)
        watched = now - since if since else timedelta(0)
        if watched >= timedelta(days=limit("unused_days")) and _is_unused(index) and not elsewhere:
            yield Finding(
                "unused_index",
                index.label,
                "info",
                _("Nothing has read index %(index)s (%(size)s)")
                % {"index": index.label, "size": readable(index.bytes)},
                _("Not one scan in %(days)d days, on this server or on a replica.") % {"days": watched.days},
                how=f"DROP INDEX CONCURRENTLY {quoted(index.schema, index.name)};",
                undo=index.definition + ";",
                source=source("unused_days"),
                numbers={"bytes": index.bytes, "days": watched.days},
            )


def _is_unused(index: IndexFact) -> bool:
    if index.is_protected or index.supports_foreign_key or index.bytes < limit("unused_bytes"):
        return False
    return index.scans == 0


def invalid_constraints(health: Health, now: datetime) -> Iterator[Finding]:
    for constraint in health.constraints.rows:
        table = quoted(constraint.schema, constraint.table)
        yield Finding(
            "invalid_constraint",
            f"{constraint.schema}.{constraint.table}.{constraint.name}",
            "warning",
            _("Constraint %(name)s on %(table)s was never validated")
            % {"name": constraint.name, "table": constraint.table},
            _("Old rows may break it, and the planner may not rely on it: %(definition)s")
            % {"definition": constraint.definition},
            how=f"ALTER TABLE {table} VALIDATE CONSTRAINT {quoted(constraint.name)};",
            source="PgHero, invalid constraints",
        )


# --- bloat and vacuum --------------------------------------------------------------------------------


def bloat(health: Health, now: datetime) -> Iterator[Finding]:
    for table in health.tables.rows:
        wasted = table_bloat(table)
        if wasted is not None and _is_bloat(wasted, table.heap_bytes):
            yield _bloated(
                "table_bloat",
                table.label,
                wasted,
                table.heap_bytes,
                f"VACUUM (FULL, ANALYZE) {quoted(table.schema, table.name)};  -- locks it; pg_repack does not",
            )
    for index in health.indexes.rows:
        wasted = index_bloat(index)
        if wasted is not None and _is_bloat(wasted, index.bytes):
            how = f"REINDEX INDEX CONCURRENTLY {quoted(index.schema, index.name)};"
            yield _bloated("index_bloat", index.label, wasted, index.bytes, how)


def _is_bloat(wasted: int, size: int) -> bool:
    return wasted >= limit("bloat_bytes") and wasted >= size * limit("bloat_ratio")


def _bloated(check: str, label: str, wasted: int, size: int, how: str) -> Finding:
    return Finding(
        check,
        label,
        "warning",
        _("%(label)s has %(wasted)s of air in %(size)s")
        % {"label": label, "wasted": readable(wasted), "size": readable(size)},
        _("Estimated from pg_stats' column widths; pgstattuple measures it."),
        how=how,
        source=source("bloat_bytes"),
        numbers={"wasted_bytes": wasted, "bytes": size},
    )


def dead_share(table: TableFact) -> float:
    """Dead rows over all rows, 0–1."""
    return ratio(table.dead, table.live + table.dead) or 0.0


def dead_rows(health: Health, now: datetime) -> Iterator[Finding]:
    for table in health.tables.rows:
        if table.dead >= max(limit("dead_rows"), table.vacuum_at) and dead_share(table) > limit("dead_ratio"):
            name = quoted(table.schema, table.name)
            yield Finding(
                "dead_rows",
                table.label,
                "warning",
                _("%(percent).0f %% of the rows of %(table)s are dead")
                % {"percent": dead_share(table) * 100, "table": table.label},
                _("Autovacuum should have started at %(start).0f dead rows; it is off, starved or held back.")
                % {"start": table.vacuum_at},
                how=f"VACUUM (ANALYZE) {name};\n"
                f"ALTER TABLE {name} SET (autovacuum_vacuum_scale_factor = 0.05);",
                undo=f"ALTER TABLE {name} RESET (autovacuum_vacuum_scale_factor);",
                source=source("dead_ratio"),
                numbers={"dead": table.dead, "live": table.live, "vacuum_at": table.vacuum_at},
            )


def stale_statistics(health: Health, now: datetime) -> Iterator[Finding]:
    for table in filter(is_stale, health.tables.rows):
        yield Finding(
            "stale_statistics",
            table.label,
            "warning",
            _("The planner's statistics of %(table)s are out of date") % {"table": table.label},
            _("%(changed)d rows changed since the last ANALYZE; the table has %(live)d.")
            % {"changed": table.modified_since_analyze, "live": table.live},
            how=f"ANALYZE {quoted(table.schema, table.name)};",
            source=source("stale_ratio"),
            numbers={"changed": table.modified_since_analyze, "live": table.live},
        )


def is_stale(table: TableFact) -> bool:
    """Whether a table's statistics describe another table: never analyzed, or a fifth of it has changed."""
    if table.analyzed_at is None and table.rows_estimated < 0:
        return table.live >= limit("never_analyzed_rows")
    changed = table.modified_since_analyze
    return changed >= limit("stale_rows") and changed > table.live * limit("stale_ratio")


def wraparound(health: Health, now: datetime) -> Iterator[Finding]:
    database = health.database.first()
    if database is None:
        return
    ages = {"transaction id": database.xid_age, "multixact id": database.multixact_age}
    oldest = max(health.tables.rows, key=lambda t: t.xid_age, default=None)
    for what, age in ages.items():
        if age / XID_SPACE >= limit("xid_age"):
            yield Finding(
                "wraparound",
                what,
                "critical" if age / XID_SPACE >= limit("xid_age_critical") else "warning",
                _("%(percent).0f %% of the %(what)s space is used up")
                % {"percent": age / XID_SPACE * 100, "what": what},
                _("At 100 %% the server stops taking writes. The oldest table is %(table)s.")
                % {"table": oldest.label if oldest else "–"},
                how=f"VACUUM (FREEZE) {quoted(oldest.schema, oldest.name)};"
                if oldest
                else "VACUUM (FREEZE);",
                source=source("xid_age"),
                numbers={"age": age},
            )


def vacuum_held_back(health: Health, now: datetime) -> Iterator[Finding]:
    for session in health.sessions.rows:
        if session.xmin_age is not None and session.xmin_age >= limit("xmin_age"):
            yield Finding(
                "xmin_horizon",
                str(session.pid),
                "warning",
                _("Connection %(pid)d keeps vacuum from removing rows") % {"pid": session.pid},
                _("Its snapshot is %(age)d transactions old: %(who)s")
                % {"age": session.xmin_age, "who": _who(session)},
                how=f"SELECT pg_terminate_backend({session.pid});",
                source=source("xmin_age"),
                numbers={"xmin_age": session.xmin_age},
            )


# --- sessions ------------------------------------------------------------------------------------------


def connections(health: Health, now: datetime) -> Iterator[Finding]:
    if health.pool is None or not health.pool.max_connections:
        return
    share = connection_share(health) or 0.0
    if share >= limit("connections"):
        states: dict[str, int] = defaultdict(int)
        for session in health.sessions.rows:
            states[f"{session.state or '?'} {session.application or session.role or '?'}"] += 1
        yield Finding(
            "connections",
            health.server.database,
            "critical" if share >= limit("connections_critical") else "warning",
            _("%(percent).0f %% of the connections are taken") % {"percent": share * 100},
            ", ".join(
                f"{count} × {state}" for state, count in sorted(states.items(), key=lambda s: -s[1])[:8]
            ),
            how=_("Pool the connections (see the pool's advice) before raising max_connections."),
            source=source("connections"),
            numbers={"in_use": health.pool.in_use, "max_connections": health.pool.max_connections},
        )


def connection_share(health: Health) -> float | None:
    """Connections in use over those that ordinary roles may open, 0–1."""
    if health.pool is None:
        return None
    return ratio(health.pool.in_use, health.pool.max_connections - health.pool.reserved)


def long_running(health: Health, now: datetime) -> Iterator[Finding]:
    for session in health.sessions.rows:
        if (session.query_seconds or 0) >= limit("long_running_s"):
            yield _session_finding(
                "long_running",
                session,
                "warning",
                _("A query has run for %(seconds).0f s") % {"seconds": session.query_seconds},
                f"SELECT pg_cancel_backend({session.pid});",
                "long_running_s",
            )


def idle_in_transaction(health: Health, now: datetime) -> Iterator[Finding]:
    for session in health.sessions.rows:
        idle = session.state_seconds or 0
        if (session.state or "").startswith("idle in transaction") and idle >= limit("idle_in_transaction_s"):
            yield _session_finding(
                "idle_in_transaction",
                session,
                "critical" if idle >= limit("idle_in_transaction_critical_s") else "warning",
                _("A transaction has been idle for %(seconds).0f s") % {"seconds": idle},
                f"SELECT pg_terminate_backend({session.pid});\n"
                f"ALTER ROLE {quoted(session.role or '…')} SET idle_in_transaction_session_timeout = '60s';",
                "idle_in_transaction_s",
            )


def blocked(health: Health, now: datetime) -> Iterator[Finding]:
    by_pid = {session.pid: session for session in health.sessions.rows}
    for session in health.sessions.rows:
        if session.blocked_by and (session.query_seconds or 0) >= limit("blocked_s"):
            root = blocking_root(session, by_pid)
            yield Finding(
                "blocked",
                str(session.pid),
                "critical",
                _("A query has waited %(seconds).0f s for a lock that connection %(pid)d holds")
                % {"seconds": session.query_seconds, "pid": root},
                _("Waits: %(waiter)s. Holds: %(holder)s")
                % {"waiter": _who(session), "holder": _who(by_pid[root]) if root in by_pid else root},
                how=f"SELECT pg_terminate_backend({root});",
                source=source("blocked_s"),
                numbers={"pid": session.pid, "blocked_by": list(session.blocked_by), "root": root},
            )


def blocking_root(session: SessionFact, by_pid: dict[int, SessionFact]) -> int:
    """The process at the head of the queue that this one waits in (a prepared transaction has pid 0)."""
    seen = {session.pid}
    pid = session.blocked_by[0]
    while pid in by_pid and by_pid[pid].blocked_by and pid not in seen:
        seen.add(pid)
        pid = by_pid[pid].blocked_by[0]
    return pid


def prepared(health: Health, now: datetime) -> Iterator[Finding]:
    for transaction in health.prepared.rows:
        if transaction.seconds >= limit("prepared_s"):
            gid = transaction.gid.replace("'", "''")
            yield Finding(
                "prepared",
                transaction.gid,
                "critical",
                _("A prepared transaction has been waiting for %(seconds).0f s")
                % {"seconds": transaction.seconds},
                _("It survives restarts, holds its locks, and keeps vacuum from working."),
                how=f"ROLLBACK PREPARED '{gid}';  -- or COMMIT PREPARED, as its coordinator says",
                source=source("prepared_s"),
            )


def _session_finding(
    check: str, session: SessionFact, severity: Severity, title: str, how: str, threshold: str
) -> Finding:
    numbers = {"pid": session.pid, "state": session.state, "wait": session.wait}
    return Finding(
        check,
        str(session.pid),
        severity,
        title,
        _who(session),
        how,
        source=source(threshold),
        numbers=numbers,
    )


def _who(session: SessionFact) -> str:
    return f"{session.role or '?'} {session.application} {session.source}: {session.query}"


# --- keys, replication, space ------------------------------------------------------------------------


def sequences(health: Health, now: datetime) -> Iterator[Finding]:
    for sequence in health.sequences.rows:
        if not sequence.cycles and sequence.used >= limit("sequence_warning"):
            yield _used_up(sequence)


def _used_up(sequence: SequenceFact) -> Finding:
    table = quoted(sequence.schema, sequence.table)
    return Finding(
        "sequence",
        f"{sequence.schema}.{sequence.table}.{sequence.column}",
        "critical" if sequence.used >= limit("sequence") else "warning",
        _("%(percent).0f %% of the keys of %(table)s.%(column)s are used up")
        % {"percent": sequence.used * 100, "table": sequence.table, "column": sequence.column},
        _("Inserts fail at %(maximum)d; the column is %(type)s.")
        % {"maximum": sequence.max_value, "type": sequence.column_type},
        how=f"ALTER TABLE {table} ALTER COLUMN {quoted(sequence.column)} TYPE bigint;  -- rewrites the table: "
        "add a bigint column, fill it in batches and swap where it is large; BigAutoField in the model",
        source=source("sequence"),
        numbers={"last_value": sequence.last_value, "max_value": sequence.max_value},
    )


def integer_keys(health: Health, now: datetime) -> Iterator[Finding]:
    for key in health.keys.rows:
        if key.used >= limit("sequence_warning"):
            table = quoted(key.schema, key.table)
            yield Finding(
                "integer_key",
                f"{key.schema}.{key.table}.{key.column}",
                "critical" if key.used >= limit("sequence") else "warning",
                _("%(percent).0f %% of what %(table)s.%(column)s can hold is used up")
                % {"percent": key.used * 100, "table": key.table, "column": key.column},
                _("The largest value at the last ANALYZE was %(largest)d; the column is %(type)s.")
                % {"largest": key.largest, "type": key.column_type},
                how=f"ALTER TABLE {table} ALTER COLUMN {quoted(key.column)} TYPE bigint;  -- rewrites the table",
                source=source("sequence"),
                numbers={"largest": key.largest, "max_value": key.max_value},
            )


def growth(health: Health, now: datetime) -> Iterator[Finding]:
    grown = health.growth
    if grown is None or grown.days < limit("growth_days") or grown.per_day <= 0:
        return
    left = grown.free / grown.per_day if grown.free is not None else None
    share = grown.per_day / max(1.0, grown.bytes_before)
    is_fast = share >= limit("growth_ratio") and grown.per_day >= limit("growth_bytes")
    if not is_fast and (left is None or left > limit("disk_days")):
        return
    soon = left is not None and left <= limit("disk_days")
    largest = sorted(health.tables.rows, key=lambda table: -table.bytes)[:3]
    yield Finding(
        "growth",
        health.server.database,
        "critical" if soon else "info",
        _("The database grows by %(size)s a day") % {"size": readable(grown.per_day)}
        + (_("; the disk is full in %(days).0f days") % {"days": left} if left is not None and soon else ""),
        _("The largest tables: %(tables)s")
        % {"tables": ", ".join(f"{t.label} {readable(t.bytes)}" for t in largest)},
        how=_("Declare a RetentionRule for what is only kept; drop unused indexes; see what is bloated."),
        source=source("disk_days"),
        numbers={"per_day": round(grown.per_day), "days_left": None if left is None else round(left)},
    )


def autovacuum_danger(health: Health, now: datetime) -> Iterator[Finding]:
    settings = {setting.name: setting.value for setting in health.settings.rows}
    most = int(settings.get("autovacuum_freeze_max_age", 0))
    for table in health.tables.rows:
        if most and table.xid_age >= most * limit("freeze_age"):
            yield Finding(
                "autovacuum_danger",
                table.label,
                "info",
                _("An anti-wraparound VACUUM of %(table)s is about to begin") % {"table": table.label},
                _("Its oldest row is %(age)d transactions old, of %(most)d. That VACUUM gives way to nobody.")
                % {"age": table.xid_age, "most": most},
                how=f"VACUUM (FREEZE) {quoted(table.schema, table.name)};  -- at a quiet hour",
                source=source("freeze_age"),
                numbers={"xid_age": table.xid_age, "freeze_max_age": most},
            )


def blocking_tree(sessions: Iterable[SessionFact]) -> list[str]:
    """Who waits for whom, a line for each, indented under whom it waits for; the roots wait for nobody known."""
    by_pid = {session.pid: session for session in sessions}
    below: dict[int, list[int]] = defaultdict(list)
    for session in by_pid.values():
        for pid in session.blocked_by:
            below[pid].append(session.pid)
    roots = [pid for pid in below if pid not in by_pid or not by_pid[pid].blocked_by]
    return [line for pid in sorted(roots) for line in _branch(pid, by_pid, below, ())]


def _branch(
    pid: int, by_pid: dict[int, SessionFact], below: dict[int, list[int]], above: tuple[int, ...]
) -> Iterator[str]:
    who = _who(by_pid[pid]) if pid in by_pid else _("a prepared or hidden transaction")
    yield "  " * len(above) + f"{pid} {who}"
    for child in below.get(pid, ()):
        if child not in above and child != pid:
            yield from _branch(child, by_pid, below, (*above, pid))


def measured_bloat(finding: Finding, wasted: int) -> Finding | None:
    """The finding with what pgstattuple measured in place of the estimate; None where that is no bloat."""
    size = int(finding.numbers["bytes"])
    if not _is_bloat(wasted, size):
        return None
    title = _("%(label)s has %(wasted)s of air in %(size)s") % {
        "label": finding.subject,
        "wasted": readable(wasted),
        "size": readable(size),
    }
    why = _("Measured by pgstattuple: dead rows and free space.")
    return replace(
        finding, title=title, why=why, numbers={"wasted_bytes": wasted, "bytes": size, "measured": True}
    )


def replication_lag(health: Health, now: datetime) -> Iterator[Finding]:
    for replica in health.replicas.rows:
        late = (replica.lag_seconds or 0) > limit("lag_s") or (replica.lag_bytes or 0) > limit("lag_bytes")
        if late:
            yield Finding(
                "replication_lag",
                f"{replica.application} {replica.source}",
                "warning",
                _("Replica %(name)s is %(seconds).0f s and %(size)s behind")
                % {
                    "name": replica.application or replica.source,
                    "seconds": replica.lag_seconds or 0,
                    "size": readable(replica.lag_bytes or 0),
                },
                _("Reads from it are old; a long query there, its disk, or the network holds replay up."),
                source=source("lag_s"),
                numbers={"lag_seconds": replica.lag_seconds, "lag_bytes": replica.lag_bytes},
            )


def inactive_slots(health: Health, now: datetime) -> Iterator[Finding]:
    for slot in health.slots.rows:
        if not slot.active:
            yield Finding(
                "inactive_slot",
                slot.name,
                _slot_severity(slot),
                _("Nobody reads replication slot %(name)s") % {"name": slot.name},
                _("It keeps %(size)s of WAL from being removed, and may fill the disk.")
                % {"size": readable(slot.retained_bytes or 0)},
                how=f"SELECT pg_drop_replication_slot('{slot.name}');",
                source=source("slot_bytes"),
                numbers={"retained_bytes": slot.retained_bytes, "wal_status": slot.wal_status},
            )


def _slot_severity(slot: SlotFact) -> Severity:
    return "critical" if (slot.retained_bytes or 0) >= limit("slot_bytes") else "warning"


def forced_checkpoints(health: Health) -> float | None:
    """Share of the checkpoints that WAL volume forced; None of too few."""
    counts = health.checkpoints.first()
    if counts is None or counts.timed + counts.requested < limit("checkpoints"):
        return None
    return counts.requested / (counts.timed + counts.requested)


#: Every check, in the order in which people see them.
RULES: tuple[Rule, ...] = (
    wraparound,
    blocked,
    idle_in_transaction,
    long_running,
    prepared,
    connections,
    sequences,
    integer_keys,
    growth,
    inactive_slots,
    replication_lag,
    invalid_indexes,
    invalid_constraints,
    duplicate_indexes,
    unused_indexes,
    dead_rows,
    vacuum_held_back,
    autovacuum_danger,
    stale_statistics,
    bloat,
    low_hit_ratio,
    slow_queries,
    spills,
    rollbacks,
)


def judge(health: Health, now: datetime) -> list[Finding]:
    """Every finding of every check."""
    return [finding for rule in RULES for finding in rule(health, now)]
