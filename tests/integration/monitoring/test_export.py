"""What other tools read of us, read by their own parsers."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from paiid_perf import telemetry
from paiid_perf.models import Metric
from paiid_perf.monitoring import actions, export, otlp
from paiid_perf.optimization import upkeep
from paiid_perf.telemetry.histogram import bucket_of

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TIMES = (0.4, 3.0, 3.0, 40.0, 700.0, 90_000.0)


@pytest.fixture
def recorded():
    """Requests of two hours with a roll-up between, a counter and a gauge."""
    for hour in range(2):
        at = NOON + timedelta(hours=hour)
        rows = [
            telemetry.Row(
                name, subject, at, len(TIMES), sum(TIMES), {bucket_of(ms): TIMES.count(ms) for ms in TIMES}
            )
            for name, subject in (("api.latency_ms", 'GET a"\\b/ 2xx'), ("celery.task_ms", "a.task"))
        ]
        rows.append(telemetry.Row("cache.hits", "s", at, 3, 3, {}))
        assert telemetry.store(f"batch {hour}", rows)
        actions.roll_up(at)
    now = NOON + timedelta(hours=1, minutes=2)
    Metric.objects.create(
        name="db.replication_lag_s", subject="default", at=now, count=1, total=7, resolution=60
    )
    return now


@pytest.mark.parametrize("read", [text_string_to_metric_families, openmetrics_families])
def test_both_formats_are_valid_and_say_the_same(recorded, read):
    accept = (
        "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"
        if read is openmetrics_families
        else "*/*"
    )
    text, kind = export.negotiated(accept, recorded)

    families = {family.name: family for family in read(text)}

    assert kind.startswith("application/openmetrics-text") == (read is openmetrics_families)
    found = {(s.name, *sorted(s.labels.items())): s.value for f in families.values() for s in f.samples}
    assert families["perf_cache_hits"].type == "counter"
    assert found["perf_cache_hits_total", ("subject", "s")] == 6
    assert found["perf_db_replication_lag_s", ("subject", "default")] == 7
    for name in ("perf_api_latency_ms_all", "perf_celery_task_ms_all"):
        family = families[name]
        assert family.type == "histogram"
        assert found[f"{name}_count",] == 2 * len(TIMES)
        assert found[f"{name}_sum",] == pytest.approx(2 * sum(TIMES))
        ladder = [(float(s.labels["le"]), s.value) for s in family.samples if s.name.endswith("_bucket")]
        for end, count in ladder:
            # No observation lies as near to an edge as a bucket is wide.
            assert count == 2 * sum(ms <= end for ms in TIMES)
        assert len(ladder) == len(export.LADDER) + 1


def test_a_series_as_csv(recorded):
    Metric.objects.create(name="cache.hits", subject="=cmd()", at=NOON, count=1, total=1, resolution=60)

    lines = list(csv.DictReader(export.table("api.latency_ms", NOON, recorded).splitlines()))
    hits = list(csv.DictReader(export.table("cache.hits", NOON, recorded).splitlines()))

    assert [(line["count"], line["subject"]) for line in lines] == [("6", 'GET a"\\b/ 2xx')] * 2
    assert float(lines[0]["p50"]) == pytest.approx(3, rel=0.02)
    assert [line["subject"] for line in hits] == ["'=cmd()", "s", "s"]


def test_both_are_served_to_who_may_view(recorded, client, admin_client):
    base = "/api/optimization/metrics/"

    assert client.get(f"{base}csv").status_code == 401
    served = admin_client.get(f"{base}csv?name=cache.hits&window=24h")
    assert served["Content-Type"].startswith("text/csv")
    assert served.content.startswith(b"at,name,subject,count")
    scraped = admin_client.get(f"{base}prometheus", headers={"accept": "application/openmetrics-text"})
    assert scraped["Content-Type"].startswith("application/openmetrics-text")
    assert scraped.content.endswith(b"# EOF\n")


@pytest.fixture
def collector():
    """A real HTTP server that takes OTLP; yields its address and the requests, and what it answers with."""
    kept, answers = [], [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(answers[-1])
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/metrics", kept, answers
        server.shutdown()


def test_a_collector_is_told_what_prometheus_reads(recorded, collector, monkeypatch):
    url, kept, _answers = collector
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")

    sent = otlp.push(url, recorded)

    (request,) = kept
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    told = {metric.name: metric for metric in scope.metrics}
    assert len(scope.metrics) == len(told) == sent
    assert ("service.name", "shop") in [(a.key, a.value.string_value) for a in resource.resource.attributes]
    (hits,) = told["perf_cache_hits"].sum.data_points
    assert (hits.as_double or hits.as_int) == 6
    assert told["perf_cache_hits"].sum.is_monotonic
    assert hits.start_time_unix_nano == int(NOON.replace(hour=0).timestamp()) * 10**9
    (lag,) = told["perf_db_replication_lag_s"].gauge.data_points
    assert (lag.as_double, lag.attributes[0].value.string_value) == (7, "default")
    (counts,) = told["perf_api_latency_ms_count"].sum.data_points
    assert {a.key: a.value.string_value for a in counts.attributes} == {
        "method": "GET",
        "route": 'a"\\b/',
        "status": "2xx",
    }
    (latency,) = told["perf_api_latency_ms_all"].histogram.data_points
    assert latency.count == sum(latency.bucket_counts) == 2 * len(TIMES)
    assert len(latency.bucket_counts) == len(latency.explicit_bounds) + 1
    assert not latency.HasField("min")


def test_a_collector_that_refuses_is_no_success(recorded, collector):
    url, kept, answers = collector
    answers.append(400)

    with pytest.raises(otlp.CollectorRefused, match="did not take"):
        otlp.push(url, recorded)
    assert len(kept) == 1


def test_beat_pushes_only_where_told(recorded, collector, settings):
    url, kept, _answers = collector
    assert upkeep.push() == 0

    settings.PAIID_PERF = {"OTLP_ENDPOINT": url}
    assert upkeep.push() > 0
    assert len(kept) == 1
