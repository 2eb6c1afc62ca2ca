"""What statements took between two looks at their counters."""

from __future__ import annotations

import pytest

from paiid_perf.database.statements import KEPT, Entry, since_then

MAY, JUNE = "2026-05-01", "2026-06-01"


@pytest.mark.parametrize(
    ("now", "before", "spent"),
    [
        ((15.0, 90.0, MAY), (10.0, 60.0, MAY), (5.0, 30.0)),
        ((15.0, 90.0, MAY), None, (15.0, 90.0)),
        # Evicted, come back, and called more often than before: only the day that it began tells.
        ((15.0, 90.0, JUNE), (10.0, 60.0, MAY), (15.0, 90.0)),
        ((3.0, 90.0, MAY), (10.0, 60.0, MAY), (3.0, 90.0)),
        ((15.0, 9.0, MAY), (10.0, 60.0, MAY), (15.0, 9.0)),
    ],
)
def test_an_entry_that_began_anew_counts_whole(now, before, spent):
    known = {} if before is None else {"1 10 t": before}
    assert since_then([Entry("1 10 t", "1", *now)], known) == [("1", *spent)]


def test_what_did_not_run_is_not_told():
    assert since_then([Entry("1 10 t", "1", 7.0, 5.0, MAY)], {"1 10 t": (7.0, 5.0, MAY)}) == []


def test_the_entries_of_a_statement_are_one():
    before = {"1 10 t": (10.0, 100.0, MAY), "1 11 t": (50.0, 500.0, MAY)}
    now = [Entry("1 10 t", "1", 12.0, 120.0, MAY), Entry("1 11 t", "1", 3.0, 30.0, JUNE)]
    assert since_then(now, before) == [("1", 5.0, 50.0)]


def test_those_that_took_most_time_are_kept():
    now = [Entry(f"{n} 10 t", str(n), 1.0, float(n), MAY) for n in range(KEPT + 5)]
    kept = since_then(now, {})
    assert len(kept) == KEPT
    assert kept[0] == (str(KEPT + 4), 1.0, KEPT + 4.0)
