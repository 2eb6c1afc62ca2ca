"""Bloat, dead rows, stale statistics and transaction ids: what vacuum should have seen to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from django.utils.translation import gettext as _

from paiid_perf.database.health_types import Health, TableFact
from paiid_perf.database.rules.health.common import XID_SPACE, quoted, ratio
from paiid_perf.database.rules.sizes import index_bloat, readable, table_bloat
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding


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
