"""Rate limits: django-ratelimit's syntax and keys, counted in a true sliding window.

In Redis the window is exact and atomic, one script call among what a request asks anyway (``store.py``). Up to
``EXACT_UP_TO`` it is a log of the requests let through; above, a ring of ``SLICES`` slices of the period whose
oldest, partly expired slice still counts in full. Either way no period of that length ever lets more than the
limit through; the ring gives capacity back at most 1/SLICES of the period late. On any other cache it is
django-ratelimit's fixed window. A request that is refused does not count.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict, deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.utils.module_loading import import_string
from django_ratelimit.core import _split_rate, get_usage

from paiid_perf.api.client import bucket, digest, user_of
from paiid_perf.api.types import EndpointClass
from paiid_perf.conf import get_settings
from paiid_perf.exceptions import ConfigurationError

#: Limits up to this are a log of each request (7 bytes each), above a ring of counters.
EXACT_UP_TO = 300
SLICES = 32

_STRICT = re.compile(r"(\d+)/(\d*)([smhd])")


class Rate(NamedTuple):
    """``limit`` requests in any ``seconds``."""

    limit: int
    seconds: int


class Limit(NamedTuple):
    """A rate with the key that this request counts under."""

    key: str
    rate: Rate
    group: str


class Allowance(NamedTuple):
    """What the limiter says: whether it goes on, what is left, and in how many seconds a slot is free again."""

    allowed: bool
    remaining: int
    reset_after: float


@lru_cache(maxsize=256)
def parse_rate(text: str) -> Rate:
    """``60/m``, ``5/10s``, ``3/30d`` as a Rate, read by django-ratelimit's own parser.

    Raises:
        ConfigurationError: it is something that django-ratelimit would misread (it takes ``3/month`` for 3 per
            minute, and ``60/M`` for 60 per second).
    """
    if not _STRICT.fullmatch(text):
        raise ConfigurationError(
            f"{text!r} is no rate: write a count, a slash, and a period of an optional number and s, m, h or d, "
            "such as 60/m, 5/10s or 3/30d (there is no month)."
        )
    limit, seconds = _split_rate(text)
    if seconds <= 0:
        raise ConfigurationError(f"{text!r} has a period of nothing; write 60/m or 5/10s.")
    return Rate(limit, seconds)


def limit_of(declared: EndpointClass, rate: Rate, request: HttpRequest, address: str) -> Limit | None:
    """What this request counts under; None where its key is not known (no address behind a Unix socket, say)."""
    value = key_value(declared.rate_key, declared.name, request, address)
    if not value:
        return None
    method = f"{request.method}:" if declared.per_method else ""
    # A rate may be edited: a ring of slices of another width, or a log, is not to be read as this ring.
    ring = f"~{rate.seconds}:" if rate.limit > EXACT_UP_TO else ""
    key = f"{get_settings().KEY_PREFIX}:limit:{declared.name}:{ring}{method}{value}"
    return Limit(key, rate, declared.name)


def key_value(key: str | Callable[..., str], group: str, request: HttpRequest, address: str) -> str:
    """The value of a key function of django-ratelimit, with our own address in place of REMOTE_ADDR.

    Raises:
        ConfigurationError: the key is none of ip, user, user_or_ip, header:…, get:…, post:…, or a callable.
    """
    if callable(key):
        return digest(str(key(group, request)))
    if key in _SIMPLE:
        return _SIMPLE[key](request, address)
    accessor, colon, name = key.partition(":")
    if colon and accessor in _ACCESSORS:
        return digest(key, str(_ACCESSORS[accessor](request, name)))
    if "." in key:
        return digest(str(import_string(key)(group, request)))
    raise ConfigurationError(
        f"{key!r} is no rate key: use ip, user, user_or_ip, header:<name>, get:<name>, post:<name>, or a callable."
    )


def _ip(request: HttpRequest, address: str) -> str:
    return bucket(address)


def _user(request: HttpRequest, address: str) -> str:
    return f"u{user_of(request) or '-'}"


def _user_or_ip(request: HttpRequest, address: str) -> str:
    user = user_of(request)
    return f"u{user}" if user is not None else bucket(address)


_SIMPLE: dict[str, Callable[[HttpRequest, str], str]] = {
    "ip": _ip,
    "user": _user,
    "user_or_ip": _user_or_ip,
}
_ACCESSORS: dict[str, Callable[[HttpRequest, str], Any]] = {
    "header": lambda request, name: request.META.get("HTTP_" + name.replace("-", "_").upper(), ""),
    "get": lambda request, name: request.GET.get(name, ""),
    "post": lambda request, name: request.POST.get(name, ""),
}


# --- in Redis ------------------------------------------------------------------------------------------

#: Lua functions for the scripts of ``store.py``. Each returns allowed (1/0), remaining, and µs until a slot is free.
#: A window is one string, read and written whole: two commands, where a list or a hash takes four or five.
LIMIT_LUA = """
local function exact(key, limit, period, now)
  local log = redis.call('GET', key) or ''
  local from, used = 1, #log / 7
  while used > 0 and struct.unpack('>I7', log, from) <= now - period do
    from, used = from + 7, used - 1
  end
  local oldest = used > 0 and struct.unpack('>I7', log, from) or now
  local reset = oldest + period - now
  if used >= limit then return 0, 0, reset end
  log = string.sub(log, from) .. struct.pack('>I7', now)
  redis.call('SET', key, log, 'PX', math.ceil(period / 1000))
  return 1, limit - used - 1, reset
end

-- The newest slice's number, what all of them hold, and what each holds, the newest last.
local function ring(key, limit, period, now, slices)
  local width = period / slices
  local current = math.floor(now / width)
  local kept = redis.call('GET', key)
  local used, counts = 0, '\\0\\0\\0\\0'
  if kept then
    local newest
    newest, used = struct.unpack('>I7I4', kept)
    counts = string.sub(kept, 12)
    if newest > current then current = newest end
    counts = counts .. string.rep('\\0\\0\\0\\0', math.min(current - newest, slices + 1))
    local from = 1
    while #counts - from > 4 do
      local oldest = struct.unpack('>I4', counts, from)
      if oldest > 0 and (#counts - from + 1) / 4 <= slices + 1 then break end
      from, used = from + 4, used - oldest
    end
    counts = string.sub(counts, from)
  end
  local reset = (current - #counts / 4 + 1 + slices + 1) * width - now
  if used >= limit then return 0, 0, reset end
  local last = struct.unpack('>I4', counts, #counts - 3) + 1
  kept = struct.pack('>I7I4', current, used + 1) .. string.sub(counts, 1, -5) .. struct.pack('>I4', last)
  redis.call('SET', key, kept, 'PX', math.ceil((period + 2 * width) / 1000))
  return 1, limit - used - 1, reset
end
"""


# --- anywhere else ---------------------------------------------------------------------------------------


class SlidingLog:
    """The exact window in the process: what Redis does, as a value. ``hit`` takes the time."""

    def __init__(self) -> None:
        self._logs: defaultdict[str, deque[float]] = defaultdict(deque)

    def hit(self, key: str, rate: Rate, now: float) -> Allowance:
        """Count a request at ``now`` (seconds), if it is let through."""
        log = self._logs[key]
        while log and log[0] <= now - rate.seconds:
            log.popleft()
        reset = (log[0] if log else now) + rate.seconds - now
        if len(log) >= rate.limit:
            return Allowance(False, 0, reset)
        log.append(now)
        return Allowance(True, rate.limit - len(log), reset)


OPEN = Allowance(True, 0, 0.0)


def fixed_window(limit: Limit, request: HttpRequest) -> Allowance | None:
    """django-ratelimit's own window in Django's cache (``RATELIMIT_USE_CACHE``); None: it does not limit.

    A cache that fails leaves the way open: being reachable is worth more than being counted.
    """
    usage = get_usage(
        request,
        group=limit.group,
        key=lambda group, request: limit.key,
        rate=(limit.rate.limit, limit.rate.seconds),
        increment=True,
    )
    if usage is None or usage["time_left"] < 0:
        return None
    left = usage["limit"] - usage["count"]
    return Allowance(not usage["should_limit"], max(0, left), float(max(0, usage["time_left"])))


def retry_after(allowance: Allowance) -> int:
    """Whole seconds, never 0, after which a refused client may ask again."""
    return max(1, math.ceil(allowance.reset_after))
