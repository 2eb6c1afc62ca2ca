"""What arrives, how long it takes, what is used and what that costs: the facts behind capacity and cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from paiid_perf.models import Recommendation
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.rules import capacity as rules
from paiid_perf.monitoring.rules import cost
from paiid_perf.monitoring.types import Expense, Load, Sample, Staffing, Use

#: The busiest hour of this long is what there must be enough for.
PAST = timedelta(days=7)
#: A gauge that was read in this time tells of now.
NOW = timedelta(minutes=15)
HOUR = 3600
#: load → the series whose count arrives and whose total (ms) is how long it takes
LOADS: Mapping[str, str] = {"web": "api.latency_ms", "database": "api.db_ms", "celery": "celery.task_ms"}
OPEN = (Recommendation.State.PROPOSED, Recommendation.State.APPROVED)


def loads(now: datetime) -> list[Load]:
    """The busiest hour of the last week: requests, their time in the database, and Celery tasks."""
    found = ((name, rules.busiest(_hours(series, now))) for name, series in LOADS.items())
    return [Load(name, *hour) for name, hour in found if hour is not None]


def plan(now: datetime, factor: float) -> list[tuple[Staffing, Staffing]]:
    """For each load what it needs as it is, and what ``factor`` times of it would."""
    return [(rules.staffing(load), rules.staffing(load, factor)) for load in loads(now)]


def _hours(series: str, now: datetime) -> list[tuple[Sample, float]]:
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    points = queries.sums(series, this_hour - PAST, this_hour)
    return [(Sample(p.at, p.count / HOUR), p.total / p.count / 1000) for p in points if p.count]


# --- cost ------------------------------------------------------------------------------------------------


def expenses(now: datetime, prices: Mapping[str, float]) -> list[Expense]:
    """What storage, wasted indexes, cache memory and workers cost a day; nothing where no price is set."""
    return cost.expenses(uses(now), prices) if prices else []


def uses(now: datetime) -> Iterator[Use]:
    """How much of each resource is in use now, where it was measured."""
    measured = (
        ("storage", _sum(_newest("db.bytes", now))),
        ("index_waste", _waste()),
        ("cache", _sum(_newest("cache.memory_bytes", now))),
        ("workers", float(len(_newest("process.rss_bytes", now))) or None),
    )
    return (Use(resource, amount) for resource, amount in measured if amount is not None)


def _newest(name: str, now: datetime) -> list[float]:
    found = queries.gauges_by_subject(name, now - NOW, now + timedelta(minutes=1))
    return [samples[-1].value for samples in found.values()]


def _sum(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) if found else None


def _waste() -> float | None:
    """Bytes of indexes that open recommendations would drop or build anew: each index once."""
    rows = Recommendation.objects.filter(area="database", state__in=OPEN).exclude(kind="retention")
    freed = (
        cost.saving(kind, evidence, {"storage_gb": cost.DAYS * cost.GB})
        for kind, evidence in rows.values_list("kind", "evidence")
    )
    return _sum(size for size in freed if size is not None and size > 0)
