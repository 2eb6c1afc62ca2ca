"""How much data a scale means."""

import pytest

from project.trading.loader import TABLES, Size, steps


def test_scale_one_is_a_million_ticks_and_two_hundred_thousand_orders():
    size = Size.of(1)

    assert (size.ticks, size.orders, size.users, size.instruments) == (1_000_000, 200_000, 2_000, 500)


@pytest.mark.parametrize("scale", [0.000_1, 0.01, 0.5, 3])
def test_every_table_gets_something(scale):
    assert all(table.count(Size.of(scale)) > 0 for table in TABLES)


def test_the_steps_are_those_of_all_tables():
    assert steps(1) == sum(table.count(Size.of(1)) for table in TABLES)
