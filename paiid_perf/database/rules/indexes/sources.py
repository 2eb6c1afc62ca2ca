"""Where what-if costs come from: the cost model, or HypoPG through the planner itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paiid_perf.database.index_types import Catalog, IndexSpec, Query, Statement
from paiid_perf.database.rules.indexes.planner import QueryPlanner, existing


class EstimatedCosts:
    """The cost model: the catalogue's indexes plus the added ones. Labelled *estimated*."""

    name = "estimated"

    def __init__(self, pairs: Sequence[tuple[Statement, Query]], catalog: Catalog) -> None:
        self._base = existing(catalog)
        self._planners = {s.queryid: QueryPlanner(q, s, catalog) for s, q in pairs}
        self._known: dict[tuple[str, frozenset[IndexSpec]], float] = {}

    def cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        """One execution's cost in the planner's units, with the added indexes."""
        key = (queryid, added)
        if key not in self._known:
            self._known[key] = self._planners[queryid].cost(self._config(self._planners[queryid], added))
        return self._known[key]

    def cost_without(self, queryid: str, added: frozenset[IndexSpec], gone: IndexSpec) -> float:
        """The same with one of the existing indexes gone; its twin, where it has one, stays."""
        planner = self._planners[queryid]
        config = dict(self._config(planner, added))
        left = list(config.get(gone.table, ()))
        if gone in left:
            left.remove(gone)
        return planner.cost(config | {gone.table: tuple(left)})

    def _config(
        self, planner: QueryPlanner, added: frozenset[IndexSpec]
    ) -> Mapping[str, tuple[IndexSpec, ...]]:
        extra = sorted(added, key=repr)
        return {
            t: (*self._base.get(t, ()), *(s for s in extra if s.table == t)) for t in sorted(planner.tables)
        }
