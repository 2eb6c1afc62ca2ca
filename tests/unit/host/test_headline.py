"""The arithmetic of the demo's figures."""

from __future__ import annotations

import math
from statistics import NormalDist, fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from project.trading.headline import (
    Component,
    Pass,
    Statement,
    compare,
    headline,
    mean_ms,
    percentile_ms,
    report,
    table,
    window,
)
from project.trading.traffic import Outcome

NAMES = [
    "database_query_ms",
    "database_query_p95_ms",
    "api_response_ms",
    "api_response_p95_ms",
    "cache_hit_ratio",
    "cache_memory_bytes",
    "security_score",
]


def statement(*times: float, text: str = "SELECT * FROM trading_order") -> Statement:
    """The counters after a statement took these times."""
    return Statement(text, len(times), sum(times), fmean(times), pstdev(times))


# --- what ran within a window ---------------------------------------------------------------------------


def test_a_window_holds_what_ran_within_it():
    (found,) = window({1: statement(1, 2, 3)}, {1: statement(1, 2, 3, 10, 20)})

    assert found.calls == 2
    assert found.mean_ms == pytest.approx(15)
    assert found.stddev_ms == pytest.approx(5)


def test_a_statement_that_did_not_run_is_left_out():
    assert window({1: statement(1, 2)}, {1: statement(1, 2)}) == []


def test_a_new_statement_counts_from_nought():
    assert window({}, {1: statement(4, 6)}) == [Component(2, 5, 1)]


def test_a_statement_that_was_evicted_and_came_back_counts_from_nought():
    assert window({1: statement(*[1] * 50)}, {1: statement(4, 6)}) == [Component(2, 5, 1)]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT queryid FROM pg_stat_statements",
        'SELECT "paiid_perf_metric"."id" FROM "paiid_perf_metric"',
        "CREATE INDEX CONCURRENTLY x ON trading_order (status)",
        "BEGIN",
    ],
)
def test_only_the_hosts_own_queries_count(text):
    assert window({}, {1: statement(5, text=text)}) == []


times = st.lists(st.floats(0.01, 1_000), min_size=1, max_size=30)


@given(times, times)
def test_a_window_recovers_mean_and_deviation_of_its_own_calls(before, within):
    (found,) = window({1: statement(*before)}, {1: statement(*before, *within)})

    assert found.mean_ms == pytest.approx(fmean(within), rel=1e-6, abs=1e-6)
    assert found.stddev_ms == pytest.approx(pstdev(within), rel=1e-3, abs=1e-1)


# --- mean and percentile --------------------------------------------------------------------------------


def test_the_mean_is_weighted_by_calls():
    assert mean_ms([Component(9, 1.0, 0.0), Component(1, 11.0, 0.0)]) == 2.0


def test_no_query_has_no_time():
    assert math.isnan(mean_ms([]))
    assert math.isnan(percentile_ms([], 0.95))


def test_the_percentile_of_one_statement_is_that_of_a_log_normal():
    mu, sigma = 0.3, 0.8
    mean = math.exp(mu + sigma**2 / 2)
    stddev = mean * math.sqrt(math.expm1(sigma**2))

    found = percentile_ms([Component(1_000, mean, stddev)], 0.95)

    assert found == pytest.approx(math.exp(NormalDist(mu, sigma).inv_cdf(0.95)))


def test_the_percentile_of_statements_without_deviation_is_that_of_their_means():
    assert percentile_ms([Component(94, 1.0, 0.0), Component(6, 50.0, 0.0)], 0.95) == pytest.approx(50)
    assert percentile_ms([Component(96, 1.0, 0.0), Component(4, 50.0, 0.0)], 0.95) == pytest.approx(1)


components = st.lists(
    st.builds(Component, st.integers(1, 10_000), st.floats(0.001, 10_000), st.floats(0, 10_000)), min_size=1
)


@given(components, st.floats(0.05, 0.99), st.floats(0.05, 0.99))
def test_percentiles_grow(parts, one, other):
    low, high = sorted((one, other))

    assert percentile_ms(parts, low) <= percentile_ms(parts, high) * (1 + 1e-9)


@given(components, st.floats(0.05, 0.99))
def test_faster_queries_have_lower_percentiles(parts, q):
    faster = [Component(part.calls, part.mean_ms / 2, part.stddev_ms / 2) for part in parts]

    assert percentile_ms(faster, q) == pytest.approx(percentile_ms(parts, q) / 2, rel=1e-6)


# --- before and after -----------------------------------------------------------------------------------


def test_improvement_is_the_share_that_went_away():
    assert compare(10.0, 4.0) == {"before": 10.0, "after": 4.0, "improvement": 0.6}


@pytest.mark.parametrize(
    ("before", "after"), [(None, 1.0), (1.0, None), (0.0, 1.0), (math.nan, 1.0), (1.0, math.nan)]
)
def test_improvement_is_unknown_where_a_figure_is(before, after):
    assert compare(before, after)["improvement"] is None


def test_what_is_not_a_number_is_none_in_json():
    assert compare(math.nan, math.inf) == {"before": None, "after": None, "improvement": None}


BEFORE = Pass(
    Outcome([10.0, 30.0], requests=2, writes=1),
    (Component(10, 2.0, 0.0),),
    cache_bytes=4096,
    security_score=60,
)
AFTER = Pass(
    Outcome([2.0, 6.0], requests=2, errors=1, lookups=2, hits=1),
    (Component(4, 0.5, 0.0),),
    cache_bytes=1024,
    security_score=90,
)
RUN = {
    "id": 7,
    "status": "succeeded",
    "phases": [{"name": "database", "status": "succeeded", "seconds": 1.5, "summary": "", "error": ""}],
    "score": {"overall": 88.0, "areas": {"security": {"score": 90.0, "deductions": []}}},
    "changes": {"applied": 3, "kept": 2, "reverted": 1, "failed": 0},
}


def test_the_headline_has_every_figure_before_and_after():
    figures = headline(BEFORE, AFTER)

    assert list(figures) == NAMES
    assert figures["database_query_ms"] == {"before": 2.0, "after": 0.5, "improvement": 0.75}
    assert figures["api_response_ms"] == {"before": 20.0, "after": 4.0, "improvement": 0.8}
    assert figures["api_response_p95_ms"] == {"before": 30.0, "after": 6.0, "improvement": 0.8}
    assert figures["cache_hit_ratio"] == {"before": 0.0, "after": 0.5, "improvement": None}
    assert figures["cache_memory_bytes"]["improvement"] == 0.75


def test_the_report_has_the_keys_that_scripts_read():
    found = report(BEFORE, AFTER, RUN)

    assert found["run"] == {
        "id": 7,
        "status": "succeeded",
        "phases": [{"name": "database", "status": "succeeded", "seconds": 1.5}],
        "score": {"overall": 88.0, "areas": {"security": 90.0}},
    }
    assert found["changes"] == {"applied": 3, "kept": 2, "reverted": 1}
    assert found["traffic"] == {"requests": 4, "errors": 1, "limited": 0, "writes": 1}


def test_the_table_is_aligned_and_says_which_way_things_went():
    lines = table(headline(BEFORE, AFTER)).splitlines()
    body = {line[:24].strip(): line for line in lines if "─" not in line}

    assert len({len(line) for line in lines}) == 1
    assert body["Database query, mean"].endswith("-75 %")
    assert body["Cache hit ratio"].endswith("+50 points")
    assert body["Security score"].endswith("+30")


def test_a_table_of_unknown_figures_says_so():
    nothing = Pass(Outcome(), (), None, None)

    assert "nan" not in table(headline(nothing, nothing))
