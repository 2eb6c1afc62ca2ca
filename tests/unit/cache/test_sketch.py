"""The sketch: counts that are never too low, in bounded memory."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.cache.sketch import LEAST_MS, Sketch, Tally

CAPACITY = 4


def filled(keys: list[str], capacity: int = CAPACITY) -> Sketch:
    sketch = Sketch(capacity)
    for key in keys:
        sketch.add(key, 1.0, 1024)
    return sketch


@given(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=400))
def test_sure_counts_are_true_and_whole_counts_bound_them(keys: list[str]) -> None:
    true, sketch = Counter(keys), filled(keys)
    assert len(sketch) <= 2 * CAPACITY
    for key, tally in sketch.top(100):
        assert tally.sure <= true[key] <= tally.count


@given(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=200))
def test_whoever_has_more_than_its_share_is_there(keys: list[str]) -> None:
    named = {key for key, _ in filled(keys).top(100)}
    assert {key for key, count in Counter(keys).items() if count > len(keys) / CAPACITY} <= named


def test_worth_is_frequency_times_cost_by_size() -> None:
    assert Tally(count=10, error=2, cost_ms=3.0, size=512).worth == 8 * 3.0 * 2
    assert Tally(count=1, cost_ms=0.0, size=1024).worth == LEAST_MS
    assert Tally(count=5).worth == 0


def test_the_best_first_and_the_unknown_left_out() -> None:
    sketch = Sketch()
    sketch.add("cheap", 1.0, 1024)
    sketch.add("dear", 500.0, 1024)
    sketch.add("missed")
    assert [key for key, _ in sketch.top(10)] == ["dear", "cheap"]
    assert [key for key, _ in sketch.top(1)] == ["dear"]


def test_a_later_miss_does_not_forget_what_is_known() -> None:
    sketch = Sketch()
    sketch.add("k", 2.0, 1024)
    sketch.add("k")
    assert [tally for _, tally in sketch.top(1)] == [Tally(count=2, cost_ms=2.0, size=1024)]
