"""Where what-if costs come from: the cost model, or HypoPG through the planner itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paiid_perf.database.index_types import Catalog, IndexSpec, Query, Statement
from paiid_perf.database.rules.indexes.planner import QueryPlanner, existing
from paiid_perf.database.rules.indexes.reckon import believed

#: Queries of which paths and costs are remembered: some 70 kB each, and a search stays with a table for a while.
KEPT = 1_000


class EstimatedCosts:
    """The cost model: the catalogue's indexes plus the added ones. Labelled *estimated*."""

    name = "estimated"

    def __init__(self, pairs: Sequence[tuple[Statement, Query]], catalog: Catalog) -> None:
        self._base = existing(catalog)
        self._planners = {s.queryid: QueryPlanner(q, s, catalog) for s, q in pairs}
        self._known: dict[str, dict[frozenset[IndexSpec], float]] = {}
        """Of the queries that were asked about last, the latest at the end."""

    def cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        """One execution's cost in the planner's units: with indexes added, as much of the cost without them as the
        query is believed to take of its time."""
        known = self._remembered(queryid)
        if added not in known:
            known[added] = self._cost(queryid, added)
        return known[added]

    def _remembered(self, queryid: str) -> dict[frozenset[IndexSpec], float]:
        """What is known of a query; of another one all is forgotten where that makes more than KEPT of them."""
        known = self._known.pop(queryid, {})
        if len(self._known) >= KEPT:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._planners[oldest].forget()
        self._known[queryid] = known
        return known

    def _cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        planner = self._planners[queryid]
        return self._believed(planner, self._config(planner, added))

    def _believed(self, planner: QueryPlanner, config: Mapping[str, tuple[IndexSpec, ...]]) -> float:
        bare = planner.outcome(self._config(planner, frozenset()))
        found = planner.outcome(config)
        if bare.cost <= 0 or bare.work <= 0 or found == bare:
            return bare.cost
        return bare.cost * believed(found.doubted / bare.doubted, found.work / bare.work)

    def promising(self, queryid: str, offered: Sequence[IndexSpec]) -> Sequence[IndexSpec]:
        """Those worth asking about one by one: here all, as asking costs little."""
        return offered

    def cost_without(self, queryid: str, added: frozenset[IndexSpec], gone: IndexSpec) -> float:
        """The same with one of the existing indexes gone; its twin, where it has one, stays."""
        self._remembered(queryid)
        planner = self._planners[queryid]
        config = dict(self._config(planner, added))
        left = list(config.get(gone.table, ()))
        if gone in left:
            left.remove(gone)
        return self._believed(planner, config | {gone.table: tuple(left)})

    def _config(
        self, planner: QueryPlanner, added: frozenset[IndexSpec]
    ) -> Mapping[str, tuple[IndexSpec, ...]]:
        extra = sorted(added, key=repr)
        return {
            t: (*self._base.get(t, ()), *(s for s in extra if s.table == t)) for t in sorted(planner.tables)
        }
