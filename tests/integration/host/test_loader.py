"""The trading data, on PostgreSQL."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from project.trading import loader
from project.trading.models import AIInsight, Order, Portfolio, PriceTick, Trade

pytestmark = pytest.mark.django_db
SCALE = 0.01

#: One figure per table that changes with any value in it; ages, not times, for those count back from the loading.
COLUMNS = {
    "trading_pricetick": "instrument_id, price, volume, extract(epoch FROM now() - at)",
    "trading_position": "portfolio_id, instrument_id, quantity, average_cost",
    "trading_order": "id, portfolio_id, instrument_id, side, status, quantity, limit_price",
    "trading_trade": "order_id, price, quantity",
    "trading_aiinsight": "portfolio_id, kind, confidence, text",
    "trading_newsitem": "instrument_id, headline",
    "trading_watchlistitem": "user_id, instrument_id, position",
}


def checksums() -> dict[str, int]:
    with connection.cursor() as cursor:
        return {table: _checksum(cursor, table, columns) for table, columns in COLUMNS.items()}


def _checksum(cursor, table, columns) -> int:
    cursor.execute(f"SELECT sum(hashtext(({columns})::text)::bigint) FROM {table}")
    return cursor.fetchone()[0]


def test_the_same_scale_gives_the_same_rows():
    first_rows = loader.load(SCALE)
    first = checksums()

    assert loader.load(SCALE) == first_rows
    assert checksums() == first


def test_slices_change_nothing(monkeypatch):
    loader.load(SCALE)
    whole = checksums()
    monkeypatch.setattr(loader, "SLICE", 333)

    loader.load(SCALE)

    assert checksums() == whole


def test_it_makes_as_many_rows_as_it_says():
    rows, size = loader.load(SCALE), loader.Size.of(SCALE)

    assert PriceTick.objects.count() == rows["trading_pricetick"] == size.ticks
    assert Order.objects.count() == rows["trading_order"] == size.orders
    assert Trade.objects.count() == Order.objects.filter(status="filled").count()
    assert Portfolio.objects.count() == 2 * size.users


def test_progress_ends_at_its_total():
    done = []

    loader.load(SCALE, lambda table, count: done.append(count))

    assert sum(done) == loader.steps(SCALE)


def test_it_is_known_to_be_loaded_after_writes_too():
    assert not loader.is_loaded(SCALE)
    loader.load(SCALE)
    first = Order.objects.get(pk=1)
    Order.objects.create(
        portfolio=first.portfolio, instrument=first.instrument, side="buy", quantity=1, limit_price=1
    )

    assert loader.is_loaded(SCALE)
    assert not loader.is_loaded(2 * SCALE)


def test_accounts_made_by_hand_stay():
    get_user_model().objects.create_user("mine")

    loader.load(SCALE)
    loader.load(SCALE)

    assert get_user_model().objects.filter(username="mine").exists()


def test_traders_have_no_password_that_works():
    loader.load(SCALE)

    assert not get_user_model().objects.get(username="trader1").has_usable_password()


def test_a_popular_portfolio_has_most_of_the_orders():
    loader.load(SCALE)
    size = loader.Size.of(SCALE)

    tenth = Order.objects.filter(portfolio_id__lte=2 * size.users // 10).count()

    assert tenth > 0.25 * size.orders


def test_a_price_belongs_to_its_instrument():
    loader.load(SCALE)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(highest / lowest) FROM (SELECT max(price) highest, min(price) lowest"
            " FROM trading_pricetick GROUP BY instrument_id) prices"
        )
        (spread,) = cursor.fetchone()

    assert spread < 2


def test_some_rows_are_old_enough_for_the_clean_up():
    loader.load(SCALE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() - min(at) > '95 days' FROM trading_pricetick")
        assert cursor.fetchone() == (True,)
        cursor.execute("SELECT now() - min(created_at) > '180 days' FROM trading_aiinsight")
        assert cursor.fetchone() == (True,)


def test_a_new_row_gets_a_number_of_its_own():
    loader.load(SCALE)

    added = AIInsight.objects.create(portfolio_id=1, kind="risk", confidence=1, text="")

    assert AIInsight.objects.filter(pk=added.pk).count() == 1
