"""What-if through the planner itself, where HypoPG is installed: hypothetical indexes and EXPLAIN.

Hypothetical indexes live in the session's memory: nothing is written, no lock is taken, nobody else sees them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from paiid_perf.database.facts import plans
from paiid_perf.database.index_types import Catalog, IndexSpec, Query, Statement
from paiid_perf.database.rules.indexes import names
from paiid_perf.database.rules.indexes.sources import EstimatedCosts
from paiid_perf.database.session import Session, trusted

#: Access methods that HypoPG can imagine (1.3); the cost model stands in for the others.
METHODS = frozenset({"btree", "hash", "brin"})


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
        self._sql: dict[str, str | None] = {}
        self._known: dict[tuple[str, frozenset[IndexSpec]], float] = {}

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
        plan = self._explained(queryid, sorted(possible, key=repr))
        if plan is not None:
            return float(plan["Total Cost"])
        bare = self._known.get((queryid, frozenset())) if added else None
        if bare is not None:
            return bare * self._ratio(queryid, added, frozenset())
        return self._model.cost(queryid, added)

    def _ratio(self, queryid: str, having: frozenset[IndexSpec], without: frozenset[IndexSpec]) -> float:
        base = self._model.cost(queryid, without)
        return self._model.cost(queryid, having) / base if base > 0 else 1.0

    def cost_without(self, queryid: str, added: frozenset[IndexSpec], gone: IndexSpec) -> float:
        """The same with an existing index gone, by the ratio that the model gives (HypoPG 1.3 hides none)."""
        base = self._model.cost(queryid, added)
        ratio = self._model.cost_without(queryid, added, gone) / base if base > 0 else 1.0
        return self.cost(queryid, added) * ratio

    def used(self, queryid: str, offered: Sequence[IndexSpec]) -> frozenset[IndexSpec]:
        """Of all those offered at once, the ones that the planner picks."""
        possible = [s for s in offered if self._imaginable(s)]
        plan = self._explained(queryid, possible) if possible else None
        picked = set(_index_names(plan)) if plan is not None else set()
        return frozenset(s for n, s in enumerate(possible) if any(p.startswith(f"<{n}>") for p in picked))

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
            with self._connection.transaction():
                self._connection.execute("SELECT hypopg_reset()")
                own = {self._imagined(spec): n for n, spec in enumerate(specs)}
                row = self._connection.execute(trusted(f"EXPLAIN (FORMAT JSON) {sql}")).fetchone()
        except psycopg.Error:
            if self._session.is_broken:
                raise
            return None
        if row is None:
            return None
        found = json.loads(row[0]) if isinstance(row[0], str) else row[0]
        return _renamed(found[0]["Plan"], own)

    def _imagined(self, spec: IndexSpec) -> str:
        assert self._connection is not None
        sql = names.create_sql(spec, "imagined", concurrently=False)
        row = self._connection.execute("SELECT indexname FROM hypopg_create_index(%s)", [sql]).fetchone()
        return str(row[0]) if row else ""


def _renamed(plan: dict[str, Any], own: Mapping[str, int]) -> dict[str, Any]:
    name = str(plan.get("Index Name", ""))
    if name in own:
        plan["Index Name"] = f"<{own[name]}>"
    for child in plan.get("Plans", ()):
        _renamed(child, own)
    return plan


def _index_names(plan: Mapping[str, Any]) -> Iterator[str]:
    if "Index Name" in plan:
        yield plan["Index Name"]
    for child in plan.get("Plans", ()):
        yield from _index_names(child)
