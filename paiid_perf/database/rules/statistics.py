"""Columns that go together: the planner multiplies their shares, and is wrong by the factor in which they agree.

Extended statistics (the manual, 14.2.2) tell it. Whether they are worth it is measured: rows guessed against rows
there, for the most frequent combinations of values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from django.utils.translation import gettext as _

from paiid_perf.database.index_types import Catalog, Query, Relation, Statement, Table
from paiid_perf.database.rules.health.common import quoted
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding

Json = Mapping[str, Any]
#: Pairs of columns that one run asks about, the costliest first.
MOST = 8
_NAME = 63


@dataclass(frozen=True, slots=True)
class Pair:
    """Two columns of one table that statements ask for together."""

    table: Table
    columns: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Probe:
    """Rows that the planner expects of one combination of values, and rows that there are."""

    estimated: float
    actual: float

    @property
    def error(self) -> float:
        """By what factor the guess is wrong, 1 where it is right (the q-error of Moerkotte et al., VLDB 2009)."""
        guessed, real = max(1.0, self.estimated), max(1.0, self.actual)
        return max(guessed / real, real / guessed)


def pairs(workload: Iterable[tuple[Statement, Query]], known: Iterable[Json], catalog: Catalog) -> list[Pair]:
    """The pairs of columns that are compared with constants together, of large tables, the costliest first.

    ``known`` are the extended statistics that exist: {"table": key, "columns": [...]}.
    """
    weight: Counter[tuple[str, tuple[str, str]]] = Counter()
    for statement, query in workload:
        relations = [relation for block in query.blocks for relation in block.relations]
        for table, pair in {(r.table or "", pair) for r in relations for pair in _compared(r)}:
            if table in catalog.tables:
                weight[table, pair] += int(statement.total_ms) + 1
    there = [(item["table"], frozenset(item["columns"])) for item in known]
    return [
        Pair(catalog.tables[table], columns)
        for (table, columns), _ms in weight.most_common()
        if _worth_asking(catalog.tables[table], columns)
        and not any(table == other and said.issuperset(columns) for other, said in there)
    ][:MOST]


def _compared(relation: Relation) -> Iterator[tuple[str, str]]:
    names = sorted({p.key for p in relation.predicates if p.is_column and p.op in {"eq", "in"}})
    yield from combinations(names, 2)


def _worth_asking(table: Table, columns: tuple[str, str]) -> bool:
    """Not of small tables, nor where one of the two finds a row by itself."""
    found = [table.columns.get(name) for name in columns]
    is_key = any(
        index.unique and len(index.spec.keys) == 1 and index.spec.keys[0].text in columns
        for index in table.indexes
    )
    return (
        table.kind == "table"
        and table.rows >= limit("scan_rows")
        and not is_key
        and all(column is not None and column.indexable for column in found)
    )


def error(probes: Sequence[Probe]) -> float:
    """The geometric mean of the probes' errors; 1 of none."""
    return math.exp(sum(math.log(p.error) for p in probes) / len(probes)) if probes else 1.0


def change_of(pair: Pair) -> Json:
    """The payload of CREATE STATISTICS on a pair."""
    name = f"{pair.table.name}_{'_'.join(pair.columns)}"[: _NAME - 5] + "_stat"
    return {
        "schema": pair.table.schema,
        "table": pair.table.name,
        "columns": list(pair.columns),
        "name": name,
    }


def create(change: Json) -> str:
    """The statement that a change's payload stands for, without a semicolon."""
    columns = ", ".join(quoted(name) for name in change["columns"])
    return (
        f"CREATE STATISTICS IF NOT EXISTS {quoted(change['schema'], change['name'])} (dependencies, mcv) "
        f"ON {columns} FROM {quoted(change['schema'], change['table'])}"
    )


def analyze(change: Json) -> str:
    """The statement that fills them."""
    columns = ", ".join(quoted(name) for name in change["columns"])
    return f"ANALYZE {quoted(change['schema'], change['table'])} ({columns})"


def drop(change: Json) -> str:
    """The undo."""
    return f"DROP STATISTICS IF EXISTS {quoted(change['schema'], change['name'])}"


def advise(pair: Pair, probes: Sequence[Probe]) -> Iterator[Finding]:
    """Extended statistics for a pair whose rows are guessed wrong by far; nothing where the guess is good."""
    factor = error(probes)
    if factor < limit("correlation_error"):
        return
    change = change_of(pair)
    yield Finding(
        "statistics",
        f"{pair.table.key} ({', '.join(pair.columns)})",
        "info",
        _("Tell the planner that %(columns)s of %(table)s go together")
        % {"columns": " and ".join(pair.columns), "table": pair.table.key},
        _(
            "It takes them for independent, and its row counts are wrong by a factor of %(factor).1f on average over "
            "the %(n)d most frequent combinations: joins and scans are chosen for the wrong number of rows."
        )
        % {"factor": factor, "n": len(probes)},
        how=f"{create(change)};\n{analyze(change)};",
        undo=f"{drop(change)};",
        source=source("correlation_error"),
        numbers={
            "error": round(factor, 2),
            "probes": [[round(p.estimated), round(p.actual)] for p in probes],
        },
        change={"kind": "statistics", **change} if pair.table.owned else {},
    )
