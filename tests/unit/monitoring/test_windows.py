"""A window as ranges of rows: together they are the window, each read at the coarsest resolution that is there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.monitoring.queries import resolution_for
from paiid_perf.monitoring.windows import DAY, HOUR, MINUTE, parts_of

NOW = datetime(2026, 3, 29, 14, 37, 12, tzinfo=UTC)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@given(moments, st.integers(1, 40 * 24 * 60))
def test_the_parts_are_the_window_without_a_gap_or_an_overlap(end, minutes):
    start = end - timedelta(minutes=minutes)

    parts = parts_of(start, end)

    assert (parts[0].start, parts[-1].end) == (start, end)
    assert all(one.end == after.start for one, after in pairwise(parts))
    assert all(part.start <= part.end for part in parts)
    # A coarse row is read only for a bucket that lies within the window.
    for part in parts:
        if part.resolution != parts[0].resolution:
            assert part.start.timestamp() % part.resolution == 0
            assert part.end.timestamp() % part.resolution == 0


@given(moments, st.timedeltas(timedelta(hours=1), timedelta(days=366)))
def test_no_window_reads_more_than_two_thousand_rows_of_a_series(end, window):
    start = end - window
    chart = window / timedelta(seconds=resolution_for(start, end))
    whole = sum((part.end - part.start) / timedelta(seconds=part.resolution) for part in parts_of(start, end))

    # Beside the whole buckets, one that has begun at each end of a range.
    assert chart + 2 <= 2_000
    assert whole + 2 * 3 <= 2_000


@pytest.mark.parametrize(
    ("window", "resolutions", "buckets"),
    [
        (timedelta(hours=1), [MINUTE], 61),
        (timedelta(hours=6), [MINUTE, HOUR, MINUTE], 130),
        (timedelta(days=1), [HOUR], 25),
        (timedelta(days=30), [HOUR, DAY, HOUR], 80),
    ],
)
def test_long_windows_are_read_in_few_rows(window, resolutions, buckets):
    parts = parts_of(NOW - window, NOW)

    assert [part.resolution for part in parts] == resolutions
    assert sum((part.end - part.start).total_seconds() / part.resolution for part in parts) <= buckets
