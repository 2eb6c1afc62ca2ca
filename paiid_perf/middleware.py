"""``PerfMiddleware``: what happens to a request, in the order in which it happens.

It stands right after ``AuthenticationMiddleware``. ``policy`` reads aloud: safelist → block list → throttle →
cached answer → view (with its input inspected). It is a generator that does no I/O: the sync and the async shell
below carry out what it asks for, each in its own way.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from paiid_perf.api import client, headers, store
from paiid_perf.api.passage import FLIGHT_AT_MOST, Passage, flights
from paiid_perf.api.renewal import renewals
from paiid_perf.api.store import Found, Keepsake, Lookup, Question, Reply
from paiid_perf.conf import Settings, get_settings
from paiid_perf.invalidation import reading
from paiid_perf.registry import registry
from paiid_perf.security import blocks, inspection
from paiid_perf.security.types import InspectionPolicy
from paiid_perf.telemetry import recorder
from paiid_perf.telemetry import trace as tracing

logger = logging.getLogger("paiid_perf")


# --- what the policy asks the shells for ---------------------------------------------------------------


@dataclass(slots=True)
class Ask:
    """Put the question to the store."""

    question: Question
    request: HttpRequest

    def perform(self) -> Reply:
        return store.ask(self.question, self.request)

    async def perform_async(self) -> Reply:
        return await store.ask_async(self.question, self.request)


@dataclass(slots=True)
class AskAgain:
    """Wait a little (or until this process has computed the answer), then look for it again."""

    seconds: float
    lookup: Lookup

    def perform(self) -> Reply:
        flight = flights.get(self.lookup.key)
        if flight is None:
            time.sleep(self.seconds)
        else:
            flight.wait(FLIGHT_AT_MOST)
        return store.ask_again(self.lookup)

    async def perform_async(self) -> Reply:
        flight = flights.get(self.lookup.key)
        if flight is None:
            await asyncio.sleep(self.seconds)
        else:
            await landed(flight)
        return await store.ask_again_async(self.lookup)


async def landed(flight: threading.Event) -> None:
    """Wait for an event of another thread or task without holding the loop (looking at it costs nothing)."""
    ends = perf_counter() + FLIGHT_AT_MOST
    while not flight.is_set() and perf_counter() < ends:
        await asyncio.sleep(0.005)


@dataclass(slots=True)
class Keep:
    """Leave an answer in the store."""

    keepsake: Keepsake

    def perform(self) -> None:
        store.keep(self.keepsake)

    async def perform_async(self) -> None:
        await store.keep_async(self.keepsake)


@dataclass(slots=True)
class MeetUser:
    """Make sure that asking who the user is takes no I/O from here on (where I/O may not just be done)."""

    request: HttpRequest

    def perform(self) -> None: ...

    async def perform_async(self) -> None:
        await client.meet_user(self.request)


class CallView:
    """Call the view (and the middleware on the way to it)."""


VIEW = CallView()
Step = Ask | AskAgain | Keep | MeetUser | CallView
Policy = Generator[Step, Any, HttpResponseBase]


# --- the policy ------------------------------------------------------------------------------------------


def policy(passage: Passage) -> Policy:
    """A request's way, as steps; returns the response."""
    safe = passage.is_safelisted()
    if not safe and blocks.is_blocked(passage.address):
        return passage.leave(headers.forbidden(passage.request))
    if not safe and (seconds := blocks.must_wait(passage.address)):
        return passage.leave(headers.slow_down(passage.request, seconds))
    if passage.endpoint.is_plain:  # all that it has is to be recorded
        started = perf_counter()
        response = yield VIEW
        passage.timing.view = (perf_counter() - started) * 1000
        return passage.leave(response)
    if passage.depends_on_user():
        yield MeetUser(passage.request)
    question = passage.question(limited=not safe)
    if question is not None:
        yield from consult(passage, question)
        early = passage.refusal() or passage.kept_answer()
        if early is not None:
            return passage.leave(early)
    passage.prepare_view()
    started = perf_counter()
    response = yield VIEW
    passage.timing.view = (perf_counter() - started) * 1000
    kept = passage.instead_of_error() if response.status_code >= 500 else None
    response, keepsake = passage.keepsake(response)
    if keepsake is not None:
        started = perf_counter()
        yield Keep(keepsake)
        passage.timing.keep = (perf_counter() - started) * 1000
    passage.land()
    return passage.leave(kept or response)


def recompute(passage: Passage) -> Policy:
    """The way of a request whose kept answer has been given already: only to compute a new one, and keep it."""
    passage.prepare_view()
    started = perf_counter()
    response = yield VIEW
    passage.timing.view = (perf_counter() - started) * 1000
    response, keepsake = passage.keepsake(response)
    if keepsake is not None:
        yield Keep(keepsake)
    passage.land()
    return response


def renewed(passage: Passage) -> Policy:
    """The way of a request that nobody waits for: where its answer is not there, compute it and keep it."""
    response: HttpResponseBase = HttpResponse()
    question = passage.question(limited=False)
    if question is not None:
        passage.hear((yield Ask(question, passage.request)))
    if passage.leads:
        passage.reply = passage.reply._replace(found=Found.REFRESH)  # nobody has missed it
        response = yield from recompute(passage)
    return response


def consult(passage: Passage, question: Question) -> Generator[Step, Any, None]:
    """Ask the store; where another request computes the answer, wait for it a bounded time."""
    started = perf_counter()
    passage.hear((yield Ask(question, passage.request)))
    for seconds in passage.waits() if passage.must_wait() else ():
        passage.hear((yield AskAgain(seconds, passage.look_up())))
        if not passage.must_wait():
            break
    passage.timing.store = (perf_counter() - started) * 1000


# --- the shells ------------------------------------------------------------------------------------------


class PerfMiddleware:
    """Records, limits, caches and compresses the host's answers, by what is declared and set.

    An error in here never reaches the host: it is logged and counted, and the request goes on without us.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        self._policies_of = -1
        self._has_policies = False
        if self.is_async:
            markcoroutinefunction(self)
            # As a coroutine, or Django would hop to a thread and back for it.
            self.process_view = self._process_view_async  # type: ignore[method-assign, assignment]
        tracing.install()

    def __call__(self, request: HttpRequest) -> Any:
        settings = get_settings()
        if not settings.ENABLED or (is_idle(settings) and not is_blocked(request, settings)):
            return self.get_response(request)
        return self._call_async(request) if self.is_async else self._call(request)

    def _call(self, request: HttpRequest) -> HttpResponseBase:
        passage = steps = None
        try:
            passage = Passage(request, get_settings())
            steps = policy(passage)
            step = next(steps)
            while not isinstance(step, CallView):
                step = steps.send(step.perform())
        except StopIteration as done:
            return self._sent(passage, _response(done))
        except Exception:
            passage = steps = None
            _go_on_without("before the view")
        with seen_by(passage):
            response: HttpResponseBase = self.get_response(request)
        if steps is None:
            return response
        try:
            step = steps.send(response)
            while not isinstance(step, CallView):
                step = steps.send(step.perform())
        except StopIteration as done:
            return self._followed(request, _response(done))
        except Exception:
            _go_on_without("after the view")
        return response

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        passage = steps = None
        try:
            passage = Passage(request, get_settings())
            steps = policy(passage)
            step = next(steps)
            while not isinstance(step, CallView):
                step = steps.send(await step.perform_async())
        except StopIteration as done:
            return self._sent(passage, _response(done))
        except Exception:
            passage = steps = None
            _go_on_without("before the view")
        with seen_by(passage):
            response: HttpResponseBase = await self.get_response(request)
        if steps is None:
            return response
        try:
            step = steps.send(response)
            while not isinstance(step, CallView):
                step = steps.send(await step.perform_async())
        except StopIteration as done:
            return self._followed(request, _response(done))
        except Exception:
            _go_on_without("after the view")
        return response

    def _sent(self, passage: Passage | None, response: HttpResponseBase) -> HttpResponseBase:
        """The response; if it is to be computed anew, then when the server has sent this one and closes it."""
        if passage is not None and passage.reply.found is Found.REFRESH:
            later = passage.again()
            _closers(response).append(lambda: self._afterwards(recompute(later), later))
        return response

    def _followed(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The response; what its view asked to have renewed is, when the server has sent it and closes it."""
        if response.status_code < 400:
            for other in renewals(request):
                _closers(response).append(lambda other=other: self._renew(other))  # type: ignore[misc]
        return response

    def _renew(self, request: HttpRequest) -> None:
        try:
            passage = Passage(request, get_settings())
        except Exception:
            _go_on_without("renewing an answer")
            return
        passage.trace = None
        self._afterwards(renewed(passage), passage)

    def _afterwards(self, steps: Policy, passage: Passage) -> None:
        """Go a way that nobody waits at the end of."""
        call = async_to_sync(self.get_response) if self.is_async else self.get_response
        try:
            step = next(steps)
            while True:
                if isinstance(step, CallView):
                    with seen_by(passage):
                        answer: Any = call(passage.request)
                else:
                    answer = step.perform()
                step = steps.send(answer)
        except StopIteration:
            return
        except Exception:
            passage.land()
            _go_on_without("computing an answer anew")

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Inspect the input, once it is known which view it is for (its exemptions count)."""
        if not self._inspects():
            return None
        try:
            verdict = inspection.inspect_request(request, view)
        except Exception:
            _go_on_without("inspecting the input")
            return None
        return headers.refused(request, verdict.status, verdict.reason) if verdict.status else None

    def _inspects(self) -> bool:
        if self._policies_of != registry.version:
            self._has_policies = bool(registry.all(InspectionPolicy))
            self._policies_of = registry.version
        return self._has_policies or get_settings().INSPECTION != "off"

    async def _process_view_async(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        return PerfMiddleware.process_view(self, request, view, args, kwargs)


def is_idle(settings: Settings) -> bool:
    """Whether everything is switched off, but for the block list and the inspection."""
    return not (
        settings.RECORD
        or settings.RESPONSE_CACHE
        or settings.RATE_LIMITS
        or settings.COMPRESS_MIN_BYTES
        or settings.PERFORMANCE_HEADERS != "off"
    )


def is_blocked(request: HttpRequest, settings: Settings) -> bool:
    """Whether the client's address is blocked. An error in looking is no reason to block."""
    try:
        return blocks.is_blocked(client.client_address(request.META, settings.TRUSTED_PROXIES))
    except Exception:
        _go_on_without("looking at the block list")
        return False


class seen_by:  # noqa: N801 - reads as a phrase
    """The view runs in here: its queries are counted, and an exception that leaves it is recorded as a 500."""

    __slots__ = ("_passage", "_rows", "_token")

    def __init__(self, passage: Passage | None) -> None:
        self._passage = passage

    def __enter__(self) -> None:
        passage = self._passage
        self._token = tracing.current.set(passage.trace if passage else None)
        self._rows = reading.set(passage.rows) if passage and passage.rows is not None else None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        tracing.current.reset(self._token)
        if self._rows is not None:
            reading.reset(self._rows)
        if kind is not None and self._passage is not None:
            self._passage.land()
            self._passage.record(500, 0)


def _closers(response: HttpResponseBase) -> list[Callable[[], None]]:
    found: list[Callable[[], None]] = response._resource_closers  # type: ignore[attr-defined]
    return found


def _response(done: StopIteration) -> HttpResponseBase:
    response: HttpResponseBase = done.value
    return response


def _go_on_without(where: str) -> None:
    logger.exception("paiid_perf failed %s; the request goes on without it.", where)
    recorder.count("telemetry.errors", where)
