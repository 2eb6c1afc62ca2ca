"""The 17 bytes around a value, and the names of the keys."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paiid_perf.cache import keys
from paiid_perf.cache.envelope import HEADER_BYTES, Envelope, is_early, is_fresh, open_, seal, stamp_of
from paiid_perf.cache.serialization import Unreadable

#: A busy machine is no failure.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ENVELOPES = st.builds(
    Envelope,
    codec=st.integers(0, 15),
    stamp=st.integers(0, 2**63),
    expires_ms=st.integers(0, 2**42 - 1),
    cost_ms=st.integers(0, 2**22 - 1),
    body=st.binary(max_size=50),
)


@CALM
@given(ENVELOPES)
def test_sealed_and_opened(envelope: Envelope) -> None:
    stored = seal(envelope)
    assert open_(stored) == envelope
    assert len(stored) == HEADER_BYTES + len(envelope.body)


def test_a_cost_of_hours_is_cut_not_spilled() -> None:
    opened = open_(seal(Envelope(1, 2, 1_790_000_000_000, 10**9, b"")))
    assert (opened.expires_ms, opened.cost_ms) == (1_790_000_000_000, 2**22 - 1)


@CALM
@given(st.binary(max_size=40).filter(lambda stored: stored[:1] and stored[0] & 0xF0 != 0xA0))
def test_other_bytes_are_refused(stored: bytes) -> None:
    with pytest.raises(Unreadable):
        open_(stored)


@pytest.mark.parametrize(
    ("versions", "stamp"), [((), 0), ((5,), 5), ((5, 9, 7), 9), ((5, -1), None), ((-3,), None), ((0,), 0)]
)
def test_stamps(versions: tuple[int, ...], stamp: int | None) -> None:
    assert stamp_of(versions) == stamp


@CALM
@given(st.lists(st.integers(1, 10**15), min_size=1), st.integers(0, 10))
def test_any_bump_moves_the_stamp(versions: list[int], which: int) -> None:
    bumped = list(versions)
    bumped[which % len(bumped)] = max(versions) + 1
    assert stamp_of(bumped) != stamp_of(versions)


@pytest.mark.parametrize(
    ("stored", "stamp", "expires", "fresh"),
    [(5, 5, 0, True), (5, 6, 0, False), (5, None, 0, False), (5, 5, 100, False), (5, 5, 101, True)],
)
def test_freshness(stored: int, stamp: int | None, expires: int, fresh: bool) -> None:
    assert is_fresh(Envelope(0, stored, expires, 0, b""), stamp, 100) is fresh


def test_early_expiry_is_xfetch() -> None:
    envelope = Envelope(0, 0, 10_000, 100, b"")
    assert not is_early(envelope, 9_000, 1.0, 1.0)
    assert is_early(envelope, 9_950, 1.0, 0.5)  # 100 ms · -ln 0.5 = 69 ms before the end
    assert not is_early(envelope, 9_950, 1.0, 0.9)
    assert is_early(envelope, 9_000, 100.0, 0.5)
    assert not is_early(envelope, 9_999, 0.0, 1e-9)
    assert not is_early(Envelope(0, 0, 0, 100, b""), 9_999, 1.0, 1e-9)


# --- keys ---------------------------------------------------------------------------------------------------


def test_short_keys_are_readable_and_known_again() -> None:
    assert keys.storage_key("hot", "movers:10") == "perf:c:hot:movers:10"
    assert keys.strategy_of("perf:c:hot:movers:10") == "hot"
    assert keys.strategy_of("perf:tag:x") is None


@CALM
@given(st.text(max_size=400), st.text(max_size=400))
def test_keys_are_short_printable_and_apart(one: str, other: str) -> None:
    first, second = keys.storage_key("s", one), keys.storage_key("s", other)
    assert (first == second) == (one == other)
    assert len(first) < 250
    assert first.isascii()
    assert first.isprintable()
    assert " " not in first


ARGUMENTS = st.recursive(
    st.one_of(
        st.text(max_size=5), st.integers(), st.none(), st.booleans(), st.dates(), st.decimals(), st.binary()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(0, 9)), inner, max_size=3),
    ),
    max_leaves=5,
)


@CALM
@given(st.lists(ARGUMENTS, min_size=2, max_size=2), st.lists(ARGUMENTS, min_size=2, max_size=2))
def test_all_arguments_make_keys_apart(one: list[Any], other: list[Any]) -> None:
    def function(a: Any, b: Any) -> None: ...

    make = keys.key_maker(function, None)
    assert (make(*one) == make(*other)) == (repr(_sorted(one)) == repr(_sorted(other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [([], [{}]), ([{}], [{}, {}]), ({"a": 1}, [{"a": 1}]), ({1: "x"}, {"1": "x"}), ({"a": {}}, {"a": []})],
)
def test_what_is_nested_otherwise_has_another_key(one: Any, other: Any) -> None:
    def function(a: Any) -> None: ...

    make = keys.key_maker(function, None)
    assert make(one) != make(other)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=repr)}
    return [_sorted(part) for part in value] if isinstance(value, list) else value


def test_templates_quote_what_separates() -> None:
    def function(a: Any, b: Any = 1) -> None: ...

    make = keys.key_maker(function, "x:{a}:{b}")
    assert make("AAPL") == "x:AAPL:1"
    assert make("a:b", "c") != make("a", "b:c")
    assert make(Decimal("1.5"), b=date(2026, 1, 1)) == "x:1.5:2026-01-01"
    assert make(UUID(int=1), None) == "x:00000000-0000-0000-0000-000000000001:None"


def test_what_has_no_identity_is_refused() -> None:
    with pytest.raises(keys.NoKey, match="pass key="):
        keys.text_of(object())
    for unidentified in ({1, 2}, Group(name="unsaved")):
        with pytest.raises(keys.NoKey):
            keys.text_of(unidentified)
    assert keys.text_of(Group(pk=7)) == "auth.group.7"
