"""What other tools read of us, read by their own parsers."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from paiid_perf import telemetry
from paiid_perf.models import Metric
from paiid_perf.monitoring import actions, export
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
