"""One user's answer must never reach another: more than twenty ways to try (two more are in test_peer_faults)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from paiid_perf.api.types import EditedClass, ResponseStrategy
from paiid_perf.registry import registry
from paiid_perf.security import accounts
from tests.integration.api import views
from tests.integration.api.conftest import MIDDLEWARE, Browser, committed

pytestmark = pytest.mark.django_db
DAY, MOMENT = timedelta(days=1), timedelta(microseconds=1)
#: Django's AsyncClient has one address and one host, and ASGI requests have no environ.
ONLY_SYNC = pytest.mark.parametrize("mode", ["sync"], indirect=True)


@pytest.fixture
def ann() -> Any:
    return user("ann")


@pytest.fixture
def bob() -> Any:
    return user("bob")


def user(name: str) -> Any:
    with committed():
        return get_user_model().objects.create_user(name)


def text(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def test_public_answer_of_a_user_is_not_given_to_nobody(browser: Browser, another: Browser, ann: Any) -> None:
    browser.login(ann)
    assert text(browser.get("/public/who/")) == "I am ann"
    assert text(another.get("/public/who/")) == "I am nobody"


def test_public_answer_for_nobody_is_not_given_to_a_user(
    browser: Browser, another: Browser, ann: Any
) -> None:
    assert text(another.get("/public/who/")) == "I am nobody"
    browser.login(ann)
    assert text(browser.get("/public/who/")) == "I am ann"


@pytest.mark.parametrize("scope", ["public", "user"])
def test_users_are_kept_apart(browser: Browser, another: Browser, ann: Any, bob: Any, scope: str) -> None:
    browser.login(ann)
    another.login(bob)
    for cache in ("MISS", "HIT") if scope == "user" else ("BYPASS", "BYPASS"):
        one, two = browser.get(f"/{scope}/who/"), another.get(f"/{scope}/who/")
        assert [text(one), text(two)] == ["I am ann", "I am bob"]
        assert {one["X-Cache"], two["X-Cache"]} == {cache}  # else nothing is tried here


def test_after_logging_out_the_answer_is_nobodys(browser: Browser, ann: Any) -> None:
    browser.login(ann)
    assert text(browser.get("/user/who/")) == "I am ann"
    browser.client.logout()
    assert text(browser.get("/user/who/")) == "I am nobody"


@pytest.mark.parametrize("scope", ["public", "user"])
def test_tokens_are_kept_apart(browser: Browser, another: Browser, scope: str) -> None:
    for _ in range(2):
        assert text(browser.get(f"/{scope}/by_token/", Authorization="Bearer a")) == "token Bearer a"
        assert text(another.get(f"/{scope}/by_token/", Authorization="Bearer b")) == "token Bearer b"
        assert text(another.get(f"/{scope}/by_token/")) == "token -"


@pytest.mark.parametrize("scope", ["public", "user", "shared"])
def test_api_keys_are_kept_apart(browser: Browser, another: Browser, scope: str) -> None:
    for _ in range(2):
        assert text(browser.get(f"/{scope}/by_api_key/", X_Api_Key="a")) == "key a"
        assert text(another.get(f"/{scope}/by_api_key/", X_Api_Key="b")) == "key b"
        assert text(another.get(f"/{scope}/by_api_key/")) == "key -"


@pytest.mark.parametrize("view", ["by_cookie", "by_raw_cookie"])
@pytest.mark.parametrize("scope", ["public", "user", "shared"])
def test_cookies_are_kept_apart(browser: Browser, another: Browser, scope: str, view: str) -> None:
    browser.client.cookies["name"] = "ann"
    another.client.cookies["name"] = "bob"
    for _ in range(2):
        assert "ann" in text(browser.get(f"/{scope}/{view}/"))
        assert "bob" in text(another.get(f"/{scope}/{view}/"))


@ONLY_SYNC
def test_addresses_are_kept_apart(mode: str, browser: Browser) -> None:
    elsewhere = Browser(mode, REMOTE_ADDR="198.51.100.7")
    for _ in range(2):
        assert text(browser.get("/public/by_address/")) == "address 127.0.0.1"
        assert text(elsewhere.get("/public/by_address/")) == "address 198.51.100.7"


@ONLY_SYNC
def test_hosts_are_kept_apart(browser: Browser, another: Browser, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["a.example", "b.example"]
    for _ in range(2):
        assert "//a.example/" in text(browser.get("/public/by_host/", Host="a.example"))
        assert "//b.example/" in text(another.get("/public/by_host/", Host="b.example"))


def test_a_trusted_forwarded_host_is_kept_apart_too(
    browser: Browser, another: Browser, settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["testserver", "a.example"]
    settings.USE_X_FORWARDED_HOST = True
    for _ in range(2):
        assert "//a.example/" in text(browser.get("/public/by_host/", X_Forwarded_Host="a.example"))
        assert "//testserver/" in text(another.get("/public/by_host/"))


def test_an_answer_made_of_all_headers_is_not_kept(browser: Browser, another: Browser) -> None:
    assert "secret" in text(browser.get("/shared/by_everything/", X_Secret="secret"))
    assert "secret" not in text(another.get("/shared/by_everything/"))


def test_an_answer_made_of_a_copy_of_meta_is_not_kept(browser: Browser, another: Browser) -> None:
    assert text(browser.get("/shared/by_meta_copy/", User_Agent="a")) == "agent a"
    assert text(another.get("/shared/by_meta_copy/", User_Agent="b")) == "agent b"


@pytest.mark.parametrize("scope", ["public", "user", "shared"])
@pytest.mark.parametrize(
    "view", ["sets_cookie", "changes_session", "csrf_form", "never", "private", "vary_all", "streams"]
)
def test_what_may_not_be_kept_is_not(browser: Browser, another: Browser, scope: str, view: str) -> None:
    first, second = browser.get(f"/{scope}/{view}/"), another.get(f"/{scope}/{view}/")
    assert len(views.calls) >= 2
    assert body(first) != body(second)
    assert second.headers.get("X-Cache") != "HIT"


def body(response: Any) -> bytes:
    return bytes(response.getvalue())


def test_a_user_found_inside_the_view_is_kept_apart(browser: Browser, another: Browser) -> None:
    browser.get("/public/logs_in/?as=ann")
    assert views.calls == ["/public/logs_in/"]
    another.get("/public/logs_in/?as=ann")
    assert len(views.calls) == 2


def test_a_session_of_nobody_is_kept_apart(browser: Browser, another: Browser) -> None:
    browser.get("/plain/changes_session/")
    assert text(browser.get("/public/reads_session/")) == "cart empty"
    assert browser.get("/public/reads_session/").headers.get("X-Cache") == "BYPASS"
    assert text(another.get("/public/reads_session/")) == "cart empty"


@ONLY_SYNC
def test_origins_are_kept_apart(browser: Browser, another: Browser) -> None:
    for _ in range(2):
        one = browser.get("/shared/allows_origin/", Origin="https://a.example")
        two = another.get("/shared/allows_origin/", Origin="https://b.example")
        assert one["Access-Control-Allow-Origin"] == "https://a.example"
        assert two["Access-Control-Allow-Origin"] == "https://b.example"


def test_a_declared_vary_keeps_apart(browser: Browser, another: Browser) -> None:
    one = [browser.get("/shared/by_language/", Accept_Language="de")["X-Cache"] for _ in range(2)]
    two = [another.get("/shared/by_language/", Accept_Language="fr")["X-Cache"] for _ in range(2)]
    assert one == two == ["MISS", "HIT"]


def test_a_post_is_neither_kept_nor_answered_from_the_cache(browser: Browser) -> None:
    browser.get("/shared/number/")
    assert text(browser.post("/shared/number/")) != text(browser.get("/shared/number/"))
    assert len(views.calls) == 2


def test_the_query_keeps_apart(browser: Browser) -> None:
    answers = {
        text(browser.get(f"/shared/number/?{q}"))
        for q in ("a=1", "a=2", "b=1", "a=1&b=1", "a=1&a=2", "a=2&a=1")
    }
    assert len(answers) == 6


def test_an_error_is_not_kept(browser: Browser) -> None:
    for view, status in (("fails", 500), ("missing", 404)):
        answers = [browser.get(f"/shared/{view}/") for _ in range(2)]
        assert [a.status_code for a in answers] == [status] * 2
        assert answers[0].content != answers[1].content


@pytest.mark.parametrize("to", ["public", "user"])
def test_a_class_edited_to_another_strategy_keeps_users_apart(
    browser: Browser, another: Browser, ann: Any, bob: Any, to: str
) -> None:
    browser.login(ann)
    another.login(bob)
    for strategy in ("user" if to == "public" else "public", to):
        with registry.temporarily(EditedClass("user", {"cache": strategy})):
            for _ in range(2):
                assert text(browser.get("/user/who/")) == "I am ann"
                assert text(another.get("/user/who/")) == "I am bob"
                assert text(Browser("sync").get("/user/who/")) == "I am nobody"


@pytest.mark.parametrize(
    "allowed", [{"stale_while_revalidate": DAY, "ttl": MOMENT}, {"stale_if_error": DAY, "ttl": MOMENT}]
)
def test_an_old_answer_is_nobody_elses_either(
    browser: Browser, another: Browser, ann: Any, bob: Any, allowed: dict[str, timedelta]
) -> None:
    old = ResponseStrategy("user", scope="user", **allowed)
    browser.login(ann)
    another.login(bob)
    with registry.temporarily(old):
        for _ in range(3):
            assert text(browser.get("/user/who/")) == "I am ann"
            assert text(another.get("/user/who/")) == "I am bob"


def test_another_users_etag_gives_no_answer_away(
    browser: Browser, another: Browser, ann: Any, bob: Any
) -> None:
    browser.login(ann)
    another.login(bob)
    etags = [browser.get("/user/who/").headers.get("ETag", '"none"') for _ in range(2)]
    for etag in etags:
        assert text(another.get("/user/who/", If_None_Match=etag)) == "I am bob"


@pytest.fixture
def watched_sessions(browser: Browser, ann: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ann's session has been seen a while ago, and it is to be noted that she is here again."""
    settings.MIDDLEWARE = [*MIDDLEWARE[:-1], "paiid_perf.security.accounts.AccountMiddleware", MIDDLEWARE[-1]]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    browser.login(ann)
    later = timezone.now() + timedelta(minutes=2)
    monkeypatch.setattr(accounts.timezone, "now", lambda: later)


@pytest.mark.parametrize(("view", "then"), [("number", "HIT"), ("changes_session", "MISS")])
def test_that_the_app_notes_a_session_keeps_no_answer_from_being_kept(
    browser: Browser, watched_sessions: None, view: str, then: str
) -> None:
    first, second = browser.get(f"/user/{view}/"), browser.get(f"/user/{view}/")
    assert (first["X-Cache"], "sessionid" in first.cookies) == ("MISS", True)
    assert (second["X-Cache"] == "HIT") is (then == "HIT")
