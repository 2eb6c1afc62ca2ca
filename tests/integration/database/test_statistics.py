"""Correlated columns on a real server: found, told to the planner, proven, taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paiid_perf.conf import get_settings
from paiid_perf.database import advice
from paiid_perf.database.facts import insights as insight_facts
from paiid_perf.database.facts import statistics as facts
from paiid_perf.database.health_types import StatementFact
from paiid_perf.database.phase import _statistics
from paiid_perf.models import Recommendation
from paiid_perf.optimization import ledger
from tests.integration.database.conftest import Context

WEATHER = "SELECT * FROM planted.stat_weather WHERE city = $1 AND country = $2"
INDEPENDENT = "SELECT * FROM planted.stat_weather WHERE city = $1 AND kind = $2"


@pytest.fixture
def weather(plant: Any) -> Any:
    plant(
        "CREATE TABLE stat_weather (id int PRIMARY KEY, city int, country int, kind int)",
        "INSERT INTO stat_weather SELECT i, i % 100, i % 100 / 2, i / 100 % 5 FROM generate_series(1, 20000) i",
        "ANALYZE stat_weather",
    )
    return plant


def look(session: Any, *texts: str) -> list[Any]:
    statements = [StatementFact(n, text, 100, 5.0, 500.0, 100, 0) for n, text in enumerate(texts)]
    return _statistics(session, insight_facts.heavy(session, statements))


def test_only_what_goes_together_is_told(weather: Any, session: Any) -> None:
    (found,) = look(session, WEATHER, INDEPENDENT)

    assert found.subject == "planted.stat_weather (city, country)"
    assert found.numbers["error"] > 20


def test_the_planner_guesses_right_afterwards_and_the_undo_forgets(weather: Any, session: Any) -> None:
    context = Context(settings=replace(get_settings(), POLICY={"statistics": "auto"}))
    context.propose(advice.proposals(look(session, WEATHER)))
    context.settle("database")
    rec = Recommendation.objects.get()

    assert rec.state == "kept"
    assert rec.before["numbers"]["error"] > 20
    assert rec.after["numbers"]["error"] < 1.5
    assert look(session, WEATHER) == []

    ledger.revert(rec, None)
    assert [s for s in facts.known(session) if s["table"] == "planted.stat_weather"] == []


def test_a_table_that_is_gone_or_closed_gives_no_probes(weather: Any, session: Any) -> None:
    assert facts.probe(session, "planted", "nowhere", ["a", "b"]) == []
    assert facts.probe(session, "planted", "stat_weather", ["city", "nothing"]) == []
