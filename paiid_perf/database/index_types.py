"""What the index advisor talks about: tables and statistics, statements, parsed queries, indexes, advice.

Names are spelled as the catalogues spell them (unquoted); a table's key is ``schema.name``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal

from paiid_perf.contracts import Proposal

TableKey = str
Method = Literal["btree", "hash", "gin", "gist", "brin", "spgist"]
Family = Literal["number", "time", "text", "bool", "json", "array", "tsvector", "uuid", "other"]


# --- the catalogues ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """One column with what ``pg_stats`` says of it; without statistics the fractions are PostgreSQL's defaults."""

    name: str
    type: str
    family: Family
    not_null: bool = False
    distinct: float = 0.0
    """Distinct values (absolute, never a ratio); 0: unknown."""
    null_fraction: float = 0.0
    width: int = 8
    """Average bytes."""
    common: tuple[tuple[str, float], ...] = ()
    """Most common values as text, each with its share of the rows."""
    histogram: tuple[str, ...] = ()
    correlation: float = 0.0
    default_collation: bool = True
    c_collation: bool = False
    indexable: bool = True
    """Whether its type has a default B-tree operator class."""


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One key of an index: a column's name, or a canonical expression."""

    text: str
    is_column: bool = True
    descending: bool = False
    nulls_first: bool = False
    opclass: str = ""
    """Empty: the type's default."""
    collation: str = ""
    """Empty: the column's own."""
    sql: str = field(default="", compare=False)
    """What CREATE INDEX takes for an expression, casts and all."""

    @property
    def default_nulls(self) -> bool:
        return self.nulls_first == self.descending


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What an index is, its name apart. Two equal specs are the same index."""

    table: TableKey
    keys: tuple[KeyPart, ...]
    include: tuple[str, ...] = ()
    predicate: tuple[str, ...] = ()
    """Canonical conjuncts of the WHERE of a partial index."""
    predicate_sql: str = field(default="", compare=False)
    method: Method = "btree"
    _hash: int = field(init=False, repr=False, compare=False)
    """Millions of sets of specs are looked up in one search."""

    def __post_init__(self) -> None:
        told = (self.table, self.keys, self.include, self.predicate, self.method)
        object.__setattr__(self, "_hash", hash(told))

    def __hash__(self) -> int:
        return self._hash

    @property
    def key_texts(self) -> tuple[str, ...]:
        return tuple(k.text for k in self.keys)

    @property
    def columns(self) -> tuple[str, ...]:
        """Plain columns stored in it, keys first."""
        return tuple(k.text for k in self.keys if k.is_column) + self.include


@dataclass(frozen=True, slots=True)
class Index:
    """An index that exists."""

    name: str
    spec: IndexSpec
    unique: bool = False
    primary: bool = False
    constraint: bool = False
    """Backs a primary key, unique or exclusion constraint, or is referenced by a foreign key."""
    replica_identity: bool = False
    clustered: bool = False
    valid: bool = True
    bytes: int = 0
    scans: int = 0
    inherited: bool = False
    """Attached to a partitioned parent's index: dropped with it, never alone."""
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Writes:
    """Counters of ``pg_stat_user_tables`` since the statistics were reset."""

    inserted: int = 0
    updated: int = 0
    hot_updated: int = 0
    deleted: int = 0
    sequential_scans: int = 0
    index_scans: int = 0

    @property
    def hot_ratio(self) -> float:
        return self.hot_updated / self.updated if self.updated else 0.0


@dataclass(frozen=True, slots=True)
class Table:
    """A table, partitioned table or materialized view."""

    schema: str
    name: str
    rows: float
    pages: float
    columns: Mapping[str, Column]
    indexes: tuple[Index, ...] = ()
    writes: Writes = Writes()
    visible_fraction: float = 0.0
    """Share of the pages that the visibility map calls all-visible (index-only scans skip the heap there)."""
    uncached: float = 0.0
    """Share of the pages that are likely to be read into shared buffers when they are asked for."""
    kind: Literal["table", "partitioned", "materialized_view", "foreign"] = "table"
    owned: bool = True
    """Whether the present role may create an index on it."""
    is_partition: bool = False
    partitions: tuple[TableKey, ...] = ()
    partition_levels: int = 0
    """0: not partitioned; 2: its partitions are partitioned again; and so on."""
    foreign_keys: tuple[tuple[str, ...], ...] = ()
    """Columns of each foreign key of this table."""
    analyzed: bool = True
    live_rows: float = 0.0
    oid: int = 0

    @property
    def key(self) -> TableKey:
        return f"{self.schema}.{self.name}"

    @property
    def row_width(self) -> float:
        return 24.0 + 4.0 + sum(c.width for c in self.columns.values())


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """The planner's own cost constants, as the server has them set (costsize.c)."""

    seq_page_cost: float = 1.0
    random_page_cost: float = 4.0
    cpu_tuple_cost: float = 0.01
    cpu_index_tuple_cost: float = 0.005
    cpu_operator_cost: float = 0.0025
    effective_cache_pages: float = 524288.0
    work_mem_bytes: float = 4 * 1024 * 1024
    parallel_workers: int = 2


@dataclass(frozen=True)
class Catalog:
    """What one look at the catalogues saw."""

    tables: Mapping[TableKey, Table]
    visible: Mapping[str, TableKey] = field(default_factory=dict)
    """Unqualified name → the relation that the search path finds."""
    views: Mapping[TableKey, str] = field(default_factory=dict)
    """View → its SELECT."""
    planner: PlannerSettings = PlannerSettings()
    version: int = 150000
    """``server_version_num``."""
    extensions: frozenset[str] = frozenset()
    available: frozenset[str] = frozenset()
    """Extensions that CREATE EXTENSION could install."""
    database_bytes: int = 0
    is_replica: bool = False
    unsteady: frozenset[str] = frozenset()
    """Functions that the statements call and that are not immutable, in some form at least."""

    @cached_property
    def indexes(self) -> tuple[Index, ...]:
        return tuple(index for table in self.tables.values() for index in table.indexes)

    def resolve(self, schema: str, name: str) -> TableKey | None:
        """The relation that ``schema.name`` (schema may be empty) means, or None."""
        key = f"{schema}.{name}" if schema else self.visible.get(name)
        return key if key in self.tables or key in self.views else None


# --- the workload --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Statement:
    """One normalised statement with its counters over the window looked at. Times in ms."""

    queryid: str
    text: str
    calls: float
    total_ms: float
    rows: float = 0.0
    blocks: float = 0.0
    """Shared buffers hit and read, in all calls."""
    stddev_ms: float = 0.0
    samples: tuple[tuple[str, ...], ...] = ()
    """Literals (SQL text) of $1, $2 … as seen in sampled runs."""

    @property
    def mean_ms(self) -> float:
        return self.total_ms / self.calls if self.calls else 0.0

    @property
    def rows_per_call(self) -> float:
        return self.rows / self.calls if self.calls else 0.0

    @property
    def blocks_per_call(self) -> float:
        return self.blocks / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """The statements of a window, ours and utility statements left out."""

    statements: tuple[Statement, ...]
    source: str = "pg_stat_statements"
    since: datetime | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason → how many statements were left out for it."""
    whole_ms: float = 0.0
    """What all statements took since the counters began, however short the window: what "worth it" is measured by."""
    notes: tuple[str, ...] = ()


# --- a parsed statement --------------------------------------------------------------------------------

Op = Literal[
    "eq",
    "in",
    "range",
    "like",
    "ilike",
    "contains",
    "overlap",
    "search",
    "null",
    "notnull",
    "or",
    "not",
    "asked",
    "other",
]


@dataclass(frozen=True, slots=True)
class Predicate:
    """One conjunct on one relation."""

    key: str
    """The column's name or a canonical expression; empty for "or", "not", "asked" and "other"."""
    is_column: bool
    op: Op
    values: tuple[str | None, ...] = ()
    """Literals as text, None for a parameter. A range has (low, high) with ``""`` for an open end."""
    text: str = ""
    """The canonical conjunct, for partial indexes."""
    columns: frozenset[str] = frozenset()
    branches: tuple[Predicate, ...] = ()
    """Of an "or": one predicate per branch; of a "not": what must not hold; of an "asked": the comparison with what a
    sub-query says of the row, which no index can check."""
    expression_sql: str = ""
    """What CREATE INDEX takes for the key, where it is an expression."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One FROM item of a block. ``table`` None: a derived table that was not flattened."""

    alias: str
    table: TableKey | None
    predicates: tuple[Predicate, ...] = ()
    columns: frozenset[str] = frozenset()
    """Every column of it that the block reads."""
    star: bool = False
    child: int | None = None
    """Block that produces a derived table's rows."""
    mentioned: tuple[Predicate, ...] = ()
    """Comparisons in the branches of an OR: no row has to pass them, but they tell what parameters are."""


JoinKind = Literal["inner", "left", "semi", "anti"]


@dataclass(frozen=True, slots=True)
class Join:
    """``left.left_key = right.right_key``; for "left", "semi", "anti" the right side is the inner one."""

    left: str
    left_key: str
    right: str
    right_key: str
    kind: JoinKind = "inner"


@dataclass(frozen=True, slots=True)
class SortKey:
    alias: str
    key: str
    is_column: bool = True
    descending: bool = False
    nulls_first: bool = False
    expression_sql: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """One SELECT (or the reading half of an UPDATE or DELETE), sub-queries flattened where the planner would."""

    relations: tuple[Relation, ...]
    joins: tuple[Join, ...] = ()
    order: tuple[SortKey, ...] = ()
    """Empty as well when a key of the ORDER BY belongs to no single relation."""
    sorts: bool = False
    """Whether an ORDER BY is there at all."""
    group: tuple[SortKey, ...] = ()
    aggregates: bool = False
    distinct: bool = False
    limit: float | None = None
    """Rows; 0 for a parameter; None without LIMIT."""
    per_row_of: int | None = None
    """Block whose every row runs this one again (a correlated sub-query)."""
    filters: bool = False
    """Whether it stands in that block's WHERE: it runs before any row is left out by it, grouped or counted."""
    compared: tuple[str, str, str] | None = None
    """(alias, column, other alias) where that WHERE compares a column with it, and it reads the other table's rows."""


@dataclass(frozen=True, slots=True)
class Write:
    table: TableKey
    kind: Literal["insert", "update", "delete"]
    columns: frozenset[str] = frozenset()
    """Columns that an UPDATE sets."""


@dataclass(frozen=True, slots=True)
class Query:
    """What the parser makes of a statement. The first block is the outermost."""

    blocks: tuple[Block, ...]
    write: Write | None = None
    notes: tuple[str, ...] = ()
    """Habits that defeat indexes, found on the way."""

    @property
    def tables(self) -> frozenset[TableKey]:
        return frozenset(r.table for b in self.blocks for r in b.relations if r.table)


# --- advice --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelFact:
    """The Django model of a table."""

    app_label: str
    """Empty for the table that Django makes by itself of a many-to-many field."""
    name: str
    fields: Mapping[str, str]
    """Column → field name."""
    latest_migration: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that might pay, and who thinks so."""

    spec: IndexSpec
    source: str
    """``workload``, ``merged`` or ``declared``."""
    label: str = ""


@dataclass(frozen=True, slots=True)
class QueryEffect:
    """What a set of indexes does to one normalised statement. Costs in the planner's units."""

    queryid: str
    text: str
    calls: float
    mean_ms: float
    cost_before: float
    cost_after: float

    @property
    def gain(self) -> float:
        """1 - after / before."""
        return 1 - self.cost_after / self.cost_before if self.cost_before > 0 else 0.0

    @property
    def saved_ms(self) -> float:
        return self.calls * self.mean_ms * self.gain


@dataclass(frozen=True, slots=True)
class Pick:
    """A selected index with its account."""

    candidate: Candidate
    bytes: int
    saved_ms: float
    """Over the window, reads only."""
    write_ms: float
    """Over the window: what keeping it up to date costs."""
    effects: tuple[QueryEffect, ...]
    without_ms: float = 0.0
    """What those statements would take in the window without it, the others of the set being there."""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate that was looked at and not proposed."""

    candidate: str
    because: str
    source: str = "workload"


@dataclass(frozen=True, slots=True)
class Advice:
    """What ``advise()`` returns; also its own summary of the workload it judged."""

    proposals: tuple[Proposal, ...] = ()
    refused: tuple[Refused, ...] = ()
    workload: Mapping[str, object] = field(default_factory=dict)
    cost_source: str = "estimated"
    """``hypopg`` or ``estimated`` (the cost model alone)."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    out_of_time: bool = False
