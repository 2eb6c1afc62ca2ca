"""An order-entry mix of TPC-C's shape: nine tables, five transactions dealt as it deals them, one client.

Columns, widths, cardinalities and the skew of what is asked for (NURand) follow the TPC-C specification (revision 5.11,
clauses 1.3, 2 and 4.3); the text is this project's, and figures from it are not TPC-C results. Two indexes are missing
(a customer by last name, a customer's newest order); most other columns are updated all the time, and an index on one
of those costs every update its HOT-ness. ``HAND_MADE`` is what a person who knows the transactions adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
WAREHOUSES, DISTRICTS, CUSTOMERS, ITEMS = 1, 10, 3_000, 100_000
#: Orders from this share on have not been delivered yet (clause 4.3.3.1: the last 900 of 3,000).
DELIVERED = 0.7
NAMES = ("BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING")
_PLACE = "{0}_street_1 varchar(20), {0}_street_2 varchar(20), {0}_city varchar(20), {0}_state char(2), {0}_zip char(9)"

DDL = (
    f"""CREATE TABLE warehouse (w_id int PRIMARY KEY, w_name varchar(10), {_PLACE.format("w")}, w_tax numeric(4,4),
        w_ytd numeric(12,2))""",
    f"""CREATE TABLE district (d_w_id int, d_id int, d_name varchar(10), {_PLACE.format("d")}, d_tax numeric(4,4),
        d_ytd numeric(12,2), d_next_o_id int, PRIMARY KEY (d_w_id, d_id))""",
    f"""CREATE TABLE customer (c_w_id int, c_d_id int, c_id int, c_first varchar(16), c_middle char(2),
        c_last varchar(16), {_PLACE.format("c")}, c_phone char(16), c_since timestamp, c_credit char(2),
        c_credit_lim numeric(12,2), c_discount numeric(4,4), c_balance numeric(12,2), c_ytd_payment numeric(12,2),
        c_payment_cnt int, c_delivery_cnt int, c_data varchar(500), PRIMARY KEY (c_w_id, c_d_id, c_id))""",
    """CREATE TABLE history (h_c_id int, h_c_d_id int, h_c_w_id int, h_d_id int, h_w_id int, h_date timestamp,
        h_amount numeric(6,2), h_data varchar(24))""",
    """CREATE TABLE orders (o_w_id int, o_d_id int, o_id int, o_c_id int, o_entry_d timestamp, o_carrier_id int,
        o_ol_cnt int, o_all_local int, PRIMARY KEY (o_w_id, o_d_id, o_id))""",
    "CREATE TABLE new_order (no_w_id int, no_d_id int, no_o_id int, PRIMARY KEY (no_w_id, no_d_id, no_o_id))",
    """CREATE TABLE order_line (ol_w_id int, ol_d_id int, ol_o_id int, ol_number int, ol_i_id int,
        ol_supply_w_id int, ol_delivery_d timestamp, ol_quantity int, ol_amount numeric(6,2), ol_dist_info char(24),
        PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number))""",
    """CREATE TABLE item (i_id int PRIMARY KEY, i_im_id int, i_name varchar(24), i_price numeric(5,2),
        i_data varchar(50))""",
    f"""CREATE TABLE stock (s_w_id int, s_i_id int, s_quantity int,
        {", ".join(f"s_dist_{d:02} char(24)" for d in range(1, 11))}, s_ytd int, s_order_cnt int, s_remote_cnt int,
        s_data varchar(50), PRIMARY KEY (s_w_id, s_i_id))""",
)
HAND_MADE = (
    "CREATE INDEX ON customer (c_w_id, c_d_id, c_last, c_first)",
    "CREATE INDEX ON orders (o_w_id, o_d_id, o_c_id, o_id)",
)


def last_name(number: int) -> str:
    return NAMES[number // 100 % 10] + NAMES[number // 10 % 10] + NAMES[number % 10]


def _load(scale: float) -> Sequence[str]:
    """One warehouse; ``scale`` makes its customers and items fewer."""
    customers, items = max(30, int(CUSTOMERS * scale)), max(100, int(ITEMS * scale))
    names = "ARRAY[" + ",".join(f"'{n}'" for n in NAMES) + "]"
    last = f"({names})[(n/100)%10+1] || ({names})[(n/10)%10+1] || ({names})[n%10+1]"
    each = f"generate_series(1, {WAREHOUSES}) w, generate_series(1, {DISTRICTS}) d"
    place = "'street', 'street', 'city', 'XX', '123411111'"
    lines = "5 + (d * 31 + o * 7) % 11"
    delivered = f"o <= {int(customers * DELIVERED)}"
    return (
        "SELECT setseed(0.7)",
        f"INSERT INTO warehouse SELECT w, 'w' || w, {place}, 0.1, 300000 FROM generate_series(1, {WAREHOUSES}) w",
        f"INSERT INTO district SELECT w, d, 'd' || d, {place}, 0.1, 30000, {customers + 1} FROM {each}",
        f"""INSERT INTO customer SELECT w, d, c, left(md5(random()::text), 12), 'OE', {last}, {place},
            '0123456789012345', now(), CASE WHEN random() < 0.1 THEN 'BC' ELSE 'GC' END, 50000, random() * 0.5, -10,
            10, 1, 0, repeat(md5(c::text), 13) FROM (SELECT w, d, c, CASE WHEN c <= 1000 THEN c - 1 ELSE
              ((floor(random() * 256)::int | floor(random() * 1000)::int) % 1000) END AS n
              FROM {each}, generate_series(1, {customers}) c OFFSET 0) x""",
        f"""INSERT INTO history SELECT c, d, w, d, w, now(), 10, 'history' FROM {each},
            generate_series(1, {customers}) c""",
        f"""INSERT INTO orders SELECT w, d, o, c, now(), CASE WHEN {delivered} THEN 1 + o % 10 END, {lines}, 1
            FROM (SELECT w, d, c, row_number() OVER (PARTITION BY w, d ORDER BY random())::int AS o
              FROM {each}, generate_series(1, {customers}) c) x ORDER BY w, d, o""",
        f"""INSERT INTO order_line SELECT w, d, o, l, 1 + floor(random() * {items})::int, w,
            CASE WHEN {delivered} THEN now() END, 5, CASE WHEN {delivered} THEN 0 ELSE random() * 9999 END,
            left(md5(o::text), 24)
            FROM {each}, generate_series(1, {customers}) o, LATERAL generate_series(1, {lines}) l""",
        f"INSERT INTO new_order SELECT w, d, o FROM {each}, generate_series(1, {customers}) o WHERE NOT {delivered}",
        f"""INSERT INTO item SELECT i, i % 10000, left(md5(i::text), 20), 1 + random() * 99, repeat('y', 38)
            FROM generate_series(1, {items}) i""",
        f"""INSERT INTO stock SELECT w, i, 10 + floor(random() * 91)::int,
            {", ".join(["left(md5(i::text), 24)"] * 10)}, 0, 0, 0, repeat('z', 38)
            FROM generate_series(1, {WAREHOUSES}) w, generate_series(1, {items}) i""",
    )


# --- transactions ------------------------------------------------------------------------------------------


class Client:
    """One terminal: runs transactions with the connection's own parameters ($1, $2 …)."""

    def __init__(self, connection: Connection, random: Random) -> None:
        self.connection, self.random = connection, random
        self.customers = int(
            self._one("SELECT count(*) FROM customer WHERE c_w_id = %s AND c_d_id = %s", [1, 1])[0]
        )
        self.items = int(self._one("SELECT count(*) FROM item WHERE i_id > %s", [0])[0])

    def _run(self, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        done = self.connection.execute(text.encode(), values)
        return done.fetchall() if done.description else []

    def _one(self, text: str, values: Sequence[Any]) -> tuple[Any, ...]:
        return self._run(text, values)[0]

    def _skewed(self, a: int, most: int) -> int:
        """NURand(a, 1, most), clause 2.1.6."""
        return (self.random.randint(0, a) | self.random.randint(1, most)) % most + 1

    def _place(self) -> tuple[int, int]:
        return self.random.randint(1, WAREHOUSES), self.random.randint(1, DISTRICTS)

    def _named(self, warehouse: int, district: int) -> int | None:
        """A customer by last name: the middle one of those who have it."""
        name = last_name((self.random.randint(0, 255) | self.random.randint(0, 999)) % 1000)
        key = [warehouse, district, name]
        (many,) = self._one(
            "SELECT count(c_id) FROM customer WHERE c_w_id = %s AND c_d_id = %s AND c_last = %s", key
        )
        found = self._run(
            """SELECT c_id, c_first, c_middle, c_street_1, c_city, c_state, c_zip, c_phone, c_credit, c_credit_lim,
               c_discount, c_balance, c_since FROM customer WHERE c_w_id = %s AND c_d_id = %s AND c_last = %s
               ORDER BY c_first""",
            key,
        )
        return int(found[many // 2][0]) if many else None

    def _customer(self, warehouse: int, district: int) -> int | None:
        """Six in ten by name, the others by number (clauses 2.5.1.2, 2.6.1.2)."""
        if self.random.random() < 0.6:
            return self._named(warehouse, district)
        number = self._skewed(1023, self.customers)
        self._run(
            """SELECT c_first, c_middle, c_last, c_street_1, c_city, c_state, c_zip, c_phone, c_credit, c_credit_lim,
               c_discount, c_balance, c_since FROM customer WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s""",
            [warehouse, district, number],
        )
        return number

    def new_order(self) -> None:
        warehouse, district = self._place()
        customer = self._skewed(1023, self.customers)
        self._run(
            """SELECT c_discount, c_last, c_credit, w_tax FROM customer, warehouse
               WHERE w_id = %s AND c_w_id = w_id AND c_d_id = %s AND c_id = %s""",
            [warehouse, district, customer],
        )
        (order, _) = self._one(
            "SELECT d_next_o_id, d_tax FROM district WHERE d_w_id = %s AND d_id = %s FOR UPDATE",
            [warehouse, district],
        )
        self._run(
            "UPDATE district SET d_next_o_id = %s WHERE d_w_id = %s AND d_id = %s",
            [order + 1, warehouse, district],
        )
        items = sorted({self._skewed(8191, self.items) for _ in range(self.random.randint(5, 15))})
        self._run(
            """INSERT INTO orders (o_id, o_d_id, o_w_id, o_c_id, o_entry_d, o_ol_cnt, o_all_local)
               VALUES (%s, %s, %s, %s, now(), %s, 1)""",
            [order, district, warehouse, customer, len(items)],
        )
        self._run("INSERT INTO new_order VALUES (%s, %s, %s)", [warehouse, district, order])
        for line, item in enumerate(items, 1):
            self._line(warehouse, district, order, line, item)

    def _line(self, warehouse: int, district: int, order: int, line: int, item: int) -> None:
        (price, _, _) = self._one("SELECT i_price, i_name, i_data FROM item WHERE i_id = %s", [item])
        (quantity, _, place) = self._one(
            f"""SELECT s_quantity, s_data, s_dist_{district:02} FROM stock WHERE s_i_id = %s AND s_w_id = %s
                FOR UPDATE""",
            [item, warehouse],
        )
        wanted = self.random.randint(1, 10)
        left = quantity - wanted if quantity - wanted >= 10 else quantity - wanted + 91
        self._run(
            """UPDATE stock SET s_quantity = %s, s_ytd = s_ytd + %s, s_order_cnt = s_order_cnt + 1
               WHERE s_i_id = %s AND s_w_id = %s""",
            [left, wanted, item, warehouse],
        )
        self._run(
            """INSERT INTO order_line (ol_o_id, ol_d_id, ol_w_id, ol_number, ol_i_id, ol_supply_w_id, ol_quantity,
               ol_amount, ol_dist_info) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [order, district, warehouse, line, item, warehouse, wanted, wanted * price, place],
        )

    def payment(self) -> None:
        warehouse, district = self._place()
        amount = self.random.randint(1, 5000)
        self._run("UPDATE warehouse SET w_ytd = w_ytd + %s WHERE w_id = %s", [amount, warehouse])
        self._run(
            "SELECT w_street_1, w_city, w_state, w_zip, w_name FROM warehouse WHERE w_id = %s", [warehouse]
        )
        self._run(
            "UPDATE district SET d_ytd = d_ytd + %s WHERE d_w_id = %s AND d_id = %s",
            [amount, warehouse, district],
        )
        self._run(
            "SELECT d_street_1, d_city, d_state, d_zip, d_name FROM district WHERE d_w_id = %s AND d_id = %s",
            [warehouse, district],
        )
        customer = self._customer(warehouse, district)
        if customer is None:
            return
        key = [warehouse, district, customer]
        if self.random.random() < 0.1:
            (data,) = self._one(
                "SELECT c_data FROM customer WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s", key
            )
            self._run(
                """UPDATE customer SET c_balance = c_balance - %s, c_ytd_payment = c_ytd_payment + %s,
                   c_payment_cnt = c_payment_cnt + 1, c_data = %s WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s""",
                [amount, amount, f"{customer} {district} {amount} {data}"[:500], *key],
            )
        else:
            self._run(
                """UPDATE customer SET c_balance = c_balance - %s, c_ytd_payment = c_ytd_payment + %s,
                   c_payment_cnt = c_payment_cnt + 1 WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s""",
                [amount, amount, *key],
            )
        self._run(
            "INSERT INTO history VALUES (%s, %s, %s, %s, %s, now(), %s, 'payment')",
            [customer, district, warehouse, district, warehouse, amount],
        )

    def order_status(self) -> None:
        warehouse, district = self._place()
        customer = self._customer(warehouse, district)
        found = self._run(
            """SELECT o_id, o_carrier_id, o_entry_d FROM orders WHERE o_w_id = %s AND o_d_id = %s AND o_c_id = %s
               ORDER BY o_id DESC LIMIT 1""",
            [warehouse, district, customer],
        )
        if found:
            self._run(
                """SELECT ol_i_id, ol_supply_w_id, ol_quantity, ol_amount, ol_delivery_d FROM order_line
                   WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s""",
                [warehouse, district, found[0][0]],
            )

    def delivery(self) -> None:
        warehouse, carrier = self.random.randint(1, WAREHOUSES), self.random.randint(1, 10)
        for district in range(1, DISTRICTS + 1):
            (order,) = self._one(
                "SELECT min(no_o_id) FROM new_order WHERE no_w_id = %s AND no_d_id = %s",
                [warehouse, district],
            )
            if order is not None:
                self._deliver([warehouse, district, order], carrier)

    def _deliver(self, key: Sequence[int], carrier: int) -> None:
        self._run("DELETE FROM new_order WHERE no_w_id = %s AND no_d_id = %s AND no_o_id = %s", key)
        (customer,) = self._one(
            "SELECT o_c_id FROM orders WHERE o_w_id = %s AND o_d_id = %s AND o_id = %s", key
        )
        self._run(
            "UPDATE orders SET o_carrier_id = %s WHERE o_w_id = %s AND o_d_id = %s AND o_id = %s",
            [carrier, *key],
        )
        self._run(
            "UPDATE order_line SET ol_delivery_d = now() WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s",
            key,
        )
        (total,) = self._one(
            "SELECT sum(ol_amount) FROM order_line WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s", key
        )
        self._run(
            """UPDATE customer SET c_balance = c_balance + %s, c_delivery_cnt = c_delivery_cnt + 1
               WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s""",
            [total, *key[:2], customer],
        )

    def stock_level(self) -> None:
        warehouse, district = self._place()
        (following,) = self._one(
            "SELECT d_next_o_id FROM district WHERE d_w_id = %s AND d_id = %s", [warehouse, district]
        )
        self._run(
            """SELECT count(DISTINCT s_i_id) FROM order_line, stock WHERE ol_w_id = %s AND ol_d_id = %s
               AND ol_o_id < %s AND ol_o_id >= %s AND s_w_id = %s AND s_i_id = ol_i_id AND s_quantity < %s""",
            [warehouse, district, following, following - 20, warehouse, self.random.randint(10, 20)],
        )


#: After so many transactions come so many statements that do nothing: most of a short transaction's time is the
#: protocol's, and what slows one on a busy machine slows the other.
BATCH, EMPTY = 20, 100
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
    """What one pass did: transactions in the server's CPU time of as many empty statements, and the tables' share of
    HOT updates."""

    rate: float
    hot: Mapping[str, float]


@dataclass(frozen=True)
class Mix:
    """A transaction mix over its own tables."""

    name: str
    ddl: Sequence[str]
    load: Callable[[float], Sequence[str]]
    foreign_keys: Sequence[tuple[str, str]]
    hand_made: Sequence[str]
    transactions: int
    client: Callable[[Connection, Random], Any] = Client
    deck: Sequence[tuple[Callable[[Any], None], int]] = DECK
    """The client's transactions, and how many of each in a hundred."""

    def pass_(self, connection: Connection, cpu: Callable[[], float]) -> Pass:
        """Run the deck in an order that is the same every time."""
        random = Random(42)
        deck = [run for run, share in self.deck for _ in range(share)]
        client = self.client(connection, random)
        connection.execute("SELECT pg_stat_reset()")
        connection.prepare_threshold = 5
        spent = empty = 0.0
        for start in range(0, self.transactions, BATCH):
            began = cpu()
            for n in range(start, min(start + BATCH, self.transactions)):
                if n % len(deck) == 0:
                    random.shuffle(deck)
                with connection.transaction():
                    deck[n % len(deck)](client)
            between = cpu()
            for n in range(EMPTY):
                connection.execute("SELECT %s::int", [n])
            spent, empty = spent + between - began, empty + cpu() - between
        return Pass(self.transactions * empty / spent, _hot(connection))


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
    HAND_MADE,
    2_000,
)
