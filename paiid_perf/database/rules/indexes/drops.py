"""Indexes that can go: those that another serves, and those that nothing has used for long enough to know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from paiid_perf.database.health_types import Evidence
from paiid_perf.database.index_types import Index, IndexSpec, Table
from paiid_perf.database.rules.indexes.candidates import prefix_of

#: Azure SQL's rule: five weeks without a read, on a table that is read and written.
UNUSED_FOR = timedelta(days=35)
_SMALL = 1_000_000
_DAILY = 1_000


@dataclass(frozen=True, slots=True)
class Drop:
    """An index to drop, what serves in its place (a name), and why."""

    table: Table
    index: Index
    because: str
    covered_by: str = ""
    risk: str = "low"


def protected(index: Index) -> str:
    """What an index guards besides speed; empty where it may be dropped."""
    guards = (
        (index.primary, "it is the primary key"),
        (index.unique, "it is unique"),
        (index.constraint, "it backs a constraint"),
        (index.replica_identity, "it is the replica identity"),
        (index.clustered, "the table is clustered on it"),
        (index.inherited, "it belongs to an index of the partitioned table"),
        (not index.valid, "it is invalid or being built"),
    )
    return next((why for holds, why in guards if holds), "")


def redundant(table: Table, coming: dict[IndexSpec, str] | None = None) -> Iterator[Drop]:
    """Indexes whose every use another one serves: a strict leading prefix, or the same keys twice.

    ``coming`` are indexes about to be built (spec → name) that may take over as well.
    """
    valid = [(i.spec, i.name, bool(protected(i))) for i in table.indexes if i.valid]
    others = valid + [(spec, name, False) for spec, name in (coming or {}).items() if spec.table == table.key]
    gone: set[str] = set()
    for index in table.indexes:
        if protected(index):
            continue
        for spec, name, guarded in others:
            if name == index.name or name in gone or not prefix_of(index.spec, spec):
                continue
            same = spec.keys == index.spec.keys and set(spec.include) == set(index.spec.include)
            if same and not guarded and name > index.name:
                continue
            gone.add(index.name)
            yield Drop(table, index, _redundant_because(index, name, same), name)
            break


def _redundant_because(index: Index, name: str, same: bool) -> str:
    if same:
        return f"{name} has the same keys, operator classes, collations and predicate"
    return f"{name} starts with the same keys and serves every scan that it serves"


def unused(table: Table, evidence: Evidence, now: datetime) -> Iterator[Drop]:
    """Indexes that no scan has used, here or on a replica, for as long as it takes to tell."""
    if not _is_busy(table, evidence, now):
        return
    for index in table.indexes:
        label = f"{table.schema}.{index.name}"
        since = evidence.watched_since(label)
        if since is None or now - since < UNUSED_FOR or index.scans or evidence.scans.get(label):
            continue
        if not protected(index) and index.bytes >= _SMALL and not _supports_key(index, table):
            written = table.writes.inserted + table.writes.updated
            because = (
                f"no scan has used it in {(now - since).days} days; {written:,} writes kept it up to date"
            )
            yield Drop(table, index, because, risk="medium")


def _is_busy(table: Table, evidence: Evidence, now: datetime) -> bool:
    """Whether the table is read and written: of an idle one's indexes nothing is learned."""
    if evidence.since is None:
        return False
    w, least = table.writes, _DAILY * (now - evidence.since).days
    return w.inserted + w.updated + w.deleted >= least and w.sequential_scans + w.index_scans >= least


def _supports_key(index: Index, table: Table) -> bool:
    """Deleting a referenced row looks here for rows that refer to it."""
    return any(index.spec.key_texts[: len(k)] == k for k in table.foreign_keys)
