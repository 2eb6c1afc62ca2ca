"""PostgreSQL's cost formulas, for what-if without HypoPG. Costs are in the planner's units.

Source: src/backend/optimizer/path/costsize.c and utils/adt/selfuncs.c. The pages that repeated index scans fetch
follow Mackert and Lohman, "Index Scans Using a Finite LRU Buffer" (ACM TODS 14(3), 1989).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paiid_perf.database.index_types import PlannerSettings, Table


@dataclass(frozen=True, slots=True)
class Geometry:
    """An index as the formulas see it."""

    pages: float
    tuples: float
    height: int


def sequential_scan(table: Table, conditions: int, p: PlannerSettings) -> float:
    """cost_seqscan, CPU shared among parallel workers where the table is large enough for them."""
    cpu = table.rows * (p.cpu_tuple_cost + conditions * p.cpu_operator_cost)
    return table.pages * p.seq_page_cost + cpu / parallel_divisor(table.pages, p)


def parallel_divisor(pages: float, p: PlannerSettings) -> float:
    """get_parallel_divisor with the workers that compute_parallel_worker gives a table of that size."""
    workers, limit = 0, 1024.0
    while pages >= limit and workers < p.parallel_workers:
        workers, limit = workers + 1, limit * 3
    return workers + max(0.0, 1.0 - 0.3 * workers) if workers else 1.0


def pages_fetched(tuples: float, table_pages: float, index_pages: float, p: PlannerSettings) -> float:
    """index_pages_fetched: distinct heap pages read for ``tuples`` fetches through a cache of b pages."""
    t = max(table_pages, 1.0)
    b = max(1.0, p.effective_cache_pages * t / (t + index_pages))
    once = (2.0 * t * tuples) / (2.0 * t + tuples)
    if t <= b:
        return math.ceil(min(once, t))
    limit = (2.0 * t * b) / (2.0 * t - b)
    if tuples <= limit:
        return math.ceil(once)
    return math.ceil(b + (tuples - limit) * (t - b) / t)


@dataclass(frozen=True, slots=True)
class IndexScan:
    """One index scan's inputs. Shares are of the index's tuples."""

    geometry: Geometry
    scanned: float
    """Share between the boundaries of the scan."""
    fetched: float
    """Share that passes every condition the index can check."""
    conditions: int
    filters: int
    correlation: float
    heap_share: float = 1.0
    """Share of heap pages to visit: below 1 for an index-only scan."""
    loops: float = 1.0
    searches: int = 1
    """Descents for one scan (elements of an IN list)."""


def index_access(scan: IndexScan, p: PlannerSettings) -> tuple[float, float]:
    """(start-up, total) of the index part of one scan (btcostestimate)."""
    g = scan.geometry
    tuples = max(1.0, g.tuples * scan.scanned)
    pages = max(1.0, math.ceil(tuples * g.pages / max(g.tuples, 1.0)))
    if scan.loops > 1:
        fetched = pages_fetched(pages * scan.loops, g.pages, g.pages, p) / scan.loops
        pages = min(pages, fetched)
    descent = scan.searches * (
        math.ceil(math.log2(max(g.tuples, 2.0))) * p.cpu_operator_cost
        + (g.height + 1) * 50.0 * p.cpu_operator_cost
    )
    cpu = tuples * (p.cpu_index_tuple_cost + scan.conditions * p.cpu_operator_cost)
    return descent, descent + pages * p.random_page_cost + cpu


def index_scan(table: Table, scan: IndexScan, p: PlannerSettings) -> tuple[float, float]:
    """(start-up, total) of a plain or index-only scan (cost_index), per loop."""
    startup, index_total = index_access(scan, p)
    tuples = max(1.0, scan.geometry.tuples * scan.fetched)
    worst, best = _heap_io(table, scan, tuples, p)
    squared = scan.correlation**2
    io = worst + squared * (best - worst)
    cpu = tuples * (p.cpu_tuple_cost + scan.filters * p.cpu_operator_cost)
    return startup, index_total + io + cpu


def _heap_io(table: Table, scan: IndexScan, tuples: float, p: PlannerSettings) -> tuple[float, float]:
    if scan.loops > 1:
        all_pages = pages_fetched(tuples * scan.loops, table.pages, scan.geometry.pages, p)
        worst = all_pages * scan.heap_share * p.random_page_cost / scan.loops
        clustered = pages_fetched(
            math.ceil(scan.fetched * table.pages) * scan.loops, table.pages, scan.geometry.pages, p
        )
        return worst, min(worst, clustered * scan.heap_share * p.random_page_cost / scan.loops)
    pages = math.ceil(pages_fetched(tuples, table.pages, scan.geometry.pages, p) * scan.heap_share)
    clustered_pages = math.ceil(scan.fetched * table.pages * scan.heap_share)
    best = (
        p.random_page_cost + max(0.0, clustered_pages - 1) * p.seq_page_cost if clustered_pages > 0 else 0.0
    )
    return pages * p.random_page_cost, min(best, pages * p.random_page_cost)


def bitmap_scan(
    table: Table, index_total: float, share: float, recheck: int, p: PlannerSettings
) -> tuple[float, float]:
    """(start-up, total) of a bitmap heap scan over index scans that cost ``index_total`` (cost_bitmap_heap_scan)."""
    tuples = max(1.0, table.rows * share)
    t = max(table.pages, 1.0)
    pages = min(t, math.ceil((2.0 * t * tuples) / (2.0 * t + tuples)))
    per_page = p.seq_page_cost
    if pages >= 2.0:
        per_page = p.random_page_cost - (p.random_page_cost - p.seq_page_cost) * math.sqrt(pages / t)
    startup = index_total + 0.1 * p.cpu_operator_cost * tuples
    cpu = tuples * (p.cpu_tuple_cost + recheck * p.cpu_operator_cost)
    return startup, startup + pages * per_page + cpu / parallel_divisor(pages, p)


def sort(rows: float, width: float, p: PlannerSettings, limit: float | None = None) -> float:
    """cost_tuplesort: a bounded heap under LIMIT, else quicksort, on disk past work_mem."""
    rows = max(rows, 2.0)
    comparison = 2.0 * p.cpu_operator_cost
    if limit is not None and limit * 2 < rows:
        return comparison * rows * math.log2(2.0 * max(limit, 1.0))
    cost = comparison * rows * math.log2(rows)
    size = rows * (width + 24)
    if size > p.work_mem_bytes:
        pages = math.ceil(size / 8192)
        cost += 2.0 * pages * (p.seq_page_cost * 0.75 + p.random_page_cost * 0.25)
    return cost


def hash_join(outer: float, inner: float, inner_width: float, p: PlannerSettings) -> float:
    """cost_hashjoin's own part: hashing both sides, and batches on disk past work_mem (hash_mem 2×)."""
    cost = (outer + inner) * p.cpu_operator_cost + inner * p.cpu_tuple_cost
    size = inner * (inner_width + 24)
    if size > 2 * p.work_mem_bytes:
        cost += 2.0 * p.seq_page_cost * (size / 8192 + outer * (inner_width + 24) / 8192)
    return cost
