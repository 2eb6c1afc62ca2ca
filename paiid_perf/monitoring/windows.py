"""A window as ranges of rows: whole hours and days by their own rows, the edges by finer ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Q, QuerySet, Sum

from paiid_perf.models import Metric
from paiid_perf.monitoring.queries import resolution_for


def sums(
    name: str, start: datetime, end: datetime, prefix: str = "", only: Q | None = None
) -> list[tuple[str, int, float]]:
    """(subject, count, total) of the subjects of a series in the window, added up by the database."""
    found: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for part in whole(name, start, end):
        rows = part.filter(only or Q(), **({"subject__startswith": prefix} if prefix else {}))
        summed = rows.order_by().values_list("subject").annotate(n=Sum("count"), t=Sum("total"))
        for subject, count, total in summed:
            found[subject][0] += count
            found[subject][1] += total
    return [(subject, int(count), total) for subject, (count, total) in found.items()]


def sums_of(names: Sequence[str], start: datetime, end: datetime) -> dict[str, dict[str, tuple[int, float]]]:
    """Series → subject → (count, total) in the window, all series in the queries that one takes."""
    found: dict[str, dict[str, tuple[int, float]]] = {name: {} for name in names}
    for part in ranges(start, end) if names else ():
        rows = part.filter(name__in=names).order_by().values_list("name", "subject")
        for name, subject, count, total in rows.annotate(n=Sum("count"), t=Sum("total")):
            before = found[name].get(subject, (0, 0.0))
            found[name][subject] = (before[0] + count, before[1] + total)
    return found


def between(name: str, start: datetime, end: datetime) -> QuerySet[Metric]:
    """The rows of a series in the window, at the resolution that its charts have."""
    return _rows(name, Part(resolution_for(start, end), start, end))


MINUTE, HOUR, DAY = (
    int(step) for step in (Metric.Resolution.MINUTE, Metric.Resolution.HOUR, Metric.Resolution.DAY)
)
#: resolution → the next coarser one
COARSER = {MINUTE: HOUR, HOUR: DAY}


class Part(NamedTuple):
    """A range of time, read from the rows of one resolution."""

    resolution: int
    start: datetime
    end: datetime


def parts_of(start: datetime, end: datetime) -> list[Part]:
    """The window's ranges for what needs no points over time: whole hours (or days) by their own rows. Pure.

    The newest whole hour is read in its minutes, since it may not have been rolled up yet; of a day, what is not
    rolled up yet are a few minutes.
    """
    fine = resolution_for(start, end)
    coarse = COARSER.get(fine)
    if coarse is None:
        return [Part(fine, start, end)]
    first = _floor(start + timedelta(seconds=coarse - 1), coarse)
    last = _floor(end, coarse) - timedelta(seconds=coarse if fine == MINUTE else 0)
    if last <= first:
        return [Part(fine, start, end)]
    return [Part(fine, start, first), Part(coarse, first, last), Part(fine, last, end)]


def whole(name: str, start: datetime, end: datetime) -> list[QuerySet[Metric]]:
    """The rows of a series for each part of the window. One query each: the planner reads a range of an index for
    each of them, and many more rows for an OR of them."""
    return [part.filter(name=name) for part in ranges(start, end)]


def ranges(start: datetime, end: datetime) -> list[QuerySet[Metric]]:
    """The rows of every series for each part of the window."""
    return [_within(part) for part in parts_of(start, end)]


def _rows(name: str, part: Part) -> QuerySet[Metric]:
    return _within(part).filter(name=name)


def _within(part: Part) -> QuerySet[Metric]:
    since = _floor(part.start, part.resolution)
    return Metric.objects.filter(resolution=part.resolution, at__gte=since, at__lt=part.end)


def _floor(at: datetime, seconds: int) -> datetime:
    return at - timedelta(seconds=at.timestamp() % seconds)
