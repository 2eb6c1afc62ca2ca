"""A query's plan as the rows of a tree. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from paiid_perf.admin.figures import number
from paiid_perf.database.statements import Node, Plan

#: A row estimate wrong by this factor or more is pointed out (the usual rule of thumb of plan readers).
WRONG_ESTIMATE = 10.0
#: Steps that read all of what is below them before they give a row.
GATHER = ("Sort", "Aggregate")
#: Steps that are always read to their end.
WHOLE = ("Hash", "Bitmap Index Scan", "BitmapAnd", "BitmapOr")
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


def _rows(node: Node, level: int, is_cut: bool = False) -> Iterator[PlanRow]:
    """``is_cut``: a LIMIT above may have stopped it, so that it gave fewer rows than it has."""
    yield _row(node, min(level, DEEPEST), is_cut)
    cuts = node.title == "Limit" or (is_cut and node.title not in GATHER)
    for child in node.children:
        yield from _rows(child, level + 1, cuts and child.title.partition(" using ")[0] not in WHOLE)


def _row(node: Node, level: int, is_cut: bool) -> PlanRow:
    off = None if is_cut and (node.actual_rows or 0) < node.rows else node.off_by
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
