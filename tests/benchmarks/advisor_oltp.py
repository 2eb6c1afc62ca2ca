"""An order-entry mix in the manner of TPC-C: five transactions, one client, primary keys only.

Two indexes are missing (customers by name, a customer's newest order); most other columns are updated all the time,
and an index on one of those costs every update its HOT-ness. Figures from it are not TPC-C results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
DISTRICTS, CUSTOMERS, ITEMS, LINES = 10, 3_000, 20_000, 8
NAMES = ("BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING")

DDL = (
    """CREATE TABLE warehouse (w_id int PRIMARY KEY, w_name text, w_tax numeric(4,4), w_ytd numeric(14,2))
        WITH (fillfactor = 20)""",
    """CREATE TABLE district (d_w_id int, d_id int, d_name text, d_tax numeric(4,4), d_ytd numeric(14,2),
        d_next_o_id int, PRIMARY KEY (d_w_id, d_id)) WITH (fillfactor = 20)""",
    """CREATE TABLE customer (c_w_id int, c_d_id int, c_id int, c_first text, c_last text, c_credit char(2),
        c_balance numeric(14,2), c_ytd_payment numeric(14,2), c_payment_cnt int, c_delivery_cnt int, c_data text,
        PRIMARY KEY (c_w_id, c_d_id, c_id)) WITH (fillfactor = 70)""",
    """CREATE TABLE orders (o_w_id int, o_d_id int, o_id int, o_c_id int, o_entry_d timestamptz, o_carrier_id int,
        o_ol_cnt int, PRIMARY KEY (o_w_id, o_d_id, o_id)) WITH (fillfactor = 80)""",
    "CREATE TABLE new_order (no_w_id int, no_d_id int, no_o_id int, PRIMARY KEY (no_w_id, no_d_id, no_o_id))",
    """CREATE TABLE order_line (ol_w_id int, ol_d_id int, ol_o_id int, ol_number int, ol_i_id int,
        ol_delivery_d timestamptz, ol_quantity int, ol_amount numeric(8,2),
        PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number)) WITH (fillfactor = 80)""",
    "CREATE TABLE item (i_id int PRIMARY KEY, i_name text, i_price numeric(8,2), i_data text)",
    """CREATE TABLE stock (s_w_id int, s_i_id int, s_quantity int, s_ytd int, s_order_cnt int, s_data text,
        PRIMARY KEY (s_w_id, s_i_id)) WITH (fillfactor = 70)""",
    "CREATE TABLE history (h_c_id int, h_d_id int, h_w_id int, h_date timestamptz, h_amount numeric(8,2))",
)


def last_name(number: int) -> str:
    return NAMES[number // 100 % 10] + NAMES[number // 10 % 10] + NAMES[number % 10]


def _load(scale: float) -> Sequence[str]:
    customers, items = max(30, int(CUSTOMERS * scale)), max(100, int(ITEMS * scale))
    names = "ARRAY[" + ",".join(f"'{n}'" for n in NAMES) + "]"
    last = f"({names})[(n/100)%10+1] || ({names})[(n/10)%10+1] || ({names})[n%10+1]"
    return (
        "SELECT setseed(0.7)",
        "INSERT INTO warehouse VALUES (1, 'one', 0.1, 0)",
        f"INSERT INTO district SELECT 1, d, 'd' || d, 0.1, 0, {customers + 1} FROM generate_series(1, {DISTRICTS}) d",
        f"""INSERT INTO customer SELECT 1, d, c, md5(random()::text), {last}, 'GC', -10, 10, 1, 0, repeat('x', 200)
            FROM (SELECT d, c, floor(random() * 1000)::int AS n FROM generate_series(1, {DISTRICTS}) d,
                  generate_series(1, {customers}) c OFFSET 0) x""",
        f"""INSERT INTO orders SELECT 1, d, o, 1 + (o * 7919 + d) % {customers}, now() - interval '1 day', 1, {LINES}
            FROM generate_series(1, {DISTRICTS}) d, generate_series(1, {customers}) o""",
        f"""INSERT INTO order_line SELECT 1, d, o, l, 1 + floor(random() * {items})::int, now(), 5, random() * 100
            FROM generate_series(1, {DISTRICTS}) d, generate_series(1, {customers}) o, generate_series(1, {LINES}) l""",
        f"""INSERT INTO new_order SELECT 1, d, o FROM generate_series(1, {DISTRICTS}) d,
            generate_series({int(customers * 0.9)}, {customers}) o""",
        f"INSERT INTO item SELECT i, md5(i::text), random() * 100, repeat('y', 40) FROM generate_series(1, {items}) i",
        f"INSERT INTO stock SELECT 1, i, 50, 0, 0, repeat('z', 60) FROM generate_series(1, {items}) i",
    )


# --- transactions ------------------------------------------------------------------------------------------


class Client:
    """One terminal: runs transactions with the connection's own parameters ($1, $2 …)."""

    def __init__(self, connection: Connection, random: Random) -> None:
        self.connection, self.random = connection, random
        self.customers = int(self._one("SELECT count(*) FROM customer WHERE c_d_id = %s", [1])[0])
        self.items = int(self._one("SELECT count(*) FROM item WHERE i_id > %s", [0])[0])

    def _run(self, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        done = self.connection.execute(text.encode(), values)
        return done.fetchall() if done.description else []

    def _one(self, text: str, values: Sequence[Any]) -> tuple[Any, ...]:
        return self._run(text, values)[0]

    def _customer(self, district: int) -> int | None:
        if self.random.random() < 0.4:
            return self.random.randint(1, self.customers)
        found = self._run(
            """SELECT c_id, c_first, c_balance FROM customer WHERE c_w_id = %s AND c_d_id = %s AND c_last = %s
               ORDER BY c_first""",
            [1, district, last_name(self.random.randint(0, 999))],
        )
        return int(found[len(found) // 2][0]) if found else None

    def new_order(self) -> None:
        district, customer = self.random.randint(1, DISTRICTS), self.random.randint(1, self.customers)
        self._run("SELECT w_tax FROM warehouse WHERE w_id = %s", [1])
        (order,) = self._one(
            """UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = %s AND d_id = %s
               RETURNING d_next_o_id - 1""",
            [1, district],
        )
        self._run("SELECT c_last, c_credit FROM customer WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s",
                  [1, district, customer])  # fmt: skip
        lines = self.random.randint(5, 12)
        self._run(
            "INSERT INTO orders VALUES (%s, %s, %s, %s, now(), NULL, %s)",
            [1, district, order, customer, lines],
        )
        self._run("INSERT INTO new_order VALUES (%s, %s, %s)", [1, district, order])
        for line in range(1, lines + 1):
            item = self.random.randint(1, self.items)
            (price,) = self._one("SELECT i_price FROM item WHERE i_id = %s", [item])
            self._run(
                "SELECT s_quantity, s_data FROM stock WHERE s_w_id = %s AND s_i_id = %s FOR UPDATE", [1, item]
            )
            self._run(
                """UPDATE stock SET s_quantity = CASE WHEN s_quantity > 15 THEN s_quantity - %s ELSE s_quantity + 80
                   END, s_ytd = s_ytd + %s, s_order_cnt = s_order_cnt + 1 WHERE s_w_id = %s AND s_i_id = %s""",
                [3, 3, 1, item],
            )
            self._run(
                "INSERT INTO order_line VALUES (%s, %s, %s, %s, %s, NULL, %s, %s)",
                [1, district, order, line, item, 3, price],
            )

    def payment(self) -> None:
        district = self.random.randint(1, DISTRICTS)
        amount = self.random.randint(1, 5000)
        customer = self._customer(district)
        self._run("UPDATE warehouse SET w_ytd = w_ytd + %s WHERE w_id = %s", [amount, 1])
        self._run(
            "UPDATE district SET d_ytd = d_ytd + %s WHERE d_w_id = %s AND d_id = %s", [amount, 1, district]
        )
        if customer is not None:
            self._run(
                """UPDATE customer SET c_balance = c_balance - %s, c_ytd_payment = c_ytd_payment + %s,
                   c_payment_cnt = c_payment_cnt + 1 WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s""",
                [amount, amount, 1, district, customer],
            )
            self._run("INSERT INTO history VALUES (%s, %s, %s, now(), %s)", [customer, district, 1, amount])

    def order_status(self) -> None:
        district = self.random.randint(1, DISTRICTS)
        customer = self._customer(district)
        if customer is None:
            return
        found = self._run(
            """SELECT o_id, o_carrier_id, o_entry_d FROM orders WHERE o_w_id = %s AND o_d_id = %s AND o_c_id = %s
               ORDER BY o_id DESC LIMIT 1""",
            [1, district, customer],
        )
        if found:
            self._run(
                """SELECT ol_i_id, ol_quantity, ol_amount, ol_delivery_d FROM order_line
                   WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s""",
                [1, district, found[0][0]],
            )

    def delivery(self) -> None:
        for district in range(1, DISTRICTS + 1):
            found = self._run(
                """SELECT no_o_id FROM new_order WHERE no_w_id = %s AND no_d_id = %s ORDER BY no_o_id LIMIT 1""",
                [1, district],
            )
            if not found:
                continue
            key = [1, district, found[0][0]]
            self._run("DELETE FROM new_order WHERE no_w_id = %s AND no_d_id = %s AND no_o_id = %s", key)
            (customer,) = self._one(
                "SELECT o_c_id FROM orders WHERE o_w_id = %s AND o_d_id = %s AND o_id = %s", key
            )
            self._run(
                "UPDATE orders SET o_carrier_id = %s WHERE o_w_id = %s AND o_d_id = %s AND o_id = %s",
                [3, *key],
            )
            self._run(
                "UPDATE order_line SET ol_delivery_d = now() WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s",
                key,
            )
            (total,) = self._one(
                "SELECT sum(ol_amount) FROM order_line WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s",
                key,
            )
            self._run(
                """UPDATE customer SET c_balance = c_balance + %s, c_delivery_cnt = c_delivery_cnt + 1
                   WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s""",
                [total, 1, district, customer],
            )

    def stock_level(self) -> None:
        district = self.random.randint(1, DISTRICTS)
        (following,) = self._one(
            "SELECT d_next_o_id FROM district WHERE d_w_id = %s AND d_id = %s", [1, district]
        )
        self._run(
            """SELECT count(DISTINCT s_i_id) FROM order_line, stock WHERE ol_w_id = %s AND ol_d_id = %s
               AND ol_o_id < %s AND ol_o_id >= %s AND s_w_id = %s AND s_i_id = ol_i_id AND s_quantity < %s""",
            [1, district, following, following - 20, 1, self.random.randint(10, 20)],
        )


#: Transactions in a hundred, as TPC-C deals them.
DECK: tuple[tuple[Callable[[Client], None], int], ...] = (
    (Client.new_order, 45),
    (Client.payment, 43),
    (Client.order_status, 4),
    (Client.delivery, 4),
    (Client.stock_level, 4),
)


@dataclass(frozen=True)
class Pass:
    """What one pass did: transactions per yardstick of server CPU, and the tables' share of HOT updates."""

    rate: float
    hot: Mapping[str, float]


@dataclass(frozen=True)
class Mix:
    """A transaction mix over its own tables."""

    name: str
    ddl: Sequence[str]
    load: Callable[[float], Sequence[str]]
    foreign_keys: Sequence[tuple[str, str]]
    transactions: int

    def pass_(self, connection: Connection, cpu: Callable[[], float], yardstick: str) -> Pass:
        """Run the deck in an order that is the same every time."""
        random = Random(42)
        deck = [run for run, share in DECK for _ in range(share)]
        client = Client(connection, random)
        connection.execute("SELECT pg_stat_reset()")
        units = []
        for _ in range(5):
            began = cpu()
            connection.execute(yardstick.encode())
            units.append(cpu() - began)
        connection.prepare_threshold = 5
        began = cpu()
        for n in range(self.transactions):
            if n % len(deck) == 0:
                random.shuffle(deck)
            with connection.transaction():
                deck[n % len(deck)](client)
        spent = cpu() - began
        return Pass(self.transactions / (spent / min(units)), _hot(connection))


def _hot(connection: Connection) -> dict[str, float]:
    connection.execute("SELECT pg_stat_force_next_flush()")
    found = connection.execute(
        """SELECT relname, n_tup_hot_upd::float / n_tup_upd FROM pg_stat_user_tables WHERE n_tup_upd > 0
            ORDER BY relname"""
    )
    return dict(found.fetchall())


OLTP = Mix(
    "oltp",
    DDL,
    _load,
    (
        ("district", "d_w_id"),
        ("customer", "c_d_id"),
        ("orders", "o_c_id"),
        ("new_order", "no_o_id"),
        ("order_line", "ol_i_id"),
        ("order_line", "ol_o_id"),
        ("stock", "s_i_id"),
        ("history", "h_c_id"),
    ),
    3_000,
)
