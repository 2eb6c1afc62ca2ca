"""What a host's own tests are told of their views' queries, on the demo's views."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models.query_utils import DeferredAttribute
from django.test import Client
from django.utils import timezone

from paiid_perf.api.relations import followed
from paiid_perf.testing import assert_no_n_plus_one, watched_queries
from project.trading.models import Instrument, NewsItem, Order, Portfolio, Position, PriceTick, WatchListItem

pytestmark = pytest.mark.django_db
ROWS = 120


@pytest.fixture
def portfolio() -> Portfolio:
    ann = get_user_model().objects.create_user("ann")
    portfolio = Portfolio.objects.create(owner=ann, name="p")
    instruments = Instrument.objects.bulk_create(
        Instrument(symbol=f"S{n}", name="n", sector="s") for n in range(ROWS)
    )
    Position.objects.bulk_create(
        Position(portfolio=portfolio, instrument=i, quantity=1, average_cost=1) for i in instruments
    )
    WatchListItem.objects.bulk_create(WatchListItem(user=ann, instrument=i) for i in instruments[:4])
    NewsItem.objects.bulk_create(
        NewsItem(instrument=instruments[0], headline="h", body="long" * 99) for _ in range(20)
    )
    now = timezone.now()
    PriceTick.objects.bulk_create(
        PriceTick(instrument=i, at=now - timedelta(minutes=1), price=1, volume=1) for i in instruments
    )
    return portfolio


@pytest.fixture
def client_of_ann(portfolio: Portfolio, settings: Any) -> Client:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "paiid_perf" not in name]
    client = Client()
    client.force_login(portfolio.owner)
    return client


def test_a_view_with_an_n_plus_1_fails_with_its_line_and_its_cure(
    client_of_ann: Client, portfolio: Portfolio
) -> None:
    with (
        pytest.raises(AssertionError, match=r"n\+1: trading_instrument.id × 120") as told,
        assert_no_n_plus_one(),
    ):
        client_of_ann.get(f"/api/portfolios/{portfolio.pk}/positions/")
    assert "project/trading/views.py:" in str(told.value)
    assert " in positions" in str(told.value)
    assert '.select_related("instrument")' in str(told.value) or "one of" in str(told.value)


def test_a_view_without_one_passes(client_of_ann: Client, portfolio: Portfolio) -> None:
    Order.objects.bulk_create(
        Order(portfolio=portfolio, instrument=i, side="buy", quantity=1, limit_price=1)
        for i in Instrument.objects.all()[:30]
    )
    with assert_no_n_plus_one() as queries:
        client_of_ann.get(f"/api/portfolios/{portfolio.pk}/orders/")
    assert len(queries) > 2


def test_the_newest_row_of_each_is_asked_in_a_subquery(client_of_ann: Client) -> None:
    with watched_queries() as queries:
        client_of_ann.get("/api/watch-list/")
    [found] = queries.repeats()
    assert (found.kind, found.asked, found.times) == ("n+1", "trading_pricetick.instrument_id (first)", 4)
    assert 'Subquery(PriceTick.objects.filter(instrument=OuterRef("pk"))' in found.how


def test_a_list_without_pages_is_found(client_of_ann: Client, portfolio: Portfolio) -> None:
    with watched_queries() as queries:
        client_of_ann.get(f"/api/portfolios/{portfolio.pk}/positions/")
    [found] = queries.unpaged()
    assert (found.asked, found.times) == ("trading_position.portfolio_id", ROWS)


def test_the_same_question_twice_is_found() -> None:
    with watched_queries() as queries:
        for _ in range(2):
            Instrument.objects.filter(symbol="S1").first()
    [found] = queries.findings()
    assert (found.kind, found.times) == ("duplicate", 2)


def test_long_columns_that_nobody_reads_are_found(portfolio: Portfolio) -> None:
    with watched_queries() as queries:
        assert {item.headline for item in NewsItem.objects.all()} == {"h"}
    assert [(one.asked, one.how) for one in queries.wide()] == [("trading_newsitem", '.defer("body")')]
    assert "test_queries.py:" in queries.wide()[0].line
    with watched_queries() as queries:
        assert all(item.body for item in NewsItem.objects.all())
        assert all(item.headline for item in NewsItem.objects.defer("body"))
    assert queries.wide() == []


def test_watching_leaves_no_trace(portfolio: Portfolio) -> None:
    before = DeferredAttribute.__get__
    with pytest.raises(ZeroDivisionError), watched_queries():
        raise ZeroDivisionError
    assert DeferredAttribute.__get__ is before
    assert not hasattr(DeferredAttribute, "__set__")
    assert NewsItem.objects.defer("body")[0].body


@pytest.mark.parametrize(
    ("asked", "how"),
    [
        ("trading_position.portfolio_id", ("prefetch_related", ("positions",))),
        ("trading_order.portfolio_id+status", ("Prefetch", ("orders",))),
        ("trading_order.status", ("", ())),
        ("trading_order.portfolio_id (aggregate)", ("annotate", ("orders",))),
        (
            "trading_order.portfolio_id (exists)",
            ("Exists", ('Order.objects.filter(portfolio=OuterRef("pk"))',)),
        ),
        ("auth_user_groups.user_id", ("prefetch_related", ("groups",))),
        ("auth_user_groups.group_id", ("prefetch_related", ("user_set",))),
        ("trading_order.id (same)", ("once", ())),
        ("no_such_table.id", ("", ())),
        ("SAVEPOINT", ("", ())),
    ],
)
def test_the_relation_that_a_look_up_follows(asked: str, how: tuple[str, tuple[str, ...]]) -> None:
    assert followed(asked) == how
