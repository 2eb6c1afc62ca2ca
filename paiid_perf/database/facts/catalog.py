"""Tables, columns, statistics and indexes, read from the catalogues.

Details are read only for the relations that the workload names, so that a database of thousands of tables stays
cheap. No relation is opened or locked: sizes are the catalogue's ``relpages``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from paiid_perf.database.index_types import (
    Catalog,
    Column,
    Family,
    Index,
    IndexSpec,
    KeyPart,
    PlannerSettings,
    Table,
    TableKey,
    Writes,
)
from paiid_perf.database.rules.indexes.parse import canonical_conjuncts, canonical_sql
from paiid_perf.database.rules.indexes.steady import calls
from paiid_perf.database.session import Session

Row = Mapping[str, Any]

#: Every relation that a query can name.
_NAMES = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       pg_table_is_visible(c.oid) AS visible
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm', 'f', 'v')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(temp|toast)'
"""

#: Size, counters and rights of the tables looked at.
_TABLES = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relispartition AS is_partition, c.reltuples AS rows, c.relpages AS pages, c.relallvisible AS visible_pages,
       pg_has_role(c.relowner, 'USAGE') AS owned,
       coalesce(s.n_live_tup, 0) AS live, coalesce(s.n_tup_ins, 0) AS inserted, coalesce(s.n_tup_upd, 0) AS updated,
       coalesce(s.n_tup_hot_upd, 0) AS hot, coalesce(s.n_tup_del, 0) AS deleted,
       coalesce(s.seq_scan, 0) AS seq_scans, coalesce(s.idx_scan, 0) AS index_scans
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
 WHERE c.oid = ANY(%s)
"""

_PARTITIONS = """
WITH RECURSIVE tree AS (
  SELECT inhparent AS root, inhrelid AS leaf, 1 AS level FROM pg_inherits WHERE inhparent = ANY(%s)
  UNION ALL SELECT t.root, i.inhrelid, t.level + 1 FROM tree t JOIN pg_inherits i ON i.inhparent = t.leaf)
SELECT t.root::bigint AS root, t.leaf::bigint AS leaf, t.level FROM tree t JOIN pg_class c ON c.oid = t.leaf
 WHERE c.relkind <> 'p' AND EXISTS (SELECT 1 FROM pg_class p WHERE p.oid = t.root AND p.relkind = 'p')
"""

#: Columns with their statistics; pg_stats shows those of tables that the role may read.
_COLUMNS = """
SELECT a.attrelid::bigint AS oid, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, t.typname AS typname,
       t.typcategory::text AS category, a.attnotnull AS not_null, a.attlen AS length,
       a.attcollation = t.typcollation AS default_collation,
       a.attcollation IN (SELECT oid FROM pg_collation WHERE collname IN ('C', 'POSIX')) AS c_collation,
       t.typcategory IN ('A', 'E', 'R') OR EXISTS (
         SELECT 1 FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'btree'
          WHERE o.opcdefault AND (o.opcintype = t.oid OR o.opcintype = t.typbasetype
             OR (t.typname = 'varchar' AND o.opcintype = 'text'::regtype))) AS indexable,
       s.null_frac, s.avg_width, s.n_distinct, s.correlation, s.inherited,
       s.most_common_vals::text::text[] AS common, s.most_common_freqs AS frequencies,
       s.histogram_bounds::text::text[] AS histogram
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
 WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum, s.inherited = (c.relkind = 'p')
"""

#: Indexes with every part that decides whether two are the same: keys, classes, collations, order, INCLUDE, WHERE.
_INDEXES = """
SELECT i.indrelid::bigint AS oid, ic.relname AS name, am.amname AS method, i.indisunique AS is_unique,
       i.indisprimary AS is_primary, i.indisvalid AND i.indisready AND i.indislive AS valid,
       i.indisreplident AS replica_identity, i.indisclustered AS clustered, ic.relispartition AS inherited,
       i.indnkeyatts AS key_count,
       i.indisexclusion OR EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid) AS is_constraint,
       greatest(ic.relpages, 0)::bigint * 8192 AS bytes, coalesce(s.idx_scan, 0) AS scans,
       pg_get_indexdef(i.indexrelid) AS definition,
       coalesce(pg_get_expr(i.indpred, i.indrelid, true), '') AS predicate, i.indoption::int[] AS options,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnatts) k) AS parts,
       ARRAY(SELECT CASE WHEN o.opcdefault THEN '' ELSE o.opcname::text END
               FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS u(oid, n)
               JOIN pg_opclass o ON o.oid = u.oid ORDER BY u.n) AS opclasses,
       ARRAY(SELECT CASE WHEN u.oid = 0 OR a.attcollation IS NULL OR a.attcollation = u.oid THEN ''
                         ELSE l.collname::text END
               FROM unnest(i.indcollation::oid[], (i.indkey::int[])[0:i.indnkeyatts - 1])
                    WITH ORDINALITY AS u(oid, att, n)
               LEFT JOIN pg_collation l ON l.oid = u.oid
               LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.att AND u.att > 0
              ORDER BY u.n) AS collations,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int[]) WITH ORDINALITY AS u(att, n)
               LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.att AND u.att > 0
              ORDER BY u.n) AS names
  FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
  LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid
 WHERE i.indrelid = ANY(%s)
 ORDER BY i.indrelid, ic.relname
"""

_FOREIGN_KEYS = """
SELECT k.conrelid::bigint AS oid, ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(att, n)
         JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.att ORDER BY u.n) AS columns
  FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = ANY(%s)
"""

_VIEWS = "SELECT oid::bigint AS oid, pg_get_viewdef(oid) AS sql FROM pg_class WHERE relkind = 'v' AND oid = ANY(%s)"

_SERVER = """
SELECT current_setting('server_version_num')::int AS version,
       current_setting('seq_page_cost')::float AS seq_page_cost,
       current_setting('random_page_cost')::float AS random_page_cost,
       current_setting('cpu_tuple_cost')::float AS cpu_tuple_cost,
       current_setting('cpu_index_tuple_cost')::float AS cpu_index_tuple_cost,
       current_setting('cpu_operator_cost')::float AS cpu_operator_cost,
       pg_size_bytes(current_setting('effective_cache_size')) / 8192.0 AS effective_cache_pages,
       pg_size_bytes(current_setting('work_mem'))::float AS work_mem_bytes,
       current_setting('max_parallel_workers_per_gather')::int AS parallel_workers,
       ARRAY(SELECT extname::text FROM pg_extension) AS extensions,
       ARRAY(SELECT name::text FROM pg_available_extensions) AS available,
       (SELECT sum(greatest(relpages, 0))::bigint * 8192 FROM pg_class
         WHERE relkind IN ('r', 'i', 'm', 't')) AS database_bytes,
       pg_size_bytes(current_setting('shared_buffers'))::float AS buffer_bytes,
       pg_is_in_recovery() AS is_replica
"""

_KINDS = {"r": "table", "p": "partitioned", "m": "materialized_view", "f": "foreign"}
_TYPE_FAMILIES: dict[str, Family] = {
    "json": "json",
    "jsonb": "json",
    "tsvector": "tsvector",
    "uuid": "uuid",
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
    "citext": "text",
    "bool": "bool",
    "interval": "time",
}
_CATEGORY_FAMILIES: dict[str, Family] = {"N": "number", "D": "time", "A": "array", "S": "text", "B": "bool"}


def read(session: Session, texts: Iterable[str], extra: Iterable[str] = ()) -> Catalog:
    """The catalogue of every relation that one of the texts names, and of ``extra`` (table names).

    Raises:
        psycopg.Error: the server does not answer, or not in time.
    """
    texts = list(texts)
    server = session.rows(_SERVER)[0]
    names = session.rows(_NAMES)
    wanted = _named(names, texts, extra)
    views = _views(session, names, wanted)
    oids = [r["oid"] for r in names if r["oid"] in wanted and r["kind"] != "v"]
    partitions = session.rows(_PARTITIONS, [oids])
    uncached = max(0.0, 1.0 - server["buffer_bytes"] / max(server["database_bytes"] or 0, 1))
    tables = [replace(t, uncached=uncached) for t in _tables(session, oids, partitions)]
    visible = {r["name"]: f"{r['schema']}.{r['name']}" for r in names if r["visible"]}
    return Catalog(
        {t.key: t for t in tables},
        visible,
        views,
        _planner(server),
        server["version"],
        frozenset(server["extensions"]),
        frozenset(server["available"]),
        server["database_bytes"] or 0,
        server["is_replica"],
        _unsteady(session, texts),
    )


_NOT_IMMUTABLE = "SELECT DISTINCT proname AS name FROM pg_proc WHERE provolatile <> 'i' AND proname = ANY(%s)"


def _unsteady(session: Session, texts: Iterable[str]) -> frozenset[str]:
    called = sorted(set[str]().union(*map(calls, texts)))
    return frozenset(r["name"] for r in session.rows(_NOT_IMMUTABLE, [called])) if called else frozenset()


def _planner(server: Row) -> PlannerSettings:
    workers = int(server["parallel_workers"])
    floats = {f.name: float(server[f.name]) for f in fields(PlannerSettings) if f.name != "parallel_workers"}
    return PlannerSettings(parallel_workers=workers, **floats)


_WORD = re.compile(r'"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][\w$]*)')


def _words(text: str) -> set[str]:
    return {m[1].replace('""', '"') if m[1] else m[2].lower() for m in _WORD.finditer(text)}


def _named(names: list[Row], texts: Iterable[str], extra: Iterable[str]) -> set[int]:
    words = set(extra).union(*(_words(t) for t in texts))
    return {r["oid"] for r in names if r["name"] in words}


def _views(session: Session, names: list[Row], wanted: set[int]) -> dict[TableKey, str]:
    """The views among ``wanted``; adds to it what they read, however deep."""
    keys = {r["oid"]: f"{r['schema']}.{r['name']}" for r in names if r["kind"] == "v"}
    found: dict[TableKey, str] = {}
    fresh = wanted & set(keys)
    while fresh:
        rows = session.rows(_VIEWS, [list(fresh)])
        found |= {keys[r["oid"]]: r["sql"] for r in rows}
        more = _named(names, (r["sql"] for r in rows), ()) - wanted
        wanted |= more
        fresh = more & set(keys)
    return found


def _tables(session: Session, oids: list[int], partitions: list[Row]) -> list[Table]:
    leaves = [r["leaf"] for r in partitions]
    everything = sorted({*oids, *leaves})
    rows = {r["oid"]: r for r in session.rows(_TABLES, [everything])}
    columns = _grouped(session.rows(_COLUMNS, [sorted(oids)]))
    indexes = _grouped(session.rows(_INDEXES, [sorted(oids)]))
    keys = _grouped(session.rows(_FOREIGN_KEYS, [sorted(oids)]))
    children: dict[int, list[Row]] = defaultdict(list)
    levels: dict[int, int] = defaultdict(int)
    for pair in partitions:
        levels[pair["root"]] = max(levels[pair["root"]], pair["level"])
        if pair["leaf"] in rows:
            children[pair["root"]].append(rows[pair["leaf"]])
    wanted = set(oids)
    return [
        replace(_table(r, columns[oid], indexes[oid], keys[oid], children[oid]), partition_levels=levels[oid])
        for oid, r in sorted(rows.items())
        if oid in wanted
    ]


def _grouped(rows: Iterable[Row]) -> defaultdict[int, list[Row]]:
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["oid"]].append(row)
    return found


def _table(row: Row, columns: list[Row], indexes: list[Row], keys: list[Row], children: list[Row]) -> Table:
    parts = children or [row]
    rows = sum(_row_count(p) for p in parts)
    key = f"{row['schema']}.{row['name']}"
    found = {c["name"]: _column(c, rows) for c in columns}
    pages = float(sum(max(p["pages"], 0) for p in parts))
    width = 28 + sum(c.width for c in found.values())
    return Table(
        schema=row["schema"],
        name=row["name"],
        rows=rows,
        pages=pages or -(-rows * width // 8168),
        columns=found,
        indexes=tuple(_index(key, i) for i in indexes),
        writes=Writes(*(sum(p[c] for p in parts) for c in _COUNTERS)),
        visible_fraction=sum(p["visible_pages"] for p in parts) / pages if pages else 0.0,
        kind=_KINDS[row["kind"]],  # type: ignore[arg-type]
        owned=row["owned"],
        is_partition=row["is_partition"],
        partitions=tuple(f"{c['schema']}.{c['name']}" for c in children),
        foreign_keys=tuple(tuple(k["columns"]) for k in keys),
        analyzed=any(p["rows"] >= 0 for p in parts) and any(c["n_distinct"] is not None for c in columns),
        live_rows=float(sum(p["live"] for p in parts)),
        oid=row["oid"],
    )


_COUNTERS = ("inserted", "updated", "hot", "deleted", "seq_scans", "index_scans")


def _row_count(row: Row) -> float:
    """``reltuples``, or the live rows counted since, where the table was never analyzed or has grown since."""
    return float(max(row["rows"], row["live"] if row["rows"] <= 0 else 0, 0))


def _column(row: Row, rows: float) -> Column:
    distinct = row["n_distinct"] or 0.0
    family = _TYPE_FAMILIES.get(row["typname"]) or _CATEGORY_FAMILIES.get(row["category"], "other")
    common = zip(row["common"] or (), row["frequencies"] or (), strict=False)
    return Column(
        name=row["name"],
        type=row["type"],
        family=family,
        not_null=row["not_null"],
        distinct=-distinct * rows if distinct < 0 else distinct,
        null_fraction=row["null_frac"] or 0.0,
        width=row["avg_width"] or (row["length"] if row["length"] > 0 else 32),
        common=tuple((str(v), float(f)) for v, f in common),
        histogram=tuple(row["histogram"] or ()),
        correlation=row["correlation"] or 0.0,
        default_collation=row["default_collation"],
        c_collation=row["c_collation"],
        indexable=row["indexable"],
    )


def _index(table: TableKey, row: Row) -> Index:
    count = row["key_count"]
    keys = tuple(_key_part(row, n) for n in range(count))
    spec = IndexSpec(
        table,
        keys,
        tuple(name for name in row["names"][count:] if name),
        canonical_conjuncts(row["predicate"]),
        row["predicate"],
        row["method"],
    )
    return Index(
        name=row["name"],
        spec=spec,
        unique=row["is_unique"],
        primary=row["is_primary"],
        constraint=row["is_constraint"],
        replica_identity=row["replica_identity"],
        clustered=row["clustered"],
        valid=row["valid"],
        bytes=row["bytes"],
        scans=row["scans"],
        inherited=row["inherited"],
        definition=row["definition"],
    )


def _key_part(row: Row, n: int) -> KeyPart:
    column = row["names"][n]
    options = row["options"][n]
    return KeyPart(
        column or canonical_sql(row["parts"][n]),
        column is not None,
        bool(options & 1),
        bool(options & 2),
        row["opclasses"][n],
        row["collations"][n],
    )
