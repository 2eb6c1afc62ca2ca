"""Which indexes could serve a query: equalities first, then one range or the sort order, then what only rides along.

Every function takes facts and yields ``IndexSpec``s; whether one pays is decided in ``select``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from paiid_perf.database.index_types import (
    Block,
    Catalog,
    IndexSpec,
    KeyPart,
    Predicate,
    Query,
    Relation,
    SortKey,
    Table,
)
from paiid_perf.database.rules.indexes.selectivity import combined, distinct_values, like_prefix, selectivity
from paiid_perf.database.rules.indexes.steady import immutable

#: Under this many rows a sequential scan is as fast as anything (PgHero's floor).
ROW_FLOOR = 500
#: B-tree keys wider than this are not worth their pages (a row of a page holds 2,704 bytes at most).
WIDTH_FLOOR = 400
#: BRIN pays on tables this large whose rows lie in the column's order.
BRIN_PAGES = 12_800
BRIN_CORRELATION = 0.95
#: A partial index is worth its narrowness where the constant predicate keeps less than this share.
PARTIAL_SHARE = 0.20
#: Filters that keep more than this share of the rows are no reason for an index.
KEEPS_MOST = 0.5
#: INCLUDE columns add at most this many bytes, and only where vacuum keeps up.
INCLUDE_COLUMNS, INCLUDE_WIDTH = 5, 64
INCLUDE_VISIBLE = 0.5
_MAX_EQUAL = 4


@dataclass(frozen=True, slots=True)
class Parts:
    """One relation's conditions, sorted by what an index can do with them."""

    relation: Relation
    table: Table
    equal: tuple[KeyPart, ...]
    listed: tuple[KeyPart, ...]
    ranges: tuple[KeyPart, ...]
    joins: tuple[KeyPart, ...]
    order: tuple[KeyPart, ...]
    group: tuple[KeyPart, ...]


def candidates(query: Query, catalog: Catalog, max_width: int) -> Iterator[IndexSpec]:
    """Every index that might serve the query, on tables worth indexing. May repeat itself."""
    for block in query.blocks:
        for relation in block.relations:
            table = catalog.tables.get(relation.table) if relation.table else None
            if table is not None and not why_not_table(table):
                for spec in _for_relation(block, relation, table, catalog, max_width):
                    if all(k.is_column or immutable(k.sql, table, catalog.unsteady) for k in spec.keys):
                        yield spec


def why_not_table(table: Table) -> str:
    """Why no index on that table is thought of; empty where one may be."""
    if table.kind == "foreign":
        return "it is a foreign table: an index belongs on the server that holds it"
    if table.rows < ROW_FLOOR:
        return f"it has {table.rows:.0f} rows: reading it whole is as fast as an index"
    return ""


def _for_relation(
    block: Block, relation: Relation, table: Table, catalog: Catalog, max_width: int
) -> Iterator[IndexSpec]:
    parts = _parts(block, relation, table)
    for keys in _key_lists(parts, max_width):
        spec = IndexSpec(table.key, keys)
        if _buildable(spec, table) and not _keeps_most(spec, relation, table):
            yield spec
            yield from _partial(spec, relation, table)
            yield from _covering(spec, relation, table)
    yield from _special(relation, table, catalog)
    for predicate in relation.predicates:
        if predicate.op == "or":
            yield from _branches(predicate, table, catalog)


def _parts(block: Block, relation: Relation, table: Table) -> Parts:
    own = [p for p in relation.predicates if _usable(p, table)]
    joins = _join_keys(block, relation.alias)
    return Parts(
        relation,
        table,
        _by_selectivity((p for p in own if p.op in {"eq", "null"}), table)[:_MAX_EQUAL],
        _by_selectivity((p for p in own if p.op == "in"), table),
        _by_selectivity((p for p in own if p.op == "range"), table),
        tuple(KeyPart(k) for k in joins if k in table.columns),
        _sort_parts(block.order, relation.alias, table),
        _sort_parts(block.group, relation.alias, table),
    )


def _usable(predicate: Predicate, table: Table) -> bool:
    if predicate.is_column:
        column = table.columns.get(predicate.key)
        return column is not None and column.indexable
    return bool(predicate.expression_sql) and immutable(predicate.expression_sql, table)


def _by_selectivity(predicates: Iterable[Predicate], table: Table) -> tuple[KeyPart, ...]:
    """Keys, the most selective first; ties by name so that advice is the same every time."""
    found: dict[str, tuple[float, KeyPart]] = {}
    for p in predicates:
        found.setdefault(p.key, (selectivity(table, p), KeyPart(p.key, p.is_column, sql=p.expression_sql)))
    return tuple(part for _, part in sorted(found.values(), key=lambda f: (f[0], f[1].text)))


def _join_keys(block: Block, alias: str) -> list[str]:
    keys = [j.left_key for j in block.joins if j.left == alias] + [
        j.right_key for j in block.joins if j.right == alias
    ]
    return sorted(set(keys))


def _sort_parts(keys: Sequence[SortKey], alias: str, table: Table) -> tuple[KeyPart, ...]:
    if not keys or any(k.alias != alias for k in keys):
        return ()
    parts = [KeyPart(k.key, k.is_column, k.descending, k.nulls_first, sql=k.expression_sql) for k in keys]
    known = all(k.text in table.columns and table.columns[k.text].indexable for k in parts if k.is_column)
    expressions = all(k.is_column or _sorts(k.expression_sql, table) for k in keys)
    return _forward(tuple(parts)) if known and expressions else ()


def _sorts(sql: str, table: Table) -> bool:
    """Whether a B-tree may hold the order; a distance from somewhere is another order for each who asks."""
    return bool(sql) and not _DISTANCE.search(sql) and immutable(sql, table)


_DISTANCE = re.compile(r"<->|<#>|<=>|<\+>")


def _forward(parts: tuple[KeyPart, ...]) -> tuple[KeyPart, ...]:
    """An order that is descending throughout is an ascending index read backwards."""
    if parts and all(k.descending and k.nulls_first for k in parts):
        return tuple(replace(k, descending=False, nulls_first=False) for k in parts)
    return parts


def _key_lists(parts: Parts, width: int) -> Iterator[tuple[KeyPart, ...]]:
    """Key lists up to ``width``: single columns, equalities in order, then a range or the sort order."""
    equal, listed, joins = parts.equal, parts.listed, parts.joins
    tails: list[tuple[KeyPart, ...]] = [(r,) for r in parts.ranges]
    if parts.order:
        tails.append(parts.order)
    if parts.group:
        tails.append(parts.group)
    heads = [equal, (*equal, *listed), listed, *((e,) for e in (*equal, *listed))]
    heads += [(j,) for j in joins] + [(*equal, j) for j in joins] + [(j, *equal) for j in joins]
    heads += list(permutations((*equal, *listed), 2)) + list(permutations(joins, 2))
    for head in heads:
        yield from _trimmed(head, width)
        for tail in tails:
            yield from _trimmed((*head, *tail), width)
    for tail in tails:
        yield from _trimmed(tail, width)


def _trimmed(keys: tuple[KeyPart, ...], width: int) -> Iterator[tuple[KeyPart, ...]]:
    unique = tuple({k.text: k for k in reversed(keys)}[t] for t in dict.fromkeys(k.text for k in keys))
    if 0 < len(unique) <= width:
        yield unique


def _buildable(spec: IndexSpec, table: Table) -> bool:
    widths = [table.columns[k.text].width if k.text in table.columns else 32 for k in spec.keys]
    return max(widths) <= WIDTH_FLOOR


def _keeps_most(spec: IndexSpec, relation: Relation, table: Table) -> bool:
    """Whether the keys are nothing but filters that keep most rows (a flag that is nearly always set)."""
    filters = [p for p in relation.predicates if p.key in spec.key_texts and p.op in {"eq", "in"}]
    only = {p.key for p in filters} == set(spec.key_texts)
    return only and combined(table, filters) > KEEPS_MOST


def _partial(spec: IndexSpec, relation: Relation, table: Table) -> Iterator[IndexSpec]:
    """The same keys over the rows that a constant predicate keeps, the predicate's own column left out."""
    for predicate in relation.predicates:
        if not _is_constant(predicate) or predicate.op not in {"eq", "in", "null", "notnull"}:
            continue
        if not predicate.is_column or selectivity(table, predicate) > PARTIAL_SHARE:
            continue
        keys = tuple(k for k in spec.keys if k.text != predicate.key) or spec.keys
        yield replace(spec, keys=keys, predicate=(predicate.text,), predicate_sql=predicate.text)


def _is_constant(predicate: Predicate) -> bool:
    """Whether every call asks for the same: literals only, no parameter and nothing that is worked out."""
    spelled = predicate.text and "$" not in predicate.text and "%(" not in predicate.text
    return bool(spelled) and None not in predicate.values


def _covering(spec: IndexSpec, relation: Relation, table: Table) -> Iterator[IndexSpec]:
    """INCLUDE what else the query reads, where few narrow columns make an index-only scan of it."""
    if relation.star or table.visible_fraction < INCLUDE_VISIBLE or not all(k.is_column for k in spec.keys):
        return
    rest = sorted(set(relation.columns) - set(spec.columns))
    width = sum(table.columns[c].width for c in rest if c in table.columns)
    if 0 < len(rest) <= INCLUDE_COLUMNS and width <= INCLUDE_WIDTH and all(c in table.columns for c in rest):
        yield replace(spec, include=tuple(rest))


def _branches(predicate: Predicate, table: Table, catalog: Catalog) -> Iterator[IndexSpec]:
    """An OR over several columns needs an index for each branch (BitmapOr)."""
    for branch in predicate.branches:
        if branch.op in {"eq", "in", "range"} and _usable(branch, table):
            yield IndexSpec(table.key, (KeyPart(branch.key, branch.is_column, sql=branch.expression_sql),))


# --- other kinds than plain B-trees ------------------------------------------------------------------------


def _special(relation: Relation, table: Table, catalog: Catalog) -> Iterator[IndexSpec]:
    for predicate in relation.predicates:
        column = table.columns.get(predicate.key)
        match predicate.op:
            case "like" | "ilike":
                yield from _patterns(predicate, table, catalog)
            case "contains" if column is not None and column.type == "jsonb":
                yield _gin(table, predicate.key, "jsonb_path_ops")
            case "contains" | "overlap" if column is not None and column.family == "array":
                yield _gin(table, predicate.key)
            case "search" if column is not None and column.family == "tsvector":
                yield _gin(table, predicate.key)
            case "search" | "contains" | "overlap" if predicate.expression_sql and _usable(predicate, table):
                yield _gin(table, predicate.key, is_column=False, sql=predicate.expression_sql)
            case "range" if column is not None and _in_order(table, predicate.key):
                yield IndexSpec(table.key, (KeyPart(predicate.key),), method="brin")
            case _:
                pass


def _gin(table: Table, key: str, opclass: str = "", *, is_column: bool = True, sql: str = "") -> IndexSpec:
    return IndexSpec(table.key, (KeyPart(key, is_column, opclass=opclass, sql=sql),), method="gin")


_TEXTS = ("text", "character", "name")


def _patterns(predicate: Predicate, table: Table, catalog: Catalog) -> Iterator[IndexSpec]:
    """A fixed prefix is a B-tree with a pattern class; anything else is trigrams, where pg_trgm can be had."""
    column = table.columns.get(predicate.key)
    if not _usable(predicate, table) or (column is not None and not column.type.startswith(_TEXTS)):
        return  # citext, say, has patterns of its own, which neither class knows
    pattern = predicate.values[0] if predicate.values else None
    prefix = like_prefix(pattern)
    if predicate.op == "like" and prefix:
        part = KeyPart(
            predicate.key,
            predicate.is_column,
            opclass=_pattern_class(predicate, table),
            sql=predicate.expression_sql,
        )
        yield IndexSpec(table.key, (part,))
        return
    if "pg_trgm" in catalog.extensions and (pattern is None or re.search(r"[^%_]{3}", pattern)):
        sql = predicate.expression_sql
        yield _gin(table, predicate.key, "gin_trgm_ops", is_column=predicate.is_column, sql=sql)


def _pattern_class(predicate: Predicate, table: Table) -> str:
    column = table.columns.get(predicate.key)
    varchar = column is not None and column.type.startswith("character varying")
    return "varchar_pattern_ops" if varchar else "text_pattern_ops"


def _in_order(table: Table, key: str) -> bool:
    return table.pages >= BRIN_PAGES and abs(table.columns[key].correlation) >= BRIN_CORRELATION


# --- one index for several statements ----------------------------------------------------------------------

#: Columns that the INCLUDE of a merged index may have.
MERGED_COLUMNS = 7
#: Pairs of one table's candidates that are tried.
MERGED_PAIRS = 400


def merged(specs: Sequence[IndexSpec]) -> Iterator[IndexSpec]:
    """What could take the place of two or more of one table's B-trees: the longer keys, the columns of all.

    Bruno and Chaudhuri's merging (SIGMOD 2005), here of indexes of which one has the other's keys as its first.
    """
    plain = [s for s in specs if s.method == "btree"]
    pairs = [(a, b) for a in plain for b in plain if a != b and _merges(a, b)]
    found: dict[IndexSpec, None] = {}
    for a, b in pairs[:MERGED_PAIRS]:
        found |= dict.fromkeys(_with_columns(b, (a.include, b.include)))
    for keys in dict.fromkeys((s.keys, s.predicate) for s in plain):
        alike = [s for s in plain if (s.keys, s.predicate) == keys and s.include]
        if len(alike) > 2:
            found |= dict.fromkeys(_with_columns(alike[0], [s.include for s in alike]))
    yield from (s for s in found if s not in specs)


def _merges(a: IndexSpec, b: IndexSpec) -> bool:
    """Whether ``b`` with more columns would serve what ``a`` serves."""
    first = a.predicate == b.predicate and b.keys[: len(a.keys)] == a.keys
    return first and bool(set(a.include) - set(b.columns))


def _with_columns(spec: IndexSpec, includes: Iterable[Sequence[str]]) -> Iterator[IndexSpec]:
    every = sorted({c for include in includes for c in include} - set(spec.key_texts))
    if len(every) <= MERGED_COLUMNS:
        yield replace(spec, include=tuple(every))


# --- what is not worth proposing ---------------------------------------------------------------------------


def could_serve(spec: IndexSpec, relation: Relation) -> bool:
    """Whether any plan of a query could read one of its relations through the index."""
    if spec.table != relation.table:
        return False
    first = spec.keys[0]
    if not first.is_column or relation.star or first.text in relation.columns:
        return True
    return set(relation.columns) <= set(spec.columns)


def permutes_primary_key(spec: IndexSpec, table: Table) -> bool:
    """Whether the keys are the primary key's columns in whatever order."""
    primary = next((i for i in table.indexes if i.primary), None)
    return (
        primary is not None and spec.method == "btree" and set(spec.key_texts) == set(primary.spec.key_texts)
    )


def prefix_of(short: IndexSpec, long: IndexSpec) -> bool:
    """Whether every scan of ``short`` could be one of ``long``: same method, predicate, leading keys and columns."""
    same = short.table == long.table and short.method == long.method and short.predicate == long.predicate
    if not same or len(short.keys) > len(long.keys):
        return False
    if short.method != "btree":
        return short.keys == long.keys
    return long.keys[: len(short.keys)] == short.keys and set(short.include) <= set(long.columns)


def distinct_of(spec: IndexSpec, table: Table) -> float:
    """Distinct values of the first key."""
    return distinct_values(table, spec.keys[0].text)
