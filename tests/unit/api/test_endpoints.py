"""The longest prefix wins, a named route wins over any prefix."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.views import View

from paiid_perf.api.endpoints import NONE, EndpointTable, Route, build, dotted, in_class
from paiid_perf.api.types import EndpointClass, InClass, ResponseStrategy
from paiid_perf.checks import check_declarations
from paiid_perf.registry import registry

TABLE = EndpointTable(
    [
        build(EndpointClass("rest", match="")),
        build(EndpointClass("api", match="/api/", rate="5/m")),
        build(EndpointClass("orders", match=("/api/orders/", "/old/orders/"))),
        build(EndpointClass("named", match=("shop:detail", "api/things/<int:pk>/"))),
    ]
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "rest"),
        ("/api/x/", "api"),
        ("/api/orders/5/", "orders"),
        ("/old/orders/", "orders"),
        ("/apix", "rest"),
    ],
)
def test_prefixes(path: str, name: str) -> None:
    assert TABLE.by_prefix(path).name == name


def test_names() -> None:
    for route in (Route("x/", "shop:detail"), Route("api/things/<int:pk>/", "")):
        found = TABLE.by_name(route)
        assert found is not None
        assert found.name == "named"
    assert TABLE.by_name(Route("y/", "shop:list")) is None


def orders(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


class Orders(View):
    pass


@pytest.mark.parametrize("view", [orders, Orders.as_view()], ids=["function", "class"])
@pytest.mark.parametrize("by_text", [False, True])
def test_a_view_is_matched_by_itself_and_by_its_dotted_path(view: Any, by_text: bool) -> None:
    table = EndpointTable([build(EndpointClass("it", match=dotted(view) if by_text else view))])

    found = table.by_name(Route("orders/", "", dotted(view)))
    assert found is not None
    assert found.name == "it"
    assert table.by_name(Route("orders/", "", "elsewhere.orders")) is None
    assert dotted(view).startswith("tests.unit.api.test_endpoints.")


def test_what_a_view_says_itself_is_stronger_than_what_names_it() -> None:
    classes = [build(EndpointClass("one", match=orders)), build(EndpointClass("own", match=()))]

    table = EndpointTable(classes, [InClass(dotted(orders), "own")])

    found = table.by_name(Route("orders/", "", dotted(orders)))
    assert found is not None
    assert found.name == "own"
    assert table.by_prefix("/orders/") is NONE


def test_the_decorator_wraps_nothing_and_a_class_that_is_none_is_told() -> None:
    with registry.temporarily(EndpointClass("own", match=())):
        assert in_class("own")(orders) is orders
        assert in_class("nobody's")(Orders) is Orders

        assert registry.get(InClass, dotted(orders)).endpoint_class == "own"
        told = [error.msg for error in check_declarations(None) if "nobody's" in error.msg]
        assert told == [
            f'The view {dotted(Orders)} names the endpoint class "nobody\'s", which does not exist.'
        ]


@pytest.mark.parametrize("rate", ["3/month", "60/M", "banana", "5/0s"])
def test_a_rate_that_cannot_be_read_is_told_before_the_first_request(rate: str) -> None:
    with registry.temporarily(EndpointClass("misread", match="/x/", rate=rate)):
        found = [error for error in check_declarations(None) if "misread" in error.msg]

    assert [error.id for error in found] == ["paiid_perf.E004"]
    assert rate in found[0].msg


def test_nothing_declared_is_nothing_done() -> None:
    assert EndpointTable([]).by_prefix("/") is NONE
    assert NONE.rate is NONE.strategy is None
    assert NONE.compress


def test_rows_of_no_model_are_told_by_a_check() -> None:
    typo = ResponseStrategy("typo", ttl=timedelta(1), depends_on_rows=["auth.User", "auth.Userr.owner"])
    with registry.temporarily(typo):
        assert [error.id for error in check_declarations(None) if "auth.Userr" in error.msg] == [
            "paiid_perf.E003"
        ]
