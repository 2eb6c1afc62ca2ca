"""The response cache at work: hits, invalidation on commit, single-flight, revalidation, conditional requests."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import AsyncClient, Client

from paiid_perf import invalidation
from paiid_perf.registry import registry
from paiid_perf.telemetry import recorder
from tests.integration.api import views
from tests.integration.api.conftest import Browser

ONLY_VALKEY = pytest.mark.parametrize("cache_kind", ["valkey"], indirect=True)
ONLY_SYNC = pytest.mark.parametrize("mode", ["sync"], indirect=True)


def cells(name: str) -> dict[str, int]:
    """What the recorder has under a name, by subject: the sum of the minutes, as a test may see two of them."""
    recorder.fold()
    found: Counter[str] = Counter()
    for series, cell in recorder._cells.items():
        if series.name == name:
            found[series.subject] += cell.count
    return dict(found)


def test_the_second_answer_comes_from_the_cache(browser: Browser) -> None:
    first, second = browser.get("/public/number/"), browser.get("/public/number/")
    assert first.content == second.content
    assert (first["X-Cache"], second["X-Cache"]) == ("MISS", "HIT")
    assert int(second["Age"]) < 60
    assert "hit" in second["Cache-Status"]
    assert len(views.calls) == 1
    assert cells("cache.hits") == cells("cache.misses") == {"response:public": 1}


def test_a_hit_is_recorded_under_its_route(browser: Browser) -> None:
    for _ in range(3):
        browser.get("/public/number/")
    assert cells("api.latency_ms") == {"GET public/number/ 2xx": 3}


def test_head_is_answered_from_a_kept_get(browser: Browser) -> None:
    browser.get("/public/number/")
    if not browser.is_async:
        assert browser.client.head("/public/number/")["X-Cache"] == "HIT"
        assert browser.client.head("/public/rows/")["X-Cache"] == "MISS"
        assert browser.client.head("/public/rows/")["X-Cache"] != "HIT"


def test_an_unchanged_answer_is_304(browser: Browser) -> None:
    for _ in range(2):
        etag = browser.get("/public/rows/")["ETag"]
        again = browser.get("/public/rows/", If_None_Match=etag)
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", etag)
    assert browser.get("/public/rows/", If_None_Match='"other"').status_code == 200


def test_a_long_answer_is_packed_once_for_all(browser: Browser) -> None:
    plain = browser.get("/public/rows/")
    packed = browser.get("/public/rows/", Accept_Encoding="gzip")
    refused = browser.get("/public/rows/", Accept_Encoding="gzip;q=0, br;q=0.1")
    assert len(views.calls) == 1
    assert "Content-Encoding" not in plain
    assert packed["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content == refused.content
    assert len(json.loads(plain.content)["rows"]) == 200
    assert int(packed["Content-Length"]) == len(packed.content) < len(plain.content)
    assert {"Accept-Encoding"} <= {part.strip() for part in plain["Vary"].split(",")}


@pytest.mark.django_db(transaction=True)
def test_a_commit_makes_the_answer_old(browser: Browser) -> None:
    assert browser.get("/public/users/").json() == {"users": []}
    with transaction.atomic():
        get_user_model().objects.create(username="ann")
        assert browser.is_async or browser.get("/public/users/").json() == {"users": ["ann"]}
    assert browser.get("/public/users/").json() == {"users": ["ann"]}
    assert browser.get("/public/users/")["X-Cache"] == "HIT"
    get_user_model().objects.get(username="ann").delete()
    assert browser.get("/public/users/").json() == {"users": []}


@pytest.mark.django_db(transaction=True)
def test_a_rollback_changes_nothing(browser: Browser) -> None:
    browser.get("/public/users/")
    with transaction.atomic():
        get_user_model().objects.create(username="ann")
        transaction.set_rollback(True)
    again = browser.get("/public/users/")
    assert (again["X-Cache"], again.json()) == ("HIT", {"users": []})


@pytest.mark.django_db(transaction=True)
def test_bulk_writes_are_announced_by_hand(browser: Browser) -> None:
    browser.get("/public/users/")
    users = get_user_model()
    users.objects.bulk_create([users(username="ann"), users(username="bob")])
    assert browser.get("/public/users/").json() == {"users": []}
    invalidation.invalidate(users)
    assert browser.get("/public/users/").json() == {"users": ["ann", "bob"]}


def test_an_answer_begun_before_an_invalidation_is_not_kept_as_new(
    browser: Browser, another: Browser
) -> None:
    """The race that versions read after computing would lose."""
    views.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(another.get, "/public/slow/")
        assert views.entered.acquire(timeout=10)
        invalidation.bump(["auth.user"])
        views.gate.set()
        old = begun.result(10).content
    assert browser.get("/public/slow/").content != old


@ONLY_VALKEY
@ONLY_SYNC
def test_a_hundred_misses_at_once_are_one_call(browser: Browser) -> None:
    views.gate.clear()
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(lambda: Client().get("/public/slow/")) for _ in range(100)]
        assert views.entered.acquire(timeout=10)
        views.gate.set()
        answers = [one.result(20) for one in asked]
    assert len(views.calls) == 1
    assert {answer.content for answer in answers} == {answers[0].content}


def test_nobody_waits_for_an_answer_that_may_not_be_kept(browser: Browser) -> None:
    browser.get("/public/never/")
    assert browser.get("/public/never/")["X-Cache"] == "BYPASS"
    assert len(views.calls) == 2


def test_past_its_ttl_an_answer_is_given_while_one_computes(browser: Browser, another: Browser) -> None:
    first = browser.get("/stale/slow/").content
    views.gate.clear()
    assert views.entered.acquire(timeout=10)
    with ThreadPoolExecutor(1) as pool:
        computing = pool.submit(another.get, "/stale/slow/")
        assert views.entered.acquire(timeout=10)
        stale = browser.get("/stale/slow/")
        views.gate.set()
        # Who computes gives the old one first, and computes when it has been sent.
        assert computing.result(10).content == first
    assert browser.get("/stale/slow/").content != first
    assert (stale["X-Cache"], stale.content) == ("STALE", first)


@pytest.mark.django_db(transaction=True)
def test_an_answer_depends_on_the_rows_that_its_view_names(browser: Browser) -> None:
    ann, bob = (get_user_model().objects.create_user(name) for name in ("ann", "bob"))

    def state(user: Any) -> tuple[str, str]:
        response = browser.get(f"/rows/{user.pk}/")
        return response["X-Cache"], response.content.decode()

    for user in (ann, bob, ann, bob):  # a row's tag is known from the second answer on
        state(user)
    assert (state(ann), state(bob)) == (("HIT", "ann did 0"), ("HIT", "bob did 0"))
    with transaction.atomic():
        LogEntry.objects.create(user=ann, action_flag=1, object_repr="x")
    assert (state(ann), state(bob)) == (("MISS", "ann did 1"), ("HIT", "bob did 0"))
    ann.username = "anna"
    ann.save()
    assert (state(ann), state(bob)) == (("MISS", "anna did 1"), ("HIT", "bob did 0"))
    invalidation.invalidate(ann)
    assert (state(ann)[0], state(bob)[0]) == ("MISS", "HIT")


def test_rows_that_nobody_hears_of_keep_an_answer_from_being_kept(browser: Browser) -> None:
    assert browser.get("/rows/unheard/").content != browser.get("/rows/unheard/").content


def test_a_failing_view_is_covered_by_its_last_answer(browser: Browser) -> None:
    browser.client.raise_request_exception = False
    last = browser.get("/sturdy/breaks/").content
    views.broken.set()
    for _ in range(2):
        covered = browser.get("/sturdy/breaks/")
        assert (covered.status_code, covered.content) == (200, last)
    # What an event has invalidated covers nothing.
    invalidation.bump(["auth.user"])
    assert browser.get("/sturdy/breaks/").status_code == 500


def test_an_error_of_the_host_stays_the_hosts(browser: Browser) -> None:
    browser.client.raise_request_exception = False
    assert browser.get("/public/raises/").status_code == 500
    assert cells("api.latency_ms") == {"GET public/raises/ 5xx": 1}


def test_other_query_parameters_can_be_ignored(browser: Browser) -> None:
    strategy = registry.all(type(_strategy("public")))[0]
    narrowed = type(strategy)("public", ttl=strategy.ttl, query_params=["page"])
    with registry.temporarily(narrowed):
        browser.get("/public/number/?page=1&utm=x")
        assert browser.get("/public/number/?utm=y&page=1")["X-Cache"] == "HIT"
        assert browser.get("/public/number/?page=2")["X-Cache"] == "MISS"


def _strategy(name: str) -> Any:
    from paiid_perf.api.types import ResponseStrategy

    return registry.get(ResponseStrategy, name)


#: What is old by its TTL may be given; what an event made old never is, whatever the strategy allows else.
LENIENT = {"stale_while_revalidate": timedelta(minutes=5), "stale_if_error": timedelta(minutes=5)}


@ONLY_VALKEY
@ONLY_SYNC
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("allowed", [{}, LENIENT], ids=["strict", "lenient"])
def test_after_a_commit_nobody_reads_the_old(browser: Browser, allowed: dict[str, Any]) -> None:
    """Two writers that count up and three readers that ask at once: no answer is older than a commit that returned."""
    rows = [get_user_model().objects.create(username=f"{name}0") for name in "ab"]
    committed = [0, 0]
    stale: list[tuple[list[int], list[int]]] = []
    done, all_there = threading.Event(), threading.Barrier(5)

    def write(which: int) -> None:
        try:
            all_there.wait(60)
            for number in range(1, 21):
                rows[which].username = f"{'ab'[which]}{number}"
                rows[which].save()
                committed[which] = number
        finally:
            connection.close()

    def read() -> int:
        visitor, reads = Client(), 0
        try:
            all_there.wait(60)
            while not (done.is_set() and reads):
                at_least = list(committed)
                names = sorted(visitor.get("/public/users/").json()["users"])
                seen = [int(name[1:]) for name in names]
                reads += 1
                if any(new < old for new, old in zip(seen, at_least, strict=True)):
                    stale.append((seen, at_least))
        finally:
            connection.close()
        return reads

    strategy = replace(_strategy("public"), **allowed)
    with registry.temporarily(strategy), ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        writers = [pool.submit(write, which) for which in range(2)]
        try:
            for writer in writers:
                writer.result(60)
        finally:
            done.set()
        assert min(reader.result(60) for reader in readers) > 0
    assert committed == [20, 20]
    assert stale == []


def test_who_waits_in_the_loop_gets_the_one_answer(redis_cache: Any, site: None) -> None:
    """Fifty tasks of one event loop, one call of the view."""

    async def ask_at_once() -> list[Any]:
        client = AsyncClient()
        return await asyncio.gather(*(client.get("/public/slow_async/") for _ in range(50)))

    answers = async_to_sync(ask_at_once)()
    assert len(views.calls) == 1
    assert {answer.content for answer in answers} == {answers[0].content}
