"""The database away, so that nobody can say who asks: what is the same for everybody is answered all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.db import OperationalError

from paiid_perf.api.types import EndpointClass
from paiid_perf.registry import registry
from tests.integration.api.conftest import Browser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lose_users(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on, asking who the user is fails as it does while PostgreSQL is down."""

    def fail(self: ModelBackend, user_id: int) -> None:
        raise OperationalError("connection refused")

    return lambda: monkeypatch.setattr(ModelBackend, "get_user", fail)


@pytest.fixture
def visitor(browser: Browser) -> Browser:
    """Signed in; sees a 500 where a view raises."""
    browser.login(get_user_model().objects.create_user("ann"))
    browser.client.raise_request_exception = False
    return browser


def test_a_shared_answer_is_given(visitor: Browser, lose_users: Callable[[], None]) -> None:
    with registry.temporarily(EndpointClass("metered", match="/shared/number/", rate="9/h", cache="shared")):
        first = visitor.get("/shared/number/")
        lose_users()
        second = visitor.get("/shared/number/")

    assert (first["X-Cache"], second["X-Cache"]) == ("MISS", "HIT")
    assert second.content == first.content
    assert "RateLimit" in first.headers
    assert "RateLimit" not in second.headers


def test_a_shared_answer_is_made_where_the_view_can(visitor: Browser, lose_users: Callable[[], None]) -> None:
    lose_users()

    assert [visitor.get("/shared/number/")["X-Cache"] for _ in range(2)] == ["MISS", "HIT"]


@pytest.mark.parametrize("scope", ["user", "public"])
def test_a_users_own_answer_fails_as_the_view_does_and_nothing_is_kept(
    visitor: Browser,
    another: Browser,
    lose_users: Callable[[], None],
    scope: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lose_users()

    assert visitor.get(f"/{scope}/who/").status_code == 500
    monkeypatch.undo()
    assert another.get(f"/{scope}/who/").content == b"I am nobody"
    assert visitor.get(f"/{scope}/who/").content == b"I am ann"
