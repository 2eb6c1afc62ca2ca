"""What a view has made old and names is there again before its reader asks."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from tests.integration.api import views
from tests.integration.api.conftest import Browser

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.parametrize("cache_kind", ["valkey"], indirect=True),
]
USERS = "/public/users/"
#: Django's AsyncClient ends an answer in a thread of its own, whose database connection nobody would close.
ONLY_SYNC = pytest.mark.parametrize("mode", ["sync"], indirect=True)


def test_what_a_view_names_is_there_before_its_reader_asks(browser: Browser) -> None:
    assert browser.post("/writes/?name=ann&then=/public/number/").status_code == 201
    assert browser.get("/public/number/")["X-Cache"] == "HIT"
    assert views.calls == ["/public/number/"]


@ONLY_SYNC
def test_who_has_written_reads_the_new_from_the_cache(browser: Browser, another: Browser) -> None:
    browser.get(USERS)
    assert browser.post(f"/writes/?name=ann&then={USERS}&then={USERS}").status_code == 201
    for reader in (browser, another):
        found = reader.get(USERS)
        assert (found["X-Cache"], found.json()) == ("HIT", {"users": ["ann"]})


@ONLY_SYNC
def test_it_is_asked_for_as_the_one_who_wrote(browser: Browser, another: Browser) -> None:
    ann, bob = (get_user_model().objects.create(username=name) for name in ("ann", "bob"))
    browser.login(ann)
    another.login(bob)
    browser.post("/writes/?name=cid&then=/user/who/%3Fpage%3D2")
    for reader, cache, text in ((browser, "HIT", b"I am ann"), (another, "MISS", b"I am bob")):
        found = reader.get("/user/who/?page=2")
        assert (found["X-Cache"], found.content) == (cache, text)


@ONLY_SYNC
def test_an_error_renews_nothing_and_one_that_fails_fails_alone(browser: Browser) -> None:
    assert browser.post(f"/writes/?name=ann&status=409&then={USERS}").status_code == 409
    assert browser.get(USERS)["X-Cache"] == "MISS"
    views.broken.set()
    browser.client.raise_request_exception = False
    others = ("/sturdy/breaks/", "/nowhere/", "/public/never/", "/plain/number/", USERS)
    assert browser.post("/writes/?name=bob" + "".join(f"&then={url}" for url in others)).status_code == 201
    found = browser.get(USERS)
    assert (found["X-Cache"], found.json()) == ("HIT", {"users": ["ann", "bob"]})
