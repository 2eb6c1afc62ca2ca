"""The metrics as Prometheus reads them (text exposition format 0.0.4), from the merged store.

So one scrape of one worker tells of all workers and hosts. Counters begin again at midnight UTC: Prometheus takes
a smaller value for a restart and loses nothing but what came between its last scrape and midnight.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from django.db.models import Count, Max, Q, Sum

from paiid_perf.models import Alert, Metric, MetricTotal, Score
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.types import Recorder
from paiid_perf.registry import registry
from paiid_perf.telemetry.histogram import GAMMA, Buckets, merge, percentile

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
#: Upper ends of the histograms' buckets; each is moved to the nearest edge of a log bucket below, so that every count
#: is exact.
LADDER = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)
#: Gauges older than this are not told: their host is gone.
STALE = timedelta(minutes=5)
#: Quantiles are of the requests of this long, as a Prometheus summary's are.
QUANTILES_OVER = timedelta(minutes=5)
QUANTILES = (0.5, 0.95, 0.99)
#: Minutes are summed up from this long before the newest hour, so that an hour that is rolled up again while a
#: late row arrives never makes a counter fall.
OVERLAP = timedelta(hours=1)
#: Gauges that are noted in the request path, beside those of the Recorder declarations.
NOTED = frozenset(
    {
        "cache.stored_bytes",
        "api.lists",
        "api.repeats",
        "api.statement_ms",
        "api.hit_ms",
        "api.view_ms",
        "api.miss_ms",
        "api.uncached_ms",
    }
)
#: Recorded for the advisor; as labels they would be one series for each statement.
PRIVATE = frozenset({"api.lists", "api.repeats", "api.statement_ms"})

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Total:
    """A series since midnight."""

    name: str
    subject: str
    count: int
    total: float


class Sample(NamedTuple):
    """One value of a metric; ``suffix`` is what its name ends with beyond the metric's (``_total``, ``_sum``, …)."""

    suffix: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric of the exposition: its name, type, help and values."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]

    def __str__(self) -> str:
        return self._told(f"{self.name}_total" if self.kind == "counter" else self.name)

    def openmetrics(self) -> str:
        """The same as OpenMetrics has it: a counter's ``_total`` is of its samples' names, not of its own."""
        return self._told(self.name)

    def _told(self, name: str) -> str:
        lines = [_line(self.name + sample.suffix, sample.labels, sample.value) for sample in self.samples]
        return "\n".join([f"# HELP {name} {self.help}", f"# TYPE {name} {self.kind}", *lines])


def prometheus(now: datetime) -> str:
    """Every metric in Prometheus' text format; serve it as CONTENT_TYPE."""
    return "\n".join(map(str, families(now))) + "\n"


def openmetrics(now: datetime) -> str:
    """The same in the OpenMetrics format; serve it as OPENMETRICS_TYPE."""
    return "\n".join([*(family.openmetrics() for family in families(now)), "# EOF"]) + "\n"


def negotiated(accept: str, now: datetime) -> tuple[str, str]:
    """(text, content type) by a request's Accept header: OpenMetrics to who asks for it, as Prometheus does."""
    if "application/openmetrics-text" in accept:
        return openmetrics(now), OPENMETRICS_TYPE
    return prometheus(now), CONTENT_TYPE


def families(now: datetime) -> list[Family]:
    """Every metric."""
    kinds = {recorder.name: recorder.kind for recorder in registry.all(Recorder)}
    gauges = {name for name, kind in kinds.items() if kind == "gauge"} | NOTED
    return [*_gauges(gauges - PRIVATE, now), *_totals(gauges, now), *_histograms(now), *_score(), *_alerts()]


def table(name: str, start: datetime, end: datetime) -> str:
    """A series as CSV: each point and subject with its count, sum and, of a histogram, percentiles."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("at", "name", "subject", "count", "total", *(f"p{q * 100:g}" for q in QUANTILES)))
    for at, subject, point in queries.rows(name, start, end):
        found = (percentile(point.buckets, q) for q in QUANTILES)
        told = ("" if value is None else round(value, 3) for value in found)
        writer.writerow((at.isoformat(), name, _harmless(subject), point.count, round(point.total, 3), *told))
    return out.getvalue()


def _harmless(text: str) -> str:
    """A cell that a spreadsheet does not take for a formula (OWASP, "CSV Injection")."""
    return f"'{text}" if text[:1] in "=+-@\t\r" and text else text


# --- the families --------------------------------------------------------------------------------------


def _gauges(names: Iterable[str], now: datetime) -> Iterator[Family]:
    rows = Metric.objects.filter(
        resolution=Metric.Resolution.MINUTE, name__in=names, at__gte=now - STALE, at__lte=now, count__gt=0
    )
    ordered = rows.order_by("name", "subject", "at").values_list("name", "subject", "count", "total")
    newest = {(name, subject): total / count for name, subject, count, total in ordered}
    for name, group in groupby(newest.items(), lambda item: item[0][0]):
        samples = tuple(Sample("", labels(name, key[1]), value) for key, value in group)
        yield Family(metric_name(name), "gauge", f"{name}, mean of the newest minute", samples)


def _totals(gauges: set[str], now: datetime) -> Iterator[Family]:
    for name, group in groupby(totals(now), lambda row: row.name):
        if name in gauges:
            continue
        rows = list(group)
        quantiles = _quantiles(name, now)
        yield _summary(name, rows, quantiles) if quantiles is not None else _counter(name, rows)


def _counter(name: str, rows: Iterable[Total]) -> Family:
    samples = tuple(Sample("_total", labels(name, row.subject), row.total) for row in rows)
    return Family(metric_name(name), "counter", f"{name} since midnight UTC", samples)


def _summary(name: str, rows: Iterable[Total], quantiles: Mapping[str, Mapping[float, float]]) -> Family:
    samples: list[Sample] = []
    for row in rows:
        own = labels(name, row.subject)
        found = quantiles.get(row.subject, {})
        samples += [Sample("", (*own, ("quantile", str(q))), value) for q, value in found.items()]
        samples += [Sample("_sum", own, row.total), Sample("_count", own, row.count)]
    told = f"{name} since midnight UTC; quantiles of five minutes"
    return Family(metric_name(name), "summary", told, tuple(samples))


def _histograms(now: datetime) -> Iterator[Family]:
    """All subjects of each histogram together: what a Prometheus may add up over sites and ask for any quantile."""
    names = ("api.latency_ms", *(r.name for r in registry.all(Recorder) if r.kind == "histogram"))
    rows = MetricTotal.objects.filter(_since_midnight(MetricTotal, now), name__in=names).order_by("name")
    for name, group in groupby(rows, lambda row: row.name):
        found = list(group)
        buckets = merge({int(bucket): n for bucket, n in row.buckets.items()} for row in found)
        yield histogram(f"{metric_name(name)}_all", name, buckets, sum(row.total for row in found))


def histogram(full: str, name: str, buckets: Buckets, total: float) -> Family:
    """A histogram family. Pure."""
    count = sum(buckets.values())
    edges = [math.floor(math.log(end) / math.log(GAMMA)) for end in LADDER]
    within = [(f"{GAMMA**edge:.6g}", sum(n for b, n in buckets.items() if b <= edge)) for edge in edges]
    samples = [Sample("_bucket", (("le", end),), seen) for end, seen in (*within, ("+Inf", count))]
    samples += [Sample("_sum", (), total), Sample("_count", (), count)]
    return Family(full, "histogram", f"{name} of all subjects since midnight UTC", tuple(samples))


def _quantiles(name: str, now: datetime) -> dict[str, dict[float, float]] | None:
    """Subject → quantile → value; None where the series is a counter."""
    newest = Metric.objects.filter(name=name, resolution=Metric.Resolution.MINUTE).order_by("-at").first()
    if newest is None or not newest.buckets:
        return None
    found = queries.by_subject(name, now - QUANTILES_OVER, now)
    return {
        subject: {q: value for q in QUANTILES if (value := percentile(point.buckets, q)) is not None}
        for subject, point in found.items()
    }


def totals(now: datetime) -> list[Total]:
    """Every series' count and sum since midnight UTC: whole hours where they are rolled up, minutes after."""
    rows = Metric.objects.filter(_since_midnight(Metric, now)).values_list("name", "subject")
    return [Total(*row) for row in rows.order_by("name", "subject").annotate(Sum("count"), Sum("total"))]


def _since_midnight(model: type[Metric] | type[MetricTotal], now: datetime) -> Q:
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    hours = model._default_manager.filter(resolution=Metric.Resolution.HOUR, at__gte=midnight, at__lte=now)
    newest = hours.aggregate(at=Max("at"))["at"]
    seam = max(midnight, newest - OVERLAP) if newest else midnight
    return Q(resolution=Metric.Resolution.HOUR, at__gte=midnight, at__lt=seam) | Q(
        resolution=Metric.Resolution.MINUTE, at__gte=seam, at__lte=now
    )


def _score() -> Iterator[Family]:
    newest = Score.objects.first()
    if newest is None:
        return
    areas = {area: found.get("score") for area, found in newest.areas.items()} | {"overall": newest.overall}
    samples = [Sample("", (("area", area),), value) for area, value in areas.items() if value is not None]
    yield Family("perf_score", "gauge", "The newest score, 0 to 100", tuple(samples))


def _alerts() -> Iterator[Family]:
    rows = Alert.objects.exclude(status=Alert.Status.RESOLVED).order_by("severity").values_list("severity")
    counts = dict.fromkeys(("info", "warning", "critical"), 0) | dict(rows.annotate(Count("pk")))
    samples = [Sample("", (("severity", severity),), count) for severity, count in counts.items()]
    yield Family("perf_alerts_open", "gauge", "Alerts that are open", tuple(samples))


# --- the format ------------------------------------------------------------------------------------------


def metric_name(name: str) -> str:
    """``api.latency_ms`` → ``perf_api_latency_ms``."""
    return "perf_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)


def labels(name: str, subject: str) -> Labels:
    """The labels of a subject: an endpoint's method, route and status class, or the subject as it is."""
    if not name.startswith("api.") or " " not in subject:
        return (("subject", subject),) if subject else ()
    method, _, rest = subject.partition(" ")
    route, _, status = rest.rpartition(" ")
    if re.fullmatch(r"\dxx", status):
        return ("method", method), ("route", route), ("status", status)
    return ("method", method), ("route", rest)


def _line(name: str, own: Labels, value: float) -> str:
    told = ",".join(f'{label}="{_escaped(text)}"' for label, text in own)
    return f"{name}{{{told}}} {value!r}" if told else f"{name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
