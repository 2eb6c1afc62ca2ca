"""What the outlook says of stored metrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from paiid_perf.models import Metric
from paiid_perf.monitoring import outlook

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_disk_that_fills_is_foretold():
    for day in range(40):
        at = NOON - timedelta(days=40 - day)
        Metric.objects.create(
            name="system.disk_percent",
            subject="web-1",
            at=at,
            count=1,
            total=50 + day + day % 2 / 4,
            resolution=86400,
        )

    (found,) = outlook.outlooks(NOON)
    (proposal,) = outlook.advice([found])

    assert found.reach.earliest <= 11 <= found.reach.latest
    assert found.text().startswith("full in ")
    assert proposal.title == f"Disk (web-1): {found.text()}"
    assert proposal.evidence["error"] <= proposal.evidence["naive_error"]
