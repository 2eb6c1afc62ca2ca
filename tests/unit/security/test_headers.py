"""Headers that the middleware adds, and those it leaves alone."""

from __future__ import annotations

import asyncio
from typing import Any

from django.http import HttpRequest, HttpResponse

from paiid_perf.security.facts import _added_headers
from paiid_perf.security.headers import MIDDLEWARE, headers_middleware


def answered(**headers: str) -> HttpResponse:
    response: HttpResponse = headers_middleware(lambda request: HttpResponse(headers=headers))(HttpRequest())
    return response


def test_they_are_added_where_an_answer_lacks_them(settings: Any) -> None:
    assert answered()["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in answered()["Permissions-Policy"]
    assert answered(**{"Permissions-Policy": "camera=(self)"})["Permissions-Policy"] == "camera=(self)"
    settings.PAIID_PERF = {"RESPONSE_HEADERS": {"Cross-Origin-Resource-Policy": "", "X-Site": "a"}}
    assert "Cross-Origin-Resource-Policy" not in answered()
    assert answered()["X-Site"] == "a"


def test_an_asynchronous_answer_has_them_too() -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    response = asyncio.run(headers_middleware(view)(HttpRequest()))
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"


def test_what_adds_them_is_known_by_its_name() -> None:
    both = {"Permissions-Policy", "Cross-Origin-Resource-Policy"}
    assert set(_added_headers(frozenset({MIDDLEWARE}), {})) == both
    assert set(_added_headers(frozenset({MIDDLEWARE}), {"Permissions-Policy": ""})) == both - {
        "Permissions-Policy"
    }
    theirs = frozenset({"django_permissions_policy.PermissionsPolicyMiddleware"})
    assert set(_added_headers(theirs, {})) == {"Permissions-Policy"}
    assert not set(_added_headers(frozenset({"a.b"}), {}))
