"""Storage parameters of single tables: when autovacuum comes, and how full a page is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from paiid_perf.database.health_types import Health, TableFact
from paiid_perf.database.rules.health.common import Rule, quoted, ratio
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding, Severity

Json = Mapping[str, Any]
#: Autovacuum is never asked to come for less than this share of a table.
_SMALLEST_SCALE = 0.001
_ROOMIER = 90


def autovacuum_off(table: TableFact) -> Iterator[Finding]:
    if table.autovacuum:
        return
    yield _finding(
        "autovacuum_off",
        table,
        "warning",
        _("Autovacuum is switched off for %(table)s") % {"table": table.label},
        _("Dead rows stay, statistics age, and only the emergency vacuum before wraparound will come."),
        {"autovacuum_enabled": None},
        "PostgreSQL manual, 24.1.6",
    )


def late_autovacuum(table: TableFact) -> Iterator[Finding]:
    """A table so large that a fifth of it is much, and written enough that it gets there."""
    if not table.autovacuum or table.vacuum_at <= limit("vacuum_rows") or _churn(table) < limit("churn"):
        return
    scale = max(_SMALLEST_SCALE, round(limit("vacuum_rows") / 2 / max(1.0, table.rows_estimated), 3))
    yield _finding(
        "late_autovacuum",
        table,
        "info",
        _("Autovacuum comes to %(table)s only after %(rows).0f dead rows")
        % {"table": table.label, "rows": table.vacuum_at},
        _(
            "One long VACUUM of much costs more than many of little, and until then each scan reads the dead rows. "
            "The table was written %(churn).1f times over since the counters began."
        )
        % {"churn": _churn(table)},
        {"autovacuum_vacuum_scale_factor": f"{scale:g}"},
        source("vacuum_rows"),
    )


def _churn(table: TableFact) -> float:
    """Rows updated over rows there, since the counters began."""
    return ratio(table.updates, table.live) or 0.0


def lost_hot_updates(table: TableFact) -> Iterator[Finding]:
    """Updates that write to every index, for want of room on the page or because an index holds what they change."""
    share = ratio(table.hot_updates, table.updates)
    if share is None or table.updates < limit("hot_updates") or share >= limit("hot_ratio"):
        return
    roomier, hindered = wants_room(table), indexed_column_changes(table)
    if not (roomier or hindered):
        return
    yield _finding(
        "hot_updates",
        table,
        "info",
        _("Only %(percent).0f %% of the updates of %(table)s are heap-only")
        % {"percent": share * 100, "table": table.label},
        _("Each other one writes to every index: its page had no room for the new row.")
        if roomier
        else _("Each other one writes to every index, because an index holds a column that it changes."),
        {"fillfactor": str(_ROOMIER)} if roomier else {},
        source("hot_ratio"),
        how=""
        if roomier
        else _("Drop the index on the column that is updated, if its reads are worth less."),
    )


def wants_room(table: TableFact) -> bool:
    """Whether room on the pages would make updates heap-only.

    PostgreSQL 16 counts the updates that had to leave their page; before, a full page is taken for the reason.
    """
    return table.fillfactor > _ROOMIER and not indexed_column_changes(table)


def indexed_column_changes(table: TableFact) -> bool:
    """Whether most lost heap-only updates stayed on their page (PostgreSQL 16+): an index holds what they change."""
    lost = table.updates - table.hot_updates
    return table.moved_updates is not None and table.moved_updates < lost * limit("moved_ratio")


def _finding(
    check: str,
    table: TableFact,
    severity: Severity,
    title: str,
    why: str,
    options: Mapping[str, str | None],
    said_by: str,
    how: str = "",
) -> Finding:
    change = {
        "schema": table.schema,
        "table": table.name,
        "options": dict(options),
        "previous": {name: table.options.get(name) for name in options},
    }
    return Finding(
        check,
        table.label,
        severity,
        title,
        why,
        how=how or "\n".join(f"{text};" for text in statements(change)),
        undo="" if how else "\n".join(f"{text};" for text in statements(undone(change))),
        source=said_by,
        numbers={
            "rows": table.live,
            "updates": table.updates,
            "hot_updates": table.hot_updates,
            "dead": table.dead,
        },
        change={"kind": "table_setting", **change} if options and table.owned else {},
    )


def statements(change: Json) -> list[str]:
    """``ALTER TABLE … SET`` and ``RESET`` for a change's payload, without semicolons. Pure."""
    table = quoted(change["schema"], change["table"])
    given = {name: value for name, value in change["options"].items() if value is not None}
    reset = [name for name, value in change["options"].items() if value is None]
    found = []
    if given:
        listed = ", ".join(f"{name} = {value}" for name, value in given.items())
        found.append(f"ALTER TABLE {table} SET ({listed})")
    if reset:
        found.append(f"ALTER TABLE {table} RESET ({', '.join(reset)})")
    return found


def undone(change: Json) -> Json:
    """The payload that puts back what there was."""
    return {**change, "options": change["previous"], "previous": change["options"]}


RULES: tuple[Callable[[TableFact], Iterable[Finding]], ...] = (
    autovacuum_off,
    late_autovacuum,
    lost_hot_updates,
)


def advise(health: Health, now: datetime) -> Iterator[Finding]:
    """What to set for which table."""
    for table in health.tables.rows:
        for rule in RULES:
            yield from rule(table)


RULE: Rule = advise
