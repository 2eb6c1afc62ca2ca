"""Keys and disks that fill up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.utils.translation import gettext as _

from paiid_perf.database.health_types import Health, SequenceFact
from paiid_perf.database.rules.health.common import quoted
from paiid_perf.database.rules.sizes import readable
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding


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
