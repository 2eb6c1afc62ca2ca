"""The trading platform's JSON, on PostgreSQL. The app only watches here: these are the host's own answers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from project.trading.models import Order
from tests.integration.host.factories import (
    InsightFactory,
    InstrumentFactory,
    NewsFactory,
    OrderFactory,
    PortfolioFactory,
    PositionFactory,
    TickFactory,
    UserFactory,
    WatchFactory,
)

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@pytest.fixture(autouse=True)
def _only_watching(settings):
    off = {
        "RESPONSE_CACHE": False,
        "VALUE_CACHE": False,
        "RATE_LIMITS": False,
        "RECORD": False,
        "INSPECTION": "off",
    }
    settings.PAIID_PERF = {**settings.PAIID_PERF, **off}


@pytest.fixture
def portfolio(client):
    """A portfolio of the user who is signed in."""
    portfolio = PortfolioFactory()
    client.force_login(portfolio.owner, "django.contrib.auth.backends.ModelBackend")
    return portfolio


def post(client, path, body, **how):
    return client.post(path, body, content_type="application/json", **how)


# --- portfolios -----------------------------------------------------------------------------------------


def test_a_summary_values_each_position_at_its_latest_price(client, portfolio):
    position = PositionFactory(portfolio=portfolio, quantity=3, average_cost=8)
    TickFactory(instrument=position.instrument, at=NOW - timedelta(hours=1), price=99)
    TickFactory(instrument=position.instrument, at=NOW, price=12)

    found = client.get(f"/api/portfolios/{portfolio.pk}/").json()

    assert (float(found["value"]), float(found["profit"]), float(found["total"])) == (36, 12, 1036)
    assert [float(row["price"]) for row in found["positions"]] == [12]


def test_a_position_without_a_price_is_valued_at_its_cost(client, portfolio):
    PositionFactory(portfolio=portfolio, quantity=2, average_cost=8)

    assert float(client.get(f"/api/portfolios/{portfolio.pk}/").json()["value"]) == 16


def test_positions_say_what_is_held(client, portfolio):
    position = PositionFactory(portfolio=portfolio)

    (found,) = client.get(f"/api/portfolios/{portfolio.pk}/positions/").json()["positions"]

    assert (found["symbol"], found["sector"]) == (position.instrument.symbol, "technology")


@pytest.mark.parametrize("page", ["", "positions/", "orders/", "insights/"])
def test_a_portfolio_is_its_owners_alone(client, portfolio, page):
    assert client.get(f"/api/portfolios/{PortfolioFactory().pk}/{page}").status_code == 404


@pytest.mark.parametrize(
    "path", ["portfolios/1/", "portfolios/1/orders/", "watch-list/", "portfolios/1/insights/"]
)
def test_strangers_are_told_to_sign_in(client, path):
    assert client.get(f"/api/{path}").status_code == 401


def test_insights_are_the_newest_that_the_analysis_was_sure_of(client, portfolio):
    InsightFactory(portfolio=portfolio, confidence=0.2)
    for days in range(12):
        InsightFactory(portfolio=portfolio, created_at=NOW - timedelta(days=days), kind=f"k{days}")

    found = client.get(f"/api/portfolios/{portfolio.pk}/insights/").json()["insights"]

    assert [row["kind"] for row in found] == [f"k{days}" for days in range(10)]


# --- orders ---------------------------------------------------------------------------------------------


def test_orders_come_newest_first_in_pages(client, portfolio):
    for hours in range(30):
        OrderFactory(portfolio=portfolio, created_at=NOW - timedelta(hours=hours))

    first = client.get(f"/api/portfolios/{portfolio.pk}/orders/").json()
    last = client.get(f"/api/portfolios/{portfolio.pk}/orders/", {"page": 2}).json()

    times = [row["created_at"] for row in first["orders"] + last["orders"]]
    assert (first["count"], first["pages"], len(last["orders"])) == (30, 2, 5)
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, 3),
        ({"status": "filled"}, 1),
        ({"symbol": "WANTED"}, 1),
        ({"since": (NOW - timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S")}, 2),
        ({"symbol": "WANTED", "status": "filled"}, 0),
        ({"page": "nonsense"}, 3),
    ],
)
def test_orders_are_filtered(client, portfolio, query, expected):
    OrderFactory(portfolio=portfolio, status="filled")
    OrderFactory(portfolio=portfolio, instrument=InstrumentFactory(symbol="WANTED"))
    OrderFactory(portfolio=portfolio, created_at=NOW - timedelta(days=10))

    assert client.get(f"/api/portfolios/{portfolio.pk}/orders/", query).json()["count"] == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [("status", "lost"), ("since", "2026-13-45T99:00"), ("symbol", "S\0"), ("symbol", "S" * 40)],
)
def test_a_filter_that_makes_no_sense_is_named(client, portfolio, field, value):
    found = client.get(f"/api/portfolios/{portfolio.pk}/orders/", {field: value})

    assert found.status_code == 400
    assert list(found.json()["errors"]) == [field]


def order(portfolio, /, **changes):
    body = {"portfolio": portfolio.pk, "symbol": "S1", "side": "buy", "quantity": 5, "limit_price": 10.5}
    return body | changes


def test_an_order_is_placed(client, portfolio):
    InstrumentFactory(symbol="S1")

    found = post(client, "/api/orders/", order(portfolio))

    placed = Order.objects.get(pk=found.json()["id"])
    assert found.status_code == 201
    assert (placed.portfolio, placed.instrument.symbol, placed.quantity) == (portfolio, "S1", 5)
    assert placed.status == "open"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("portfolio", 999_999),
        ("portfolio", []),
        ("symbol", "NONE"),
        ("side", "steal"),
        ("quantity", 0),
        ("quantity", "NaN"),
        ("quantity", "1e30"),
        ("limit_price", -1),
        ("limit_price", None),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_by_field(client, portfolio, field, value):
    InstrumentFactory(symbol="S1")

    found = post(client, "/api/orders/", order(portfolio, **{field: value}))

    assert found.status_code == 400
    assert list(found.json()["errors"]) == [field]
    assert not Order.objects.exists()


def test_nobody_orders_for_somebody_elses_portfolio(client, portfolio):
    InstrumentFactory(symbol="S1")

    assert post(client, "/api/orders/", order(PortfolioFactory())).status_code == 400
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ("{", "application/json", 400),
        ("[1]", "application/json", 400),
        ("{}", "text/plain", 415),
        ("a=b", "application/x-www-form-urlencoded", 415),
    ],
)
def test_only_json_objects_are_taken(client, portfolio, body, content_type, status):
    assert client.post("/api/orders/", body, content_type=content_type).status_code == status


def test_orders_are_not_read_where_they_are_placed(client, portfolio):
    assert client.get("/api/orders/").status_code == 405


# --- markets --------------------------------------------------------------------------------------------


def test_market_data_has_the_latest_price_and_the_days_range(client):
    instrument = InstrumentFactory(symbol="S1", name="One")
    for hours, price in ((0, 12), (2, 9), (5, 15), (40, 99)):
        TickFactory(instrument=instrument, at=NOW - timedelta(hours=hours), price=price)

    found = client.get("/api/market-data/S1/").json()

    assert (found["name"], float(found["price"])) == ("One", 12)
    assert {name: float(price) for name, price in found["day"].items()} == {"low": 9, "high": 15}
    assert [float(tick["price"]) for tick in found["ticks"]] == [12, 9, 15, 99]


@pytest.mark.parametrize("symbol", ["NONE", "lower", "S%00", "A" * 40])
def test_there_is_no_market_for_what_is_no_instrument(client, symbol):
    assert client.get(f"/api/market-data/{symbol}/").status_code == 404


def test_every_instrument_is_listed_by_symbol(client):
    for symbol in ("B", "A"):
        InstrumentFactory(symbol=symbol)

    assert [row["symbol"] for row in client.get("/api/instruments/").json()["instruments"]] == ["A", "B"]


def test_movers_are_those_that_moved_most(client):
    for symbol, prices in {"CALM": (10, 11), "WILD": (10, 30), "OLD": ()}.items():
        instrument = InstrumentFactory(symbol=symbol)
        TickFactory(instrument=instrument, at=NOW - timedelta(days=3), price=1)
        for price in prices:
            TickFactory(instrument=instrument, price=price)

    assert [row["symbol"] for row in client.get("/api/market-data/movers/").json()["movers"]] == [
        "WILD",
        "CALM",
    ]


def test_the_watch_list_is_in_the_users_order(client, portfolio):
    second = WatchFactory(user=portfolio.owner, position=2)
    first = WatchFactory(user=portfolio.owner, position=1)
    WatchFactory()
    TickFactory(instrument=first.instrument, price=7)

    found = client.get("/api/watch-list/").json()["watch_list"]

    assert [row["symbol"] for row in found] == [first.instrument.symbol, second.instrument.symbol]
    assert [row["price"] and float(row["price"]) for row in found] == [7, None]


def test_news_are_the_newest_ten(client):
    instrument = InstrumentFactory(symbol="S1")
    for days in range(12):
        NewsFactory(instrument=instrument, published_at=NOW - timedelta(days=days), headline=f"h{days}")

    assert [row["headline"] for row in client.get("/api/news/S1/").json()["news"]] == [
        f"h{d}" for d in range(10)
    ]


# --- signing in, and the front page ---------------------------------------------------------------------


def test_signing_in_gives_a_session(client):
    user = UserFactory(username="trader")
    user.set_password("a long enough one")
    user.save()
    portfolio = PortfolioFactory(owner=user)

    found = post(client, "/api/login/", {"username": "trader", "password": "a long enough one"})

    assert found.json() == {"user": "trader"}
    assert client.get(f"/api/portfolios/{portfolio.pk}/").status_code == 200


@pytest.mark.parametrize(
    "body", [{"username": "trader", "password": "wrong"}, {}, {"username": ["x"], "password": {}}]
)
def test_a_wrong_password_is_refused(client, body):
    UserFactory(username="trader")

    assert post(client, "/api/login/", body).status_code == 401


def test_the_front_page_leads_to_the_console_under_a_strict_policy(client):
    found = client.get("/")

    assert b'href="/admin/paiid_perf/"' in found.content
    assert b"<style" not in found.content
    assert b"<script" not in found.content
    assert found.headers["Content-Security-Policy"].startswith("default-src 'self'")


def test_the_admin_says_whose_it_is(client):
    assert b"Trading demo" in client.get("/admin/login/").content
