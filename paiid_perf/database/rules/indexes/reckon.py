"""What a plan costs a server whose data lie in memory: processor time from the plan's own row counts.

The planner's costs are mostly those of reading pages, of which a cached database has none; its order of two plans is
then not the order of their times. Here every node is charged for what it touches, at rates that were fitted to
measured executions (TPC-H-like data, PostgreSQL 15 and 18, all pages cached). Only ratios are used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paiid_perf.database.index_types import IndexSpec, Table
from paiid_perf.database.rules.indexes.selectivity import distinct_values


@dataclass(frozen=True, slots=True)
class Rates:
    """Nanoseconds."""

    row: float = 55.0
    """A row read in a sequential scan."""
    condition: float = 12.0
    """One condition checked on it."""
    descent: float = 2000.0
    """A look-up's way from root to leaf, executor start-up included."""
    entry: float = 90.0
    """An index entry read."""
    near: float = 150.0
    """A heap row fetched where its neighbours were fetched before."""
    far: float = 750.0
    """A heap row fetched anywhere in a table much larger than the processor's caches."""
    cached_pages: float = 6000.0
    """Pages of a table of which the processor's caches hold about half."""
    bitmap: float = 300.0
    """A heap row found through a bitmap: pages come in order."""
    build: float = 160.0
    probe: float = 60.0
    """A row put into a hash table; one looked up there."""
    aggregate: float = 60.0
    compare: float = 50.0
    join: float = 120.0
    """A row that a nested loop or a merge passes on."""


RATES = Rates()
Plan = Mapping[str, Any]
_CONJUNCT = re.compile(r'\(?"?(\w+)"?\)?(?:::[\w ]+)?\s*(=|<=|>=|<|>|IS NULL|~~)', re.IGNORECASE)
_SUBPLAN = {"SubPlan", "InitPlan"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the plan does not say: the tables it names, and the indexes that are only imagined."""

    tables: Mapping[str, Table]
    """By the name that stands in the plan."""
    imagined: Mapping[str, IndexSpec]
    """By the name that stands in the plan."""


def reckoned(plan: Plan, facts: Facts) -> float:
    """Milliseconds of one execution."""
    return _node(plan, facts, 1.0) / 1e6


def _node(plan: Plan, facts: Facts, loops: float) -> float:
    children: Sequence[Plan] = plan.get("Plans", ())
    main = [c for c in children if c.get("Parent Relationship") not in _SUBPLAN]
    sub = [c for c in children if c.get("Parent Relationship") in _SUBPLAN]
    own = _own(plan, main, facts) * loops
    inner_loops = [loops] * len(main)
    if plan["Node Type"] == "Nested Loop" and len(main) == 2:
        inner_loops[1] = loops * max(1.0, main[0]["Plan Rows"])
    share = _limited(plan, main)
    below = sum(
        share * _node(child, facts, times * _spared(child))
        for child, times in zip(main, inner_loops, strict=True)
    )
    return own + below + sum(_node(child, facts, _sub_loops(plan, main, child, loops)) for child in sub)


def _limited(plan: Plan, main: Sequence[Plan]) -> float:
    """The share of its input that a LIMIT reads: what its cost is of its child's."""
    if plan["Node Type"] != "Limit" or not main:
        return 1.0
    whole = main[0]["Total Cost"] - main[0]["Startup Cost"]
    if whole <= 0 or main[0]["Startup Cost"] > 0.5 * main[0]["Total Cost"]:
        return 1.0
    return float(min(1.0, max(0.0, (plan["Total Cost"] - main[0]["Startup Cost"]) / whole)))


def _spared(child: Plan) -> float:
    """A memoized or materialised inner side runs seldom; its own node says how much that costs."""
    return 0.5 if child["Node Type"] == "Memoize" else 1.0


def _sub_loops(plan: Plan, main: Sequence[Plan], child: Plan, loops: float) -> float:
    """How often a correlated sub-query runs, from what it adds to the node's cost."""
    if child.get("Parent Relationship") == "InitPlan" or "hashed" in str(plan.get("Filter", "")):
        return 1.0
    added = plan["Total Cost"] - sum(c["Total Cost"] for c in main)
    return float(loops * max(1.0, added / max(child["Total Cost"], 0.01)))


def _own(plan: Plan, main: Sequence[Plan], facts: Facts) -> float:
    """Nanoseconds of one run of a node without its children."""
    rows = float(plan["Plan Rows"])
    kind = plan["Node Type"]
    read = [float(c["Plan Rows"]) for c in main] or [0.0]
    match kind:
        case "Seq Scan":
            return _sequential(plan, facts, rows)
        case "Index Scan" | "Index Only Scan" | "Bitmap Heap Scan" | "Bitmap Index Scan":
            return _indexed(plan, facts, rows)
        case "Hash":
            return rows * RATES.build
        case "Hash Join":
            return read[0] * RATES.probe + rows * RATES.aggregate
        case "Nested Loop" | "Merge Join":
            return (read[0] + rows) * RATES.join
        case "Aggregate" | "WindowAgg" | "Group" | "Unique" | "SetOp":
            return read[0] * RATES.aggregate + rows * RATES.probe
        case "Sort" | "Incremental Sort":
            return read[0] * math.log2(max(read[0], 2.0)) * RATES.compare
        case _:
            return rows * 10.0


def _sequential(plan: Plan, facts: Facts, rows: float) -> float:
    table = facts.tables.get(plan.get("Relation Name", ""))
    whole = max(rows, table.rows if table else rows)
    return whole * (RATES.row + RATES.condition * _conditions(plan.get("Filter")))


def _conditions(text: object) -> int:
    return str(text).count(" AND ") + str(text).count(" OR ") + 1 if text else 0


def _indexed(plan: Plan, facts: Facts, rows: float) -> float:
    table = facts.tables.get(plan.get("Relation Name", ""))
    if plan["Node Type"] == "Bitmap Index Scan":
        return RATES.descent + rows * RATES.entry / 2
    if plan["Node Type"] == "Bitmap Heap Scan":
        read = max(rows, *(float(c["Plan Rows"]) for c in plan.get("Plans", ())), 0.0)
        return read * (RATES.bitmap + RATES.condition * _conditions(plan.get("Filter")))
    fetched = _fetched(plan, table, rows)
    entries = RATES.descent + fetched * RATES.entry
    each = fetch_ns(table, _order(plan, facts, table)) if table else RATES.near
    if plan["Node Type"] == "Index Only Scan":
        return entries + fetched * (1.0 - table.visible_fraction if table else 0.0) * each
    return entries + fetched * (each + RATES.condition * _conditions(plan.get("Filter")))


def fetch_ns(table: Table, order: float) -> float:
    """Nanoseconds for one heap row found through an index whose order the heap follows so far (0–1)."""
    distant = RATES.far * table.pages / (table.pages + RATES.cached_pages)
    return RATES.near + distant * (1.0 - order)


def _order(plan: Plan, facts: Facts, table: Table | None) -> float:
    """How far neighbours in the index are neighbours in the heap, 0–1."""
    name = plan.get("Index Name", "")
    spec = facts.imagined.get(name)
    if spec is None and table is not None:
        spec = next((i.spec for i in table.indexes if i.name == name), None)
    if spec is None or table is None or not spec.keys:
        return 0.0
    column = table.columns.get(spec.keys[0].text)
    return column.correlation**2 if column else 0.0


def _fetched(plan: Plan, table: Table | None, rows: float) -> float:
    """Entries that the index's conditions let through, before the filter."""
    if table is None:
        return rows
    conditions = _CONJUNCT.findall(str(plan.get("Index Cond", "")))
    if not conditions:
        return max(rows, table.rows)
    if not plan.get("Filter"):
        return rows
    share = 1.0
    for column, operator in conditions:
        if operator != "=":
            return min(table.rows, rows * 3.0 ** min(2, _conditions(plan.get("Filter"))))
        share /= distinct_values(table, column)
    return min(table.rows, max(rows, table.rows * share))


#: From this ratio on a plan is taken to be slower than the one it replaces, whatever the planner thinks.
SLOWER = 1.05


def believed(planned: float, processor: float) -> float:
    """The share of a query's time that is left, from what the planner says of two plans and what their processor time
    says: their geometric mean (each alone errs more); where the processor would take longer, that alone."""
    return processor if processor > SLOWER else math.sqrt(planned * processor)
