"""One computes, the others wait or are given what is there: leases of other processes, and expiry ahead of time."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import pytest
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from paiid_perf.api import passage, responses, store
from paiid_perf.api.store import Found, Keepsake, Lookup, Question, Reply
from paiid_perf.conf import get_settings
from tests.integration.api import views
from tests.integration.api.conftest import Browser

HOUR_MS = 3_600_000


def lookup_of(path: str, browser: Browser) -> Lookup:
    """What a request of the browser for the path looks for."""
    factory = AsyncRequestFactory() if browser.is_async else RequestFactory()
    question = passage.Passage(factory.get(path), get_settings()).question(limited=False)
    assert question is not None
    assert question.lookup is not None
    return question.lookup


def ask(lookup: Lookup) -> Reply:
    """The store's reply to one more process."""
    return store.ask(Question(None, lookup), RequestFactory().get("/"))


def kept(lookup: Lookup, lease: Reply, cost_ms: float = 0.0) -> Keepsake:
    """An answer that another process computed."""
    _, blob = responses.take(HttpResponse("from elsewhere"), "public/number/", HOUR_MS / 1000, False)
    return Keepsake(lookup, lease.lease, lease.born, blob, HOUR_MS, cost_ms=cost_ms)


@pytest.fixture
def before_look(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Each further look at the store takes the first of these and does it."""
    waiting: list[Callable[[], None]] = []
    plain, plain_async = store.ask_again, store.ask_again_async

    def look(wanted: Lookup) -> Reply:
        waiting.pop(0)()
        return plain(wanted)

    async def look_async(wanted: Lookup) -> Reply:
        waiting.pop(0)()
        return await plain_async(wanted)

    monkeypatch.setattr(store, "ask_again", look)
    monkeypatch.setattr(store, "ask_again_async", look_async)
    return waiting


def nothing() -> None:
    """The other process still computes."""


def test_what_another_process_computes_is_waited_for(
    browser: Browser, before_look: list[Callable[[], None]]
) -> None:
    lookup = lookup_of("/public/number/", browser)
    lease = ask(lookup)
    assert lease.found is Found.LEAD
    before_look += [nothing, nothing, lambda: store.keep(kept(lookup, lease))]
    answer = browser.get("/public/number/")
    assert (answer.content, answer["X-Cache"]) == (b"from elsewhere", "HIT")
    assert before_look == []
    assert views.calls == []


def test_a_process_that_never_answers_is_waited_for_a_bounded_time(
    browser: Browser, before_look: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage, "WAIT_AT_MOST", sum(passage.WAITS) + passage.WAITS[-1] * 1.5)
    before_look += [nothing] * (len(passage.WAITS) + 1)
    assert ask(lookup_of("/public/number/", browser)).found is Found.LEAD
    assert browser.get("/public/number/").content.startswith(b"call")
    assert before_look == []


@pytest.mark.parametrize("cache_kind", ["valkey"], indirect=True)
@pytest.mark.parametrize("mode", ["sync"], indirect=True)
def test_the_dearer_the_earlier_one_computes_anew(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """XFetch (Vattani et al. 2015): ahead of its end by -ln(u) times what computing it costs."""
    lookup = lookup_of("/public/number/", browser)
    store.keep(kept(lookup, ask(lookup), cost_ms=HOUR_MS))

    def at(chance: float) -> Found:
        monkeypatch.setattr(store, "random", lambda: chance)
        return ask(lookup).found

    # An hour is left and an hour is what it costs: with a chance of 1/e somebody begins now.
    assert at(0.0) is Found.FRESH
    assert at(1 - exp(-0.9)) is Found.FRESH
    assert at(1 - exp(-1.1)) is Found.REFRESH
    assert at(1 - exp(-1.1)) is Found.FRESH, "one computes; the others are given what is there"


@pytest.mark.parametrize("cache_kind", ["valkey"], indirect=True)
@pytest.mark.parametrize("mode", ["sync"], indirect=True)
def test_what_costs_nothing_is_not_computed_ahead(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = lookup_of("/public/number/", browser)
    store.keep(kept(lookup, ask(lookup)))
    monkeypatch.setattr(store, "random", lambda: 1 - 1e-12)
    assert ask(lookup).found is Found.FRESH
