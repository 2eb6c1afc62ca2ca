"""Capacity by Little's law and Erlang's C formula; cost by unit prices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.monitoring.rules.capacity import MAY_WAIT, busiest, needed, staffing, waiting
from paiid_perf.monitoring.rules.cost import DAYS, GB, expenses, saving
from paiid_perf.monitoring.types import Load, Use

busies = st.floats(0.01, 300)


def test_as_many_are_busy_as_arrive_in_the_time_of_one():
    found = staffing(Load("web", arrivals=50, service_s=0.2), factor=2)

    assert found.busy == pytest.approx(20)
    assert found.needed > 20
    assert found.waits is None


# From Erlang C tables: offered load, servers, probability of waiting.
@pytest.mark.parametrize(
    ("busy", "workers", "share"),
    [(1, 2, 1 / 3), (2, 3, 4 / 9), (5, 8, 0.1673), (10, 13, 0.2853), (20, 20, 1), (3, 1, 1)],
)
def test_the_share_that_waits_is_erlangs(busy, workers, share):
    assert waiting(workers, busy) == pytest.approx(share, abs=5e-4)


@given(busies)
def test_what_is_needed_is_enough_and_one_less_is_not(busy):
    workers = needed(busy)

    assert waiting(workers, busy) <= MAY_WAIT
    assert workers == 1 or waiting(workers - 1, busy) > MAY_WAIT


@given(busies, st.floats(1, 4))
def test_more_work_never_needs_fewer_and_large_teams_need_less_slack(busy, factor):
    assert needed(busy) <= needed(busy * factor)
    assert needed(busy * factor) <= factor * needed(busy) + 1


@given(st.integers(1, 300), busies)
def test_one_more_worker_never_makes_more_wait(workers, busy):
    assert 0 <= waiting(workers + 1, busy) <= waiting(workers, busy) <= 1


def test_nothing_that_arrives_needs_nobody():
    assert (needed(0), waiting(3, 0)) == (0, 0)
    assert busiest([]) is None


PRICES = {"storage_gb": 0.2, "worker": 30.0}


def test_each_use_costs_its_share_of_the_month():
    found = expenses([Use("storage", 100 * GB), Use("workers", 4), Use("cache", 8 * GB)], PRICES)

    assert [(e.use.resource, round(e.per_day * DAYS, 6)) for e in found] == [
        ("storage", 20),
        ("workers", 120),
    ]


@pytest.mark.parametrize(
    ("kind", "evidence", "a_month"),
    [
        ("index_drop", {"bytes": 10 * GB}, 2.0),
        ("index_create", {"bytes": 10 * GB}, -2.0),
        ("retention", {"bytes": 10 * GB}, 2.0),
        ("retention", {"bytes": None}, None),
        ("advice", {"wasted_bytes": 5 * GB, "bytes": 10 * GB}, 1.0),
        ("advice", {"bytes": 10 * GB}, None),
        ("setting", {}, None),
    ],
)
def test_a_recommendation_saves_what_it_frees(kind, evidence, a_month):
    found = saving(kind, evidence, PRICES)

    assert found == (None if a_month is None else pytest.approx(a_month / DAYS))


def test_without_a_price_there_is_no_money():
    assert saving("index_drop", {"bytes": GB}, {"worker": 1}) is None
