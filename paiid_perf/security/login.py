"""Limits on logging in and on password resets: counted before the password is hashed, shared by all processes.

An attempt is counted by the pair of name and address and by the name, in one atomic step when it starts, so fifty
at once get no more tries than five in a row; success gives it back. The address alone is counted when an attempt
fails, so that an office behind one address can log in at nine; only a crowd at once has to wait. Redis counts; every
failure is also a row, which takes over where Redis is away and seeds a Redis that was emptied. With neither there is
no login (fail closed).
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, cast

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, router, transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac
from redis import ConnectionPool

from paiid_perf import wire
from paiid_perf.conf import get_settings
from paiid_perf.models import LoginFailure, SecurityEvent
from paiid_perf.security.addresses import client_address, is_safelisted
from paiid_perf.security.networks import caller
from paiid_perf.security.refusals import is_refused, refuse_for_now
from paiid_perf.security.rules import parse_rate
from paiid_perf.security.types import Rate, Tier
from paiid_perf.stores import redis_gate
from paiid_perf.wire import Script

logger = logging.getLogger("paiid_perf")

#: A name may be tried from anywhere this many times as often as from one place before strangers have to wait, and
#: this many times as many attempts may be under way from one address.
USER_FACTOR = 4
#: Characters of a name that count: what is longer is nobody's, and may take neither time nor memory.
MAX_NAME = 512
#: How long the address that somebody logged in from counts as theirs.
KNOWN_FOR = timedelta(days=30)

#: KEYS: counters. ARGV: per counter its limit, its seconds, and 1 if it is counted now.
#: Counts one attempt unless a counter is full. Returns a sum: 1 if one was new, 2 to the power of the position of each
#: that is full (one number is read from the wire in half the time of a list).
_TAKE = Script("""
local full, new = 0, 0
for i, key in ipairs(KEYS) do
  local count = tonumber(redis.call('GET', key))
  if not count then new = 1
  elseif count >= tonumber(ARGV[3 * i - 2]) then full = full + 2 ^ i end
end
if full > 0 then return full + new end
for i, key in ipairs(KEYS) do
  if ARGV[3 * i] == '1' and redis.call('INCR', key) == 1 then redis.call('EXPIRE', key, ARGV[3 * i - 1]) end
end
return new
""")
#: KEYS: counters. ARGV: per counter a floor and its seconds (after Redis was emptied).
_RAISE = Script("""
for i, key in ipairs(KEYS) do
  local floor = tonumber(ARGV[2 * i - 1])
  if floor > tonumber(redis.call('GET', key) or '0') then redis.call('SET', key, floor, 'EX', ARGV[2 * i]) end
end
return 1
""")
#: KEYS[1]: a counter that is counted on failure. ARGV[1]: its seconds.
_COUNT = Script("""
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
""")
#: KEYS: pair, name, address, crowd. The first two start over; the others get back what the pair had.
_FORGIVE = Script("""
local tries = tonumber(redis.call('GET', KEYS[1]) or '0')
local own = {0, 0, tries - 1, tries}
redis.call('DEL', KEYS[1], KEYS[2])
for i = 3, #KEYS do
  local left = tonumber(redis.call('GET', KEYS[i]) or '0') - own[i]
  if left > 0 then redis.call('SET', KEYS[i], left, 'KEEPTTL') else redis.call('DEL', KEYS[i]) end
end
return 1
""")


class _Full(Exception):
    """The counters of those names are full: undo what this attempt added to the others."""


#: Names of tiers.
Full = frozenset[str]
_NONE: Full = frozenset()
#: Where nothing can be counted, everything counts as full.
_UNCOUNTED: Full = frozenset({"uncounted"})


def normalised(name: str) -> str:
    """The name as it is counted: NFKC, case folded, no spaces at its ends (``Ａlice `` is ``alice``)."""
    name = name[:MAX_NAME]
    if name.isascii():
        return name.lower().strip()
    name = name.encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def login_tiers(name: str, address: str, rate: Rate) -> tuple[Tier, ...]:
    """The counters of one login by ``name`` from ``address``: pair, name, address, crowd."""
    who, where = normalised(name), caller(address)
    return (
        Tier("pair", _key("login", "pair", who, where), rate),
        Tier("user", _key("login", "user", who), Rate(rate.limit * USER_FACTOR, rate.seconds * USER_FACTOR)),
        Tier("address", _key("login", "address", where), rate, at_start=False),
        Tier("crowd", _key("login", "crowd", where), Rate(rate.limit * USER_FACTOR, rate.seconds)),
    )


def reset_tiers(email: str, address: str, rate: Rate) -> tuple[Tier, ...]:
    """The counters of one password reset: the e-mail address and the caller's."""
    return (
        Tier("user", _key("reset", "user", normalised(email)), rate),
        Tier("address", _key("reset", "address", caller(address)), rate),
    )


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def mark(name: str) -> str:
    """What tells one name that was tried from another in events, without saying which it is."""
    return _mark(normalised(name), django_settings.SECRET_KEY)


@lru_cache(maxsize=1_024)
def _mark(name: str, key: str | bytes) -> str:
    sealed = salted_hmac("paiid_perf.security.login", name, secret=key, algorithm="sha256")
    return f"name:{sealed.hexdigest()[:16]}"


# --- the attempt ---------------------------------------------------------------------------------------


def take_attempt(request: HttpRequest, name: str) -> tuple[Tier, ...] | None:
    """Count a login attempt; None means that it must not go on (also where nothing can be counted)."""
    address = client_address(request)
    if is_safelisted(address):
        return ()
    who, where = normalised(name), caller(address)
    if is_refused(who, where):
        return None
    counted = login_tiers(name, address, parse_rate(get_settings().LOGIN_LIMIT))
    full = _take(counted)
    if not full:
        return counted
    # Strangers may have used up the name's tries; they must not keep its owner out of a place known as theirs.
    without_name = tuple(tier for tier in counted if tier.name != "user")
    if full == {"user"} and _is_known(name, address) and not _take(without_name):
        return without_name
    # What a transaction counted may yet be taken back, as each test's is: no refusal may outlive it.
    if not transaction.get_connection(router.db_for_write(LoginFailure)).in_atomic_block:
        refuse_for_now(who, where, full)
    return None


def allow_reset(request: HttpRequest, email: str) -> bool:
    """Count a password reset; False once the address or the e-mail has had its share."""
    address = client_address(request)
    if is_safelisted(address):
        return True
    counted = reset_tiers(email, address, parse_rate(get_settings().PASSWORD_RESET_LIMIT))
    allowed = not _take(counted)
    if allowed:
        note_failure(counted)
    return allowed


def _take(counted: Sequence[Tier]) -> Full:
    """Count one attempt, unless some counters are full: those."""
    answer = redis_gate.over(lambda pool: _take_in_redis(pool, counted), None)
    return _take_in_rows(counted) if answer is None else answer


def _take_in_redis(pool: ConnectionPool, counted: Sequence[Tier]) -> Full:
    keys = [_redis_key(tier) for tier in counted]
    limits = [n for tier in counted for n in (tier.rate.limit, tier.rate.seconds, int(tier.at_start))]
    answer = cast("int", wire.call(pool, _TAKE, keys, limits))
    full = [tier.name for position, tier in enumerate(counted, 1) if answer & 1 << position]
    if full:
        return frozenset(full)
    return _full_in_rows(pool, counted) if answer & 1 else _NONE


def _full_in_rows(pool: ConnectionPool, counted: Sequence[Tier]) -> Full:
    """Redis knew nothing of some counter: if there are rows of it, Redis was emptied and they are the floor."""
    rows, now = _rows(counted), timezone.now()
    if not rows:
        return _NONE
    arguments: list[int] = []
    for tier in counted:
        count, ends = rows.get(tier.key, (0, now))
        arguments += (count + int(tier.at_start), max(1, int((ends - now).total_seconds())))
    wire.call(pool, _RAISE, [*map(_redis_key, counted)], arguments)
    return frozenset(t.name for t in counted if rows.get(t.key, (0, now))[0] >= t.rate.limit)


def _redis_key(tier: Tier) -> str:
    return f"{get_settings().KEY_PREFIX}:tries:{tier.key}"


def _take_in_rows(counted: Sequence[Tier]) -> Full:
    try:
        with transaction.atomic():
            late = [t.name for t, count in _counts(counted) if count >= t.rate.limit and not t.at_start]
            if late:
                return frozenset(late)
            counts = _add_to_rows(tier for tier in counted if tier.at_start)
            over = [tier.name for tier, count in counts.items() if count > tier.rate.limit]
            if over:
                raise _Full(*over)
    except _Full as full:
        return frozenset(full.args)
    except DatabaseError:
        logger.exception("Login attempts cannot be counted: neither Redis nor the database answers.")
        return _UNCOUNTED
    return _NONE


def _rows(counted: Sequence[Tier]) -> dict[str, tuple[int, datetime]]:
    try:
        rows = LoginFailure.objects.filter(
            key__in=[tier.key for tier in counted], window_ends_at__gt=timezone.now()
        ).values_list("key", "count", "window_ends_at")
        return {key: (count, ends) for key, count, ends in rows}
    except DatabaseError:
        return {}


def _add_to_rows(counted: Iterable[Tier]) -> dict[Tier, int]:
    """The counters' values after one more each; atomic through the rows' locks, taken in the keys' order, so that two
    attempts never wait for each other (to be called within a transaction)."""
    now, ordered = timezone.now(), sorted(counted, key=lambda tier: tier.key)
    rows = _locked_rows(ordered, now)
    if len(rows) < len(ordered):
        # Retention took one that had run out, between the two statements; now it is there anew.
        rows = _locked_rows(ordered, now)
    for tier in ordered:
        _add_one(rows[tier.key], tier.rate.seconds, now)
    LoginFailure.objects.bulk_update(rows.values(), ["count", "window_ends_at"])
    return {tier: rows[tier.key].count for tier in ordered}


def _locked_rows(ordered: Sequence[Tier], now: datetime) -> dict[str, LoginFailure]:
    LoginFailure.objects.bulk_create(
        [LoginFailure(key=tier.key, window_ends_at=now, count=0) for tier in ordered], ignore_conflicts=True
    )
    keys = [tier.key for tier in ordered]
    locked = LoginFailure.objects.select_for_update().filter(key__in=keys).order_by("key")
    return {row.key: row for row in locked}


def _add_one(row: LoginFailure, seconds: int, now: datetime) -> None:
    if row.window_ends_at <= now:
        row.count, row.window_ends_at = 0, now + timedelta(seconds=seconds)
    row.count += 1


# --- how it ended --------------------------------------------------------------------------------------


def note_failure(counted: Sequence[Tier]) -> None:
    """Count the failure by address, and keep all of it in rows, so that emptying Redis forgives nothing."""
    late = [tier for tier in counted if not tier.at_start]
    redis_counts = redis_gate.over(lambda pool: _count_late(pool, late), False)
    try:
        with transaction.atomic():
            _add_to_rows(counted if redis_counts else late)
    except DatabaseError:
        logger.exception("A failed login could not be written down.")


def _count_late(pool: ConnectionPool, late: Sequence[Tier]) -> bool:
    wire.ask(pool, wire.command("PING"))
    for tier in late:
        wire.call(pool, _COUNT, [_redis_key(tier)], [tier.rate.seconds])
    return True


def note_success(counted: Sequence[Tier]) -> None:
    """Success: the pair and the name start over, and the address gets back what the pair had used up."""
    if not counted:
        return
    in_redis = redis_gate.over(lambda pool: _forgive(pool, counted), False)
    try:
        _forgive_rows(counted, started_in_rows=not in_redis)
    except DatabaseError:
        logger.exception("A login's failures could not be forgiven; they expire.")


def _forgive(pool: ConnectionPool, counted: Sequence[Tier]) -> bool:
    keys = {tier.name: _redis_key(tier) for tier in counted}
    # A known place that got in without the name's counter leaves that one to the strangers who filled it.
    keys.setdefault("user", "")
    wire.call(pool, _FORGIVE, [keys[name] for name in ("pair", "user", "address", "crowd")], [])
    return True


def _forgive_rows(counted: Sequence[Tier], *, started_in_rows: bool) -> None:
    counts = {tier.name: count for tier, count in _counts(counted)}
    tries = counts["pair"]
    if not tries:
        return
    keys = {tier.name: tier.key for tier in counted}
    LoginFailure.objects.filter(key__in=[keys[name] for name in keys if name in {"pair", "user"}]).delete()
    _lower(keys["crowd"], tries)
    _lower(keys["address"], tries - int(started_in_rows))


def _lower(key: str, by: int) -> None:
    LoginFailure.objects.filter(key=key, count__lte=by).delete()
    LoginFailure.objects.filter(key=key).update(count=F("count") - by)


def _counts(counted: Sequence[Tier]) -> list[tuple[Tier, int]]:
    rows = _rows(counted)
    return [(tier, rows[tier.key][0] if tier.key in rows else 0) for tier in counted]


def _is_known(name: str, address: str) -> bool:
    """Whether the user logged in from this network of late (asked only once the name's tries are used up)."""
    if not address:
        return False
    place = ip_network(caller(address))
    recent = SecurityEvent.objects.filter(
        kind="login",
        address__range=(str(place.network_address), str(place.broadcast_address)),
        at__gt=timezone.now() - KNOWN_FOR,
        user__isnull=False,
    ).select_related("user")
    as_written = {f"user__{get_user_model().USERNAME_FIELD}__iexact": name[:MAX_NAME].strip()}
    try:
        # Many may share the place: the name as it is written first, and of the newest any that counts as the same.
        return recent.filter(**as_written).exists() or any(
            normalised(_name_of(event.user)) == normalised(name) for event in recent.order_by("-at")[:50]
        )
    except (DatabaseError, ValueError):
        return False


def _name_of(user: Any) -> str:
    return str(user.get_username())


def user_name(credentials: Mapping[str, Any]) -> str:
    """The name in a set of credentials, whatever the user model calls it."""
    named = credentials.get("username")
    if named:
        return str(named)
    field = get_user_model().USERNAME_FIELD
    return str(credentials.get(field) or credentials.get("email") or "")
