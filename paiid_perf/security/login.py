"""Limits on logging in and on password resets: counted before the password is hashed, shared by all processes.

Three counters per attempt: the caller's address, the pair of name and address, the name. An attempt is counted when
it starts, in one atomic step, so fifty at once get no more tries than five in a row; success gives it back. Redis
counts; every failure is also a row, which takes over where Redis is away and seeds a Redis that was emptied. With
neither there is no login (fail closed).
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from redis import Redis

from paiid_perf.conf import get_settings
from paiid_perf.models import LoginFailure, SecurityEvent
from paiid_perf.security.addresses import client_address, is_safelisted
from paiid_perf.security.networks import caller
from paiid_perf.security.rules import parse_rate
from paiid_perf.security.types import Rate, Tier
from paiid_perf.stores import redis_gate

logger = logging.getLogger("paiid_perf")

#: A name may be tried from anywhere this many times as often as from one address before strangers have to wait.
USER_FACTOR = 4
#: How long the address that somebody logged in from counts as theirs.
KNOWN_FOR = timedelta(days=30)

#: KEYS: counters. ARGV: per counter limit, then seconds. Counts one attempt on each unless one is full.
#: Returns {1 if some counter is full, 1 if some counter was new}.
_TAKE = """
local full, new = 0, 0
for i, key in ipairs(KEYS) do
  local count = tonumber(redis.call('GET', key))
  if not count then new = 1
  elseif count >= tonumber(ARGV[2 * i - 1]) then full = 1 end
end
if full == 1 then return {1, new} end
for i, key in ipairs(KEYS) do
  if redis.call('INCR', key) == 1 then redis.call('EXPIRE', key, ARGV[2 * i]) end
end
return {0, new}
"""
#: Raise each counter to what the rows say (after Redis was emptied).
_SEED = """
for i, key in ipairs(KEYS) do
  local floor = tonumber(ARGV[2 * i - 1])
  if floor > tonumber(redis.call('GET', key) or '0') then redis.call('SET', key, floor, 'EX', ARGV[2 * i]) end
end
return 1
"""
#: KEYS: the address' counter, the pair's, others. The address gets back what the pair had; the rest start over.
_FORGIVE = """
local pair = tonumber(redis.call('GET', KEYS[2]) or '0')
local left = tonumber(redis.call('GET', KEYS[1]) or '0') - pair
if left > 0 then redis.call('SET', KEYS[1], left, 'KEEPTTL') else redis.call('DEL', KEYS[1]) end
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
return 1
"""


class _Full(Exception):
    """A counter is full: undo what this attempt added to the others."""


def normalised(name: str) -> str:
    """The name as it is counted: NFKC, case folded, no spaces at its ends (``Ａlice `` is ``alice``)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def tiers(name: str, address: str, rate: Rate, action: str = "login") -> tuple[Tier, ...]:
    """The counters of one attempt by ``name`` from ``address``: by address, by pair, by name."""
    who, where = normalised(name), caller(address)
    factor = USER_FACTOR if action == "login" else 1
    wide = Rate(rate.limit * factor, rate.seconds * factor)
    return (
        Tier("address", _key(action, "address", where), rate),
        Tier("pair", _key(action, "pair", who, where), rate),
        Tier("user", _key(action, "user", who), wide),
    )


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


# --- the attempt ---------------------------------------------------------------------------------------


def take_attempt(request: HttpRequest, name: str) -> tuple[Tier, ...] | None:
    """Count a login attempt; None means that it must not go on (also where nothing can be counted)."""
    address = client_address(request)
    if is_safelisted(address):
        return ()
    counted = tiers(name, address, parse_rate(get_settings().LOGIN_LIMIT))
    if _take(counted):
        return counted
    known = tuple(tier for tier in counted if tier.name != "user")
    if len(known) < len(counted) and _is_known(name, address) and _take(known):
        # Strangers used up the name's tries; they must not keep its owner out.
        return known
    return None


def allow_reset(request: HttpRequest, email: str) -> bool:
    """Count a password reset; False once the address or the e-mail has had its share."""
    address = client_address(request)
    if is_safelisted(address):
        return True
    rate = parse_rate(get_settings().PASSWORD_RESET_LIMIT)
    counted = tiers(email, address, rate, "reset")
    allowed = _take(counted)
    if allowed:
        note_failure(counted)
    return allowed


def _take(counted: Sequence[Tier]) -> bool:
    answer = redis_gate.call(lambda client: _take_in_redis(client, counted), None)
    return _take_in_rows(counted) if answer is None else answer


def _take_in_redis(client: Redis, counted: Sequence[Tier]) -> bool:
    limits = [number for tier in counted for number in (tier.rate.limit, tier.rate.seconds)]
    keys = [_redis_key(tier) for tier in counted]
    full, new = cast("list[int]", client.eval(_TAKE, len(keys), *keys, *limits))
    if full or not new:
        return not full
    rows = _rows(counted)
    if not rows:
        return True
    return _seed(client, counted, rows)


def _seed(client: Redis, counted: Sequence[Tier], rows: Mapping[str, tuple[int, datetime]]) -> bool:
    """Redis knew nothing of a counter that has rows: it was emptied. The rows' counts are the floor."""
    now = timezone.now()
    arguments: list[int] = []
    for tier in counted:
        count, ends = rows.get(tier.key, (0, now))
        arguments += (count + 1 if count else 0, max(1, int((ends - now).total_seconds())))
    client.eval(_SEED, len(counted), *[_redis_key(tier) for tier in counted], *arguments)
    return all(rows.get(tier.key, (0, now))[0] < tier.rate.limit for tier in counted)


def _redis_key(tier: Tier) -> str:
    return f"{get_settings().KEY_PREFIX}:tries:{tier.key}"


def _take_in_rows(counted: Sequence[Tier]) -> bool:
    try:
        with transaction.atomic():
            # In the keys' order, so that two attempts never wait for each other's rows.
            for tier in sorted(counted, key=lambda tier: tier.key):
                if _add_to_row(tier) > tier.rate.limit:
                    raise _Full
    except _Full:
        return False
    except DatabaseError:
        logger.exception("Login attempts cannot be counted: neither Redis nor the database answers.")
        return False
    return True


def _rows(counted: Sequence[Tier]) -> dict[str, tuple[int, datetime]]:
    try:
        rows = LoginFailure.objects.filter(
            key__in=[tier.key for tier in counted], window_ends_at__gt=timezone.now()
        ).values_list("key", "count", "window_ends_at")
        return {key: (count, ends) for key, count, ends in rows}
    except DatabaseError:
        return {}


def _add_to_row(tier: Tier) -> int:
    """The counter's value after one more; atomic through the row's lock."""
    now = timezone.now()
    rows = LoginFailure.objects.filter(key=tier.key)
    if not rows.filter(window_ends_at__gt=now).update(count=F("count") + 1):
        _open_window(tier, now)
    return rows.values_list("count", flat=True).get()


def _open_window(tier: Tier, now: datetime) -> None:
    ends = now + timedelta(seconds=tier.rate.seconds)
    rows = LoginFailure.objects.filter(key=tier.key)
    if rows.filter(window_ends_at__lte=now).update(count=1, window_ends_at=ends):
        return
    try:
        with transaction.atomic():
            LoginFailure.objects.create(key=tier.key, window_ends_at=ends, count=1)
    except IntegrityError:
        rows.update(count=F("count") + 1)


# --- how it ended --------------------------------------------------------------------------------------


def note_failure(counted: Sequence[Tier]) -> None:
    """Keep a failure in rows as well, so that emptying Redis forgives nothing."""
    if not redis_gate.is_redis() or not redis_gate.is_open():
        return  # the attempt was counted in the rows already
    try:
        with transaction.atomic():
            for tier in sorted(counted, key=lambda tier: tier.key):
                _add_to_row(tier)
    except DatabaseError:
        logger.exception("A failed login could not be written down; Redis has counted it.")


def note_success(counted: Sequence[Tier]) -> None:
    """Success: the pair and the name start over, and the address gets back what the pair had used up."""
    if not counted:
        return
    redis_gate.call(lambda client: client.eval(_FORGIVE, len(counted), *map(_redis_key, counted)), None)
    try:
        _forgive_rows(counted)
    except DatabaseError:
        logger.exception("A login's failures could not be forgiven; they expire.")


def _forgive_rows(counted: Sequence[Tier]) -> None:
    rows = _rows(counted)
    if not rows:
        return
    address, pair, *others = counted
    used = rows[pair.key][0] if pair.key in rows else 0
    LoginFailure.objects.filter(key__in=[tier.key for tier in (pair, *others)]).delete()
    LoginFailure.objects.filter(key=address.key, count__lte=used).delete()
    LoginFailure.objects.filter(key=address.key).update(count=F("count") - used)


def _is_known(name: str, address: str) -> bool:
    """Whether the user logged in from this address of late (asked only once the name's tries are used up)."""
    recent = SecurityEvent.objects.filter(
        kind="login", address=address or None, at__gt=timezone.now() - KNOWN_FOR, user__isnull=False
    ).select_related("user")
    try:
        return any(normalised(_name_of(event.user)) == normalised(name) for event in recent[:50])
    except DatabaseError:
        return False


def _name_of(user: Any) -> str:
    return str(user.get_username())


def user_name(credentials: Mapping[str, Any]) -> str:
    """The name in a set of credentials, whatever the user model calls it."""
    from django.contrib.auth import get_user_model

    field = get_user_model().USERNAME_FIELD
    return str(next((credentials[key] for key in ("username", field, "email") if credentials.get(key)), ""))
