"""What a plan costs a server whose data lie in memory: processor time from the plan's own row counts.

The planner's costs are mostly those of reading pages, of which a cached database has none; its order of two plans is
then not the order of their times. Here every node is charged for what it touches, at rates that were fitted to
measured executions (TPC-H-like data, PostgreSQL 15 and 18, all pages cached). Only ratios are used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paiid_perf.database.index_types import IndexSpec, Table
from paiid_perf.database.rules.indexes.conditions import conjuncts, predicates
from paiid_perf.database.rules.indexes.partners import corrected
from paiid_perf.database.rules.indexes.selectivity import DEFAULT_EQ, DEFAULT_INEQ, combined


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
    miss: float = 9000.0
    """A page that shared buffers do not hold, copied from the system's cache (9–12 µs on the virtual machine used)."""
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
_SUBPLAN = {"SubPlan", "InitPlan"}
#: What the planner charges a nested loop for a row that it finds memoized (two cpu_tuple_cost and some operators).
MEMO_HIT = 0.02


@dataclass(frozen=True, slots=True)
class Facts:
    """What the plan does not say: the tables it names, and the indexes that are only imagined."""

    tables: Mapping[str, Table]
    """By the name that stands in the plan."""
    imagined: Mapping[str, IndexSpec]
    """By the name that stands in the plan."""


def reckoned(plan: Plan, facts: Facts) -> float:
    """Milliseconds of one execution."""
    return _node(corrected(plan, facts.tables), facts, 1.0) / 1e6


def planned(plan: Plan, facts: Facts) -> float:
    """The planner's cost, less that of sub-plan runs which it counts and which never happen (see ``_reaching``), and
    with what a LIMIT may have to wait (see ``late``)."""
    total = float(plan["Total Cost"])
    return max(0.01 * total, total - _phantom(plan, 1.0)) + _waiting(plan, facts)


def _waiting(plan: Plan, facts: Facts) -> float:
    """The planner's cost of what a LIMIT at the top reads more than the planner thinks."""
    main, _ = _children(plan)
    if plan["Node Type"] != "Limit" or not main:
        return 0.0
    whole = float(main[0]["Total Cost"]) - float(main[0]["Startup Cost"])
    return max(
        0.0, _limited(plan, main, facts) * whole + float(main[0]["Startup Cost"]) - float(plan["Total Cost"])
    )


def _phantom(plan: Plan, loops: float) -> float:
    main, sub = _children(plan)
    own = sum((_counted(plan, c) - _sub_loops(plan, c)) * float(c["Total Cost"]) for c in sub)
    inner = loops * max(1.0, float(main[0]["Plan Rows"])) if _is_loop(plan, main) else loops
    times = [loops, inner] if _is_loop(plan, main) else [loops] * len(main)
    return own * loops + sum(_phantom(c, t) for c, t in zip(main, times, strict=True))


def _children(plan: Plan) -> tuple[list[Plan], list[Plan]]:
    """(what feeds the node, the sub-plans of its expressions)."""
    children: Sequence[Plan] = plan.get("Plans", ())
    main = [c for c in children if c.get("Parent Relationship") not in _SUBPLAN]
    return main, [c for c in children if c.get("Parent Relationship") in _SUBPLAN]


def _is_loop(plan: Plan, main: Sequence[Plan]) -> bool:
    return plan["Node Type"] == "Nested Loop" and len(main) == 2


def _node(plan: Plan, facts: Facts, loops: float) -> float:
    main, sub = _children(plan)
    own = _own(plan, main, facts, loops) * loops
    if _is_loop(plan, main):
        below = _node(main[0], facts, loops) + _repeated(plan, main[0], main[1], facts, loops)
    else:
        below = _limited(plan, main, facts) * sum(_node(child, facts, loops) for child in main)
    return own + below + sum(_node(child, facts, loops * _sub_loops(plan, child)) for child in sub)


def _repeated(join: Plan, outer: Plan, inner: Plan, facts: Facts, loops: float) -> float:
    """A nested loop's inner side, run for each outer row; a memoized one only where it misses, a materialised one
    once and then read again."""
    times = loops * max(1.0, float(outer["Plan Rows"]))
    match inner["Node Type"]:
        case "Memoize":
            return times * RATES.probe + _node(inner, facts, times * _missed(join, outer, inner))
        case "Materialize":
            return times * _own(inner, (), facts, times) + _node(inner, facts, loops)
        case _:
            return _node(inner, facts, times)


def _missed(join: Plan, outer: Plan, inner: Plan) -> float:
    """The share of look-ups that a Memoize node passes on, from what each costs the planner."""
    rows = max(1.0, float(outer["Plan Rows"]))
    each = (float(join["Total Cost"]) - float(outer["Total Cost"])) / rows - MEMO_HIT
    below = max((float(c["Total Cost"]) for c in inner.get("Plans", ())), default=0.0)
    return min(1.0, max(each / below, 1.0 / rows)) if below > 0 else 1.0


def _limited(plan: Plan, main: Sequence[Plan], facts: Facts) -> float:
    """The share of its input that a LIMIT reads: what its cost is of its child's."""
    if plan["Node Type"] != "Limit" or not main:
        return 1.0
    whole = main[0]["Total Cost"] - main[0]["Startup Cost"]
    if whole <= 0 or main[0]["Startup Cost"] > 0.5 * main[0]["Total Cost"]:
        return 1.0
    share = min(1.0, max(0.0, (float(plan["Total Cost"]) - float(main[0]["Startup Cost"])) / whole))
    return late(share, _passing(main[0], facts))


def late(share: float, passing: float) -> float:
    """The share of its input that a LIMIT reads which the planner thinks can stop after ``share`` of it.

    The planner takes the rows that it waits for to lie evenly. Where a filter or a join lets but few through
    (``passing``), they may as well lie together, and last: halfway between, on a scale of powers.
    """
    return math.sqrt(share * min(1.0, share + 1.0 - passing))


def _passing(plan: Plan, facts: Facts) -> float:
    """The share of the rows that a plan's first scan fetches which come out at its top."""
    main, _ = _children(plan)
    rows = float(plan["Plan Rows"])
    if main:
        kept = min(1.0, rows / max(1.0, float(main[0]["Plan Rows"]))) if len(main) > 1 else 1.0
        return kept * _passing(main[0], facts)
    table = facts.tables.get(plan.get("Relation Name", ""))
    return min(1.0, rows / max(1.0, _fetched(plan, table, rows))) if "Filter" in plan else 1.0


def _counted(plan: Plan, child: Plan) -> float:
    """How often the planner takes a correlated sub-plan to run, from what all of them add to the node's cost."""
    if child.get("Parent Relationship") == "InitPlan" or "hashed" in str(plan.get("Filter", "")):
        return 1.0
    main, sub = _children(plan)
    added = float(plan["Total Cost"]) - sum(float(c["Total Cost"]) for c in main)
    each = sum(float(c["Total Cost"]) for c in sub if c.get("Parent Relationship") != "InitPlan")
    return max(1.0, added / max(each, 0.01))


def _sub_loops(plan: Plan, child: Plan) -> float:
    """How often a sub-plan runs for one run of its node."""
    return min(_counted(plan, child), max(1.0, _reaching(plan)))


def _reaching(plan: Plan) -> float:
    """Rows for which a filter gets as far as its sub-plans. The executor checks cheap conditions first; the planner
    charges every row of the table for the sub-plans (cost_qual_eval)."""
    conditions = conjuncts(str(plan.get("Filter", "")))
    asking = [c for c in conditions if "SubPlan" in c]
    if not asking or len(asking) == len(conditions):
        return math.inf
    return float(plan["Plan Rows"]) / math.prod(_kept(c) for c in asking)


def _kept(condition: str) -> float:
    """The share of rows that the planner takes a comparison with a sub-plan to keep (selfuncs.h)."""
    if "<" in condition or ">" in condition:
        return DEFAULT_INEQ
    return DEFAULT_EQ if " = " in condition and "ANY" not in condition else 0.5


def _own(plan: Plan, main: Sequence[Plan], facts: Facts, loops: float) -> float:
    """Nanoseconds of one run of a node without its children; it runs ``loops`` times in all."""
    rows = float(plan["Plan Rows"])
    kind = plan["Node Type"]
    read = [float(c["Plan Rows"]) for c in main] or [0.0]
    match kind:
        case "Seq Scan":
            return _sequential(plan, facts, rows)
        case "Index Scan" | "Index Only Scan" | "Bitmap Heap Scan" | "Bitmap Index Scan":
            return _indexed(plan, facts, rows, loops)
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
    missed = missed_ns(table, table.pages) if table else 0.0
    return missed + whole * (RATES.row + RATES.condition * _conditions(plan.get("Filter")))


def _conditions(text: object) -> int:
    return str(text).count(" AND ") + str(text).count(" OR ") + 1 if text else 0


def _indexed(plan: Plan, facts: Facts, rows: float, loops: float) -> float:
    table = facts.tables.get(plan.get("Relation Name", ""))
    if plan["Node Type"] == "Bitmap Index Scan":
        return RATES.descent + rows * RATES.entry / 2
    if plan["Node Type"] == "Bitmap Heap Scan":
        read = max(rows, *(float(c["Plan Rows"]) for c in plan.get("Plans", ())), 0.0)
        each = RATES.bitmap + RATES.condition * _conditions(plan.get("Filter"))
        return read * each + heap_missed_ns(table, read, 0.0, loops)
    fetched = _fetched(plan, table, rows)
    entries = RATES.descent + fetched * RATES.entry
    order = _order(plan, facts, table)
    each = fetch_ns(table, order) if table else RATES.near
    conditions = RATES.condition * _conditions(plan.get("Filter"))
    visited = fetched
    if plan["Node Type"] == "Index Only Scan":
        visited *= 1.0 - table.visible_fraction if table else 0.0
    missed = heap_missed_ns(table, visited, order, loops)
    return entries + fetched * conditions + visited * each + missed


def fetch_ns(table: Table, order: float) -> float:
    """Nanoseconds for one heap row found through an index whose order the heap follows so far (0–1)."""
    distant = RATES.far * table.pages / (table.pages + RATES.cached_pages)
    return RATES.near + distant * (1.0 - order)


def missed_ns(table: Table, pages: float) -> float:
    """Nanoseconds to bring so many different pages of a table into shared buffers, as far as they are not there."""
    return table.uncached * pages * RATES.miss


def heap_missed_ns(table: Table | None, fetched: float, order: float, loops: float = 1.0) -> float:
    """``missed_ns`` of the heap pages of one scan out of ``loops`` that fetch so many rows each: different pages by
    Mackert and Lohman where the heap does not follow the index, neighbours where it does (``order``, 0–1)."""
    if table is None or fetched <= 0 or table.uncached <= 0:
        return 0.0
    rows, pages = fetched * max(loops, 1.0), max(table.pages, 1.0)
    anywhere = min(pages, 2.0 * pages * rows / (2.0 * pages + rows))
    together = min(anywhere, pages * rows / max(table.rows, 1.0) + 1.0)
    return missed_ns(table, anywhere + order * (together - anywhere)) / max(loops, 1.0)


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
    if not plan.get("Filter") and plan.get("Index Cond"):
        return rows
    share = combined(table, predicates(str(plan.get("Index Cond", ""))))
    return min(max(rows, table.rows * share), max(rows, table.rows))


#: From this ratio on a plan is taken to be slower than the one it replaces, whatever the planner thinks.
SLOWER = 1.05
#: From this ratio on the two plans are even to the planner: which of them it takes in the end, chance decides.
EVEN = 0.97


def believed(planned: float, processor: float) -> float:
    """The share of a query's time that is left, from what the planner says of two plans and what their processor time
    says: their geometric mean (each alone errs more); where the processor would take longer, that alone, unless the
    planner might as well have kept the plan."""
    if processor > SLOWER and planned < EVEN:
        return processor
    return math.sqrt(planned * processor)
