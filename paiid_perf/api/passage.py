"""One request's way through the api's hot path, without I/O of its own.

``middleware.py`` strings these steps together, asks the store in between, and calls the view.
"""

from __future__ import annotations

import threading
import time
from random import random
from time import perf_counter

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response

from paiid_perf.api import compression, headers, responses, streams, watch
from paiid_perf.api.client import NO_USER_TO_BE_HAD, client_address, is_in, is_unknown
from paiid_perf.api.endpoints import Endpoint, Route, endpoints
from paiid_perf.api.headers import Timing
from paiid_perf.api.limits import Limit, limit_of
from paiid_perf.api.responses import Asker
from paiid_perf.api.shelf import shelf
from paiid_perf.api.store import FAILED_MS, GIVES, PASS_MS, SILENCE, Found, Keepsake, Lookup, Question, Reply
from paiid_perf.api.types import ResponseStrategy
from paiid_perf.conf import Settings
from paiid_perf.invalidation import UNHEARD, rows_in_doubt
from paiid_perf.telemetry import looks, recorder
from paiid_perf.telemetry.trace import Trace, Watched

HITS = frozenset({"HIT", "STALE"})
#: Share of requests in which repeating queries are looked for.
WATCH_RATE = 0.1
#: How long one request waits for another's answer, at the most, and how long between two looks at it (seconds).
WAIT_AT_MOST = 3.0
FLIGHT_AT_MOST = 1.0
WAITS = (0.004, 0.008, 0.015, 0.03, 0.05)


#: Answers that this process computes, by key: who waits in the same process waits for that, not for the next look.
flights: dict[str, threading.Event] = {}


class Passage:
    """What is known of one request on its way."""

    __slots__ = (
        "_route",
        "address",
        "asker",
        "cache",
        "detail",
        "endpoint",
        "flight",
        "limit",
        "lookup",
        "reads",
        "reply",
        "request",
        "rows",
        "settings",
        "started",
        "timing",
        "trace",
    )

    def __init__(self, request: HttpRequest, settings: Settings) -> None:
        self.started = perf_counter()
        self.request = request
        self.settings = settings
        self.trace = new_trace(settings) if settings.RECORD else None
        self.timing = Timing()
        self.reply = SILENCE
        self.endpoint: Endpoint
        self.endpoint, self._route = endpoints.of(request)
        self.address: str = client_address(request.META, settings.TRUSTED_PROXIES)
        self.limit: Limit | None = None
        self.lookup: Lookup | None = None
        self.asker: Asker | None = None
        self.reads: watch.Reads | None = None
        self.rows: set[str] | None = None
        self.flight: threading.Event | None = None
        self.cache = ""
        self.detail = ""

    # --- arriving ------------------------------------------------------------------------------------

    def is_safelisted(self) -> bool:
        """Whether the address is one that is never limited or blocked."""
        safelist = self.settings.SAFELIST
        return bool(safelist) and is_in(self.address, safelist)

    def depends_on_user(self) -> bool:
        """Whether what comes may depend on a user who has not been looked up yet."""
        return is_unknown(self.request)

    def question(self, limited: bool) -> Question | None:
        """What to ask the store; None where there is nothing to ask."""
        endpoint, settings = self.endpoint, self.settings
        try:
            if limited and endpoint.rate and endpoint.declared and settings.RATE_LIMITS:
                self.limit = limit_of(endpoint.declared, endpoint.rate, self.request, self.address)
        except NO_USER_TO_BE_HAD:
            self.limit = None  # limits fail open
        if endpoint.strategy and settings.RESPONSE_CACHE:
            self.lookup = self._lookup()
        if self.limit is None and self.lookup is None:
            return None
        return Question(self.limit, self.lookup)

    def _lookup(self) -> Lookup | None:
        strategy = self.endpoint.strategy
        if strategy is None or not responses.is_cacheable(self.request):
            return None
        try:
            self.asker = responses.asker_of(self.request, strategy)
        except NO_USER_TO_BE_HAD:
            self.asker = None
        if self.asker is None:
            self.cache, self.detail = "BYPASS", "fwd=bypass"
            return None
        key = responses.key_of(self.request, strategy, self.asker, self._known_reads(strategy))
        return Lookup(key, self.endpoint.tags, self.endpoint.stale_ms, bool(strategy.depends_on_rows))

    def _known_reads(self, strategy: ResponseStrategy) -> tuple[str, ...]:
        memory = responses.memory
        return memory.of(strategy.name, self.route.template) if memory.has(strategy.name) else ()

    def look_up(self) -> Lookup:
        """What to look for now: meanwhile it may have been learned that the view reads more."""
        assert self.lookup is not None
        self.lookup = self._lookup() or self.lookup
        return self.lookup

    def must_wait(self) -> bool:
        """Whether another request computes the answer."""
        return self.reply.found is Found.WAIT

    def hear(self, reply: Reply) -> None:
        """Take the store's reply; what it said of the limit stays."""
        self.reply = reply if reply.allowance else reply._replace(allowance=self.reply.allowance)

    @property
    def route(self) -> Route:
        """Where the path leads."""
        if self._route is None:
            self._route = endpoints.route(self.request)
        return self._route

    def waits(self) -> list[float]:
        """How long to sleep between the looks at an answer that another request computes (seconds)."""
        if self.lookup is not None and self.lookup.key in flights:
            return [FLIGHT_AT_MOST] * int(WAIT_AT_MOST / FLIGHT_AT_MOST)
        rest = int((WAIT_AT_MOST - sum(WAITS)) / WAITS[-1])
        return [*WAITS, *([WAITS[-1]] * rest)]

    def take_off(self) -> None:
        """Tell this process' other requests that this one computes the answer."""
        if self.lookup is not None and self.leads:
            flights[self.lookup.key] = self.flight = threading.Event()

    def land(self) -> None:
        """Tell them that it has been computed."""
        if self.flight is not None and self.lookup is not None:
            flights.pop(self.lookup.key, None)
            self.flight.set()
            self.flight = None

    def refusal(self) -> HttpResponse | None:
        """429 if the limiter says so."""
        allowance = self.reply.allowance
        if allowance is None or allowance.allowed or self.limit is None:
            return None
        recorder.count("api.limited", self.endpoint.name)
        return headers.too_many(self.request, self.limit, allowance)

    def kept_answer(self) -> HttpResponse | None:
        """The cached answer, if the store has one to give."""
        if self.reply.found not in GIVES:
            return None
        return self._give()

    def instead_of_error(self) -> HttpResponse | None:
        """A stale answer in place of one that failed, where the strategy has it (RFC 5861, stale-if-error)."""
        strategy = self.endpoint.strategy
        wanted = strategy is not None and bool(strategy.stale_if_error) and self.reply.found is Found.LEAD
        return self._give() if wanted and self._holds_one else None

    @property
    def _holds_one(self) -> bool:
        """Whether there is an answer that no event has invalidated, however old."""
        return bool(self.reply.blob) or self.reply.stamp not in {"", "-"}

    def _give(self) -> HttpResponse | None:
        answer = self._answer()
        if answer is None:
            return None
        age = max(0.0, time.time() - answer.made_at)
        self._tell("HIT" if age < answer.ttl else "STALE", f"hit; ttl={answer.ttl - age:.0f}")
        return responses.give(answer, self.request, age)

    def _answer(self) -> responses.Answer | None:
        reply, lookup = self.reply, self.lookup
        assert lookup is not None
        if not reply.blob:
            kept: responses.Answer | None = shelf.take(lookup.key, reply.stamp)
            return kept
        answer = responses.read(reply.blob)
        if answer is not None and reply.stamp:
            shelf.put(lookup.key, reply.stamp, answer, len(reply.blob))
        return answer

    @property
    def leads(self) -> bool:
        """Whether this request is the one that computes the answer."""
        return self.reply.found is Found.LEAD or self.reply.found is Found.REFRESH

    def again(self) -> Passage:
        """The passage of the same request that computes anew what has just been given."""
        later = Passage(self.request, self.settings)
        later.lookup, later.asker, later.reply = self.lookup, self.asker, self.reply
        later.trace = None
        return later

    def prepare_view(self) -> None:
        """Watch what the view reads, where its answer may be kept."""
        self.take_off()
        if self.reply.found is Found.PASS:
            self._tell("BYPASS", "fwd=bypass")
        elif self.lookup is not None and self.reply.found is not Found.NOTHING:
            if self.reply.found is not Found.REFRESH:
                self._tell("MISS", "fwd=miss")
            self.reads = watch.watch(self.request)
            self.rows = set()

    def _tell(self, state: str, detail: str) -> None:
        self.cache, self.detail = state, detail
        strategy = self.endpoint.strategy
        if strategy is not None and self.settings.RECORD:
            subject = strategy.subject
            recorder.count("cache.hits" if self.is_hit else "cache.misses", subject)
            if self.lookup is not None:
                looks.saw(subject, self.lookup.key, self.is_hit)

    @property
    def is_hit(self) -> bool:
        """Whether the answer comes from the cache."""
        return self.cache in HITS

    # --- leaving -------------------------------------------------------------------------------------

    def keepsake(self, response: HttpResponseBase) -> tuple[HttpResponseBase, Keepsake | None]:
        """The response to send, and what to leave in the store."""
        if self.reads is None or self.lookup is None or self.asker is None or self.endpoint.strategy is None:
            return response, None
        watch.unwatch(self.request)
        names = self.reads.names | responses.vary_names(response)
        refused = responses.refused_because(self.request, response, self.endpoint.strategy, self.asker, names)
        if refused or not isinstance(response, HttpResponse):
            self.detail = f'fwd=miss; detail="{refused}"'
            return response, self._nothing(response)
        if self.request.method != "GET" or not self._rows_are_sound():
            return response, self._nothing(response)
        return self._kept(response, names)

    def _rows_are_sound(self) -> bool:
        """Whether what the view depends on is heard of, and not being changed by this very request."""
        rows = self.rows or ()
        if UNHEARD in rows:
            self.detail = (
                'fwd=miss; detail="it depends on rows of a model that depends_on_rows does not name"'
            )
            return False
        return not rows or not rows_in_doubt()

    def _nothing(self, response: HttpResponseBase) -> Keepsake | None:
        if self.lookup is None or not self.reply.lease:
            return None
        waits_less = response.status_code >= 500 or self.request.method != "GET"
        ttl = FAILED_MS if waits_less else PASS_MS
        if response.status_code >= 500 and self._holds_one:
            ttl = 0  # a failure is no reason to throw away what can be given instead
        return Keepsake(self.lookup, self.reply.lease, self.reply.born, b"", ttl)

    def _kept(self, response: HttpResponse, names: set[str]) -> tuple[HttpResponseBase, Keepsake | None]:
        strategy, asker, lookup = self.endpoint.strategy, self.asker, self.lookup
        assert strategy is not None
        assert asker is not None
        assert lookup is not None
        ttl = responses.ttl_of(response, strategy)
        if ttl <= 0:
            return response, self._nothing(response)
        reads = responses.memory.learn(strategy.name, self._template(), names)
        key = responses.key_of(self.request, strategy, asker, reads) if reads else lookup.key
        answer, blob = responses.take(response, self._template(), ttl, self.endpoint.compress)
        keepsake = Keepsake(
            lookup,
            self.reply.lease,
            self.reply.born,
            blob,
            int(ttl * 1000),
            self.endpoint.kept_ms,
            key=key,
            cost_ms=self.timing.view,
            row_tags=tuple(sorted(self.rows or ())),
        )
        self.detail = "fwd=miss; stored"
        recorder.gauge("cache.stored_bytes", strategy.subject, len(blob))
        return self._from_answer(response, answer), keepsake

    def _from_answer(self, response: HttpResponse, answer: responses.Answer) -> HttpResponseBase:
        if answer.packed:
            responses.pack_in_place(response, answer, self.request)
        changed = get_conditional_response(self.request, answer.etag, None, response)
        assert changed is not None
        return changed

    def leave(self, response: HttpResponseBase) -> HttpResponseBase:
        """The response with everything that it should carry, recorded."""
        settings, timing = self.settings, self.timing
        compresses = settings.COMPRESS_MIN_BYTES and self.endpoint.compress and not self.is_hit
        if compresses and isinstance(response, HttpResponse):
            compression.compress(
                response, self.request.META.get("HTTP_ACCEPT_ENCODING", ""), settings.COMPRESS_MIN_BYTES
            )
        if self.limit is not None and self.reply.allowance is not None:
            headers.add_limits(response, self.limit, self.reply.allowance)
        timing.total = (perf_counter() - self.started) * 1000
        if settings.PERFORMANCE_HEADERS != "off" and headers.may_see(self.request, settings, self.address):
            self._show(response)
        if self.trace is not None:
            self._record_of(response, self.trace)
        return response

    def _record_of(self, response: HttpResponseBase, trace: Trace) -> None:
        status = response.status_code
        if response.streaming:
            streams.when_sent(response, trace, lambda size: self.record(status, size))
        else:
            self.record(status, _size(response))

    def _show(self, response: HttpResponseBase) -> None:
        if self.trace is not None:
            self.timing.db, self.timing.queries = self.trace.db * 1000, self.trace.queries
        headers.add_performance(response, self.request, self.timing, self.cache, f"paiid_perf; {self.detail}")

    def record(self, status: int, size: int) -> None:
        """Hand what was seen to the recorder."""
        trace = self.trace
        if trace is None:
            return
        endpoint = f"{method_of(self.request)} {self._template()}"
        ms = (perf_counter() - self.started) * 1000
        recorder.request(endpoint, status, ms, trace.queries, trace.db * 1000, size)
        if self.cache and self.lookup is not None:
            self._record_cache(endpoint, ms)
        if trace.watched is not None:
            record_watched(endpoint, trace.watched)

    def _record_cache(self, endpoint: str, ms: float) -> None:
        if self.is_hit:
            recorder.gauge("api.hit_ms", endpoint, ms)
        else:
            timing = self.timing
            # Who is limited makes the round trip anyway; the look-up only rides along.
            asked = 0.0 if self.limit is not None else timing.store
            recorder.gauge("api.view_ms", endpoint, timing.view)
            recorder.gauge("api.miss_ms", endpoint, ms)
            recorder.gauge("api.uncached_ms", endpoint, ms - asked - timing.keep)

    def _template(self) -> str:
        match = self.request.resolver_match
        if match is not None:
            return match.route or self.request.path_info
        return self.route.template


def record_watched(endpoint: str, watched: Watched) -> None:
    """Hand over what the statements of a request were."""
    recorder.count("api.watched", endpoint)
    for line, asked, times in watched.repeated():
        recorder.gauge("api.repeats", f"{endpoint}|{line}|{asked}", times)
    for line, asked, rows in watched.long():
        recorder.gauge("api.lists", f"{endpoint}|{line}|{asked}", rows)
    for mark, line, asked, took in watched.slowest():
        recorder.gauge("api.statement_ms", f"{endpoint}|{mark}|{line}|{asked}", took)


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})


def method_of(request: HttpRequest) -> str:
    """The method, or ``OTHER``: what a client invents is no label."""
    method = request.method or ""
    return method if method in METHODS else "OTHER"


def new_trace(settings: Settings) -> Trace:
    """A trace that looks into its statements in the share of requests that is set."""
    chance = random()  # noqa: S311
    return Trace(chance < WATCH_RATE, chance > 1.0 - settings.QUERY_SAMPLE_RATE)


def _size(response: HttpResponseBase) -> int:
    if isinstance(response, HttpResponseNotModified) or not isinstance(response, HttpResponse):
        return 0
    return len(response.content)
