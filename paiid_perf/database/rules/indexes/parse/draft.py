"""What is known of a statement while it is read: scopes, sources, and blocks that grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from paiid_perf.database.index_types import Block, Join, JoinKind, Predicate, Relation, SortKey, TableKey
from paiid_perf.database.rules.indexes.parse.trees import Node


@dataclass(frozen=True, slots=True)
class Bindings:
    """What sampled runs say about ``$n``: a value seen, whether nearly all had it, and whether these were enough runs
    to call it a constant."""

    values: Mapping[int, str] = field(default_factory=dict)
    agreed: frozenset[int] = frozenset()
    stable: frozenset[int] = frozenset()


class Unparsable(ValueError):
    """The text is not SQL that the advisor can read."""


@dataclass(slots=True)
class Source:
    """A FROM item while it is read: a base table, or the outputs of a derived one."""

    alias: str
    table: TableKey | None = None
    outputs: dict[str, Node] = field(default_factory=dict)
    """Output column → expression over aliases of the enclosing block (flattened) or of the child block."""
    child: int | None = None
    pushes: bool = True
    """Whether a filter on an output filters the rows that it is made of."""


@dataclass(slots=True)
class Scope:
    """The names one SELECT can see, and the block it fills."""

    block: int
    parent: Scope | None
    ctes: dict[str, Node]
    sources: dict[str, Source] = field(default_factory=dict)
    prefix: str = ""


@dataclass(slots=True)
class Draft:
    """A block while it grows."""

    tables: dict[str, TableKey | None] = field(default_factory=dict)
    children: dict[str, int] = field(default_factory=dict)
    predicates: dict[str, list[Predicate]] = field(default_factory=dict)
    mentioned: dict[str, list[Predicate]] = field(default_factory=dict)
    columns: dict[str, set[str]] = field(default_factory=dict)
    stars: set[str] = field(default_factory=set)
    joins: list[Join] = field(default_factory=list)
    order: list[SortKey] = field(default_factory=list)
    sorts: bool = False
    group: list[SortKey] = field(default_factory=list)
    aggregates: bool = False
    distinct: bool = False
    limit: float | None = None
    per_row_of: int | None = None
    filters: bool = False
    compared: tuple[str, str, str] | None = None

    def add(self, alias: str, table: TableKey | None, child: int | None = None) -> None:
        self.tables[alias] = table
        self.predicates.setdefault(alias, [])
        self.columns.setdefault(alias, set())
        if child is not None:
            self.children[alias] = child

    def finished(self) -> Block:
        relations = tuple(
            Relation(
                alias,
                table,
                tuple(dict.fromkeys(self.predicates[alias])),
                frozenset(self.columns[alias]),
                alias in self.stars,
                self.children.get(alias),
                tuple(dict.fromkeys(self.mentioned.get(alias, ()))),
            )
            for alias, table in self.tables.items()
        )
        return Block(
            relations,
            tuple(dict.fromkeys(self.joins)),
            tuple(self.order),
            self.sorts,
            tuple(self.group),
            self.aggregates,
            self.distinct,
            self.limit,
            self.per_row_of,
            self.filters,
            self.compared,
        )


def apart(scope: Scope, ctes: dict[str, Node]) -> Scope:
    """A scope for reading a CTE's or view's own text: it sees no source of the query that names it."""
    return Scope(scope.block, scope.parent, ctes, {}, scope.prefix)


def as_kind(join: Join, before: set[str], added: set[str], kind: JoinKind) -> Join:
    """Joins that cross into a sub-query's tables are semi or anti joins with those inside."""
    if join.left in before and join.right in added and join.kind == "inner":
        return replace(join, kind=kind)
    if join.right in before and join.left in added and join.kind == "inner":
        return Join(join.right, join.right_key, join.left, join.left_key, kind)
    return join
