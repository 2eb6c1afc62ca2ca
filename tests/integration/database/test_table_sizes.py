"""The largest tables, read now and then."""

from __future__ import annotations

import pytest
from django.db import connection

from paiid_perf.conf import get_settings
from paiid_perf.database.facts.table_sizes import EVERY, Scale
from paiid_perf.database.recorders import RECORDERS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def large(db):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE large AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
        cursor.execute("ANALYZE large")
        yield
        cursor.execute("DROP TABLE large")


def test_the_largest_tables_are_weighed_once_in_a_while(large):
    scale, settings = Scale(), get_settings()

    first = dict(scale.read(settings, 1.0))
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO large SELECT repeat('x', 1000) FROM generate_series(1, 1000)")

    assert first["public.large"] > 1_000_000
    assert len(first) <= 10
    assert (
        dict(scale.read(settings, EVERY)) == first
    )  # said again each minute, so that nothing takes it for silence
    assert dict(scale.read(settings, EVERY + 1.0))["public.large"] > first["public.large"]


def test_they_are_a_gauge():
    assert "db.table_bytes" in [name for name, _read, _unit in RECORDERS]
