"""Where what-if costs come from: the cost model, or HypoPG through the planner itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paiid_perf.database.index_types import Catalog, IndexSpec, Query, Statement
from paiid_perf.database.rules.indexes.planner import QueryPlanner, existing
from paiid_perf.database.rules.indexes.reckon import believed


class EstimatedCosts:
    """The cost model: the catalogue's indexes plus the added ones. Labelled *estimated*."""

    name = "estimated"

    def __init__(self, pairs: Sequence[tuple[Statement, Query]], catalog: Catalog) -> None:
        self._base = existing(catalog)
        self._planners = {s.queryid: QueryPlanner(q, s, catalog) for s, q in pairs}
        self._known: dict[str, dict[frozenset[IndexSpec], float]] = {s.queryid: {} for s, _ in pairs}

    def cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        """One execution's cost in the planner's units: with indexes added, as much of the cost without them as the
        query is believed to take of its time."""
        known = self._known[queryid]
        if added not in known:
            known[added] = self._cost(queryid, added)
        return known[added]

    def forget(self, queryid: str) -> None:
        """What was remembered of a query: of the sets that were tried few come back, and thousands of queries would
        fill the memory."""
        self._known[queryid].clear()
        self._planners[queryid].forget()

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
