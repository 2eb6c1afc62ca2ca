"""The score: monotone, explained to the point, never raised by what is missing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.api import rules as api_rules
from paiid_perf.cache import rules as cache_rules
from paiid_perf.cache.types import CacheFacts
from paiid_perf.contracts import Check
from paiid_perf.database.rules import scoring
from paiid_perf.monitoring.rules.score import AREAS, INSUFFICIENT, TOLERANCE, earned, score
from paiid_perf.monitoring.rules.weights import WEIGHTS, weight_of
from paiid_perf.security.rules import MEASURES

numbers = st.floats(-1e6, 1e6)


@st.composite
def checks(draw):
    target, worst = draw(st.tuples(numbers, numbers).filter(lambda pair: abs(pair[0] - pair[1]) > 1))
    return Check(
        area=draw(st.sampled_from(AREAS)),
        name=draw(st.text(max_size=5)),
        label="a check",
        value=draw(st.none() | numbers),
        target=target,
        worst=worst,
        weight=draw(st.floats(0.5, 10)),
    )


def low(value, **values):
    """A check of something that should be low: full marks up to 100, none from 200."""
    return Check("api", "p95", "p95", value, target=100, worst=200, weight=1, unit="ms", **values)


def or_zero(value):
    return 0 if value is None else value


@pytest.mark.parametrize(
    ("value", "fraction"),
    [(50, 1), (100, 1), (101.9, 1), (152, 0.5), (200, 0.02), (300, 0), (float("nan"), 0)],
)
def test_points_fall_linearly_from_the_target_to_the_worst(value, fraction):
    assert earned(low(value)) == pytest.approx(fraction)


def test_what_should_be_high_has_its_worst_below_its_target():
    ratio = Check("cache", "hits", "hits", 0.5, target=0.9, worst=0.1, weight=1)

    assert 0.45 < earned(ratio) < 0.55
    assert earned(replace(ratio, value=0.95)) == 1


@given(checks(), numbers)
def test_a_worse_fact_never_gives_a_better_score(check, other):
    if check.value is None:
        return
    direction = 1 if check.worst >= check.target else -1
    better, worse = sorted((check.value, other), key=lambda value: direction * value)

    assert earned(replace(check, value=worse)) <= earned(replace(check, value=better))


@given(st.lists(checks(), min_size=1, max_size=8), st.integers(0, 7), numbers)
def test_a_worse_fact_never_gives_a_better_whole(found, position, other):
    check = found[position % len(found)]
    if check.value is None:
        return
    direction = 1 if check.worst >= check.target else -1
    better, worse = sorted((check.value, other), key=lambda value: direction * value)

    def card(value):
        return score([replace(c, value=value) if c is check else c for c in found])

    assert card(worse).overall <= card(better).overall
    assert card(worse).confidence == card(better).confidence


@given(st.lists(checks(), min_size=1, max_size=8), st.floats(-0.99, 0.99))
def test_noise_within_the_tolerance_of_a_target_changes_nothing(found, share):
    met = [replace(check, value=check.target) for check in found]
    noisy = [replace(check, value=check.target * (1 + share * TOLERANCE)) for check in found]

    assert score(noisy) == score(met)


@given(st.lists(checks(), min_size=1, max_size=8), st.integers(0, 7))
def test_losing_a_fact_never_raises_a_score_or_the_confidence(found, position):
    position %= len(found)
    without = [replace(c, value=None) if n == position else c for n, c in enumerate(found)]
    before, after = score(found), score(without)

    assert or_zero(after.overall) <= or_zero(before.overall)
    assert after.confidence <= before.confidence
    assert all(or_zero(after.areas[a].score) <= or_zero(before.areas[a].score) for a in AREAS)


@given(st.lists(checks(), max_size=8))
def test_the_deductions_add_up_to_what_is_missing(found):
    for area in score(found).areas.values():
        if area.score is not None:
            lost = sum(deduction.points for deduction in area.deductions)
            assert area.score + lost == pytest.approx(100, abs=0.5 + 0.1 * len(found))


def test_what_weighs_nothing_takes_nothing_off():
    card = score([replace(low(400), name="of no weight", weight=0)])

    assert card.areas["api"].deductions == ()


def test_nothing_measured_is_insufficient_data_and_no_score():
    card = score([low(None)])

    assert (card.overall, card.confidence) == (None, 0)
    assert card.areas["api"].score is None
    assert card.areas["api"].deductions[0].reason == INSUFFICIENT


def test_an_area_without_data_holds_the_overall_score_down():
    card = score([low(50)])

    assert card.areas["api"].score == 100
    assert card.overall == 20
    assert card.confidence == 0.2


def test_the_table_goes_before_what_a_check_brings_with_it():
    known = Check("api", "limited", "limited", 200, target=100, worst=200, weight=99)
    own = replace(known, name="a host's own")

    assert (weight_of(known), weight_of(own)) == (1, 99)


def declared():
    """(area, name, weight, hint) of what the domains measure, as they tell it."""
    found = [("database", m.name, m.weight, m.hint()) for m in scoring.MEASURES]
    found += [("api", m.name, m.weight, m.hint) for m in api_rules.marks([])]
    facts = CacheFacts("RedisCache", True, True)
    found += [("cache", m.name, m.weight, m.hint) for m in cache_rules.marks(facts)]
    found += [("security", m.name, m.weight, m.hint) for m in MEASURES]
    return [(area, name, weight, str(hint)) for area, name, weight, hint in found]


@pytest.mark.parametrize(("area", "name", "weight", "hint"), declared())
def test_the_one_table_has_every_check_and_each_has_a_recommendation(area, name, weight, hint):
    assert WEIGHTS[area][name] == weight
    assert hint


def test_a_deduction_says_what_was_measured_and_what_wins_it_back():
    (deduction,) = score([low(400, hint="add an index")]).areas["api"].deductions

    assert (deduction.value, deduction.target, deduction.unit, deduction.points) == (400, 100, "ms", 100)
    assert deduction.hint == "add an index"
