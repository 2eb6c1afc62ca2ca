"""The metrics pushed to an OpenTelemetry collector (OTLP over HTTP), from the merged store: once for all workers.

Needs the extra ``paiid-perf[otlp]`` (opentelemetry-sdk and its HTTP exporter); nothing here is imported without it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from paiid_perf.exceptions import PerfError
from paiid_perf.monitoring.export import Family, Sample, families

#: Seconds that a collector is waited for.
TIMEOUT = 10
_SCOPE = InstrumentationScope("paiid_perf")
_CUMULATIVE = sdk.AggregationTemporality.CUMULATIVE


class CollectorRefused(PerfError):
    """The collector did not take the metrics; the next push brings all of them (they are cumulative)."""


def push(endpoint: str, now: datetime) -> int:
    """Send every metric to ``endpoint`` (``http://collector:4318/v1/metrics``); returns how many there were.

    ``OTEL_EXPORTER_OTLP_HEADERS`` and the other variables of the exporter apply; ``OTEL_RESOURCE_ATTRIBUTES`` and
    ``OTEL_SERVICE_NAME`` name the site.

    Raises:
        CollectorRefused: it does not answer in TIMEOUT seconds, or refuses.
    """
    found = metrics(families(now), now)
    scoped = sdk.ScopeMetrics(_SCOPE, found, "")
    data = sdk.MetricsData([sdk.ResourceMetrics(Resource.create(), [scoped], "")])
    exporter = OTLPMetricExporter(endpoint=endpoint, timeout=TIMEOUT)
    try:
        if exporter.export(data, timeout_millis=1000.0 * TIMEOUT) is not sdk.MetricExportResult.SUCCESS:
            raise CollectorRefused(
                f"{endpoint} did not take the metrics; its own log, or the one above, says why."
            )
    finally:
        exporter.shutdown()
    return len(found)


def metrics(told: Iterable[Family], now: datetime) -> list[sdk.Metric]:
    """The families as OpenTelemetry's metrics. Pure."""
    return [metric for family in told for metric in _CONVERTED[family.kind](family, _span(now))]


_Span = tuple[int, int]


def _span(now: datetime) -> _Span:
    """(midnight, now) in ns: since when what is cumulative counts."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return _ns(midnight), _ns(now)


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000


def _points(samples: Iterable[Sample], span: _Span) -> list[sdk.NumberDataPoint]:
    return [sdk.NumberDataPoint(dict(s.labels), span[0], span[1], s.value) for s in samples]


def _gauge(family: Family, span: _Span) -> Iterator[sdk.Metric]:
    yield sdk.Metric(family.name, family.help, "", sdk.Gauge(_points(family.samples, span)))


def _counter(family: Family, span: _Span) -> Iterator[sdk.Metric]:
    total = sdk.Sum(_points(family.samples, span), _CUMULATIVE, is_monotonic=True)
    yield sdk.Metric(family.name, family.help, "", total)


def _summary(family: Family, span: _Span) -> Iterator[sdk.Metric]:
    """A gauge of its quantiles beside a sum and a count: OpenTelemetry keeps summaries only for what is old."""
    by_suffix = _by_suffix(family.samples)
    if by_suffix[""]:
        yield sdk.Metric(f"{family.name}_quantile", family.help, "", sdk.Gauge(_points(by_suffix[""], span)))
    for suffix in ("_sum", "_count"):
        yield from _counter(
            Family(family.name + suffix, "counter", family.help, tuple(by_suffix[suffix])), span
        )


def _histogram(family: Family, span: _Span) -> Iterator[sdk.Metric]:
    by_suffix = _by_suffix(family.samples)
    within = [(dict(s.labels)["le"], int(s.value)) for s in by_suffix["_bucket"]]
    counts = [within[0][1], *(after - before for (_, before), (_, after) in pairwise(within))]
    point = sdk.HistogramDataPoint(
        attributes={},
        start_time_unix_nano=span[0],
        time_unix_nano=span[1],
        count=within[-1][1],
        sum=by_suffix["_sum"][0].value,
        bucket_counts=counts,
        explicit_bounds=[float(end) for end, _ in within[:-1]],
        # Not known: buckets are what is kept.
        min=None,  # type: ignore[arg-type]
        max=None,  # type: ignore[arg-type]
    )
    yield sdk.Metric(family.name, family.help, "", sdk.Histogram([point], _CUMULATIVE))


def _by_suffix(samples: Sequence[Sample]) -> defaultdict[str, list[Sample]]:
    found: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[sample.suffix].append(sample)
    return found


_CONVERTED: dict[str, Callable[[Family, _Span], Iterator[Any]]] = {
    "gauge": _gauge,
    "counter": _counter,
    "summary": _summary,
    "histogram": _histogram,
}
