"""Bloat as pgstattuple measures it, for what the estimate says is bloated."""

from __future__ import annotations

import psycopg

from paiid_perf.database.session import Session

# Pages that are all visible are not read; the manual, F.33.
_TABLE = """
SELECT (t.dead_tuple_len + t.approx_free_space)::bigint AS wasted
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pgstattuple_approx(c.oid) t
WHERE concat(n.nspname, '.', c.relname) = %s AND c.relkind IN ('r', 'm')
"""
# A freshly built B-tree is filled to 90 %.
_INDEX = """
SELECT greatest(0, i.index_size * (1 - i.avg_leaf_density / 90.0))::bigint AS wasted
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am m ON m.oid = c.relam, pgstatindex(c.oid) i
WHERE concat(n.nspname, '.', c.relname) = %s AND c.relkind = 'i' AND m.amname = 'btree'
"""
_QUERIES = {"table_bloat": _TABLE, "index_bloat": _INDEX}


def wasted(session: Session, check: str, label: str) -> int | None:
    """Bytes of dead rows and free space; None for other checks, without the right, or where it takes too long."""
    if check not in _QUERIES:
        return None
    try:
        found = session.rows(_QUERIES[check], [label])
    except psycopg.Error:
        if session.is_broken:
            raise
        return None
    return int(found[0]["wasted"]) if found else None
