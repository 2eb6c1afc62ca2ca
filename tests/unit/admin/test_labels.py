"""What a run wrote down, in the reader's language."""

from __future__ import annotations

import pytest
from django.utils import translation

from paiid_perf.admin import console, evidence, labels
from paiid_perf.contracts import Measurement, QueryMeasure
from paiid_perf.database.rules.indexes.judge import judge
from paiid_perf.optimization import plan

#: Words that are the same in both languages.
SAME = {"App", "Backend", "Budget", "Bytes", "Definition", "Info", "Name", "Rss", "Scans", "Server", "System"}
SAME |= {"Vacuum", "Version", "Hot", "Limit"}


@pytest.mark.parametrize("label", sorted(set(labels.KNOWN) - SAME))
def test_every_known_heading_is_german(label):
    with translation.override("de"):
        assert labels.heading(label.lower().replace(" ", "_")) != label


def test_what_is_not_known_stays_as_it_is():
    with translation.override("de"):
        assert labels.heading("frobnication_ms") == "Frobnication"
        assert labels.heading("") == ""


def test_evidence_is_told_in_the_readers_language():
    with translation.override("de"):
        (fact,) = evidence.facts_of({"queries": [{"calls": 3, "why": "x"}]})

    assert fact.label == "Abfragen"
    assert [cell.text for cell in fact.columns] == ["Aufrufe", "Warum"]


def test_a_score_is_told_in_the_readers_language_whatever_the_workers_was():
    lost = {"points": 9, "label": "HTTPS only", "hint": "", "reason": "", "value": 0, "target": 1, "unit": ""}
    with translation.override("de"):
        area = console.areas_of({"security": {"score": 91, "deductions": [lost]}})[-1]

    assert [(one.label, one.hint, one.found) for one in area.deductions] == [
        ("Nur HTTPS", "", "nicht vorhanden")
    ]


def test_a_verdict_and_a_runs_end_are_german_in_a_german_worker():
    before, after = (Measurement("replay", (QueryMeasure("q", "SELECT 1", 50, ms),)) for ms in (20.0, 2.0))
    with translation.override("de"):
        said = judge(before, after, min_gain=0.1, max_regression=0.2).reason
        end = plan.conclusion({"applied": 2, "kept": 1, "failed": 0})

    assert said == "20.000 → 2.000 ms je Aufruf über 1 Abfrage (+90% gewonnen)"
    assert end == "2 angewendet, 1 behalten"
