"""Whatever a statement is made of, it is read and costed: one that is not must not end the advice on all others."""

from __future__ import annotations

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.database.index_types import Statement
from paiid_perf.database.rules.indexes.candidates import candidates
from paiid_perf.database.rules.indexes.factor import factored
from paiid_perf.database.rules.indexes.parse import parse
from paiid_perf.database.rules.indexes.planner import QueryPlanner, existing
from tests.unit.database.test_index_structure import CATALOG

COLUMNS = {
    "customer": ("id", "nation", "name"),
    "sale": ("id", "customer", "supplier", "amount"),
    "supplier": ("id", "nation"),
    "nation": ("id", "region"),
}
#: (alias, table) of what a query can see.
Seen = list[tuple[str, str]]


class Grammar:
    """Random SELECTs, nested a few deep, over the tables that are there."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.parameters = 0

    def parameter(self) -> str:
        self.parameters += 1
        return f"${self.parameters}"

    def column(self, seen: Seen) -> str:
        alias, table = self.random.choice(seen)
        return f"{alias}.{self.random.choice(COLUMNS[table])}"

    def value(self, seen: Seen, depth: int) -> str:
        if depth and self.random.random() < 0.2:
            return f"({self.select(depth - 1, seen, 'count(*)')})"
        return self.random.choice([self.parameter, self.parameter, lambda: self.column(seen)])()

    def condition(self, seen: Seen, depth: int) -> str:
        column, negated = self.column(seen), self.random.choice(["", "NOT "])
        plain = (
            lambda: f"{column} {self.random.choice(['=', '<>', '<', '>='])} {self.value(seen, depth)}",
            lambda: f"{column} {negated}IN ({self.parameter()}, {self.parameter()})",
            lambda: f"{column} {negated}LIKE {self.parameter()}",
            lambda: f"{column} {negated}BETWEEN {self.value(seen, depth)} AND {self.parameter()}",
            lambda: f"{column} IS {negated}NULL",
            lambda: f"({column}, {self.column(seen)}) > ({self.parameter()}, {self.parameter()})",
            lambda: f"{column} = ANY({self.parameter()})",
        )
        nested = (
            lambda: f"NOT ({self.condition(seen, depth - 1)})",
            lambda: f"({' OR '.join(self.conditions(seen, depth - 1, 2))})",
            lambda: f"{negated}EXISTS ({self.select(depth - 1, seen, '1')})",
            lambda: f"{column} {negated}IN ({self.select(depth - 1, seen)})",
        )
        return self.random.choice(plain + nested if depth else plain)()

    def conditions(self, seen: Seen, depth: int, least: int = 0) -> list[str]:
        return [self.condition(seen, depth) for _ in range(self.random.randint(least, 3))]

    def source(self, depth: int) -> tuple[str, str]:
        table = self.random.choice(sorted(COLUMNS))
        if not depth or self.random.random() < 0.8:
            return table, table
        columns = ", ".join(COLUMNS[table])
        return f"(SELECT {columns} FROM {table}{self.random.choice(['', f' GROUP BY {columns}'])})", table

    def select(self, depth: int, outer: Seen, output: str = "") -> str:
        seen: Seen = []
        text = ""
        for n in range(self.random.randint(1, 3)):
            (source, table), alias = self.source(depth), f"t{depth}{n}"
            on = f"{alias}.{self.random.choice(COLUMNS[table])} = {self.column(seen)}" if seen else ""
            kind = self.random.choice(["JOIN", "LEFT JOIN", "FULL JOIN"])
            joined = self.random.choice(
                [
                    f", {source} {alias}",
                    f" {kind} {source} {alias} ON {on}",
                    f" JOIN {source} {alias} USING (id)",
                ]
            )
            text += joined if seen else f"{source} {alias}"
            seen.append((alias, table))
        where = " AND ".join(self.conditions(seen + outer, depth))
        order = self.random.choice(["", f" ORDER BY 1 LIMIT {self.parameter()}"])
        text = f"SELECT {output or self.column(seen)} FROM {text}"
        return f"{text} WHERE {where}{order}" if where else text + order


@given(st.randoms(use_true_random=False))
def test_any_statement_is_read_and_costed(random: Random) -> None:
    text = Grammar(random).select(2, [])
    query = parse(factored(text), CATALOG)
    found = QueryPlanner(query, Statement("1", text, 3, 10, rows=7), CATALOG)
    indexes = dict(existing(CATALOG))
    bare = found.outcome(indexes)
    assert 0 <= bare.cost < math.inf
    for spec in candidates(query, CATALOG, 2):
        more = found.outcome(indexes | {spec.table: (*indexes[spec.table], spec)})
        assert 0 <= more.cost < math.inf
