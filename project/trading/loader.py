"""The trading data, made inside PostgreSQL from ``generate_series``: the same seed and scale, the same rows.

At scale 1: 1 M price ticks, 200 k orders, 2,000 users. Pseudo-random values are hashes of the row's number, so
that no order of execution changes them. Times count back from the moment of loading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

from django.contrib.auth.hashers import make_password
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

Report = Callable[[str, int], None]


@dataclass(frozen=True)
class Size:
    """Rows per table."""

    users: int
    instruments: int
    ticks: int
    orders: int
    insights: int
    news: int

    @classmethod
    def of(cls, scale: float) -> Size:
        orders = max(400, int(200_000 * scale))
        return cls(
            users=max(20, int(2_000 * scale)),
            instruments=max(20, int(500 * min(scale, 4) ** 0.5)),
            ticks=max(2_000, int(1_000_000 * scale)),
            orders=orders,
            insights=orders // 10,
            news=orders // 40,
        )


#: A statement makes the rows of this many numbers, so that progress can be seen.
SLICE = 50_000
#: Traders' ids begin above this, so that accounts made by hand stay as they are.
FIRST_USER = 1_000

#: A number from 0 (inclusive) to 1 (exclusive) that depends on the row's number and a salt alone.
RANDOM = """
CREATE OR REPLACE FUNCTION pg_temp.rnd(i bigint, salt int) RETURNS float8 IMMUTABLE PARALLEL SAFE LANGUAGE sql
AS $$ SELECT (hashint8extended(i, salt) & 1048575)::float8 / 1048576 $$
"""


@dataclass(frozen=True)
class Table:
    """How a table is filled: ``sql`` makes the rows of the numbers from ``first`` to ``last`` out of ``count``."""

    name: str
    count: Callable[[Size], int]
    sql: str


#: Each popular thing is drawn by a power of a uniform number: a few have most of the rows.
TABLES = (
    Table(
        "auth_user",
        lambda size: size.users,
        """
        INSERT INTO auth_user (id, username, password, email, first_name, last_name, is_superuser, is_staff, is_active,
                               date_joined)
        SELECT %(first_user)s + i, 'trader' || i, %(password)s, 'trader' || i || '@example.com', 'Trader', 'No. ' || i,
               false, false, true, now() - interval '400 days'
        FROM generate_series(%(first)s, %(last)s) i
        """,
    ),
    Table(
        "trading_instrument",
        lambda size: size.instruments,
        """
        INSERT INTO trading_instrument (id, symbol, name, sector)
        SELECT i, 'S' || lpad(i::text, 4, '0'), 'Company ' || i,
               (ARRAY['technology','energy','health','finance','industry','consumer'])[1 + i %% 6]
        FROM generate_series(%(first)s, %(last)s) i
        """,
    ),
    Table(
        "trading_portfolio",
        lambda size: 2 * size.users,
        """
        INSERT INTO trading_portfolio (id, owner_id, name, cash, created_at)
        SELECT i, %(first_user)s + 1 + (i - 1) %% %(users)s, CASE WHEN i <= %(users)s THEN 'Main' ELSE 'Savings' END,
               round((1000 + 99000 * pg_temp.rnd(i, 1))::numeric, 2), now() - interval '300 days'
        FROM generate_series(%(first)s, %(last)s) i
        """,
    ),
    Table(
        "trading_position",
        lambda size: 2 * size.users,
        """
        INSERT INTO trading_position (portfolio_id, instrument_id, quantity, average_cost)
        SELECT p, 1 + (floor(%(instruments)s * pg_temp.rnd(p, 2))::int + 7 * k) %% %(instruments)s,
               round((1 + 500 * pg_temp.rnd(p * 10 + k, 3))::numeric, 2),
               round((10 + 490 * pg_temp.rnd(p * 10 + k, 4))::numeric, 4)
        FROM generate_series(%(first)s, %(last)s) p, generate_series(0, 9) k
        ON CONFLICT DO NOTHING
        """,
    ),
    Table(
        "trading_pricetick",
        lambda size: size.ticks,
        """
        INSERT INTO trading_pricetick (instrument_id, at, price, volume)
        SELECT instrument, now() - interval '100 days' * (1 - age),
               round(((10 + 490 * pg_temp.rnd(instrument, 6)) * (1 + 0.02 * pg_temp.rnd(i, 7)
                      + 0.2 * sin(40 * age * pg_temp.rnd(instrument, 19))))::numeric, 4),
               1 + floor(10000 * pg_temp.rnd(i, 8))::int
        FROM generate_series(%(first)s, %(last)s) i,
             LATERAL (SELECT 1 + floor(%(instruments)s * power(pg_temp.rnd(i, 5), 1.5))::int AS instrument,
                             i::float8 / %(ticks)s AS age)
        """,
    ),
    Table(
        "trading_order",
        lambda size: size.orders,
        """
        INSERT INTO trading_order (id, portfolio_id, instrument_id, side, status, quantity, limit_price, created_at)
        SELECT i, 1 + floor(2 * %(users)s * power(pg_temp.rnd(i, 9), 2))::int,
               1 + floor(%(instruments)s * power(pg_temp.rnd(i, 10), 1.5))::int,
               CASE WHEN pg_temp.rnd(i, 11) < 0.5 THEN 'buy' ELSE 'sell' END,
               CASE WHEN pg_temp.rnd(i, 12) < 0.05 THEN 'open' WHEN pg_temp.rnd(i, 12) < 0.8 THEN 'filled'
                    ELSE 'cancelled' END,
               round((1 + 100 * pg_temp.rnd(i, 13))::numeric, 2), round((10 + 490 * pg_temp.rnd(i, 14))::numeric, 4),
               now() - interval '380 days' * (1 - i::float8 / %(orders)s)
        FROM generate_series(%(first)s, %(last)s) i
        """,
    ),
    Table(
        "trading_trade",
        lambda size: size.orders,
        """
        INSERT INTO trading_trade (order_id, price, quantity, executed_at)
        SELECT id, limit_price, quantity, created_at + interval '1 minute' FROM trading_order
        WHERE status = 'filled' AND id BETWEEN %(first)s AND %(last)s ORDER BY id
        """,
    ),
    Table(
        "trading_aiinsight",
        lambda size: size.insights,
        """
        INSERT INTO trading_aiinsight (portfolio_id, kind, confidence, text, created_at)
        SELECT 1 + floor(2 * %(users)s * power(pg_temp.rnd(i, 15), 2))::int,
               (ARRAY['risk','diversification','momentum','cost'])[1 + i %% 4], round(pg_temp.rnd(i, 16)::numeric, 3),
               'Observation ' || i || ': ' || repeat('the weight of one sector has changed; ', 8),
               now() - interval '200 days' * (1 - i::float8 / %(insights)s)
        FROM generate_series(%(first)s, %(last)s) i
        """,
    ),
    Table(
        "trading_newsitem",
        lambda size: size.news,
        """
        INSERT INTO trading_newsitem (instrument_id, headline, body, published_at)
        SELECT 1 + floor(%(instruments)s * power(pg_temp.rnd(i, 17), 1.5))::int, 'Quarterly figures, part ' || i,
               repeat('Revenue and margins moved within what analysts had expected. ', 12),
               now() - interval '90 days' * (1 - i::float8 / %(news)s)
        FROM generate_series(%(first)s, %(last)s) i
        """,
    ),
    Table(
        "trading_watchlistitem",
        lambda size: size.users,
        """
        INSERT INTO trading_watchlistitem (user_id, instrument_id, position)
        SELECT %(first_user)s + u, 1 + floor(%(instruments)s * power(pg_temp.rnd(u * 10 + k, 18), 1.5))::int, k
        FROM generate_series(%(first)s, %(last)s) u, generate_series(0, 7) k
        ON CONFLICT DO NOTHING
        """,
    ),
)


def is_loaded(scale: float) -> bool:
    """Whether data of this scale is there, made today (writes of earlier traffic do not matter)."""
    size = Size.of(scale)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM trading_portfolio), (SELECT count(*) FROM trading_instrument),"
            " EXISTS (SELECT FROM trading_order WHERE id = %s),"
            " (SELECT max(at) FROM trading_pricetick) > now() - interval '12 hours'",
            [size.orders],
        )
        portfolios, instruments, last_order, fresh = cursor.fetchone()
    return bool((portfolios, instruments) == (2 * size.users, size.instruments) and last_order and fresh)


def load(scale: float, report: Report = lambda table, done: None) -> dict[str, int]:
    """Replace the trading data by that of ``scale``; returns rows per table. All of it or nothing.

    ``report(table, numbers)`` is told how many numbers were worked off just now, of ``steps(scale)`` altogether.
    """
    size = Size.of(scale)
    values = asdict(size) | {"password": make_password(None), "first_user": FIRST_USER}
    rows = {table.name: 0 for table in TABLES}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(RANDOM)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # checked slice by slice, not all at the end
        _empty(cursor)
        for table in TABLES:
            for first, last in _slices(table.count(size)):
                cursor.execute(table.sql, values | {"first": first, "last": last})
                rows[table.name] += cursor.rowcount
                report(table.name, last - first + 1)
            _move_sequence(cursor, table.name)
    _settle(rows)
    return rows


def _settle(tables: Iterable[str]) -> None:
    """What autovacuum would have done by now on a site that is not a minute old."""
    command = "ANALYZE" if connection.in_atomic_block else "VACUUM (ANALYZE)"
    with connection.cursor() as cursor:
        cursor.execute(f"{command} {', '.join(tables)}")


def steps(scale: float) -> int:
    """How many numbers ``load`` works off."""
    return sum(table.count(Size.of(scale)) for table in TABLES)


def _slices(count: int) -> Iterator[tuple[int, int]]:
    for first in range(1, count + 1, SLICE):
        yield first, min(first + SLICE - 1, count)


def _empty(cursor: CursorWrapper) -> None:
    others = ", ".join(table.name for table in TABLES if table.name != "auth_user")
    cursor.execute(f"TRUNCATE {others} RESTART IDENTITY CASCADE")
    cursor.execute("DELETE FROM auth_user WHERE username LIKE 'trader%'")


def _move_sequence(cursor: CursorWrapper, table: str) -> None:
    cursor.execute(
        f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT coalesce(max(id), 1) FROM {table}))"
    )
