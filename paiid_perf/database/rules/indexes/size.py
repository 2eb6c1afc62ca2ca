"""How large a B-tree, GIN or BRIN index of ours will be.

A B-tree stores a key once for its duplicates (deduplication, PostgreSQL 13+), then six bytes a row; HypoPG does not
know that and says up to six times too much. INCLUDE columns switch deduplication off (nbtree/README).
"""

from __future__ import annotations

import math
import re

from paiid_perf.database.index_types import Column, IndexSpec, KeyPart, Table
from paiid_perf.database.rules.indexes.predicates import read_conjunct
from paiid_perf.database.rules.indexes.selectivity import combined, distinct_values

PAGE = 8192
_USABLE = (PAGE - 24 - 16) * 0.90  # header and special space; B-tree's default fillfactor
_TUPLE = 8  # IndexTupleData
_LINE = 4  # ItemIdData
_POSTING = 6  # one heap TID in a posting list
#: Types of which equal values may look different, so that equal keys are stored once for each row ("Deduplication" in
#: the manual; ``character`` as measured on 15: 18 does store its equal keys once).
_UNALIKE = re.compile(r"numeric|real|double precision|interval|json|character\(|.*\[\]$|.*range$")

#: Types of fixed length, by how their names begin, and their alignment (pg_type.typalign).
_ALIGNED = (
    ("integer", 4),
    ("date", 4),
    ("real", 4),
    ("bigint", 8),
    ("double precision", 8),
    ("time", 8),  # timestamps too
    ("interval", 8),
    ("smallint", 2),
    ("boolean", 1),
    ("uuid", 1),
)


def rows_in(spec: IndexSpec, table: Table) -> float:
    """Rows that have an entry: all, or those that a partial index's predicate keeps."""
    return max(1.0, table.rows * predicate_share(spec, table))


def predicate_share(spec: IndexSpec, table: Table) -> float:
    """The share of rows that a partial index covers (its conjuncts are canonical texts)."""
    if not spec.predicate:
        return 1.0
    return combined(table, [read_conjunct(text, table) for text in spec.predicate])


def key_width(spec: IndexSpec, table: Table) -> float:
    """Bytes of one entry's keys and included columns, aligned to 8.

    What follows a value of varying length is padded by half of its alignment on average, and such a length is half a
    byte more than pg_stats says (it cuts its average); where the sum varies, so does what it is rounded up to.
    """
    columns = [column_of(k, table) for k in spec.keys] + [table.columns.get(n) for n in spec.include]
    width, varies = 0.0, False
    for column in columns:
        align = _aligned(column.type) if column else None
        if align is None:
            width, varies = width + (column.width + 0.5 if column else 16), True
        else:
            pad = (align - 1) / 2 if varies else -width % align
            width += pad + (column.width if column else 0)
    whole = 8.0 * math.ceil(width / 8)
    return max(whole, width + 3.5) if varies else whole


#: What an expression of these makes of a text has its length, and nearly as many values.
_SAME_SIZE = re.compile(r'(?:LOWER|UPPER|INITCAP|TRIM|BTRIM|UNACCENT)\("((?:[^"]|"")+)"\)', re.IGNORECASE)


def column_of(key: KeyPart, table: Table) -> Column | None:
    """The column whose widths and values a key has: its own, or that of a text in another case."""
    if key.is_column:
        return table.columns.get(key.text)
    inner = _SAME_SIZE.fullmatch(key.text)
    return table.columns.get(inner[1].replace('""', '"')) if inner else None


def _aligned(kind: str) -> int | None:
    """The bytes that a type of fixed length is aligned to; None where its length varies (a short header has none)."""
    return next((align for start, align in _ALIGNED if kind.startswith(start)), None)


def index_bytes(spec: IndexSpec, table: Table) -> int:
    """Bytes on disk once built, without bloat."""
    rows = rows_in(spec, table)
    if spec.method == "brin":
        return int(PAGE * (3 + math.ceil(table.pages / 128 * 40 / PAGE)))
    if spec.method == "gin":
        return int(PAGE * max(2, math.ceil(rows * _gin_entry(spec, table) / _USABLE)))
    pages = _leaf_pages(spec, table, rows)
    return int(PAGE * (pages + math.ceil(pages / 200) + 1))


def _leaf_pages(spec: IndexSpec, table: Table, rows: float) -> int:
    entry = _TUPLE + key_width(spec, table) + _LINE
    plain = rows * entry
    keys = distinct_keys(spec, table, rows)
    if spec.include or rows / keys < 1.5 or not _deduplicated(spec, table):
        return max(1, math.ceil(plain / _USABLE))
    return max(1, math.ceil(min(plain, keys * entry + rows * _POSTING) / _USABLE))


def _deduplicated(spec: IndexSpec, table: Table) -> bool:
    """Whether the B-tree stores equal keys once."""
    columns = [table.columns[k.text] for k in spec.keys if k.text in table.columns]
    return not any(_UNALIKE.match(c.type) for c in columns)


def distinct_keys(spec: IndexSpec, table: Table, rows: float) -> float:
    """Distinct entries: the product of the columns' distinct values, at most one per row."""
    product = 1.0
    for key in spec.keys:
        column = column_of(key, table)
        product *= distinct_values(table, column.name if column else key.text)
        if product >= rows:
            return max(1.0, rows)
    return max(1.0, product)


def _gin_entry(spec: IndexSpec, table: Table) -> float:
    """Bytes per row: its elements' postings (one to six bytes each) and its share of the keys."""
    width = sum(table.columns[k.text].width if k.text in table.columns else 32 for k in spec.keys)
    per_element = 5.5 if any("trgm" in k.opclass for k in spec.keys) else 12.0
    elements = width if any("trgm" in k.opclass for k in spec.keys) else max(1.0, width / 12)
    return elements * per_element


def height(pages: float) -> int:
    """Levels above the leaves, at about 200 children a page."""
    return max(0, math.ceil(math.log(max(pages, 1.0), 200)))
