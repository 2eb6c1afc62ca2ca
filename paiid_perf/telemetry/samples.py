"""A few real statements with their parameters, so that a change can be measured by running them again.

SELECTs only, never from tables of users, sessions or tokens; in Redis for ``QUERY_SAMPLE_TTL`` and nowhere else,
never shown. Without Redis they stay in the process.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from hashlib import sha1
from typing import Any
from uuid import UUID

import msgpack
from django.apps import apps
from django.conf import settings as django_settings
from redis import Redis
from redis.exceptions import RedisError

from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate

logger = logging.getLogger("paiid_perf")

#: Parameter sets kept of one statement, statements kept in Redis, and waiting in a process.
SETS = 5
STATEMENTS = 1_000
WAITING = 200
#: Longer statements or parameters are not worth carrying.
MAX_BYTES = 20_000

#: Words that make a statement private wherever they stand in it.
_PRIVATE_WORDS = ("password", "token", "secret", "session", "auth_", "authtoken", "oauth", "otp_")
_SELECT = re.compile(r"\s*select\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One statement as the backend's cursor was given it: text with ``%s`` placeholders, and its parameters."""

    sql: str
    params: tuple[Any, ...]


_waiting: dict[str, list[tuple[Any, ...]]] = {}
_lock = threading.Lock()


def record(sql: str, params: Any) -> None:
    """Keep a statement for the next flush, if it may be kept."""
    if not isinstance(params, list | tuple | None) or not is_public(sql) or len(sql) > MAX_BYTES:
        return
    with _lock:
        if sql in _waiting or len(_waiting) < WAITING:
            sets = _waiting.setdefault(sql, [])
            if len(sets) < SETS:
                sets.append(tuple(params or ()))


@lru_cache(maxsize=512)
def is_public(sql: str) -> bool:
    """Whether it is a plain SELECT that touches nobody's credentials."""
    text = sql.lower()
    if not _SELECT.match(text) or " for update" in text or ";" in text:
        return False
    return not any(word in text for word in (*_PRIVATE_WORDS, *_user_tables()))


@lru_cache(maxsize=1)
def _user_tables() -> tuple[str, ...]:
    return (apps.get_model(django_settings.AUTH_USER_MODEL)._meta.db_table.lower(),)


def read() -> list[Sample]:
    """The samples of all processes (of this one, where there is no Redis). Empty when Redis does not answer."""
    client = redis_gate.patient()
    if client is None:
        return [Sample(sql, params) for sql, sets in list(_waiting.items()) for params in sets]
    try:
        stored: Any = client.hvals(_key())
    except RedisError as error:
        logger.warning("Sampled statements cannot be read (%s).", error)
        return []
    return [sample for value in stored for sample in decode(value)]


_KEEP_LUA = """
for i = 3, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 or redis.call('HLEN', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 1
"""


def flush() -> None:
    """Hand the waiting samples to Redis. What cannot be handed over is let go: others will come."""
    client = redis_gate.patient() if _waiting else None
    if client is None:
        return
    with _lock:
        taken = dict(_waiting)
        _waiting.clear()
    try:
        _keep(client, taken)
    except RedisError as error:
        logger.warning("Sampled statements could not be kept (%s).", error)


def _keep(client: Redis, taken: dict[str, list[tuple[Any, ...]]]) -> None:
    pairs = [
        part for sql, sets in taken.items() if (value := encode(sql, sets)) for part in (field_of(sql), value)
    ]
    if pairs:
        ttl = max(1, int(get_settings().QUERY_SAMPLE_TTL.total_seconds()))
        client.eval(_KEEP_LUA, 1, _key(), STATEMENTS, ttl, *pairs)


def forget() -> None:
    """Let go of what waits (in a forked child, in a test)."""
    _waiting.clear()


os.register_at_fork(after_in_child=forget)


def field_of(sql: str) -> str:
    """The hash field of a statement."""
    return sha1(sql.encode(), usedforsecurity=False).hexdigest()


def _key() -> str:
    return f"{get_settings().KEY_PREFIX}:samples"


# --- typed parameters ----------------------------------------------------------------------------------

_PACK: dict[type, tuple[int, Callable[[Any], str]]] = {
    datetime: (1, datetime.isoformat),
    date: (2, date.isoformat),
    time: (3, time.isoformat),
    timedelta: (4, lambda value: repr(value.total_seconds())),
    Decimal: (5, str),
    UUID: (6, str),
}
_UNPACK: dict[int, Callable[[str], Any]] = {
    1: datetime.fromisoformat,
    2: date.fromisoformat,
    3: time.fromisoformat,
    4: lambda text: timedelta(seconds=float(text)),
    5: Decimal,
    6: UUID,
}


def encode(sql: str, sets: Sequence[Sequence[Any]]) -> bytes | None:
    """The stored form; parameter sets with a type that cannot be carried are left out, None if all are."""
    packed = [one for params in sets if (one := _packed([sql, list(params)])) is not None]
    return b"".join([msgpack.Packer().pack_array_header(len(packed)), *packed]) if packed else None


def _packed(sample: list[Any]) -> bytes | None:
    try:
        data: bytes = msgpack.packb(sample, default=_pack_one)
    except (TypeError, ValueError, OverflowError):
        return None
    return data if len(data) <= 2 * MAX_BYTES else None


def _pack_one(value: Any) -> msgpack.ExtType:
    if type(value) not in _PACK:
        raise TypeError(f"a {type(value).__name__} is not carried")
    code, write = _PACK[type(value)]
    return msgpack.ExtType(code, write(value).encode())


def decode(stored: bytes) -> list[Sample]:
    """What ``encode`` wrote; empty where it cannot be read."""
    try:
        pairs = msgpack.unpackb(stored, ext_hook=lambda code, data: _UNPACK[code](data.decode()))
        return [Sample(sql, tuple(params)) for sql, params in pairs]
    except (ValueError, KeyError, TypeError, msgpack.UnpackException):
        logger.warning("A sampled statement could not be read.")
        return []
