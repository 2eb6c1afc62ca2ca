"""What goes in comes out, with its type; what would change is refused."""

from __future__ import annotations

import enum
import math
import sys
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paiid_perf.cache import serialization
from paiid_perf.cache.serialization import NotCacheable, Unreadable, decode, encode
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.exceptions import ConfigurationError

#: A busy machine is no failure.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXT_SERIALIZERS = ("json", "msgpack")
ZONES = st.one_of(
    st.just(UTC),
    st.none(),
    st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("UTC")]),
    st.integers(-86399, 86399).map(lambda seconds: timezone(timedelta(seconds=seconds))),
)
MOMENTS = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    ZONES,
    st.sampled_from([0, 1]),
)
TIMES = st.builds(
    lambda value, zone: value.replace(tzinfo=zone),
    st.times(),
    st.sampled_from([None, UTC, timezone(timedelta(hours=-5))]),
)
KEYS = st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.dates(), st.uuids())
ATOMS = st.one_of(
    KEYS,
    st.floats(allow_nan=False),
    st.binary(),
    st.decimals(allow_nan=False),
    MOMENTS,
    TIMES,
    st.timedeltas(),
    st.text().map(mark_safe),
    st.integers(-(2**200), 2**200),
)
HASHABLE = st.one_of(ATOMS, st.tuples(ATOMS, ATOMS))
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=5),
        st.dictionaries(st.text(max_size=3).map(lambda key: "$" + key), inner, max_size=2),
        st.sets(HASHABLE, max_size=4),
        st.frozensets(HASHABLE, max_size=4),
        st.lists(st.fixed_dictionaries({"a": inner, "b": st.decimals(allow_nan=False)}), max_size=6),
    ),
    max_leaves=12,
)


def strategy(serializer: str, **options: Any) -> CacheStrategy:
    return CacheStrategy("x", ttl=None, serializer=serializer, **options)  # type: ignore[arg-type]


def round_trip(value: Any, serializer: str, **options: Any) -> Any:
    return decode(*encode(value, strategy(serializer, **options)))


def shape(value: Any) -> Any:
    """A value with the types of all its parts, so that 1, True, 1.0 and Decimal(1) differ."""
    if isinstance(value, dict):
        return dict, [(shape(k), shape(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [shape(part) for part in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(shape(part)) for part in value)
    if isinstance(value, datetime | time):
        return type(value), value.isoformat(), repr(value.tzinfo), value.fold
    return type(value), repr(value)


@pytest.mark.parametrize("serializer", TEXT_SERIALIZERS)
@CALM
@given(value=VALUES)
def test_round_trip_keeps_values_and_types(serializer: str, value: Any) -> None:
    assert shape(round_trip(value, serializer)) == shape(value)


@pytest.mark.parametrize("serializer", TEXT_SERIALIZERS)
@CALM
@given(rows=st.lists(st.fixed_dictionaries({"at": MOMENTS, "price": st.decimals(), "n": ATOMS}), min_size=3))
def test_rows_keep_their_cells(serializer: str, rows: list[dict[str, Any]]) -> None:
    assert shape(round_trip(rows, serializer, compress_over=1)) == shape(rows)


ROWS = [{"at": datetime(2026, 1, 1, tzinfo=UTC), "price": Decimal("1.50")}] * 3
TABLE_BREAKERS: tuple[list[Any], ...] = (
    [*ROWS, {"price": Decimal(1), "at": datetime(2026, 1, 1, tzinfo=UTC)}],
    [*ROWS, {"at": None, "price": None}],
    [*ROWS, {"at": 1}],
    [*ROWS, 7],
    [{1: "a"}, {True: "a"}, {1.0: "a"}],
    [{}, {}, {}],
    [Decimal(1), Decimal(2), 3],
    [Decimal("NaN"), Decimal("-Infinity"), Decimal("-0.00")],
    [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC, fold=1)],
)


@pytest.mark.parametrize("serializer", TEXT_SERIALIZERS)
@pytest.mark.parametrize("rows", TABLE_BREAKERS, ids=range(len(TABLE_BREAKERS)))
def test_lists_that_are_almost_tables(serializer: str, rows: list[Any]) -> None:
    assert shape(round_trip(rows, serializer)) == shape(rows)


@pytest.mark.parametrize("serializer", TEXT_SERIALIZERS)
@pytest.mark.parametrize("width", [1, 2, serialization.WIDEST, serialization.WIDEST + 1])
def test_tables_of_any_width_keep_their_cells_and_keys_in_order(serializer: str, width: int) -> None:
    # Keys that would be no names in a program.
    rows = [{f"{n} 'a\": import": (line, n) for n in range(width)} for line in range(3)]
    assert shape(round_trip(rows, serializer)) == shape(rows)


@pytest.mark.parametrize("serializer", TEXT_SERIALIZERS)
def test_not_a_number_stays_one(serializer: str) -> None:
    assert math.isnan(round_trip(math.nan, serializer))


def test_a_table_takes_fewer_bytes_than_its_rows() -> None:
    rows = [{"symbol": f"S{n}", "price": Decimal(n)} for n in range(50)]
    apart = sum(len(encode(row, strategy("msgpack", compress_over=None))[1]) for row in rows)
    assert len(encode(rows, strategy("msgpack", compress_over=None))[1]) < apart * 0.5


class Colour(enum.IntEnum):
    RED = 1


Point = namedtuple("Point", "x y")
NAMED = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "Home"))
REFUSED: tuple[tuple[Any, str], ...] = (
    (Colour.RED, ".value"),
    (Point(1, 2), "_asdict"),
    (OrderedDict(a=1), "dict(value)"),
    (gettext_lazy("x"), "str()"),
    (object(), "allow_pickle"),
    (NAMED, "ZoneInfo"),
    ({"rows": [1, {"deep": {2: object()}}]}, "value['rows'][1]['deep'][2] is a builtins.object"),
    ({Colour.RED: 1}, "value<key>"),
    ({"a": {object()}}, "value['a']<item>"),
    ("\ud800", "not valid Unicode"),
    (type("Text", (str,), {})("x"), "plain type"),
)


@pytest.mark.parametrize("serializer", TEXT_SERIALIZERS)
@pytest.mark.parametrize(("value", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_would_change_is_refused_with_the_fix(serializer: str, value: Any, message: str) -> None:
    with pytest.raises(NotCacheable) as refused:
        encode(value, strategy(serializer))
    assert message in str(refused.value)


@pytest.mark.parametrize("serializer", TEXT_SERIALIZERS)
def test_a_value_in_itself_is_refused(serializer: str) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotCacheable, match="contains itself"):
        encode(value, strategy(serializer))


def test_safe_text_stays_safe() -> None:
    for serializer in TEXT_SERIALIZERS:
        assert type(round_trip(mark_safe("<b>"), serializer)) is SafeString


def test_pickle_only_where_allowed() -> None:
    with pytest.raises(ConfigurationError, match="allow_pickle=True"):
        strategy("pickle")
    codec, body = encode(Point(1, 2), strategy("pickle", allow_pickle=True))
    with pytest.raises(Unreadable, match="not read"):
        decode(codec, body)
    assert decode(codec, body, allow_pickle=True) == Point(1, 2)


def test_unpicklable_is_refused() -> None:
    with pytest.raises(NotCacheable, match="pickle cannot keep"):
        encode(lambda: 1, strategy("pickle", allow_pickle=True))


@CALM
@given(codec=st.integers(0, 15), body=st.binary(max_size=200))
def test_foreign_bytes_never_do_worse_than_unreadable(codec: int, body: bytes) -> None:
    try:
        decode(codec, body)
    except Unreadable:
        return


def test_compression_only_where_it_pays() -> None:
    flat, noise = "a" * 2000, bytes(range(256)) * 1
    assert len(encode(flat, strategy("msgpack"))[1]) < 100
    assert encode(flat, strategy("msgpack", compress_over=None))[0] >> 2 == 0
    assert encode(noise, strategy("msgpack", compress_over=1))[0] >> 2 == 0
    assert round_trip(flat, "json") == flat


@CALM
@given(VALUES)
def test_orjson_writes_what_the_standard_library_reads_and_no_other_value(value: Any) -> None:
    assert serialization._orjson is not None
    with pytest.MonkeyPatch.context() as patch:
        codec, fast = encode(value, strategy("json", compress_over=None))
        patch.setattr(serialization, "_orjson", None)
        assert encode(value, strategy("json", compress_over=None))[0] == codec
        assert shape(decode(codec, fast)) == shape(value)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, None, "null", 2**64, -(2**63) - 1, 1e400, -0.0]
)
@pytest.mark.parametrize(
    "within", [lambda v: v, lambda v: [1.5, v], lambda v: {"a": v}, lambda v: [{"a": v}] * 4]
)
def test_what_orjson_would_change_is_left_to_the_standard_library(value: Any, within: Any) -> None:
    assert repr(round_trip(within(value), "json")) == repr(within(value))


@CALM
@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=3, max_size=9))
def test_a_column_of_moments(moments: list[datetime]) -> None:
    for serializer in TEXT_SERIALIZERS:
        back = round_trip([{"at": moment} for moment in moments], serializer)
        assert [row["at"] for row in back] == moments
        assert all(row["at"].tzinfo is UTC for row in back)


def test_a_damaged_column_of_moments_is_unreadable() -> None:
    codec, body = encode([datetime(2026, 1, 1, tzinfo=UTC)] * 3, strategy("msgpack", compress_over=None))
    assert len(body) < 3 * 11 + 4
    with pytest.raises(Unreadable):
        decode(codec, body[:1] + bytes([body[1] - 1]) + body[2:-1])


@pytest.mark.parametrize("compressor", ["zlib", "zstd"])
@pytest.mark.parametrize("serializer", TEXT_SERIALIZERS)
def test_every_compressor_really_compresses(compressor: str, serializer: str) -> None:
    value = [{"name": "Apple Inc.", "price": Decimal(n) / 4} for n in range(300)]
    codec, body = encode(value, strategy(serializer, compressor=compressor))
    assert codec >> 2 == serialization.COMPRESSORS.index(compressor)  # type: ignore[arg-type]
    assert len(body) < 0.5 * len(encode(value, strategy(serializer, compress_over=None))[1])
    assert decode(codec, body) == value


def test_missing_compressor_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("compression", "compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match="pip install zstandard"):
        round_trip("a" * 2000, "msgpack", compressor="zstd")


@pytest.mark.parametrize(
    "value",
    [date(2026, 1, 1), UUID(int=7), timedelta(days=-3, microseconds=5), time(1, 2, fold=1), 2**80, -(2**64)],
)
def test_scalars_alone(value: Any) -> None:
    for serializer in TEXT_SERIALIZERS:
        assert shape(round_trip(value, serializer)) == shape(value)


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": timedelta(0)},
        {"jitter": 1.0},
        {"early": -1},
        {"depends_on": "trading.Order"},
        {"name": ""},
        {"name": "a:b"},
    ],
)
def test_a_strategy_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        CacheStrategy(**{"name": "x", "ttl": None} | options)
