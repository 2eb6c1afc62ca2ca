"""What the recorder saw of the endpoints, read from the stored roll-ups, with what is declared about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from paiid_perf.api.endpoints import Endpoint, endpoints
from paiid_perf.api.relations import followed
from paiid_perf.api.types import EndpointFacts, ListFacts, RepeatFacts
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
    "api.miss_ms",
    "api.uncached_ms",
    "api.watched",
    "api.repeats",
    "api.lists",
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
        miss_ms=_mean(series["api.miss_ms"].get(endpoint)),
        uncached_ms=_mean(series["api.uncached_ms"].get(endpoint)),
        hits=_count(series["api.hit_ms"].get(endpoint)),
        misses=_count(series["api.view_ms"].get(endpoint)),
        watched=_count(series["api.watched"].get(endpoint)),
        repeats=tuple(_repeats(endpoint, series["api.repeats"])),
        lists=tuple(_lists(endpoint, series["api.lists"])),
    )


def _mean(cell: Cell | None) -> float | None:
    return cell.total / cell.count if cell and cell.count else None


def _count(cell: Cell | None) -> int:
    return cell.count if cell else 0


def _repeats(endpoint: str, repeats: dict[str, Cell]) -> Iterator[RepeatFacts]:
    for line, asked, times, seen in _by_line(endpoint, repeats):
        fetch, relations = followed(asked)
        yield RepeatFacts(line, asked, times, seen, fetch, relations)


def _lists(endpoint: str, lists: dict[str, Cell]) -> Iterator[ListFacts]:
    for line, asked, rows, seen in _by_line(endpoint, lists):
        yield ListFacts(line, asked, rows, seen)


def _by_line(endpoint: str, series: dict[str, Cell]) -> Iterator[tuple[str, str, float, int]]:
    """(line, what is asked, mean, requests) of the series ``endpoint|line|asked``."""
    for subject, cell in series.items():
        seen_at, line, asked = [*subject.split("|"), "", ""][:3]
        if seen_at == endpoint and cell.count:
            yield line, asked, cell.total / cell.count, cell.count


# --- what is declared about an endpoint --------------------------------------------------------------------


def _declared(endpoint: str) -> Endpoint:
    template = endpoint.partition(" ")[2]
    return endpoints.of_template(template)
