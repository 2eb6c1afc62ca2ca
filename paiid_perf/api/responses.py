"""The response cache: what an answer is kept under, whether it may be kept at all, and giving it out again.

The rules err on the side of not keeping. A personalised answer given to somebody else is the one mistake that
cannot be taken back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_plus

import msgpack
from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers

from paiid_perf.api import compression, watch
from paiid_perf.api.client import digest, has_session, user_of
from paiid_perf.api.types import ResponseStrategy
from paiid_perf.conf import get_settings

logger = logging.getLogger("paiid_perf")

SAFE_METHODS = frozenset({"GET", "HEAD"})
#: Longer answers are not worth a place in a shared memory.
MAX_BYTES = 2_000_000
#: A view that reads more headers and cookies than this is kept apart so finely that nothing would be hit.
MAX_READS = 8
#: Paths whose reads are remembered.
REMEMBERED = 4_096

#: What belongs to one exchange, not to the answer.
_NOT_KEPT = frozenset(
    {
        "age",
        "cache-status",
        "connection",
        "content-encoding",
        "content-length",
        "date",
        "keep-alive",
        "ratelimit",
        "ratelimit-policy",
        "server-timing",
        "transfer-encoding",
        "x-cache",
        "x-request-id",
        "x-response-time",
    }
)


# --- the key -------------------------------------------------------------------------------------------


class Asker(NamedTuple):
    """For whom an answer is looked up: the user under user scope, and a digest of other credentials."""

    user: str | None = None
    credentials: str = ""


PUBLIC = Asker()


def asker_of(request: HttpRequest, strategy: ResponseStrategy) -> Asker | None:
    """For whom; None where the request may not be answered from the cache at all."""
    if strategy.scope == "user":
        authorization = request.META.get("HTTP_AUTHORIZATION", "")
        return Asker(user_of(request) or "", digest(authorization) if authorization else "")
    if strategy.shared_with_users:
        return PUBLIC
    if has_session(request) or "HTTP_AUTHORIZATION" in request.META or user_of(request) is not None:
        return None
    return PUBLIC


def is_cacheable(request: HttpRequest) -> bool:
    """Whether it is a request that a cache may answer: safe, without a body or a range."""
    meta = request.META
    return (
        request.method in SAFE_METHODS
        and meta.get("CONTENT_LENGTH") in {None, "", "0"}
        and "HTTP_RANGE" not in meta
    )


def key_of(request: HttpRequest, strategy: ResponseStrategy, asker: Asker, reads: tuple[str, ...]) -> str:
    """The store's key of this request's answer, given what its view is known to read."""
    meta = request.META
    return _key(
        get_settings().KEY_PREFIX,
        strategy.name,
        strategy.scope,
        asker.user or "",
        asker.credentials,
        request.scheme or "",
        meta.get("HTTP_HOST") or f"{meta.get('SERVER_NAME')}:{meta.get('SERVER_PORT')}",
        request.path,
        query_part(meta.get("QUERY_STRING", ""), strategy.query_params),
        *_place(),
        *reads,
        *([watch.value_of(name, meta, request.COOKIES) for name in reads] if reads else ()),
    )


@lru_cache(maxsize=REMEMBERED)
def _key(prefix: str, *parts: str) -> str:
    return f"{prefix}:answer:{digest(*parts)}"


def query_part(query: str, allowed: Iterable[str] | None) -> str:
    """The query as part of a key: sorted by name (repeated names keep their order), only the allowed ones."""
    if not query:
        return ""
    if allowed is None:
        return "&".join(sorted(query.split("&"), key=_name)) if "&" in query else query
    kept = set(allowed)
    pairs = parse_qsl(query, keep_blank_values=True)
    return digest(
        *(part for pair in sorted((p for p in pairs if p[0] in kept), key=lambda p: p[0]) for part in pair)
    )


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])


def _place() -> tuple[str, str]:
    language = translation.get_language() or "" if django_settings.USE_I18N else ""
    return language, _zone_name(timezone.get_current_timezone()) if django_settings.USE_TZ else ""


@lru_cache(maxsize=64)
def _zone_name(zone: tzinfo) -> str:
    return zone.tzname(None) or str(zone)


class Memory:
    """What the views behind paths are known to read, learned from their answers, bounded."""

    def __init__(self) -> None:
        self._reads: dict[tuple[str, str], tuple[str, ...]] = {}
        self._readers: set[str] = set()

    def has(self, strategy: str) -> bool:
        """Whether any route of the strategy is known to read anything; if not, none need be looked up."""
        return strategy in self._readers

    def of(self, strategy: str, template: str) -> tuple[str, ...]:
        """The names that answers of this route depend on, sorted."""
        return self._reads.get((strategy, template), ())

    def learn(self, strategy: str, template: str, reads: Iterable[str]) -> tuple[str, ...]:
        """Add to them, and return all."""
        known = self.of(strategy, template)
        names = tuple(sorted({*known, *reads}))
        if names != known:
            if len(self._reads) >= REMEMBERED:
                self.forget()
            self._reads[strategy, template] = names
            self._readers.add(strategy)
        return names

    def forget(self) -> None:
        """Start over."""
        self._reads.clear()
        self._readers.clear()


memory = Memory()


# --- may it be kept ----------------------------------------------------------------------------------------


def refused_because(
    request: HttpRequest,
    response: HttpResponseBase,
    strategy: ResponseStrategy,
    asker: Asker,
    reads: Iterable[str],
) -> str:
    """Why an answer may not be kept; "" if it may."""
    return (
        _refused_by_answer(response)
        or _refused_by_request(request)
        or _refused_by_asker(request, strategy, asker)
        or _refused_by_reads(response, reads)
    )


def _refused_by_answer(response: HttpResponseBase) -> str:
    if response.status_code != 200:
        return f"status {response.status_code}"
    if response.streaming or not isinstance(response, HttpResponse):
        return "it streams"
    if response.cookies or response.has_header("Set-Cookie"):
        return "it sets a cookie"
    if response.has_header("Content-Encoding") or response.has_header("Content-Range"):
        return "it is encoded or partial"
    if response.has_header("Access-Control-Allow-Credentials"):
        return "it is for one origin's credentials"
    return _refused_by_cache_control(response) or (
        "it is too large" if len(response.content) > MAX_BYTES else ""
    )


def _refused_by_cache_control(response: HttpResponseBase) -> str:
    directives = cache_control(response.headers.get("Cache-Control", ""))
    forbidding = [name for name in ("private", "no-store", "no-cache") if name in directives]
    return f"Cache-Control: {forbidding[0]}" if forbidding else ""


def _refused_by_request(request: HttpRequest) -> str:
    if dict.get(request.META, "CSRF_COOKIE_NEEDS_UPDATE"):
        return "it holds a CSRF token"
    return "it changes the session" if _changes_session(request) else ""


def _changes_session(request: HttpRequest) -> bool:
    """Whether it does so beyond what ``AccountMiddleware`` notes in it."""
    session = getattr(request, "session", None)
    if session is None or not session.modified:
        return False
    as_found = getattr(request, "session_as_found", None)
    return as_found is None or as_found != dict(session.items())


def _refused_by_asker(request: HttpRequest, strategy: ResponseStrategy, asker: Asker) -> str:
    if strategy.scope == "public":
        shown = not strategy.shared_with_users and user_of(request) is not None
        return "it was made for a user" if shown else ""
    same = (user_of(request) or "") == asker.user
    return "" if same or asker.credentials else "the user became known while it was made"


def _refused_by_reads(response: HttpResponseBase, reads: Iterable[str]) -> str:
    names = {*reads, *vary_names(response)}
    if watch.ALL in names:
        return "it depends on every header or cookie"
    return "it depends on too many headers" if len(names) > MAX_READS else ""


def vary_names(response: HttpResponseBase) -> set[str]:
    """What ``Vary`` names, as keys of ``request.META``; an answer for one origin varies by it."""
    names = {part.strip() for part in response.headers.get("Vary", "").split(",") if part.strip()}
    if response.headers.get("Access-Control-Allow-Origin", "*") != "*":
        names.add("Origin")
    return {name if name == watch.ALL else "HTTP_" + name.replace("-", "_").upper() for name in names}


@lru_cache(maxsize=256)
def cache_control(header: str) -> Mapping[str, str]:
    """The directives of a Cache-Control header, in lower case."""
    parts = (part.strip().partition("=") for part in header.lower().split(","))
    return {name: value.strip('"') for name, _, value in parts if name}


def ttl_of(response: HttpResponseBase, strategy: ResponseStrategy) -> float:
    """Seconds for which it is fresh: the strategy's, or less where the answer itself says so."""
    directives = cache_control(response.headers.get("Cache-Control", ""))
    own = directives.get("s-maxage", directives.get("max-age", ""))
    ttl = strategy.ttl.total_seconds()
    return min(ttl, float(own)) if own.isdigit() else ttl


# --- what is kept --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Answer:
    """An answer as it is kept. ``packed`` says whether ``body`` is a deflate stream."""

    route: str
    made_at: float
    ttl: float
    headers: dict[str, str]
    etag: str
    size: int
    packed: bool
    body: bytes
    checked: dict[str, Any] | None = field(default=None, compare=False)
    """Its headers as a response holds them, once one has."""


def take(response: HttpResponse, route: str, ttl: float, compress: bool) -> tuple[Answer, bytes]:
    """The answer to keep of a response, and its stored form."""
    body = response.content
    etag = response.headers.get("ETag") or _etag(body)
    deflated = compression.deflate(body) if compress and _is_worth_packing(response, body) else b""
    packed = 0 < len(deflated) < len(body)
    response.headers["ETag"] = etag
    if packed:
        patch_vary_headers(response, ("Accept-Encoding",))
    headers = {name: value for name, value in response.items() if name.lower() not in _NOT_KEPT}
    answer = Answer(route, time.time(), ttl, headers, etag, len(body), packed, deflated if packed else body)
    return answer, _pack(answer)


def _is_worth_packing(response: HttpResponse, body: bytes) -> bool:
    smallest = get_settings().COMPRESS_MIN_BYTES
    content_type = response.headers.get("Content-Type", "")
    return bool(smallest) and len(body) >= smallest and compression.is_compressible(content_type)


def _etag(body: bytes) -> str:
    # Weak: an encoded answer has other bytes and the same content.
    return f'W/"{blake2b(body, digest_size=12).hexdigest()}"'


def _pack(answer: Answer) -> bytes:
    fields = (answer.route, answer.made_at, answer.ttl, answer.headers, answer.etag, answer.size)
    data: bytes = msgpack.packb([*fields, answer.packed, answer.body])
    return data


def read(blob: bytes) -> Answer | None:
    """A stored answer; None where it cannot be read (another version wrote it)."""
    try:
        return Answer(*msgpack.unpackb(blob))
    except (ValueError, TypeError, msgpack.UnpackException):
        logger.warning("A cached answer could not be read; it is computed again.")
        return None


def give(answer: Answer, request: HttpRequest, age: float) -> HttpResponse:
    """The response to a request from a kept answer: 304 if the client has it, packed if the client takes that."""
    if is_unchanged(request.META.get("HTTP_IF_NONE_MATCH", ""), answer.etag):
        return HttpResponseNotModified(headers={**answer.headers, "Age": str(int(age))})
    packed = answer.packed and _takes_gzip(request)
    body = compression.gzip_of(answer.body) if packed else _plain(answer)
    response = _with_headers(answer, body)
    # Written as the headers hold them: words and numbers of our own need no check.
    written = response.headers._store
    written["age"] = ("Age", str(int(age)))
    if packed:
        written["content-encoding"] = ("Content-Encoding", "gzip")
        written["content-length"] = ("Content-Length", str(len(body)))
        if (weak := compression.weak(answer.etag)) != answer.etag:
            response.headers["ETag"] = weak
    return response


def _plain(answer: Answer) -> bytes:
    return compression.inflate(answer.body) if answer.packed else answer.body


def _with_headers(answer: Answer, body: bytes) -> HttpResponse:
    """A response with the answer's headers: checked one by one the first time, taken over as a whole from then on."""
    if answer.checked is None:
        response = HttpResponse(body, headers=answer.headers)
        answer.checked = dict(response.headers._store)
        return response
    response = HttpResponse(body, content_type=answer.headers.get("Content-Type"))
    response.headers._store.update(answer.checked)
    return response


def _takes_gzip(request: HttpRequest) -> bool:
    return bool(compression.negotiate(request.META.get("HTTP_ACCEPT_ENCODING", ""), ("gzip",)))


def pack_in_place(response: HttpResponse, answer: Answer, request: HttpRequest) -> None:
    """Send what has been packed for keeping, instead of packing it again."""
    if _takes_gzip(request):
        compression.set_encoded(response, compression.gzip_of(answer.body), "gzip")


def is_unchanged(if_none_match: str, etag: str) -> bool:
    """Whether the client has this content already (weak comparison, RFC 9110, 13.1.2)."""
    if not if_none_match or not etag:
        return False
    wanted = etag.removeprefix("W/")
    return if_none_match.strip() == "*" or wanted in (
        tag.strip().removeprefix("W/") for tag in if_none_match.split(",")
    )
