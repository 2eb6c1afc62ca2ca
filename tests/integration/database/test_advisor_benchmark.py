"""The advisor's benchmark runs from end to end, at a scale that proves nothing about speed."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from tests.benchmarks import advisor
from tests.benchmarks.advisor_tpch import TPCH


def server_url() -> str:
    """The test server's, by the settings that the tests connect with."""
    found = settings.DATABASES["default"]
    return f"postgresql://{found['USER']}:{found['PASSWORD']}@{found['HOST']}:{found['PORT']}/postgres"


@pytest.mark.django_db
def test_the_benchmark_measures_advisors_on_queries_that_all_are_costed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert connection.vendor == "postgresql"
    few = replace(TPCH, queries=TPCH.queries[2:7])
    monkeypatch.setattr(advisor, "RUNS", 1)
    monkeypatch.setattr(advisor, "WORKLOADS", {"tpch": few})
    url = server_url()
    try:
        found = advisor.run(url, ["tpch"], ["ours_estimated", "foreign_keys"], 0.001)
    finally:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute("DROP DATABASE IF EXISTS bench_tpch WITH (FORCE)")
    rows = found["workloads"]["tpch"]["advisors"]
    ours = rows["ours_estimated"]
    assert (ours["costed"], ours["unread"]) == (len(few.queries), 0)
    assert not ours["failed"]
    assert len(rows["foreign_keys"]["statements"]) == len(TPCH.foreign_keys)
    assert rows["foreign_keys"]["mib"] > 0
