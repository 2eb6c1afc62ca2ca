"""What-if through the planner itself, where HypoPG is installed: hypothetical indexes and EXPLAIN.

Hypothetical indexes live in the session's memory: nothing is written, no lock is taken, nobody else sees them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from paiid_perf.database.facts import plans
from paiid_perf.database.index_types import Catalog, IndexSpec, Query, Statement, Table
from paiid_perf.database.rules.indexes import names
from paiid_perf.database.rules.indexes.reckon import Facts, believed, planned, reckoned
from paiid_perf.database.rules.indexes.sources import EstimatedCosts
from paiid_perf.database.session import Session, trusted

#: Access methods that HypoPG can imagine (1.3); the cost model stands in for the others.
METHODS = frozenset({"btree", "hash", "brin"})
_CREATE = psycopg.sql.SQL("SELECT indexname FROM hypopg_create_index({})")
_SAVEPOINT = "paiid_perf_imagined"
#: How often the planner chooses among a statement's candidates, those chosen before taken away; FEW need no choosing.
ROUNDS, FEW = 5, 12


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the planner said to one question."""

    offered: frozenset[IndexSpec]
    used: frozenset[IndexSpec]
    cost: float
    """What is believed of the plan."""


class HypotheticalCosts:
    """Costs by HypoPG, memoised per statement and set of indexes on its tables. Use it inside ``opened()``."""

    name = "hypopg"

    def __init__(
        self,
        session: Session,
        pairs: Sequence[tuple[Statement, Query]],
        catalog: Catalog,
        model: EstimatedCosts,
    ) -> None:
        self._session = session
        self._connection: psycopg.Connection[Any] | None = None
        self._catalog = catalog
        self._model = model
        self._statements = {s.queryid: s for s, _ in pairs}
        self._tables = {s.queryid: q.tables & catalog.tables.keys() for s, q in pairs}
        self._bare: dict[str, tuple[float, float]] = {}
        """Planner's cost and processor time without anything added."""
        self._sql: dict[str, str | None] = {}
        self._known: dict[tuple[str, frozenset[IndexSpec]], float] = {}
        self._answers: dict[str, list[_Answer]] = {}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """One read-only transaction around all the questions; the hypothetical indexes end with it."""
        with self._session.reading() as connection:
            self._connection = connection
            try:
                yield
            finally:
                self._connection = None
                connection.execute("SELECT hypopg_reset()")

    def cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        """One execution's cost with the added indexes, by the planner; by the model where that cannot be asked.

        What HypoPG cannot imagine (GIN) changes the cost by the ratio that the model gives.
        """
        key = (queryid, added)
        if key not in self._known:
            self._known[key] = self._cost(queryid, added)
        return self._known[key]

    def _cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        possible = frozenset(s for s in added if self._imaginable(s))
        if possible != added:
            return self.cost(queryid, possible) * self._ratio(queryid, added, possible)
        answered = self._implied(queryid, possible)
        if answered is not None:
            return answered
        specs = sorted(possible, key=repr)
        plan = self._explained(queryid, specs)
        if plan is not None:
            cost = self._believed(queryid, plan, specs)
            self._answers.setdefault(queryid, []).append(_Answer(possible, _picked(plan, specs), cost))
            return cost
        bare = self._known.get((queryid, frozenset())) if added else None
        if bare is not None:
            return bare * self._ratio(queryid, added, frozenset())
        return self._model.cost(queryid, added)

    def _implied(self, queryid: str, offered: frozenset[IndexSpec]) -> float | None:
        """What the answers to other questions say: the best plan of many indexes is the best of any of them that
        include those it uses."""
        answers = self._answers.get(queryid, ())
        return next((a.cost for a in answers if a.used <= offered <= a.offered), None)

    def _believed(self, queryid: str, plan: Mapping[str, Any], specs: Sequence[IndexSpec]) -> float:
        """The planner's cost where nothing is added; else that cost times the share that is believed to be left."""
        cost = planned(plan)
        work = reckoned(plan, Facts(self._by_name(queryid), {f"<{n}>": s for n, s in enumerate(specs)}))
        if not specs:
            self._bare[queryid] = (cost, work)
            return cost
        if queryid not in self._bare:
            self.cost(queryid, frozenset())
        before = self._bare.get(queryid)
        if before is None or before[0] <= 0 or before[1] <= 0:
            return cost
        return before[0] * believed(cost / before[0], work / before[1])

    def _by_name(self, queryid: str) -> Mapping[str, Table]:
        return {self._catalog.tables[t].name: self._catalog.tables[t] for t in self._tables[queryid]}

    def _ratio(self, queryid: str, having: frozenset[IndexSpec], without: frozenset[IndexSpec]) -> float:
        base = self._model.cost(queryid, without)
        return self._model.cost(queryid, having) / base if base > 0 else 1.0

    def forget(self, queryid: str) -> None:
        """What the model remembers of a query; what the planner said is kept, as asking again is dear."""
        self._model.forget(queryid)

    def cost_without(self, queryid: str, added: frozenset[IndexSpec], gone: IndexSpec) -> float:
        """The same with an existing index gone, by the ratio that the model gives (HypoPG 1.3 hides none)."""
        base = self._model.cost(queryid, added)
        ratio = self._model.cost_without(queryid, added, gone) / base if base > 0 else 1.0
        return self.cost(queryid, added) * ratio

    def promising(self, queryid: str, offered: Sequence[IndexSpec]) -> Sequence[IndexSpec]:
        """Those that the planner picks when it has them all; then of the others; and so on for ROUNDS rounds.

        What covers is offered apart from what does not: it is always picked first, and may be refused later.
        """
        if len(offered) <= FEW:
            return offered
        plain = self._rounds(queryid, [s for s in offered if not s.include])
        covering = self._rounds(queryid, [s for s in offered if s.include])
        if plain is None or covering is None:
            return offered
        return [s for s in offered if s in plain or s in covering]

    def _rounds(self, queryid: str, offered: Sequence[IndexSpec]) -> set[IndexSpec] | None:
        found = {s for s in offered if not self._imaginable(s)}
        for _ in range(ROUNDS):
            used = self.used(queryid, [s for s in offered if s not in found])
            if used is None:
                return None
            if not used:
                break
            found |= used
        return found

    def used(self, queryid: str, offered: Sequence[IndexSpec]) -> frozenset[IndexSpec] | None:
        """Of all those offered at once, the ones that the planner picks; None where it cannot be asked."""
        plan = self._explained(queryid, offered) if offered else {}
        return None if plan is None else _picked(plan, offered)

    def _imaginable(self, spec: IndexSpec) -> bool:
        return spec.method in METHODS and self._catalog.tables[spec.table].kind != "partitioned"

    def _runnable(self, queryid: str) -> str | None:
        if queryid not in self._sql:
            found = plans.variants_of(self._session, self._statements[queryid], self._catalog, 1, writes=True)
            self._sql[queryid] = next(found, None)
        return self._sql[queryid]

    def _explained(self, queryid: str, specs: Sequence[IndexSpec]) -> Mapping[str, Any] | None:
        """The plan with the indexes imagined; index names in it begin with ``<n>``, their place in ``specs``."""
        sql = self._runnable(queryid)
        if sql is None or self._connection is None:
            return None
        try:
            shown, named = self._asked(sql, specs)
        except psycopg.Error:
            if self._session.is_broken:
                raise
            self._connection.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            return None
        found = json.loads(shown) if isinstance(shown, str) else shown
        return _renamed(found[0]["Plan"], {name: n for n, name in enumerate(named)})

    def _asked(self, sql: str, specs: Sequence[IndexSpec]) -> tuple[Any, list[str]]:
        """The plan, and what HypoPG calls the indexes; all in one message, as there are thousands of questions.

        Raises:
            psycopg.Error: the server refuses one of them; the savepoint is still there.
        """
        assert self._connection is not None
        questions = [
            f"SAVEPOINT {_SAVEPOINT}",
            "SELECT hypopg_reset()",
            *(_CREATE.format(names.create_sql(s, "imagined", concurrently=False)).as_string() for s in specs),
            f"EXPLAIN (FORMAT JSON) {sql}",
            f"RELEASE SAVEPOINT {_SAVEPOINT}",
        ]
        cursor = self._connection.execute(trusted(";\n".join(questions)))
        rows: list[Any] = []
        while True:
            if cursor.description:
                rows.append(next(iter(_values(cursor.fetchone()))))
            if not cursor.nextset():
                return rows[-1], [str(name) for name in rows[1:-1]]


def _values(row: Any) -> Sequence[Any]:
    return tuple(row.values()) if isinstance(row, dict) else tuple(row or ())


def _renamed(plan: dict[str, Any], own: Mapping[str, int]) -> dict[str, Any]:
    name = str(plan.get("Index Name", ""))
    if name in own:
        plan["Index Name"] = f"<{own[name]}>"
    for child in plan.get("Plans", ()):
        _renamed(child, own)
    return plan


def _picked(plan: Mapping[str, Any], offered: Sequence[IndexSpec]) -> frozenset[IndexSpec]:
    """Those of the offered indexes that a plan uses."""
    names_used = set(_index_names(plan))
    return frozenset(s for n, s in enumerate(offered) if f"<{n}>" in names_used)


def _index_names(plan: Mapping[str, Any]) -> Iterator[str]:
    if "Index Name" in plan:
        yield plan["Index Name"]
    for child in plan.get("Plans", ()):
        yield from _index_names(child)
