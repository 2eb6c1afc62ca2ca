"""How many partners a row finds in a join on all columns of a key: one, however the columns depend on each other.

The planner multiplies the columns' selectivities as if they were independent (``clauselist_selectivity``), unless a
foreign key is declared; a plan that it likes for the few rows it expects meets hundreds of times as many.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from paiid_perf.database.index_types import Table
from paiid_perf.database.rules.indexes.conditions import conjuncts
from paiid_perf.database.rules.indexes.selectivity import distinct_values

Plan = Mapping[str, Any]
_SIDE = r'(?:"?(\w+)"?\.)?"?(\w+)"?'
_EQUAL = re.compile(rf"\(*{_SIDE}\)?(?:::[\w ]+)? = \(?{_SIDE}\)?(?:::[\w ]+)?\)*")
#: A filter joins where it stands on a scan that is repeated for another relation's rows.
_CONDITIONS = ("Hash Cond", "Merge Cond", "Index Cond", "Join Filter", "Filter")
#: Nodes that return as many rows as they did, whatever they are fed.
_ENDS = {"Aggregate", "Group", "Unique", "Limit", "SetOp"}
_ASIDE = {"SubPlan", "InitPlan"}


def corrected(plan: Plan, tables: Mapping[str, Table]) -> Plan:
    """The plan with the rows that such joins return. ``tables``: by the name that stands in the plan."""
    return _corrected(plan, dict(_aliases(plan, tables)))[0]


def _aliases(plan: Plan, tables: Mapping[str, Table]) -> Iterator[tuple[str, Table]]:
    table = tables.get(plan.get("Relation Name", ""))
    if table is not None:
        yield plan.get("Alias", table.name), table
    for child in plan.get("Plans", ()):
        yield from _aliases(child, tables)


def _corrected(plan: Plan, tables: Mapping[str, Table]) -> tuple[Plan, float]:
    """The node, and how many times as many rows it returns."""
    children = [_corrected(c, tables) for c in plan.get("Plans", ())]
    fed = [
        more
        for child, more in children
        if child.get("Parent Relationship") not in _ASIDE
        and not (child.get("Parent Relationship") == "Inner" and _is_half(plan))
    ]
    own = 1.0 if _is_half(plan) else _more(plan, tables)
    factor = 1.0 if plan["Node Type"] in _ENDS else own * math.prod(fed)
    if factor == 1.0 and all(more == 1.0 for _, more in children):
        return plan, 1.0
    rows = plan["Plan Rows"] * factor
    if not children:  # what it returns for one row; below 1 the planner tells 1
        rows = min(rows, max(plan["Plan Rows"], _partners(plan, tables)))
    return {**plan, "Plan Rows": rows, "Plans": [c for c, _ in children]}, factor


def _is_half(plan: Plan) -> bool:
    """Whether a join asks only if there is a partner."""
    return plan.get("Join Type") in {"Semi", "Anti"}


def _more(plan: Plan, tables: Mapping[str, Table]) -> float:
    """How many times as many rows a join on a whole key has as the planner thinks."""
    pairs = _pairs(plan)
    return max((_key_factor(pair, sides, tables) for pair, sides in pairs.items()), default=1.0)


def _pairs(plan: Plan) -> Mapping[tuple[str, str], list[tuple[str, str]]]:
    """For each two relations the columns that a node joins them by."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for name in _CONDITIONS:
        for conjunct in conjuncts(str(plan.get(name, ""))):
            match = _EQUAL.fullmatch(conjunct)
            if match:
                own = plan.get("Alias", "")
                sides = sorted([(match[1] or own, match[2]), (match[3] or own, match[4])])
                found[sides[0][0], sides[1][0]].append((sides[0][1], sides[1][1]))
    return {pair: columns for pair, columns in found.items() if pair[0] != pair[1]}


def _key_factor(pair: tuple[str, str], columns: list[tuple[str, str]], tables: Mapping[str, Table]) -> float:
    left, right = (tables.get(alias) for alias in pair)
    if left is None or right is None or len(columns) < 2:
        return 1.0
    assumed = math.prod(max(distinct_values(left, a), distinct_values(right, b)) for a, b in columns)
    keyed = _keyed_rows(left, right, columns)
    return max(1.0, assumed / keyed) if keyed else 1.0


def _keyed_rows(left: Table, right: Table, columns: list[tuple[str, str]]) -> float:
    """Rows of the table whose key the columns hold, the larger of both; 0 where they are no key."""
    keys = [(left, {a for a, _ in columns}), (right, {b for _, b in columns})]
    return max((table.rows for table, names in keys if is_key(names, table)), default=0.0)


def _partners(scan: Plan, tables: Mapping[str, Table]) -> float:
    """Rows of a scan's table that each row of the relation it is repeated for finds by the whole key."""
    own, most = tables.get(scan.get("Alias", "")), 1.0
    for (left, right), columns in _pairs(scan).items():
        if own and left in tables and right in tables:
            keyed = _keyed_rows(tables[left], tables[right], columns)
            most = max(most, own.rows / keyed if keyed else 1.0)
    return most


def is_key(columns: set[str] | frozenset[str], table: Table) -> bool:
    """Whether the columns hold all of a unique key that has several."""
    return any(
        i.unique
        and i.valid
        and not i.spec.predicate
        and len(i.spec.keys) > 1
        and columns >= set(i.spec.key_texts)
        for i in table.indexes
    )
