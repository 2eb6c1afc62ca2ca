"""What is said about endpoints, and what is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.api.rules import advise, marks, suggestion
from paiid_perf.api.types import EndpointFacts, RepeatFacts

FINE = EndpointFacts("GET a/", 1_000, 0, 5.0, 20.0, 8.0, 3.0, 2.0, objective_ms=100)
CACHED: dict[str, Any] = {"strategy": "s"}
REPEAT = RepeatFacts("views.py:3 in a", "trading_instrument.id", 20.0, 7, "select_related", ("instrument",))


def said(*endpoints: EndpointFacts) -> set[str]:
    return {advice.key.split(" ")[0] for advice in advise(endpoints)}


def test_nothing_is_said_of_what_is_fine() -> None:
    assert said(FINE) == set()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"p95_ms": 101.0}, "objective"),
        ({"errors": 11}, "errors"),
        ({"bytes_per_request": 600_000.0}, "bytes"),
        ({"mean_ms": 25.0}, "cache"),
        ({"limited": False}, "unlimited"),
        ({"repeats": (REPEAT,)}, "repeats"),
        ({"strategy": "s", "hits": 5, "misses": 200}, "uncache"),
        (CACHED | {"hits": 500, "misses": 5, "hit_ms": 2.0, "miss_ms": 3.0, "uncached_ms": 1.0}, "uncache"),
        # A hit saves a little, and too many misses pay for it.
        (CACHED | {"hits": 100, "misses": 100, "hit_ms": 0.8, "miss_ms": 1.5, "uncached_ms": 1.0}, "uncache"),
    ],
)
def test_what_is_said(changes: dict[str, Any], key: str) -> None:
    assert said(replace(FINE, **changes)) == {key}


@pytest.mark.parametrize(
    "changes",
    [
        {"requests": 10, "p95_ms": 900.0, "limited": False},
        {"endpoint": "GET <unmatched>", "p95_ms": 900.0, "limited": False},
        {"endpoint": "POST a/", "mean_ms": 50.0},
        {"strategy": "s", "hits": 5, "misses": 20},
        CACHED | {"hits": 500, "misses": 5, "hit_ms": 1.0, "miss_ms": 21.0, "uncached_ms": 20.0},
        CACHED | {"hits": 400, "misses": 50, "hit_ms": 0.8, "miss_ms": 1.5, "uncached_ms": 1.0},
        # A hit takes longer than the view, and the round trip is made for the limit anyway.
        CACHED
        | {"hits": 500, "misses": 5, "hit_ms": 0.2, "view_ms": 0.1, "miss_ms": 0.4, "uncached_ms": 0.3},
        {"repeats": (replace(REPEAT, times=3.0),)},
    ],
)
def test_what_is_not(changes: dict[str, Any]) -> None:
    assert said(replace(FINE, **changes)) == set()


def test_the_code_is_suggested() -> None:
    assert suggestion(REPEAT) == '# views.py:3 in a\n.select_related("instrument")'
    assert "one of" in suggestion(replace(REPEAT, relations=("a", "b")))
    assert "trading_instrument.id" in suggestion(replace(REPEAT, fetch="", relations=()))


def test_too_little_data_is_no_mark() -> None:
    assert {mark.value for mark in marks([replace(FINE, requests=10)])} == {None}
    assert {mark.value for mark in marks([])} == {None}


@given(st.integers(0, 500), st.integers(0, 500))
def test_more_errors_are_never_a_better_mark(one: int, more: int) -> None:
    def rate(errors: int) -> float:
        return next(m.value for m in marks([replace(FINE, errors=errors)]) if m.name == "error_rate") or 0.0

    assert rate(one) <= rate(min(1_000, one + more))
