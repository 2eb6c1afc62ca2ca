"""How large a table or B-tree would be if it were freshly written: what is over that is bloat.

The layout is the manual's, 66.6 (page header 24 bytes, line pointer 4, tuple header 23 padded to 24) and 64.1
(B-tree: 8-byte entry header, 16 bytes of special space). It is an estimate from pg_stats' average widths; the
``pgstattuple`` extension measures.
"""

from __future__ import annotations

import math

from paiid_perf.database.health_types import IndexFact, TableFact

PAGE = 8192
_HEADER = 24
_POINTER = 4
_ROW_HEADER = 24
_ENTRY_HEADER = 8
_BTREE_SPECIAL = 16
_ALIGN = 8


def table_pages(rows: float, row_bytes: float, fillfactor: int) -> int:
    """Pages that so many rows of that average width take."""
    each = _aligned(_ROW_HEADER + row_bytes) + _POINTER
    room = (PAGE - _HEADER) * fillfactor / 100
    return math.ceil(rows / max(1, int(room // each))) if rows > 0 else 0


def btree_pages(rows: float, key_bytes: float, fillfactor: int) -> int:
    """Leaf pages that so many entries take without deduplication, and the meta page."""
    each = _aligned(_ENTRY_HEADER + key_bytes) + _POINTER
    room = (PAGE - _HEADER - _BTREE_SPECIAL) * fillfactor / 100
    return 1 + math.ceil(rows / max(1, int(room // each))) if rows > 0 else 1


def table_bloat(table: TableFact) -> int | None:
    """Bytes of a table's heap over what its rows need; None where it was never analyzed or widths are hidden."""
    if table.row_bytes is None or table.rows_estimated < 0:
        return None
    needed = table_pages(table.rows_estimated, table.row_bytes, table.fillfactor)
    return max(0, table.pages - needed) * PAGE


def index_bloat(index: IndexFact) -> int | None:
    """Bytes of a B-tree over what its entries need; None for other methods and where widths are not known."""
    if index.method != "btree" or index.key_bytes is None or index.rows_estimated < 0:
        return None
    return max(0, index.pages - btree_pages(index.rows_estimated, index.key_bytes, index.fillfactor)) * PAGE


def _aligned(width: float) -> int:
    return math.ceil(width / _ALIGN) * _ALIGN


_UNITS = ("B", "kB", "MB", "GB", "TB")


def readable(size: float) -> str:
    """Bytes for people, in PostgreSQL's units: ``12 MB``."""
    unit = 0
    while size >= 10_240 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_UNITS[unit]}"
