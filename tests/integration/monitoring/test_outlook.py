"""What the outlook says of stored metrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from paiid_perf.models import Metric
from paiid_perf.monitoring import outlook
from paiid_perf.monitoring.rules import holt_winters

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _built_ins_only(monkeypatch):
    """What is said here is the same whether statsmodels is installed or not."""
    monkeypatch.setattr(holt_winters, "find_spec", lambda name: None)


DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def history(name, values, step=DAY, subject="web-1", count=1):
    """The newest whole step has the last value."""
    newest = NOON - timedelta(seconds=NOON.timestamp() % step.total_seconds()) - step
    Metric.objects.bulk_create(
        Metric(
            name=name,
            subject=subject,
            at=newest - step * (len(values) - 1 - n),
            count=count,
            total=value * count,
            resolution=int(step.total_seconds()),
        )
        for n, value in enumerate(values)
    )


def test_a_disk_that_fills_is_foretold():
    history("system.disk_percent", [50 + day + day % 2 / 4 for day in range(40)])

    (found,) = outlook.outlooks(NOON)
    (proposal,) = outlook.advice([found])

    assert found.reach.earliest <= 11 <= found.reach.latest
    assert found.text().startswith("full in ")
    assert proposal.title == f"Disk (web-1): {found.text()}"
    assert proposal.evidence["error"] <= proposal.evidence["naive_error"]


def test_the_day_that_has_begun_is_not_read():
    history("api.latency_ms", [10] * 30, subject="GET x 2xx", count=86400)
    (before,) = outlook.outlooks(NOON)
    Metric.objects.create(
        name="api.latency_ms", subject="GET x 2xx", at=NOON - 12 * HOUR, count=5, total=5, resolution=86400
    )

    (after,) = outlook.outlooks(NOON)

    assert before.values[-1] == after.values[-1] == 1
    assert before.forecast == after.forecast
    assert after.text() == "no trend"


def test_hours_are_read_while_there_are_too_few_days():
    history("system.disk_percent", [40 + hour / 4 for hour in range(72)], HOUR)
    history("system.disk_percent", [42.0, 48.0, 54.0])

    (found,) = outlook.outlooks(NOON)

    assert found.grain.step == HOUR
    assert found.text() == "not full within 35 hours"


def test_what_ends_nowhere_has_a_range():
    history("db.table_bytes", [2**30 * (1 + day / 10) for day in range(41)], subject="app_order")

    (found,) = outlook.outlooks(NOON)

    assert found.text() == "7–7 GB in 20 days"
    assert found.label == "Table (app_order)"
    assert list(outlook.advice([found])) == []
