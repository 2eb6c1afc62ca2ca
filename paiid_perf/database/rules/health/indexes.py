"""Indexes and constraints that are invalid, doubled, or in vain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from paiid_perf.database.health_types import Health, IndexFact
from paiid_perf.database.rules.health.common import quoted
from paiid_perf.database.rules.sizes import readable
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding


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
