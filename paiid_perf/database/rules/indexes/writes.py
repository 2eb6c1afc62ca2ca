"""What keeping an index up to date costs the statements that write.

A heap-only-tuple (HOT) update touches no index; one that changes an indexed column (key, INCLUDE or a partial index's
predicate column) adds an entry to *every* index of the table (storage/README.HOT). That, more than the new entries
themselves, is what makes an index on an often updated column dear.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from paiid_perf.database.index_types import Catalog, IndexSpec, Query, Statement, Table, TableKey

#: Milliseconds for one new index entry with its WAL, by access method.
ENTRY_MS: dict[str, float] = {
    "btree": 0.004,
    "hash": 0.004,
    "gin": 0.04,
    "gist": 0.02,
    "spgist": 0.02,
    "brin": 0.0002,
}
#: Milliseconds per index of the table for an update that is no longer HOT: entries, WAL, vacuum and bloat.
#: Measured on an order-entry mix, where one such index halved the throughput.
HOT_LOST_MS = 0.05
#: A save of the whole row (Django's ``save()``) changes few of the columns that it sets.
_WHOLE_ROW = 0.6
_WHOLE_ROW_CHANGED = 0.1
_CHANGES_EVERY_TIME = re.compile(
    r"updated|modified|changed|last_|version|counter|count$|balance|status|state|quantity"
)
_NEVER_CHANGES = re.compile(r"created|^id$|_id$|uuid")


@dataclass(slots=True)
class TableWrites:
    """Rows written in the window, by what they do to indexes."""

    inserted: float = 0.0
    updated: float = 0.0
    changed: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Column → rows whose update changes it."""


def table_writes(
    pairs: Iterable[tuple[Statement, Query]], catalog: Catalog
) -> Mapping[TableKey, TableWrites]:
    """Rows inserted and updated in the window by table, from the statements that write."""
    found: defaultdict[TableKey, TableWrites] = defaultdict(TableWrites)
    for statement, query in pairs:
        write = query.write
        if write is None or write.table not in catalog.tables or is_load(statement):
            continue
        counts = found[write.table]
        if write.kind == "insert":
            counts.inserted += statement.rows
        elif write.kind == "update":
            counts.updated += statement.rows
            table = catalog.tables[write.table]
            for column in write.columns:
                counts.changed[column] += statement.rows * _changes(column, len(write.columns), table)
    return found


#: A statement that wrote this many rows a call, in fewer calls than that, was a load or a backfill: it does not recur.
LOAD_ROWS = 1_000
LOAD_CALLS = 5


def is_load(statement: Statement) -> bool:
    """Whether a writing statement was a one-off whose rows say nothing of the writes to come."""
    return statement.rows_per_call >= LOAD_ROWS and statement.calls < LOAD_CALLS


def _changes(column: str, assigned: int, table: Table) -> float:
    """The chance that an update which sets a column changes its value."""
    whole_row = assigned > 4 and assigned >= _WHOLE_ROW * len(table.columns)
    if not whole_row or _CHANGES_EVERY_TIME.search(column):
        return 1.0
    return 0.0 if _NEVER_CHANGES.search(column) else _WHOLE_ROW_CHANGED


def touched(spec: IndexSpec, writes: TableWrites) -> float:
    """Updated rows in the window that change what the index holds."""
    columns = (
        set(spec.columns) | _words(spec.predicate) | _words(k.text for k in spec.keys if not k.is_column)
    )
    return min(writes.updated, sum(rows for column, rows in writes.changed.items() if column in columns))


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r'"([^"]+)"', text)}


def already_indexed(table: Table) -> set[str]:
    """Columns whose update is not HOT today."""
    return {
        column
        for index in table.indexes
        for column in (*index.spec.columns, *_words(index.spec.predicate), *_words(index.spec.key_texts))
    }


def lost_hot(spec: IndexSpec, table: Table, writes: TableWrites, version: int) -> float:
    """Updates in the window that are HOT today and would no longer be. BRIN does not count from PostgreSQL 16 on."""
    if spec.method == "brin" and version >= 160000:
        return 0.0
    fresh = {c: n for c, n in writes.changed.items() if c not in already_indexed(table)}
    newly = touched(spec, TableWrites(updated=writes.updated, changed=defaultdict(float, fresh)))
    seen = table.writes.hot_ratio if table.writes.updated >= 100 else 1.0
    return newly * seen


def write_ms(spec: IndexSpec, table: Table, writes: TableWrites, version: int) -> float:
    """Milliseconds per window that the index adds to writes."""
    lost = lost_hot(spec, table, writes, version)
    not_hot = writes.updated * (1.0 - table.writes.hot_ratio) if table.writes.updated >= 100 else 0.0
    entries = writes.inserted + max(not_hot, touched(spec, writes))
    return entries * ENTRY_MS[spec.method] + lost * HOT_LOST_MS * (len(table.indexes) + 1)
