"""What a request asks the shared store, in one round trip, and what it leaves there, in another.

The question counts the request against its limit, checks the tags' versions, looks the answer up and, on a miss,
says who computes it. In Redis it is one script call, so all of it happens at one moment. On another Django cache
the same words are a few calls. Redis away: the way is open, nothing is cached, and the request does not wait
again for ``REDIS_COOL_OFF``.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from math import log
from random import random
from typing import Any, NamedTuple, TypeVar

from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpRequest
from redis import ConnectionPool

from paiid_perf import invalidation, wire
from paiid_perf.api.limits import EXACT_UP_TO, LIMIT_LUA, SLICES, Allowance, Limit, Rate, fixed_window
from paiid_perf.api.shelf import shelf
from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate
from paiid_perf.wire import Script

logger = logging.getLogger("paiid_perf")
T = TypeVar("T")

#: Milliseconds for which the one who computes an answer keeps the others waiting, at the most.
LEASE_MS = 10_000
#: Milliseconds for which it is remembered that an answer may not be kept (nobody waits for it), or failed.
PASS_MS = 10_000
FAILED_MS = 1_000


class Found(IntEnum):
    """What the lookup came to."""

    NOTHING = 0
    """Nothing was asked, or the store is away."""
    FRESH = 1
    STALE = 2
    """Past its TTL and within stale-while-revalidate; somebody else computes a new one."""
    LEAD = 3
    """A miss, and this request computes the answer (it may hold a stale one meanwhile)."""
    WAIT = 4
    """A miss that another request computes."""
    PASS = 5
    """An answer that may not be kept: compute it, and keep nobody waiting."""
    REFRESH = 6
    """An answer to give at once, which this request computes anew afterwards: past its TTL, or soon to be."""


#: What holds an answer to give.
GIVES = frozenset({Found.FRESH, Found.STALE, Found.REFRESH})
FOUND = tuple(Found)


class Lookup(NamedTuple):
    """The answer looked for: its key, and the tags that it depends on by declaration."""

    key: str
    tags: tuple[str, ...] = ()
    stale_ms: int = 0
    """For so long past its TTL an answer is given while a new one is computed."""
    rows: bool = False
    """Whether answers depend on rows that their views name (``depends_on``)."""


class Question(NamedTuple):
    """What a request asks before its view."""

    limit: Limit | None
    lookup: Lookup | None


class Reply(NamedTuple):
    """The store's reply. ``born`` is the sequence of invalidations before anything is computed."""

    allowance: Allowance | None = None
    found: Found = Found.NOTHING
    born: int = 0
    blob: bytes = b""
    lease: str = ""
    stamp: str = ""
    """Names the stored answer: while it is the same, so is the answer. With it and no blob, it is on the shelf."""


class Keepsake(NamedTuple):
    """An answer to leave in the store, or (``blob`` empty) the word that there is none to keep."""

    lookup: Lookup
    lease: str
    born: int
    blob: bytes
    ttl_ms: int
    """Fresh for so long; for an empty blob, nobody waits for so long (0: only the lease is let go of)."""
    stale_ms: int = 0
    row_tags: tuple[str, ...] = ()
    key: str = ""
    """Where to leave it, if the view turned out to read more than was known when it was looked up."""
    cost_ms: float = 0.0
    """What computing it took: the dearer, the earlier one request computes it anew (XFetch)."""


SILENCE = Reply()


def _with_constants(lua: str) -> str:
    constants = {"$ROW_TTL": invalidation.ROW_TAG_TTL, "$EXACT": EXACT_UP_TO, "$SLICES": SLICES}
    for name, value in constants.items():
        lua = lua.replace(name, str(value))
    return lua


#: Limits are counted in a database of their own, which emptying the cache (FLUSHDB) leaves alone; where there is no
#: other, in the cache's. There the sites of one server meet, each in its own database so far: the number keeps them
#: apart.
_COUNT_LUA = (
    LIMIT_LUA
    + """
local function count(key, limit, period, own, limits, now)
  local moved = limits ~= '' and not redis.pcall('SELECT', limits)['err']
  if moved then key = key .. '@' .. own end
  limit, period = tonumber(limit), tonumber(period)
  local allowed, remaining, reset
  if limit > $EXACT then
    allowed, remaining, reset = ring(key, limit, period, now, $SLICES)
  else
    allowed, remaining, reset = exact(key, limit, period, now)
  end
  if moved then redis.call('SELECT', own) end
  return allowed, remaining, reset
end
"""
)

#: A limit alone: half the arguments, and nothing to define but what counts.
_LIMIT = Script(
    _with_constants(
        _COUNT_LUA
        + """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
return string.format('%d %d %.0f', count(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], now))
"""
    )
)

_ASK = Script(
    _with_constants(
        invalidation.VERSION_LUA
        + _COUNT_LUA
        + """
local function look_up(entry_key, lease_key, now)
  local newest = 0
  if #KEYS > 4 then
    for i, v in ipairs(redis.call('MGET', unpack(KEYS, 5))) do
      v = tonumber(v or version(KEYS[1], KEYS[i + 4], 0))
      if v > newest then newest = v end
    end
  end
  local entry = redis.call('HMGET', entry_key, 'b', 's', 't', 'c')
  local stamp, servable = false, false
  if entry[1] then
    if entry[1] == 'pass' then return 5, '0', '-', '' end
    local made = tonumber(entry[1])
    if entry[3] then
      for key in string.gmatch(entry[3], '[^\\n]+') do
        local v = tonumber(version(KEYS[1], key, $ROW_TTL))
        if v > newest then newest = v end
      end
    end
    if newest <= made then
      stamp = entry[2] .. '.' .. entry[1]
      local ends = tonumber(entry[2])
      local early = now + tonumber(entry[4] or 0) * tonumber(ARGV[8])
      if early < ends then return 1, '0', stamp, ARGV[6] == stamp and '' or redis.call('HGET', entry_key, 'd') end
      servable = now < ends and 1 or (now < ends + tonumber(ARGV[7]) and 2)
    end
  end
  local leads = redis.call('SET', lease_key, ARGV[4], 'NX', 'PX', ARGV[5])
  local born = leads and sequence(KEYS[1]) or '0'
  if not stamp then return leads and 3 or 4, born, '-', '' end
  if not servable and not leads then return 4, born, '-', '' end
  local blob = ARGV[6] == stamp and '' or redis.call('HGET', entry_key, 'd')
  if not servable then return 3, born, stamp, blob end
  return leads and 6 or servable, born, stamp, blob
end

local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local allowed, remaining, reset = 1, 0, 0
if tonumber(ARGV[1]) >= 0 then allowed, remaining, reset = count(KEYS[2], ARGV[1], ARGV[2], ARGV[9], ARGV[10], now) end
local found, born, stamp, blob = 0, '0', '-', ''
if allowed == 1 and ARGV[3] == '1' then found, born, stamp, blob = look_up(KEYS[3], KEYS[4], now) end
-- One string: a reply of seven parts takes the client longer to read than the server to answer.
return string.format('%d %d %.0f %d %s %s\\n', allowed, remaining, reset, found, born, stamp) .. blob
"""
    )
)

_KEEP = Script(
    invalidation.VERSION_LUA
    + """
local leads = redis.call('GET', KEYS[3]) == ARGV[1]
if leads then redis.call('DEL', KEYS[3]) end
local kept = redis.call('HGET', KEYS[2], 'b')
if ARGV[3] == '' then
  -- Only who was asked to compute may say that there is nothing to keep.
  if leads and ARGV[4] ~= '0' then
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[2], 'b', 'pass')
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
  end
  return 0
end
local born = tonumber(ARGV[2])
if kept and kept ~= 'pass' and tonumber(kept) > born then return 0 end
-- A row's tag that nobody has read yet starts at this answer, unless anything has changed since it was begun.
local moved = sequence(KEYS[1]) ~= ARGV[2]
for i = 4, #KEYS do
  if moved then
    version(KEYS[1], KEYS[i], tonumber(ARGV[6]))
  else
    redis.call('SET', KEYS[i], ARGV[2], 'NX', 'EX', ARGV[6])
  end
end
local t = redis.call('TIME')
local fresh_until = t[1] * 1000000 + t[2] + tonumber(ARGV[4]) * 1000
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'b', ARGV[2], 's', string.format('%.0f', fresh_until), 'd', ARGV[3], 'c', ARGV[7])
if #KEYS > 3 then redis.call('HSET', KEYS[2], 't', table.concat(KEYS, '\\n', 4)) end
redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[4]) + tonumber(ARGV[5]))
return 1
"""
)


def ask(question: Question, request: HttpRequest) -> Reply:
    """One round trip to Redis; a few calls on another cache. SILENCE when it does not answer."""
    question = _askable(question)
    if redis_gate.is_redis():
        return redis_gate.over(lambda pool: _ask_redis(pool, question), SILENCE)
    return _quietly(lambda: _ask_django(question, request), SILENCE)


async def ask_async(question: Question, request: HttpRequest) -> Reply:
    """The same without blocking the event loop."""
    question = _askable(question)
    if redis_gate.is_redis():
        return await redis_gate.over_async(lambda pool: _ask_redis_async(pool, question), SILENCE)
    return await _off_loop(lambda: _quietly(lambda: _ask_django(question, request), SILENCE))


def ask_again(lookup: Lookup) -> Reply:
    """Look again for an answer that another request computes, without counting anything."""
    again = Question(None, lookup)
    if redis_gate.is_redis():
        return redis_gate.over(lambda pool: _ask_redis(pool, again), SILENCE)
    return _quietly(lambda: Reply(None, *_look_up_django(lookup)), SILENCE)


async def ask_again_async(lookup: Lookup) -> Reply:
    """The same without blocking the event loop."""
    again = Question(None, lookup)
    if redis_gate.is_redis():
        return await redis_gate.over_async(lambda pool: _ask_redis_async(pool, again), SILENCE)
    return await _off_loop(lambda: _quietly(lambda: Reply(None, *_look_up_django(lookup)), SILENCE))


def keep(keepsake: Keepsake) -> None:
    """Leave an answer in the store, and let go of the lease. What cannot be left is not: others will compute it."""
    if redis_gate.is_redis():
        redis_gate.over(lambda pool: wire.tell(pool, _KEEP, *_keep_command(keepsake)), None)
    else:
        _quietly(lambda: _keep_in_django(keepsake), None)


async def keep_async(keepsake: Keepsake) -> None:
    """The same without blocking the event loop."""
    if redis_gate.is_redis():
        await redis_gate.over_async(lambda pool: wire.tell_async(pool, _KEEP, *_keep_command(keepsake)), None)
    else:
        await _off_loop(lambda: _quietly(lambda: _keep_in_django(keepsake), None))


def _askable(question: Question) -> Question:
    if question.lookup and _must_not_look(question.lookup):
        return Question(question.limit, None)
    return question


def _quietly(work: Callable[[], T], default: T) -> T:
    try:
        return work()
    except Exception:
        logger.exception("The cache does not answer; the request goes on without it.")
        return default


async def _off_loop(work: Callable[[], T]) -> T:
    if isinstance(caches[get_settings().CACHE], LocMemCache):
        return work()
    return await sync_to_async(work)()


def _must_not_look(lookup: Lookup) -> bool:
    # An invalidation that the store has not taken yet, or a change that is not committed yet.
    if lookup.rows and invalidation.rows_in_doubt():
        return True
    return invalidation.has_pending(lookup.tags) or invalidation.touched(lookup.tags)


_process = os.urandom(6).hex()
_numbers = itertools.count()


def new_lease() -> str:
    """A name for one request's lease that no other has."""
    return f"{_process}{os.getpid()}.{next(_numbers)}"


def _lease_key(lookup: Lookup) -> str:
    return f"{lookup.key}:lease"


# --- Redis -----------------------------------------------------------------------------------------------


def question_command(question: Question, lease: str, stamp: str = "", database: int = 0) -> list[str]:
    """The keys (KEYS_OF says how many) and the arguments of the script that asks, as text."""
    limit, lookup = question
    prefix = get_settings().KEY_PREFIX
    sequence = f"{prefix}:tags"
    # What is not asked for has a key all the same, in the slot of the others.
    parts = [sequence, limit.key if limit else sequence, sequence, sequence]
    if lookup:
        parts[2:] = [lookup.key, f"{lookup.key}:lease", *_tag_keys(prefix, lookup.tags)]
    parts += _rate_parts(limit.rate) if limit else _NO_RATE
    if lookup is None:
        return parts + _NO_LOOKUP + _databases(database, get_settings().LIMITS_DATABASE)
    early = f"{-log(1.0 - random()):.3f}"  # noqa: S311
    parts += ["1", lease, _LEASE_MS, stamp, str(lookup.stale_ms * 1000), early]
    return parts + _databases(database, get_settings().LIMITS_DATABASE)


def keys_of(question: Question) -> int:
    """How many of the parts of ``question_command`` are keys."""
    return 4 + (len(question.lookup.tags) if question.lookup else 0)


_NO_RATE = ["-1", "0"]
_NO_LOOKUP = ["0", "", "0", "", "0", "0"]
_LEASE_MS = str(LEASE_MS)


@lru_cache(maxsize=256)
def _rate_parts(rate: Rate) -> list[str]:
    return [str(rate.limit), str(rate.seconds * 1_000_000)]


@lru_cache(maxsize=64)
def _databases(own: int, limits: int | None) -> list[str]:
    return [str(own), "" if limits is None or limits == own else str(limits)]


@lru_cache(maxsize=256)
def _tag_keys(prefix: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(invalidation.tag_key, tags))


def read_reply(raw: bytes, question: Question, lease: str) -> Reply:
    """What the script that asks returned, as a Reply."""
    head, _, blob = raw.partition(b"\n")
    allowed, remaining, reset, found, born, stamp = head.split()
    allowance = Allowance(allowed == b"1", int(remaining), int(reset) / 1e6) if question.limit else None
    return Reply(allowance, FOUND[int(found)], int(born), blob, lease, stamp.decode())


def _packed(pool: ConnectionPool, question: Question, lease: str) -> list[str]:
    stamp = shelf.stamp_of(question.lookup.key) if question.lookup else ""
    return question_command(question, lease, stamp, pool.connection_kwargs.get("db") or 0)


def limit_command(limit: Limit, database: int) -> list[str]:
    """The key and the arguments of the script that only counts."""
    return [limit.key, *_rate_parts(limit.rate), *_databases(database, get_settings().LIMITS_DATABASE)]


def read_allowance(raw: bytes) -> Allowance:
    """What the script that counts said."""
    allowed, remaining, reset = raw.split()
    return Allowance(allowed == b"1", int(remaining), int(reset) / 1e6)


def _ask_redis(pool: ConnectionPool, question: Question) -> Reply:
    if question.lookup is None and question.limit is not None:
        parts = limit_command(question.limit, pool.connection_kwargs.get("db") or 0)
        return Reply(read_allowance(wire.send(pool, _LIMIT, _LIMIT.call(1, parts), parts[:1], parts[1:])))
    lease = new_lease() if question.lookup else ""
    parts, keys = _packed(pool, question, lease), keys_of(question)
    raw = wire.send(pool, _ASK, _ASK.call(keys, parts), parts[:keys], parts[keys:])
    return read_reply(raw, question, lease)


async def _ask_redis_async(pool: ConnectionPool, question: Question) -> Reply:
    if question.lookup is None and question.limit is not None:
        parts = limit_command(question.limit, pool.connection_kwargs.get("db") or 0)
        return Reply(read_allowance(await wire.call_async(pool, _LIMIT, parts[:1], parts[1:])))
    lease = new_lease() if question.lookup else ""
    parts, keys = _packed(pool, question, lease), keys_of(question)
    raw = await wire.call_async(pool, _ASK, parts[:keys], parts[keys:])
    return read_reply(raw, question, lease)


def _keep_command(keepsake: Keepsake) -> tuple[list[str], list[Any]]:
    lookup = keepsake.lookup
    rows = [invalidation.tag_key(tag) for tag in keepsake.row_tags]
    keys = [invalidation.sequence_key(), keepsake.key or lookup.key, _lease_key(lookup), *rows]
    args = [keepsake.lease, keepsake.born, keepsake.blob, keepsake.ttl_ms, keepsake.stale_ms]
    return keys, [*args, invalidation.ROW_TAG_TTL, round(keepsake.cost_ms * 1000)]


# --- another Django cache ----------------------------------------------------------------------------------


def _ask_django(question: Question, request: HttpRequest) -> Reply:
    allowance = fixed_window(question.limit, request) if question.limit else None
    if question.lookup is None or (allowance and not allowance.allowed):
        return Reply(allowance)
    return Reply(allowance, *_look_up_django(question.lookup))


def _look_up_django(lookup: Lookup) -> tuple[Found, int, bytes, str]:
    cache = caches[get_settings().CACHE]
    newest = _newest(lookup.tags)
    entry = cache.get(lookup.key)
    stale, servable = b"", False
    if entry is not None:
        made, fresh_until, blob, row_tags = entry
        if made < 0:
            return Found.PASS, 0, b"", ""
        if max(newest, _newest(row_tags)) <= made:
            if time.time() < fresh_until:
                return Found.FRESH, 0, blob, ""
            stale = blob
            servable = time.time() < fresh_until + lookup.stale_ms / 1000
    born = invalidation.current_sequence(cache)
    lease = new_lease()
    if cache.add(_lease_key(lookup), lease, LEASE_MS / 1000):
        return (Found.REFRESH if servable else Found.LEAD), born, stale, lease
    return (Found.STALE, born, stale, "") if servable else (Found.WAIT, born, b"", "")


def _newest(tags: tuple[str, ...]) -> float:
    found = invalidation.versions(tags)
    return math.inf if any(version < 0 for version in found) else max(found, default=0)


def _keep_in_django(keepsake: Keepsake) -> None:
    cache = caches[get_settings().CACHE]
    lookup = keepsake.lookup
    leads = bool(keepsake.lease) and cache.get(_lease_key(lookup)) == keepsake.lease
    if not keepsake.blob:
        if leads and keepsake.ttl_ms:
            cache.set(lookup.key, (-1, 0, b"", ()), keepsake.ttl_ms / 1000)
    else:
        invalidation.versions(keepsake.row_tags)
        entry = (keepsake.born, time.time() + keepsake.ttl_ms / 1000, keepsake.blob, keepsake.row_tags)
        cache.set(keepsake.key or lookup.key, entry, (keepsake.ttl_ms + keepsake.stale_ms) / 1000)
    if leads:
        cache.delete(_lease_key(lookup))
