"""How old rows are deleted: by which way, how fast, and when to stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.utils.translation import gettext as _

from paiid_perf.database.rules.health.common import quoted
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding, RetentionFact, RetentionRule

Method = Literal["index", "blocks", "orm"]

#: A batch is never cut smaller than this: something else is wrong then.
SMALLEST_BATCH = 50
#: Between two batches the server rests for this share of what the last one took …
_REST = 0.5
#: … but not for longer than this, in seconds.
_LONGEST_REST = 1.0
#: While a replica is behind, deleting waits for it in steps of this many seconds.
LAG_STEP = 2.0

#: A cutoff moves in the longest of these steps that fits two dozen times into the rule's age.
_STEPS = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1))


def cutoff(rule: RetentionRule, now: datetime) -> datetime:
    """Rows from before this moment go.

    It stands still for a day (an hour, a minute) at a time, counted from midnight: rows grow old every second, and a
    run a moment after another would otherwise find a handful more. A row lives at most 1/24 longer than declared.
    """
    exact = now - rule.older_than
    midnight = exact.replace(hour=0, minute=0, second=0, microsecond=0)
    step = next((s for s in _STEPS if rule.older_than >= 24 * s), None)
    return exact if step is None else midnight + (exact - midnight) // step * step


def method(*, postgresql: bool, fast: bool, index: str) -> tuple[Method, str]:
    """The way to delete, and why: ``index`` order, ``blocks`` of the heap, or through the ORM."""
    if not fast:
        return "orm", _("other models refer to it, or signals listen: Django's own delete() sees to them")
    if not postgresql:
        return "orm", _("not PostgreSQL")
    if index:
        return "index", _("in the order of index %(index)s") % {"index": index}
    return "blocks", _("no index leads with that column, so block by block: each page is read once")


def refused_because(fact: RetentionFact) -> str:
    """Why there is nothing to delete; empty where there is. Pure."""
    return "" if fact.due else _("no row is that old")


def halved(batch: int) -> int | None:
    """The next smaller batch after one ran into a time-out; None where it was the smallest."""
    smaller = batch // 2
    return smaller if smaller >= SMALLEST_BATCH else None


@dataclass(frozen=True, slots=True)
class Pressure:
    """What else the server has to bear while rows are deleted."""

    lag_seconds: float = 0.0
    """Of the slowest replica."""
    waiting: int = 0
    """Sessions that wait for a lock."""


def rest(batch_seconds: float, pressure: Pressure) -> float:
    """Seconds to wait before the next batch: longer while a replica is behind or somebody waits for a lock."""
    if pressure.lag_seconds > limit("lag_s"):
        return LAG_STEP
    return _LONGEST_REST if pressure.waiting else min(batch_seconds * _REST, _LONGEST_REST)


def advise_partitions(rule: RetentionRule, fact: RetentionFact, table: str) -> Iterator[Finding]:
    """Range partitions for a large table of which only the oldest rows ever go."""
    if fact.partitioned or fact.method == "orm" or fact.total < limit("partition_rows"):
        return
    yield Finding(
        "partition",
        table,
        "info",
        _("Partition %(table)s by %(field)s") % {"table": table, "field": rule.field},
        _(
            "It has %(rows)d rows and loses only its tail: dropping a partition takes milliseconds and leaves no dead "
            "rows, where deleting writes every row once more and VACUUM reads them again."
        )
        % {"rows": fact.total},
        how=f"CREATE TABLE {quoted(table + '_parts')} (LIKE {quoted(table)} INCLUDING ALL EXCLUDING INDEXES) "
        f"PARTITION BY RANGE ({quoted(rule.field)});\n"
        "-- one partition for each month, the old table attached as the first; the primary key has to hold the column",
        source=source("partition_rows"),
        numbers={"rows": fact.total, "due": fact.due},
    )


def share(due: int | None, total: int, held: int | None) -> int | None:
    """Of the bytes that ``total`` rows hold, those of the rows that are due; None where one is not known. Pure."""
    return int(held * min(1.0, due / total)) if due is not None and held is not None and total else None


def stop_because(*, deleted: int, most: int, seconds: float, budget: float) -> str:
    """Why no further batch is made in this run; empty where one is."""
    if deleted >= most:
        return _("%(most)d rows are enough for one run (RETENTION_MAX_ROWS)") % {"most": most}
    if seconds >= budget:
        return _("%(budget).0f s are enough for one run (RETENTION_TIME)") % {"budget": budget}
    return ""
