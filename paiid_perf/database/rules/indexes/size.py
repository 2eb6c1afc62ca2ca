"""How large a B-tree, GIN or BRIN index of ours will be.

A B-tree stores a key once for its duplicates (deduplication, PostgreSQL 13+), then six bytes a row; HypoPG does not
know that and says up to six times too much. INCLUDE columns switch deduplication off (nbtree/README).
"""

from __future__ import annotations

import math
import re

from paiid_perf.database.index_types import IndexSpec, Table
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


def rows_in(spec: IndexSpec, table: Table) -> float:
    """Rows that have an entry: all, or those that a partial index's predicate keeps."""
    return max(1.0, table.rows * predicate_share(spec, table))


def predicate_share(spec: IndexSpec, table: Table) -> float:
    """The share of rows that a partial index covers (its conjuncts are canonical texts)."""
    if not spec.predicate:
        return 1.0
    return combined(table, [read_conjunct(text, table) for text in spec.predicate])


def key_width(spec: IndexSpec, table: Table) -> float:
    """Bytes of one entry's keys and included columns, aligned to 8."""
    names = [k.text if k.is_column else "" for k in spec.keys] + list(spec.include)
    widths = (table.columns[n].width if n in table.columns else 16 for n in names)
    return 8.0 * math.ceil(sum(widths) / 8)


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
        product *= distinct_values(table, key.text)
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
