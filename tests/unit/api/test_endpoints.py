"""The longest prefix wins, a named route wins over any prefix."""

from __future__ import annotations

import pytest

from paiid_perf.api.endpoints import NONE, EndpointTable, Route, build
from paiid_perf.api.types import EndpointClass

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


def test_nothing_declared_is_nothing_done() -> None:
    assert EndpointTable([]).by_prefix("/") is NONE
    assert NONE.rate is NONE.strategy is None
    assert NONE.compress


def test_rows_of_no_model_are_told_by_a_check() -> None:
    from datetime import timedelta

    from paiid_perf.api.types import ResponseStrategy
    from paiid_perf.checks import check_declarations
    from paiid_perf.registry import registry

    typo = ResponseStrategy("typo", ttl=timedelta(1), depends_on_rows=["auth.User", "auth.Userr.owner"])
    with registry.temporarily(typo):
        assert [error.id for error in check_declarations(None) if "auth.Userr" in error.msg] == [
            "paiid_perf.E003"
        ]
