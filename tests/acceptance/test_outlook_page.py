"""The console's outlook: forecasts with their error, workers that are needed, and money."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from paiid_perf.models import Metric, OptimizationRun, PhaseRun
from paiid_perf.monitoring import outlook

pytestmark = pytest.mark.django_db
PAGE = "/admin/paiid_perf/metric/outlook/"
PRICES = {"storage_gb": 0.25, "worker": 36.5}


def body(client, path=PAGE):
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def metric(name, subject, count, total, resolution, **ago):
    at = timezone.now() - timedelta(**ago)
    at -= timedelta(seconds=at.timestamp() % resolution)
    return Metric.objects.create(
        name=name, subject=subject, resolution=resolution, at=at, count=count, total=total
    )


@pytest.fixture
def filling_disk(db):
    for day in range(1, 31):
        metric("system.disk_percent", "web-1", 1, 90 - day, 86400, days=day)


@pytest.mark.parametrize(("role", "status"), [("anonymous", 302), ("staff", 403), ("viewer", 200)])
def test_it_opens_by_permission_alone(role, status, client_of):
    assert client_of(role).get(PAGE).status_code == status


def test_without_data_it_says_what_is_missing(client_of):
    text = body(client_of("viewer"))

    assert "A forecast wants two days of metrics, and a run." in text
    assert "No whole hour of requests or tasks was recorded yet." in text
    assert "Set UNIT_PRICES" in text


def test_what_the_last_run_foretold_is_told_with_its_error(client_of, filling_disk):
    found = [one.to_json() for one in outlook.outlooks(timezone.now())]
    run = OptimizationRun.objects.create(
        kind="quick", status="succeeded", trigger="beat", created_at=timezone.now()
    )
    PhaseRun.objects.create(
        run=run,
        name="monitoring",
        position=1,
        status="succeeded",
        finished_at=timezone.now(),
        details={"outlook": found},
    )

    text = body(client_of("viewer"))

    assert "Disk (web-1)" in text
    assert "full in 1" in text
    assert found[0]["method"] in text
    assert "?o=" not in text  # the run's order is the list's


def test_one_forecast_is_drawn_and_no_other_is_made(client_of, filling_disk, monkeypatch):
    for day in range(1, 31):
        metric("system.disk_percent", "web-2", 1, 95 - day, 86400, days=day)
    made, forecast = [], outlook.rules.forecast
    monkeypatch.setattr(outlook.rules, "forecast", lambda *args: made.append(args) or forecast(*args))
    client = client_of("viewer")

    text = body(client, f"{PAGE}?metric=system.disk_percent&subject=web-1")

    assert "perf-lone-chart" in text
    assert "at least" in text
    assert len(made) == 1
    assert "perf-lone-chart" not in body(client, f"{PAGE}?metric=no.such&subject=web-1")


def test_it_says_how_many_workers_the_busiest_hour_needs_and_twice_of_it(client_of):
    metric("api.latency_ms", "GET x 2xx", 36_000, 36_000 * 500.0, 3600, hours=2)
    client = client_of("viewer")

    text = body(client)

    cells = [">10 /s<", ">500 ms<", ">5<", ">10<", ">17<"]
    assert [cell for cell in cells if cell not in text] == []
    assert "Needed with 3 times the work" in body(client, f"{PAGE}?factor=3")
    assert "Needed with 2 times the work" in body(client, f"{PAGE}?factor=1e9")


def test_what_is_used_costs_money(client_of, settings, make_rec):
    settings.PAIID_PERF = {**settings.PAIID_PERF, "UNIT_PRICES": PRICES, "CURRENCY": "EUR"}
    metric("db.bytes", "default", 1, 365 * 2**30, 60, minutes=2)
    metric("process.rss_bytes", "web-1:77", 1, 2**27, 60, minutes=2)
    drop = make_rec(2, kind="index_drop", evidence={"bytes": 36.5 * 2**30})
    client = client_of("viewer")

    text = body(client)

    assert [
        told for told in ("3.00 EUR", "0.30 EUR", "1.20 EUR", "Together 4.20 EUR") if told not in text
    ] == []
    page = body(client, f"/admin/paiid_perf/recommendation/{drop.pk}/change/")
    assert "saves 0.30 EUR a day" in page


def test_without_prices_no_money_is_spoken_of(client_of, rec):
    assert "a day" not in body(client_of("viewer"), f"/admin/paiid_perf/recommendation/{rec.pk}/change/")
