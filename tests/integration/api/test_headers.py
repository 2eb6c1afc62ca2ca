"""Who sees the performance headers, and which id an answer carries."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from tests.integration.api.conftest import PERF, Browser

SHOWN = {"Server-Timing", "X-Response-Time", "X-Request-ID"}
#: Beside them, where the cache was asked (it is not while this transaction holds what the answer depends on).
OF_CACHE = {"X-Cache", "Cache-Status"}
#: Reads who asks, so that the user is known when the headers are added.
PATH = "/user/who/"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def people(mode: str, redis_cache: Any, site: None, settings: Any, db: None) -> dict[str, Browser]:
    """Nobody, a user, a member of staff, and somebody at an internal address."""
    settings.INTERNAL_IPS = ["127.0.0.1"]
    users = get_user_model().objects
    found = {name: Browser(mode) for name in ("nobody", "user", "staff")}
    found["user"].login(users.create_user("u"))
    found["staff"].login(users.create_user("s", is_staff=True))
    return found


def seen(browser: Browser, **headers: str) -> set[str]:
    answer = browser.get(PATH, **headers)
    assert answer.status_code == 200
    shown = SHOWN & set(answer.headers)
    assert shown or not OF_CACHE & set(answer.headers)
    return shown


@pytest.mark.parametrize(
    ("audience", "who"),
    [
        ("off", set()),
        ("staff", {"staff"}),
        ("internal", {"nobody", "user", "staff"}),
        ("all", {"nobody", "user", "staff"}),
    ],
)
def test_only_who_is_meant_sees_them(
    people: dict[str, Browser], settings: Any, audience: str, who: set[str]
) -> None:
    settings.PAIID_PERF = PERF | {"PERFORMANCE_HEADERS": audience}
    for _ in range(2):  # from the view, and from the cache
        assert {name: seen(one) for name, one in people.items()} == {
            name: SHOWN if name in who else set() for name in people
        }


def test_an_internal_address_is_the_clients_and_cannot_be_claimed(
    people: dict[str, Browser], settings: Any
) -> None:
    settings.PAIID_PERF = PERF | {"PERFORMANCE_HEADERS": "internal"}
    settings.INTERNAL_IPS = ["203.0.113.5"]
    assert seen(people["nobody"], X_Forwarded_For="203.0.113.5") == set()
    settings.PAIID_PERF = settings.PAIID_PERF | {"TRUSTED_PROXIES": ("127.0.0.0/8",)}
    assert seen(people["nobody"], X_Forwarded_For="203.0.113.5") == SHOWN
    assert seen(people["nobody"], X_Forwarded_For="203.0.113.5, 198.51.100.1") == set()


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"X_Request_ID": "order-4711"}, "order-4711"),
        ({"traceparent": f"00-{TRACE}-{PARENT}-01"}, TRACE),
        ({"traceparent": f"00-{TRACE}-{PARENT}-01", "X_Request_ID": "order-4711"}, "order-4711"),
        ({"traceparent": f"01-{TRACE}-{PARENT}-01-more"}, TRACE),
        ({"traceparent": f"00-{TRACE}-{PARENT}-01-more"}, None),
        ({"traceparent": f"ff-{TRACE}-{PARENT}-01"}, None),
        ({"traceparent": f"00-{'0' * 32}-{PARENT}-01"}, None),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-{PARENT}-01"}, None),
        ({"traceparent": "00-short-01"}, None),
        ({"X_Request_ID": "<script>alert(1)</script>"}, None),
        ({"X_Request_ID": "a b\tc"}, None),
        ({}, None),
    ],
)
def test_a_sound_id_is_kept_and_any_other_replaced(
    mode: str, redis_cache: Any, site: None, headers: dict[str, str], kept: str | None
) -> None:
    answers = [Browser(mode).get("/public/number/", **headers)["X-Request-ID"] for _ in range(2)]
    assert answers == [kept, kept] if kept else len({*answers, *headers.values()}) == 2 + len(headers)
    assert all(len(answer) == 32 or answer == kept for answer in answers)
