"""Who asks for what: the same list for the same seed, in the proportions of a trading site."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from project.trading.loader import FIRST_USER, Size
from project.trading.traffic import ACTIVE_USERS, MIX, Outcome, plan

SMALL = Size.of(0.1)


def test_the_same_seed_gives_the_same_requests():
    assert plan(1, SMALL, 500) == plan(1, SMALL, 500)


def test_another_seed_gives_others():
    assert plan(1, SMALL, 500) != plan(2, SMALL, 500)


def test_a_longer_plan_begins_with_the_shorter_one():
    assert plan(1, SMALL, 500)[:200] == plan(1, SMALL, 200)


def test_the_weights_add_up_to_a_hundred():
    assert sum(weight for weight, _ in MIX) == 100


def test_one_request_in_twenty_writes():
    planned = plan(3, SMALL, 20_000)
    writes = sum(request.method == "POST" for request in planned)

    assert writes / len(planned) == pytest.approx(0.05, abs=0.01)


def test_every_simulated_user_can_be_given_a_session():
    users = {request.user for request in plan(4, SMALL, 5_000)}

    assert users <= {FIRST_USER + number for number in range(1, min(ACTIVE_USERS, SMALL.users) + 1)}


def test_a_user_asks_for_portfolios_of_its_own():
    for request in plan(5, SMALL, 5_000):
        if request.method == "POST":
            portfolio = json.loads(request.body)["portfolio"]
        elif request.path.startswith("/api/portfolios/"):
            portfolio = int(request.path.split("/")[3])
        else:
            continue
        assert FIRST_USER + 1 + (portfolio - 1) % SMALL.users == request.user


def test_a_few_symbols_are_asked_for_most():
    paths = Counter(request.path for request in plan(6, SMALL, 10_000) if "/market-data/S" in request.path)
    popular = sum(count for _, count in paths.most_common(10))

    assert popular > 0.4 * paths.total()
    assert len(paths) > 50


@given(st.lists(st.floats(0, 10_000), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_latency_that_enough_requests_kept(latencies, q):
    found = Outcome(latencies=latencies).percentile_ms(q)

    assert found in latencies
    assert sum(ms <= found for ms in latencies) >= q * len(latencies)
    assert sum(ms < found for ms in latencies) < q * len(latencies)


def test_the_median_of_four_is_the_second():
    assert Outcome(latencies=[4.0, 1.0, 3.0, 2.0]).percentile_ms(0.5) == 2.0


def test_nothing_measured_is_not_zero():
    assert math.isnan(Outcome().mean_ms)
    assert math.isnan(Outcome().percentile_ms(0.95))
    assert Outcome().hit_ratio is None


def test_the_hit_ratio_counts_what_could_have_come_from_the_cache():
    assert Outcome(requests=100, lookups=40, hits=10).hit_ratio == 0.25
