"""What the recorder saw of the endpoints, read from the stored roll-ups, with what is declared about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal

from django.apps import apps
from django.db.models import ForeignKey, Model

from paiid_perf.api.endpoints import Endpoint, endpoints
from paiid_perf.api.types import EndpointFacts, RepeatFacts
from paiid_perf.models import Metric
from paiid_perf.telemetry.histogram import percentile
from paiid_perf.telemetry.rows import Cell

WINDOW = timedelta(hours=1)
NAMES = (
    "api.latency_ms",
    "api.queries",
    "api.db_ms",
    "api.bytes",
    "api.hit_ms",
    "api.view_ms",
    "api.watched",
    "api.repeats",
)
Series = dict[str, dict[str, Cell]]


def read_endpoints(now: datetime, window: timedelta = WINDOW) -> list[EndpointFacts]:
    """The endpoints that had requests in the window before ``now``."""
    series = read_series(now - window)
    by_endpoint: defaultdict[str, dict[str, Cell]] = defaultdict(dict)
    for subject, cell in series["api.latency_ms"].items():
        endpoint, _, status = subject.rpartition(" ")
        by_endpoint[endpoint][status] = cell
    return [_facts(endpoint, statuses, series) for endpoint, statuses in by_endpoint.items()]


def read_series(since: datetime) -> Series:
    """name → subject → everything seen since, merged."""
    merged: Series = {name: defaultdict(Cell) for name in NAMES}
    rows = Metric.objects.filter(resolution=Metric.Resolution.MINUTE, name__in=NAMES, at__gte=since)
    for row in rows.iterator():
        buckets = {int(bucket): seen for bucket, seen in row.buckets.items()}
        merged[row.name][row.subject].merge(Cell(row.count, row.total, buckets))
    return merged


def _facts(endpoint: str, statuses: dict[str, Cell], series: Series) -> EndpointFacts:
    latency = Cell()
    for cell in statuses.values():
        latency.merge(cell)
    declared = _declared(endpoint)
    errors = sum(cell.count for status, cell in statuses.items() if status.startswith("5"))
    return EndpointFacts(
        endpoint=endpoint,
        requests=latency.count,
        errors=errors,
        p50_ms=percentile(latency.buckets, 0.5) or 0.0,
        p95_ms=percentile(latency.buckets, 0.95) or 0.0,
        mean_ms=_mean(latency) or 0.0,
        queries_per_request=_mean(series["api.queries"].get(endpoint)) or 0.0,
        db_ms_per_request=_mean(series["api.db_ms"].get(endpoint)) or 0.0,
        bytes_per_request=_mean(series["api.bytes"].get(endpoint)) or 0.0,
        objective_ms=declared.declared.latency_objective_ms if declared.declared else 500.0,
        limited=declared.rate is not None,
        strategy=declared.strategy.name if declared.strategy else "",
        hit_ms=_mean(series["api.hit_ms"].get(endpoint)),
        view_ms=_mean(series["api.view_ms"].get(endpoint)),
        hits=_count(series["api.hit_ms"].get(endpoint)),
        misses=_count(series["api.view_ms"].get(endpoint)),
        watched=_count(series["api.watched"].get(endpoint)),
        repeats=tuple(_repeats(endpoint, series["api.repeats"])),
    )


def _mean(cell: Cell | None) -> float | None:
    return cell.total / cell.count if cell and cell.count else None


def _count(cell: Cell | None) -> int:
    return cell.count if cell else 0


def _repeats(endpoint: str, repeats: dict[str, Cell]) -> Iterator[RepeatFacts]:
    for subject, cell in repeats.items():
        seen_at, line, asked = [*subject.split("|"), "", ""][:3]
        if seen_at == endpoint and cell.count:
            fetch, relations = followed(asked)
            yield RepeatFacts(line, asked, cell.total / cell.count, cell.count, fetch, relations)


# --- which relation a look-up follows --------------------------------------------------------------------


def followed(asked: str) -> tuple[Literal["select_related", "prefetch_related", ""], tuple[str, ...]]:
    """How to fetch at once what ``table.column`` looks up row by row, and the relation's possible names."""
    table, _, column = asked.partition(".")
    model = _models_by_table().get(table)
    if model is None or not column:
        return "", ()
    if model._meta.pk.column == column:
        return "select_related", tuple(sorted({field.name for field in _pointing_at(model)}))
    for field in model._meta.concrete_fields:
        if isinstance(field, ForeignKey) and field.column == column:
            accessor = field.remote_field.get_accessor_name()
            return "prefetch_related", (accessor,) if accessor else ()
    return "", ()


@lru_cache(maxsize=1)
def _models_by_table() -> dict[str, type[Model]]:
    return {model._meta.db_table: model for model in apps.get_models() if not model._meta.proxy}


def _pointing_at(model: type[Model]) -> Iterable[ForeignKey[Model]]:
    for other in apps.get_models():
        for field in other._meta.concrete_fields:
            if isinstance(field, ForeignKey) and field.related_model is model:
                yield field


# --- what is declared about an endpoint --------------------------------------------------------------------


def _declared(endpoint: str) -> Endpoint:
    template = endpoint.partition(" ")[2]
    return endpoints.of_template(template)
