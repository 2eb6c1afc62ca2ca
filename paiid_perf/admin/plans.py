"""A query's plan as the rows of a tree. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from paiid_perf.admin.figures import number
from paiid_perf.database.statements import Node, Plan

#: A row estimate wrong by this factor or more is pointed out (the usual rule of thumb of plan readers).
WRONG_ESTIMATE = 10.0
#: Steps are not drawn further in than this.
DEEPEST = 12


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A node of a plan as a row of a tree."""

    level: int
    title: str
    condition: str
    cost: str
    rows: str
    actual: str
    ms: str
    blocks: str
    wrong: str
    """Says so where the estimate of rows is far off."""


def rows_of(plan: Plan) -> list[PlanRow]:
    """Every step, each before those below it; none where there is no plan."""
    return [] if plan.root is None else list(_rows(plan.root, 0))


def _rows(node: Node, level: int) -> Iterator[PlanRow]:
    yield _row(node, min(level, DEEPEST))
    for child in node.children:
        yield from _rows(child, level + 1)


def _row(node: Node, level: int) -> PlanRow:
    off = node.off_by
    is_wrong = off is not None and off >= WRONG_ESTIMATE
    return PlanRow(
        level=level,
        title=node.title,
        condition=node.condition,
        cost=number(node.cost),
        rows=number(node.rows),
        actual=number(node.actual_rows),
        ms=number(node.ms, "ms"),
        blocks=number(node.blocks),
        wrong=_("estimate off %(times)s times") % {"times": number(off)} if is_wrong else "",
    )
