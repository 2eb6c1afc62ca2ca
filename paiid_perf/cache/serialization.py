"""Values to bytes and back, with their types: what comes out equals what went in, or it is refused.

Kept by ``json`` and ``msgpack`` alike: None, bool, int of any size, float (with NaN and the infinities), str,
bytes, list, tuple, dict (any keys, in order), set, frozenset, Decimal (with its exponent), UUID, date, time,
timedelta, datetime (naive, fixed offset or ZoneInfo, with its fold) and SafeString. Only these very classes:
an instance of a subclass would come back as another class, so it is refused with the fix in the message.
``pickle`` keeps whatever pickle keeps, and is only for strategies that allow it.

Both store a list of dicts with the same keys as a table: the keys once, then a column for each. That
takes fewer bytes, compresses better, and reads Decimal and datetime columns without a call for each cell.
"""

from __future__ import annotations

import enum
import json
import pickle
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, repeat
from operator import attrgetter, is_
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
from django.db.models import Model, QuerySet
from django.utils.functional import Promise
from django.utils.safestring import SafeString, mark_safe

from paiid_perf.cache.types import CacheStrategy, Compressor, Serializer
from paiid_perf.exceptions import ConfigurationError, PerfError

#: The package of the extra "orjson", or None.
_orjson: Any = import_module("orjson") if find_spec("orjson") else None

#: A compressed value is kept only if it is at least this much smaller (else reading pays for nothing).
WORTH_COMPRESSING = 0.9
ZLIB_LEVEL = 6
#: Rows from which a list of dicts becomes a table.
TABLE_FROM = 3

SERIALIZERS: tuple[Serializer, ...] = ("json", "msgpack", "pickle")
COMPRESSORS: tuple[Compressor, ...] = ("none", "zlib", "zstd")


class NotCacheable(PerfError, TypeError):
    """The value cannot be kept without changing it; the message says where in it, and what to do."""


class Unreadable(PerfError):
    """The stored bytes are not ours, damaged, or need what this process may not or cannot use."""


# --- the two public functions --------------------------------------------------------------------------


def encode(value: Any, strategy: CacheStrategy) -> tuple[int, bytes]:
    """(codec, bytes) of a value; the codec (0–15) is what ``decode`` needs to read it.

    Raises:
        NotCacheable: the strategy's serializer cannot keep the value as it is.
        ConfigurationError: the strategy's compressor is not installed.
    """
    body = _serialized(value, strategy.serializer)
    compressor, body = _compressed(body, strategy)
    return SERIALIZERS.index(strategy.serializer) | COMPRESSORS.index(compressor) << 2, body


def decode(codec: int, body: bytes, *, allow_pickle: bool = False) -> Any:
    """The value that ``encode`` was given.

    Raises:
        Unreadable: damaged bytes, a compressor that is not installed, or pickle that is not allowed.
    """
    try:
        serializer, compressor = SERIALIZERS[codec & 3], COMPRESSORS[codec >> 2]
        if serializer == "pickle" and not allow_pickle:
            raise Unreadable("a pickled value was found where pickle is not allowed; it was not read.")
        if compressor != "none":
            body = _DECOMPRESS[compressor](body)
        return _LOAD[serializer](body)
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(f"the stored value cannot be read ({type(error).__name__}: {error}).") from error


# --- compression -----------------------------------------------------------------------------------------


def _compressed(body: bytes, strategy: CacheStrategy) -> tuple[Compressor, bytes]:
    if strategy.compressor == "none" or strategy.compress_over is None or len(body) < strategy.compress_over:
        return "none", body
    smaller = _COMPRESS[strategy.compressor](body)
    return (strategy.compressor, smaller) if len(smaller) <= len(body) * WORTH_COMPRESSING else ("none", body)


def _zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore] # Python 3.14
    except ImportError:
        try:
            import zstandard as zstd  # type: ignore[import-not-found, no-redef, unused-ignore]
        except ImportError as error:
            raise ConfigurationError(
                "compressor='zstd' needs Python 3.14 or `pip install zstandard`; 'zlib' needs neither."
            ) from error
    return zstd


_COMPRESS: dict[Compressor, Callable[[bytes], bytes]] = {
    "zlib": lambda body: zlib.compress(body, ZLIB_LEVEL),
    "zstd": lambda body: bytes(_zstd().compress(body)),
}
_DECOMPRESS: dict[Compressor, Callable[[bytes], bytes]] = {
    "zlib": zlib.decompress,
    "zstd": lambda body: bytes(_zstd().decompress(body)),
}


# --- refusing --------------------------------------------------------------------------------------------


class _Refused(Exception):
    """Some part of the value has a type that is not kept."""


#: What to do about the types that people try most.
_FIXES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (Model, "cache a dict of the fields you need, or the primary key"),
    (QuerySet, "cache list(queryset.values(…))"),
    (Promise, "call str() on the lazy text"),
    (enum.Enum, "cache its .value"),
    ((str, int, float, bytes, Decimal), "convert it to its plain type first"),
    ((dict,), "cache dict(value)"),
    ((tuple,), "cache tuple(value) or value._asdict()"),
    ((list, set, frozenset), "convert it to the plain collection first"),
    ((datetime, time), "use a ZoneInfo, an unnamed fixed offset or no time zone"),
)
_OTHERWISE = "convert it to plain data, or use a strategy with serializer='pickle' and allow_pickle=True"


def _refusal(value: Any, serializer: Serializer) -> str:
    where, culprit = _find_culprit(value, serializer, "value") or ("value", value)
    kind = type(culprit)
    fix = next((fix for types, fix in _FIXES if isinstance(culprit, types)), _OTHERWISE)
    return (
        f"{where} is a {kind.__module__}.{kind.__qualname__}, which {serializer} would not give back: {fix}."
    )


def _find_culprit(value: Any, serializer: Serializer, where: str) -> tuple[str, Any] | None:
    for name, part in _parts(value):
        found = _find_culprit(part, serializer, where + name)
        if found:
            return found
    try:
        _PREPARE[serializer](value)
    except _Refused:
        return where, value
    return None


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if type(value) is dict:
        yield from (("<key>", key) for key in value)
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif type(value) in {list, tuple}:
        yield from ((f"[{position}]", part) for position, part in enumerate(value))
    elif type(value) in {set, frozenset}:
        yield from (("<item>", part) for part in value)


def _serialized(value: Any, serializer: Serializer) -> bytes:
    try:
        return _DUMP[serializer](value)
    except _Refused as error:
        raise NotCacheable(_refusal(value, serializer)) from error
    except UnicodeEncodeError as error:
        raise NotCacheable(f"a text in the value is not valid Unicode ({error.reason}).") from error
    except RecursionError as error:
        raise NotCacheable("the value contains itself, or is nested too deep to be kept.") from error
    except Exception as error:
        raise NotCacheable(f"{serializer} cannot keep the value: {error}") from error


# --- times with their zones --------------------------------------------------------------------------------

_MICROSECOND = timedelta(microseconds=1)


def _zone(zone: tzinfo | None) -> str | int | None:
    """None, the key of a ZoneInfo, or a fixed offset in microseconds."""
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key:
        return zone.key
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        if zone.tzname(None) == timezone(offset).tzname(None):
            return offset // _MICROSECOND
    raise _Refused


def _zone_of(stored: str | int | None) -> tzinfo | None:
    if stored is None:
        return None
    return ZoneInfo(stored) if isinstance(stored, str) else timezone(timedelta(microseconds=stored))


def _timed(value: datetime | time) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), _zone(value.tzinfo), value.fold]


def _datetime_of(parts: Sequence[Any]) -> datetime:
    return datetime.fromisoformat(parts[0]).replace(tzinfo=_zone_of(parts[1]), fold=parts[2])


def _time_of(parts: Sequence[Any]) -> time:
    return time.fromisoformat(parts[0]).replace(tzinfo=_zone_of(parts[1]), fold=parts[2])


def _delta(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


_ATOMS = frozenset({type(None), bool, int, float, str, bytes})


# --- columns: lists whose members are alike ------------------------------------------------------------------

_Columns = dict[type, Callable[[list[Any]], Any]]


def _as_column(values: list[Any], columns: _Columns) -> Any:
    """The list stored as a whole, None if it has to be stored member by member."""
    whole = columns.get(type(values[0])) if len(values) >= TABLE_FROM else None
    return whole(values) if whole else None


def _table_keys(rows: list[Any]) -> list[str] | None:
    """The keys that all members have, in the same order; None if they are not such dicts."""
    keys = tuple(rows[0])
    if not keys or set(map(type, rows)) != {dict} or set(map(tuple, rows)) != {keys}:
        return None
    # 1 == True == 1.0: equal keys of different types are not the same keys.
    return list(keys) if set(map(type, chain.from_iterable(rows))) == {str} else None


def _columns(rows: list[dict[str, Any]]) -> list[list[Any]]:
    return list(map(list, zip(*map(dict.values, rows), strict=True)))


def _rows(table: Sequence[Any]) -> list[dict[str, Any]]:
    keys, columns = table
    if len({*map(len, columns)}) != 1 or len(keys) != len(columns):
        raise Unreadable("the columns of a stored table differ in length.")
    if len(keys) > WIDEST:
        return [dict(zip(keys, row)) for row in zip(*columns)]  # noqa: B905 # looked at above
    made: list[dict[str, Any]] = _row_maker(len(keys))(columns, *keys)
    return made


#: Columns of a table that is put together by a function of its own.
WIDEST = 64


@cache
def _row_maker(width: int) -> Callable[..., list[dict[str, Any]]]:
    """What makes dicts of so many columns and their keys: a display takes a quarter of the time of ``dict(zip(…))``.

    Its text comes from the width alone, as the standard library's comes that makes a named tuple.
    """
    keys, row = (", ".join(f"{letter}{n}" for n in range(width)) for letter in "kv")
    pairs = ", ".join(f"k{n}: v{n}" for n in range(width))
    made: Callable[..., list[dict[str, Any]]] = eval(  # noqa: S307
        f"lambda columns, {keys}: [{{{pairs}}} for {row}, in zip(*columns)]"  # nosec B307
    )
    return made


def _joined_decimals(values: list[Any]) -> str | None:
    return " ".join(map(str, values)) if set(map(type, values)) == {Decimal} else None


def _decimals_of(joined: str) -> list[Decimal]:
    return list(map(Decimal, joined.split(" ")))


def _are_utcs(values: list[Any]) -> bool:
    if set(map(type, values)) != {datetime} or any(map(_fold_of, values)):
        return False
    # By identity: another zone may equal UTC under a name of its own.
    return all(map(is_, map(_zone_object_of, values), repeat(UTC)))


_fold_of, _zone_object_of = attrgetter("fold"), attrgetter("tzinfo")


def _joined_utcs(values: list[Any]) -> str | None:
    if not _are_utcs(values):
        return None
    return " ".join(map(datetime.isoformat, values)).replace("+00:00", "Z")


def _utcs_of(joined: str) -> list[datetime]:
    return list(map(datetime.fromisoformat, joined.split(" ")))


#: A datetime's own state, as pickles of every version have held it.
_STATE, _STATE_BYTES = "10s", 10


def _states_of_utcs(values: list[Any]) -> bytes | None:
    """Half the bytes of text, an eighth of the time to write, and as fast to read."""
    return b"".join([moment.__reduce__()[1][0] for moment in values]) if _are_utcs(values) else None


def _utcs_of_states(states: bytes) -> list[datetime]:
    each = struct.unpack(_STATE * (len(states) // _STATE_BYTES), states)
    return list(map(datetime, each, repeat(UTC)))  # type: ignore[arg-type]


# --- msgpack -----------------------------------------------------------------------------------------------

(_DECIMAL, _UTC, _NAIVE, _DATETIME, _DATE, _TIME, _DELTA, _UUID) = range(1, 9)
(_TUPLE, _SET, _FROZENSET, _BIG_INT, _SAFE, _TABLE, _DECIMALS) = range(9, 16)
_UTCS = 17  # 16 was the same column as text
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001, RUF100 # naive on purpose


def _packed(value: Any) -> bytes:
    return bytes(msgpack.packb(value, strict_types=True, default=_big_int))


def _big_int(value: Any) -> msgpack.ExtType:
    if type(value) is not int:
        raise _Refused
    return msgpack.ExtType(_BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _for_msgpack(value: Any) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    try:
        prepare = _TO_MSGPACK[kind]
    except KeyError:
        raise _Refused from None
    return prepare(value)


def _msgpack_dict(value: dict[Any, Any]) -> dict[Any, Any]:
    return {_for_msgpack(key): _for_msgpack(part) for key, part in value.items()}


def _msgpack_list(value: list[Any]) -> Any:
    if set(map(type, value)) <= _ATOMS:
        return value
    return _as_column(value, _MSGPACK_COLUMNS) or [_for_msgpack(part) for part in value]


def _msgpack_table(rows: list[Any]) -> msgpack.ExtType | None:
    keys = _table_keys(rows)
    return (
        None
        if keys is None
        else msgpack.ExtType(_TABLE, _packed([keys, [_msgpack_list(column) for column in _columns(rows)]]))
    )


def _msgpack_decimals(values: list[Any]) -> msgpack.ExtType | None:
    joined = _joined_decimals(values)
    return None if joined is None else msgpack.ExtType(_DECIMALS, joined.encode())


def _msgpack_utcs(values: list[Any]) -> msgpack.ExtType | None:
    states = _states_of_utcs(values)
    return None if states is None else msgpack.ExtType(_UTCS, states)


def _since_epoch(value: datetime) -> int:
    return (value - _EPOCH_UTC) // _MICROSECOND


def _msgpack_datetime(value: datetime) -> msgpack.ExtType:
    if value.fold == 0 and value.tzinfo is UTC:
        return msgpack.ExtType(_UTC, struct.pack(">q", _since_epoch(value)))
    if value.fold == 0 and value.tzinfo is None:
        return msgpack.ExtType(_NAIVE, struct.pack(">q", (value - _EPOCH) // _MICROSECOND))
    return msgpack.ExtType(_DATETIME, _packed(_timed(value)))


def _parts_in(code: int) -> Callable[[Iterable[Any]], msgpack.ExtType]:
    return lambda parts: msgpack.ExtType(code, _packed([_for_msgpack(part) for part in parts]))


_MSGPACK_COLUMNS: _Columns = {
    dict: _msgpack_table,
    Decimal: _msgpack_decimals,
    datetime: _msgpack_utcs,
}
_TO_MSGPACK: dict[type, Callable[[Any], Any]] = {
    dict: _msgpack_dict,
    list: _msgpack_list,
    tuple: _parts_in(_TUPLE),
    set: _parts_in(_SET),
    frozenset: _parts_in(_FROZENSET),
    Decimal: lambda value: msgpack.ExtType(_DECIMAL, str(value).encode()),
    datetime: _msgpack_datetime,
    date: lambda value: msgpack.ExtType(_DATE, struct.pack(">i", value.toordinal())),
    time: lambda value: msgpack.ExtType(_TIME, _packed(_timed(value))),
    timedelta: lambda value: msgpack.ExtType(_DELTA, _packed(_delta(value))),
    UUID: lambda value: msgpack.ExtType(_UUID, value.bytes),
    SafeString: lambda value: msgpack.ExtType(_SAFE, value.encode()),
}


def _unpacked(body: bytes) -> Any:
    return msgpack.unpackb(body, ext_hook=_from_ext, strict_map_key=False)


def _from_ext(code: int, data: bytes) -> Any:
    return _FROM_EXT[code](data)


def _moment(data: bytes) -> datetime:
    return _EPOCH_UTC + timedelta(0, 0, int.from_bytes(data, "big", signed=True))


_FROM_EXT: dict[int, Callable[[bytes], Any]] = {
    _DECIMAL: lambda data: Decimal(data.decode()),
    _UTC: _moment,
    _NAIVE: lambda data: _EPOCH + timedelta(0, 0, int.from_bytes(data, "big", signed=True)),
    _DATETIME: lambda data: _datetime_of(_unpacked(data)),
    _DATE: lambda data: date.fromordinal(int.from_bytes(data, "big")),
    _TIME: lambda data: _time_of(_unpacked(data)),
    _DELTA: lambda data: timedelta(*_unpacked(data)),
    _UUID: lambda data: UUID(bytes=data),
    _TUPLE: lambda data: tuple(_unpacked(data)),
    _SET: lambda data: set(_unpacked(data)),
    _FROZENSET: lambda data: frozenset(_unpacked(data)),
    _BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    _SAFE: lambda data: mark_safe(data.decode()),  # noqa: S308 # it was marked when it was stored
    _TABLE: lambda data: _rows(_unpacked(data)),
    _DECIMALS: lambda data: _decimals_of(data.decode()),
    _UTCS: _utcs_of_states,
}


# --- JSON ------------------------------------------------------------------------------------------------

#: A dict with one key that begins like this is one of ours; a host's own is stored as ``$dict``.
_MARK = "$"


def _for_json(value: Any) -> Any:
    kind = type(value)
    if kind in _JSON_ATOMS:
        return value
    try:
        prepare = _TO_JSON[kind]
    except KeyError:
        raise _Refused from None
    return prepare(value)


def _json_dict(value: dict[Any, Any]) -> dict[str, Any]:
    ours = len(value) == 1 and next(iter(value), "")[:1] == _MARK if _all_text(value) else True
    if ours:
        return {"$dict": [[_for_json(key), _for_json(part)] for key, part in value.items()]}
    return {key: _for_json(part) for key, part in value.items()}


def _all_text(keys: Iterable[Any]) -> bool:
    return all(type(key) is str for key in keys)


def _marked(mark: str, convert: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {mark: convert(value)}


def _listed(parts: Iterable[Any]) -> list[Any]:
    return [_for_json(part) for part in parts]


def _json_list(value: list[Any]) -> Any:
    if set(map(type, value)) <= _JSON_ATOMS:
        return value
    return _as_column(value, _JSON_COLUMNS) or _listed(value)


def _json_table(rows: list[Any]) -> dict[str, Any] | None:
    keys = _table_keys(rows)
    return None if keys is None else {"$table": [keys, [_json_list(column) for column in _columns(rows)]]}


def _json_joined(mark: str, join: Callable[[list[Any]], str | None]) -> Callable[[list[Any]], Any]:
    def column(values: list[Any]) -> dict[str, str] | None:
        joined = join(values)
        return None if joined is None else {mark: joined}

    return column


_JSON_ATOMS = _ATOMS - {bytes}
_JSON_COLUMNS: _Columns = {
    dict: _json_table,
    Decimal: _json_joined("$decimals", _joined_decimals),
    datetime: _json_joined("$datetimes", _joined_utcs),
}
_TO_JSON: dict[type, Callable[[Any], Any]] = {
    dict: _json_dict,
    list: _json_list,
    tuple: _marked("$tuple", _listed),
    set: _marked("$set", _listed),
    frozenset: _marked("$frozenset", _listed),
    bytes: _marked("$bytes", bytes.hex),
    Decimal: _marked("$decimal", str),
    datetime: _marked("$datetime", _timed),
    date: _marked("$date", date.isoformat),
    time: _marked("$time", _timed),
    timedelta: _marked("$timedelta", _delta),
    UUID: _marked("$uuid", str),
    SafeString: _marked("$safe", lambda value: str.__str__(value) + ""),
}
_FROM_JSON: dict[str, Callable[[Any], Any]] = {
    "$dict": lambda pairs: {key: value for key, value in pairs},  # noqa: C416 # dict() takes 2-char texts too
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$bytes": bytes.fromhex,
    "$decimal": Decimal,
    "$datetime": _datetime_of,
    "$date": date.fromisoformat,
    "$time": _time_of,
    "$timedelta": lambda parts: timedelta(*parts),
    "$uuid": UUID,
    "$safe": mark_safe,
    "$table": _rows,
    "$decimals": _decimals_of,
    "$datetimes": _utcs_of,
}


def _json_dumped(value: Any) -> bytes:
    prepared = _for_json(value)
    return _by_orjson(prepared) or json.dumps(prepared, ensure_ascii=False, separators=(",", ":")).encode()


def _by_orjson(prepared: Any) -> bytes | None:
    """The same JSON in a twentieth of the time; None where orjson is not there, refuses, or may have changed a value.

    It writes NaN and the infinities as null. Reading stays with the standard library: orjson has no object hook, makes
    floats of large integers, and was hardly faster with a walk over what it had read.
    """
    if _orjson is None:
        return None
    try:
        body = bytes(_orjson.dumps(prepared))
    except TypeError:
        return None
    return None if b"null" in body else body


def _json_loaded(body: bytes) -> Any:
    return json.loads(body, object_hook=_from_object)


def _from_object(stored: dict[str, Any]) -> Any:
    if len(stored) == 1:
        ((mark, part),) = stored.items()
        if mark[:1] == _MARK:
            return _FROM_JSON[mark](part)
    return stored


_PREPARE: dict[Serializer, Callable[[Any], Any]] = {
    "json": _for_json,
    "msgpack": _for_msgpack,
    "pickle": lambda value: value,
}
_DUMP: dict[Serializer, Callable[[Any], bytes]] = {
    "json": _json_dumped,
    "msgpack": lambda value: _packed(_for_msgpack(value)),
    "pickle": lambda value: pickle.dumps(value, pickle.HIGHEST_PROTOCOL),
}
_LOAD: dict[Serializer, Callable[[bytes], Any]] = {
    "json": _json_loaded,
    "msgpack": _unpacked,
    "pickle": pickle.loads,
}
