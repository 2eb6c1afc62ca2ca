"""A decision-support workload: a retailer's star schema of thirteen tables, primary keys only, 48 query shapes.

Shapes of the kind that TPC-DS asks (several facts, CTEs, roll-ups, windows, EXISTS, correlated sub-queries, unions,
intersections), written for this project. Some run into the time-out without an index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tests.benchmarks.advisor_workload import TRACK_PLANNING, Template, Workload

DDL = (
    """CREATE TABLE day (day_id int PRIMARY KEY, day_date date, year int, quarter int, month int, month_seq int,
        week_seq int, dow int, day_name text, holiday boolean)""",
    """CREATE TABLE product (product_id int PRIMARY KEY, sku text, name text, brand_id int, brand text, category text,
        class text, colour text, size text, unit_price numeric(9,2), wholesale numeric(9,2), manager_id int)""",
    """CREATE TABLE store (store_id int PRIMARY KEY, name text, county text, state text, employees int,
        market_id int, tax numeric(4,2))""",
    """CREATE TABLE customer (customer_id int PRIMARY KEY, address_id int, profile_id int, first_name text,
        last_name text, email text, birth_year int, birth_month int, country text, first_day_id int)""",
    """CREATE TABLE address (address_id int PRIMARY KEY, street text, city text, county text, state text, zip text,
        country text, offset_hours int)""",
    """CREATE TABLE profile (profile_id int PRIMARY KEY, gender char(1), marital char(1), education text,
        income_band int, dependents int, vehicles int)""",
    """CREATE TABLE promotion (promotion_id int PRIMARY KEY, name text, channel text, cost numeric(9,2),
        email boolean, tv boolean)""",
    """CREATE TABLE warehouse (warehouse_id int PRIMARY KEY, name text, state text, square_feet int)""",
    """CREATE TABLE store_sale (sale_id int, line int, day_id int, product_id int, customer_id int, store_id int,
        promotion_id int, quantity int, list_price numeric(9,2), sale_price numeric(9,2), discount numeric(9,2),
        net_paid numeric(9,2), net_profit numeric(9,2), PRIMARY KEY (sale_id, line))""",
    """CREATE TABLE store_return (sale_id int, line int, day_id int, product_id int, customer_id int, store_id int,
        reason text, quantity int, amount numeric(9,2), PRIMARY KEY (sale_id, line))""",
    """CREATE TABLE web_sale (order_id int, line int, day_id int, ship_day_id int, product_id int, customer_id int,
        warehouse_id int, promotion_id int, ship_mode text, quantity int, list_price numeric(9,2),
        sale_price numeric(9,2), ship_cost numeric(9,2), net_paid numeric(9,2), net_profit numeric(9,2),
        PRIMARY KEY (order_id, line))""",
    """CREATE TABLE web_return (order_id int, line int, day_id int, product_id int, customer_id int,
        amount numeric(9,2), fee numeric(9,2), PRIMARY KEY (order_id, line))""",
    """CREATE TABLE stock_level (day_id int, product_id int, warehouse_id int, on_hand int,
        PRIMARY KEY (day_id, product_id, warehouse_id))""",
)

DAYS, FIRST_YEAR, YEARS = 1826, 2019, 5
CATEGORIES = (
    "Books",
    "Children",
    "Electronics",
    "Home",
    "Jewelry",
    "Men",
    "Music",
    "Shoes",
    "Sports",
    "Women",
)
COLOURS = ("red", "blue", "green", "black", "white", "pink", "amber", "olive", "navy", "grey", "teal", "plum")
STATES = (
    "TN",
    "CA",
    "TX",
    "NY",
    "GA",
    "OH",
    "VA",
    "KS",
    "MN",
    "IL",
    "IA",
    "KY",
    "MO",
    "NC",
    "MT",
    "SD",
    "WA",
    "FL",
)
EDUCATIONS = ("Primary", "Secondary", "College", "2 yr Degree", "4 yr Degree", "Advanced Degree", "Unknown")
REASONS = ("broken", "late", "wrong size", "changed mind", "duplicate", "gift", "other")
MODES = ("EXPRESS", "OVERNIGHT", "REGULAR", "TWO DAY", "LIBRARY")


def _any(values: Sequence[str]) -> str:
    return "(ARRAY[" + ",".join(f"'{v}'" for v in values) + f"])[1 + floor(random() * {len(values)})::int]"


def _upto(n: int, power: float = 1.0) -> str:
    """A number from 1 to n; the higher the power, the more often a small one."""
    return f"1 + floor(power(random(), {power}) * {n})::int"


def _load(scale: float) -> Sequence[str]:
    products, customers = max(200, int(6_000 * scale)), max(500, int(30_000 * scale))
    tickets, orders = max(800, int(80_000 * scale)), max(500, int(40_000 * scale))
    return (
        "SELECT setseed(0.3)",
        f"""INSERT INTO day SELECT k, d, extract(year FROM d), extract(quarter FROM d), extract(month FROM d),
            (extract(year FROM d) - {FIRST_YEAR}) * 12 + extract(month FROM d), k / 7, extract(dow FROM d),
            trim(to_char(d, 'Day')), k % 37 = 0
            FROM (SELECT k, date '{FIRST_YEAR}-01-01' + k - 1 AS d FROM generate_series(1, {DAYS}) k) x""",
        f"""INSERT INTO product SELECT k, 'SKU' || lpad(k::text, 10, '0'), md5(k::text) || ' ' || {_any(COLOURS)}, b,
            'Brand #' || b, {_any(CATEGORIES)}, 'class' || ({_upto(40)}), {_any(COLOURS)},
            {_any(("small", "medium", "large", "extra large", "petite"))}, 1 + random() * 99, 1 + random() * 60,
            {_upto(100)} FROM (SELECT k, {_upto(200)} AS b FROM generate_series(1, {products}) k OFFSET 0) x""",
        f"""INSERT INTO store SELECT k, 'store ' || k, 'county ' || k % 9, ({_any(STATES[:6])}),
            200 + k * 3, 1 + k % 10, 0.05 FROM generate_series(1, 24) k""",
        f"""INSERT INTO customer SELECT k, {_upto(max(200, customers // 2))}, {_upto(2000)}, md5(k::text),
            'L' || ({_upto(2000)}), md5(k::text) || '@example.org', 1930 + floor(random() * 70)::int, {_upto(12)},
            'C' || ({_upto(150, 2)}), {_upto(DAYS)} FROM generate_series(1, {customers}) k""",
        f"""INSERT INTO address SELECT k, 'street ' || k, 'city ' || ({_upto(400, 1.5)}), 'county ' || ({_upto(120)}),
            {_any(STATES)}, lpad(({_upto(9000)})::text, 5, '1'), 'United States', -5 - floor(random() * 4)::int
            FROM generate_series(1, {max(200, customers // 2)}) k""",
        f"""INSERT INTO profile SELECT k, {_any(("M", "F"))}, {_any(("S", "M", "D", "W", "U"))}, {_any(EDUCATIONS)},
            {_upto(20)}, floor(random() * 7)::int, floor(random() * 5)::int FROM generate_series(1, 2000) k""",
        f"""INSERT INTO promotion SELECT k, 'promo ' || k, {_any(("mail", "tv", "radio", "event"))}, 1000, random()
       < 0.5,
            random() < 0.3 FROM generate_series(1, 150) k""",
        f"""INSERT INTO warehouse SELECT k, 'warehouse ' || k, {_any(STATES)}, 50000 + k * 1000
            FROM generate_series(1, 8) k""",
        f"""INSERT INTO store_sale SELECT t, l, d, p, CASE WHEN c % 29 = 0 THEN NULL ELSE c END, s,
            CASE WHEN random() < 0.3 THEN {_upto(150)} END, q, price, price * 0.9, price * 0.1 * q,
            price * 0.9 * q, (random() - 0.4) * price * q
            FROM (SELECT t, l, d, {_upto(products, 1.6)} AS p, c, s, {_upto(20)} AS q,
                         (1 + random() * 99)::numeric(9,2) AS price
                    FROM (SELECT t, {_upto(DAYS)} AS d, {_upto(customers, 1.3)} AS c, {_upto(24)} AS s,
                                 4 + floor(random() * 8)::int AS n FROM generate_series(1, {tickets}) t OFFSET 0) x,
                         LATERAL generate_series(1, n) l OFFSET 0) y""",
        f"""INSERT INTO store_return SELECT sale_id, line, least(day_id + {_upto(60)}, {DAYS}), product_id,
       customer_id,
            store_id, {_any(REASONS)}, 1, sale_price FROM store_sale WHERE random() < 0.09""",
        f"""INSERT INTO web_sale SELECT o, l, d, least(d + ({_upto(110, 2)}), {DAYS}), p, c, w,
            CASE WHEN random() < 0.4 THEN {_upto(150)} END, m, q, price, price * 0.85, price * 0.1, price * 0.85 * q,
            (random() - 0.3) * price * q
            FROM (SELECT o, l, d, {_upto(products, 1.6)} AS p, c, {_upto(8)} AS w, {_any(MODES)} AS m, {_upto(20)}
       AS q,
                         (1 + random() * 99)::numeric(9,2) AS price
                    FROM (SELECT o, {_upto(DAYS)} AS d, {_upto(customers, 1.6)} AS c,
                                 3 + floor(random() * 8)::int AS n FROM generate_series(1, {orders}) o OFFSET 0) x,
                         LATERAL generate_series(1, n) l OFFSET 0) y""",
        f"""INSERT INTO web_return SELECT order_id, line, least(day_id + {_upto(90)}, {DAYS}), product_id, customer_id,
            sale_price, 5 FROM web_sale WHERE random() < 0.1""",
        f"""INSERT INTO stock_level SELECT d, p, w, floor(random() * 1000)::int
            FROM generate_series(1, {DAYS}, 14) d, generate_series(1, {products}, 2) p,
                 LATERAL (SELECT {_upto(8)} + 0 * p AS w) x""",
    )


# --- queries -----------------------------------------------------------------------------------------------

Values = dict[str, object]


def _values(r: Random) -> Values:
    """What the texts below may ask for; each text takes what it names."""
    year = r.randint(FIRST_YEAR, FIRST_YEAR + YEARS - 2)
    states = r.sample(STATES, 3)
    categories = r.sample(CATEGORIES, 3)
    first = r.randint(30, DAYS - 200)
    return {
        "year": year,
        "next": year + 1,
        "month": r.randint(1, 11),
        "quarter": r.randint(1, 4),
        "seq": r.randint(1, 45),
        "first": first,
        "week": first + 7,
        "fortnight": first + 14,
        "two_months": first + 60,
        "date": f"{year}-{r.randint(1, 12):02}-{r.randint(1, 28):02}",
        "category": categories[0],
        "category2": categories[1],
        "category3": categories[2],
        "colour": r.choice(COLOURS),
        "colour2": r.choice(COLOURS),
        "state": states[0],
        "state2": states[1],
        "state3": states[2],
        "store_state": r.choice(STATES[:6]),
        "city": f"city {r.randint(1, 400)}",
        "zip": str(r.randint(1, 9)),
        "class": f"class{r.randint(1, 40)}",
        "brand": r.randint(1, 200),
        "manager": r.randint(1, 100),
        "market": r.randint(1, 10),
        "education": r.choice(EDUCATIONS),
        "gender": r.choice("MF"),
        "marital": r.choice("SMDWU"),
        "income": r.randint(1, 20),
        "vehicles": r.randint(1, 4),
        "customer": r.randint(1, 20_000),
        "product": r.randint(1, 5_000),
        "sku": f"SKU{r.randint(1, 6000):010}",
        "last": f"L{r.randint(1, 2000)}",
        "birth": r.randint(1930, 1999),
        "birth_month": r.randint(1, 12),
        "country": f"C{r.randint(5, 150)}",
        "reason": r.choice(REASONS),
        "mode": r.choice(MODES),
        "warehouse": r.randint(1, 8),
        "channel": r.choice(("mail", "tv", "radio", "event")),
        "quantity": r.randint(1, 15),
        "price": r.randint(60, 90),
        "limit": 100,
    }


TEXTS = (
    # reports over one fact and its dimensions
    """SELECT p.brand_id, p.brand, sum(s.net_paid) AS paid FROM store_sale s JOIN day d ON d.day_id = s.day_id
       JOIN product p ON p.product_id = s.product_id WHERE p.manager_id = {manager} AND d.month = {month}
       AND d.year = {year} GROUP BY p.brand_id, p.brand ORDER BY paid DESC, p.brand_id LIMIT 100""",
    """SELECT d.year, p.category, sum(s.sale_price) FROM day d, store_sale s, product p WHERE d.day_id = s.day_id
       AND s.product_id = p.product_id AND p.class = '{class}' AND d.quarter = {quarter} AND d.year = {year}
       GROUP BY d.year, p.category ORDER BY 3 DESC LIMIT 100""",
    """SELECT p.sku, avg(s.quantity), avg(s.list_price), avg(s.discount) FROM store_sale s, profile f, customer c,
       day d, promotion o, product p WHERE s.day_id = d.day_id AND s.product_id = p.product_id
       AND s.customer_id = c.customer_id AND c.profile_id = f.profile_id AND s.promotion_id = o.promotion_id
       AND f.gender = '{gender}' AND f.marital = '{marital}' AND f.education = '{education}' AND o.channel =
       '{channel}'
       AND d.year = {year} GROUP BY p.sku ORDER BY p.sku LIMIT 100""",
    """SELECT a.state, count(*) AS cnt FROM address a, customer c, store_sale s, day d, product p
       WHERE a.address_id = c.address_id AND c.customer_id = s.customer_id AND s.day_id = d.day_id
       AND s.product_id = p.product_id AND d.month_seq = {seq} AND p.unit_price > 1.2 * (
         SELECT avg(j.unit_price) FROM product j WHERE j.category = p.category)
       GROUP BY a.state HAVING count(*) >= 10 ORDER BY cnt, a.state LIMIT 100""",
    """SELECT s.store_id, st.name, sum(s.net_profit) FROM store_sale s, store st, day d WHERE s.store_id = st.store_id
       AND s.day_id = d.day_id AND st.state = '{store_state}' AND d.day_date BETWEEN date '{date}'
       AND date '{date}' + interval '30' day GROUP BY s.store_id, st.name ORDER BY 3 LIMIT 100""",
    """SELECT c.last_name, c.first_name, s.sale_id, x.cnt FROM (SELECT sale_id, customer_id, count(*) AS cnt
       FROM store_sale, day, store WHERE store_sale.day_id = day.day_id AND store_sale.store_id = store.store_id
       AND day.dow IN (0, 6) AND day.year = {year} AND day.month = {month} AND store.market_id = {market}
       GROUP BY sale_id, customer_id) x, customer c, (SELECT DISTINCT sale_id FROM store_sale) s
       WHERE x.customer_id = c.customer_id AND s.sale_id = x.sale_id AND x.cnt BETWEEN 5 AND 10
       ORDER BY x.cnt DESC, c.last_name LIMIT 100""",
    """SELECT sum(quantity) FROM store_sale s, store st, profile f, customer c, day d WHERE st.store_id = s.store_id
       AND s.day_id = d.day_id AND d.year = {year} AND s.customer_id = c.customer_id AND c.profile_id = f.profile_id
       AND ((f.marital = 'M' AND f.education = '{education}' AND s.sale_price BETWEEN 20 AND 60)
         OR (f.marital = 'S' AND f.education = 'College' AND s.sale_price BETWEEN 10 AND 30))""",
    # facts met with their returns
    """SELECT p.sku, p.name, sum(s.net_profit) AS sold, sum(r.amount) AS returned FROM store_sale s, store_return r,
       product p, day d WHERE s.sale_id = r.sale_id AND s.line = r.line AND s.product_id = p.product_id
       AND r.day_id = d.day_id AND d.month_seq BETWEEN {seq} AND {seq} + 1 AND r.reason = '{reason}'
       GROUP BY p.sku, p.name ORDER BY returned DESC LIMIT 100""",
    """WITH ctr AS (SELECT customer_id, store_id, sum(amount) AS total FROM store_return, day
       WHERE store_return.day_id = day.day_id AND year = {year} GROUP BY customer_id, store_id)
       SELECT c.email FROM ctr t, store, customer c WHERE t.total > (SELECT avg(total) * 1.2 FROM ctr t2
       WHERE t.store_id = t2.store_id) AND store.store_id = t.store_id AND store.state = '{store_state}'
       AND t.customer_id = c.customer_id ORDER BY c.email LIMIT 100""",
    """SELECT w.order_id, sum(w.ship_cost) FROM web_sale w WHERE w.ship_day_id BETWEEN {first} AND {two_months}
       AND w.warehouse_id = {warehouse} AND EXISTS (SELECT 1 FROM web_sale w2 WHERE w2.order_id = w.order_id
       AND w2.warehouse_id <> w.warehouse_id) AND NOT EXISTS (SELECT 1 FROM web_return r
       WHERE r.order_id = w.order_id) GROUP BY w.order_id ORDER BY 2 DESC LIMIT 100""",
    """SELECT count(DISTINCT order_id), sum(ship_cost), sum(net_profit) FROM web_sale w, day d, customer c, address a
       WHERE w.ship_day_id = d.day_id AND d.day_date BETWEEN date '{date}' AND date '{date}' + interval '60' day
       AND w.customer_id = c.customer_id AND c.address_id = a.address_id AND a.state = '{state}'""",
    """SELECT r.reason, avg(s.quantity), avg(r.amount) FROM store_return r, store_sale s, customer c, profile f
       WHERE r.sale_id = s.sale_id AND r.line = s.line AND c.customer_id = r.customer_id
       AND f.profile_id = c.profile_id AND f.income_band = {income} GROUP BY r.reason ORDER BY r.reason""",
    # one customer, one product, one ticket
    """SELECT s.sale_id, d.day_date, p.name, s.net_paid FROM store_sale s JOIN day d USING (day_id)
       JOIN product p USING (product_id) WHERE s.customer_id = {customer} ORDER BY d.day_date DESC LIMIT 20""",
    """SELECT c.customer_id, c.first_name, (SELECT count(*) FROM web_sale w WHERE w.customer_id = c.customer_id) AS web,
       (SELECT sum(amount) FROM store_return r WHERE r.customer_id = c.customer_id) AS returned
       FROM customer c WHERE c.last_name = '{last}' ORDER BY c.first_name""",
    """SELECT product_id, sum(quantity) FROM web_sale WHERE product_id = {product} AND day_id > {first}
       GROUP BY product_id""",
    """SELECT * FROM product WHERE sku = '{sku}'""",
    """SELECT max(day_id) FROM store_sale WHERE product_id = {product}""",
    """SELECT c.email, a.city FROM customer c, address a WHERE c.address_id = a.address_id AND a.city = '{city}'
       AND c.birth_year = {birth} ORDER BY c.email""",
    """SELECT customer_id, email FROM customer WHERE birth_month = {birth_month} AND birth_year = {birth}
       AND country = '{country}'""",
    """SELECT order_id, line, net_paid FROM web_sale WHERE ship_mode = '{mode}' AND warehouse_id = {warehouse}
       AND day_id BETWEEN {first} AND {week} ORDER BY net_paid DESC LIMIT 50""",
    # correlated sub-queries
    """SELECT sum(w.discount) FROM store_sale w, product p WHERE p.brand_id = {brand} AND p.product_id = w.product_id
       AND w.discount > (SELECT 1.3 * avg(s.discount) FROM store_sale s WHERE s.product_id = p.product_id)""",
    """SELECT w.order_id, w.line FROM web_sale w, day d WHERE d.day_id = w.day_id AND d.month_seq = {seq}
       AND w.net_profit < (SELECT min(x.net_profit) FROM web_sale x WHERE x.product_id = w.product_id
       AND x.day_id BETWEEN {first} AND {two_months}) LIMIT 100""",
    """SELECT p.product_id, p.name FROM product p WHERE p.colour = '{colour}' AND p.category = '{category}'
       AND NOT EXISTS (SELECT 1 FROM store_sale s WHERE s.product_id = p.product_id AND s.day_id
       BETWEEN {first} AND {fortnight}) ORDER BY p.name LIMIT 100""",
    """SELECT c.customer_id FROM customer c WHERE c.country = '{country}' AND (SELECT count(*) FROM store_return r
       WHERE r.customer_id = c.customer_id) > (SELECT count(*) FROM web_return r WHERE r.customer_id =
       c.customer_id)""",
    """SELECT d.month_seq, count(*) FROM customer c JOIN day d ON d.day_id = c.first_day_id WHERE EXISTS (
       SELECT 1 FROM web_sale w WHERE w.customer_id = c.customer_id AND w.day_id >= {first}) AND d.year = {year}
       GROUP BY d.month_seq ORDER BY d.month_seq""",
    # EXISTS, IN, set operations
    """SELECT f.gender, f.marital, count(*) FROM customer c, address a, profile f WHERE c.address_id = a.address_id
       AND a.state IN ('{state}', '{state2}') AND f.profile_id = c.profile_id AND EXISTS (SELECT * FROM store_sale, day
       WHERE c.customer_id = store_sale.customer_id AND store_sale.day_id = day.day_id AND year = {year}
       AND month BETWEEN {month} AND {month} + 1) AND NOT EXISTS (SELECT * FROM web_sale, day
       WHERE c.customer_id = web_sale.customer_id AND web_sale.day_id = day.day_id AND year = {year}
       AND month BETWEEN {month} AND {month} + 1) GROUP BY f.gender, f.marital ORDER BY 1, 2""",
    """SELECT count(*) FROM (SELECT DISTINCT c.last_name, c.first_name, d.day_date FROM store_sale s, day d, customer c
       WHERE s.day_id = d.day_id AND s.customer_id = c.customer_id AND d.month_seq = {seq} INTERSECT
       SELECT DISTINCT c.last_name, c.first_name, d.day_date FROM web_sale w, day d, customer c
       WHERE w.day_id = d.day_id AND w.customer_id = c.customer_id AND d.month_seq = {seq}) hot""",
    """SELECT c.customer_id, c.email FROM customer c WHERE c.customer_id IN (SELECT r.customer_id FROM web_return r
       WHERE r.day_id BETWEEN {first} AND {week}) AND c.customer_id NOT IN (SELECT customer_id FROM store_return
       WHERE customer_id IS NOT NULL AND day_id BETWEEN {first} AND {fortnight}) ORDER BY c.customer_id""",
    """SELECT channel, brand, sum(amount) FROM (SELECT 'store' AS channel, p.brand, s.net_paid AS amount
       FROM store_sale s, product p, day d WHERE s.product_id = p.product_id AND s.day_id = d.day_id
       AND d.year = {year} AND d.month = {month} AND p.category = '{category}' UNION ALL
       SELECT 'web', p.brand, w.net_paid FROM web_sale w, product p, day d WHERE w.product_id = p.product_id
       AND w.day_id = d.day_id AND d.year = {year} AND d.month = {month} AND p.category = '{category}') x
       GROUP BY channel, brand ORDER BY 3 DESC LIMIT 100""",
    """SELECT p.product_id FROM product p WHERE p.product_id IN (SELECT product_id FROM store_sale WHERE quantity = 20
       AND day_id BETWEEN {first} AND {week}) UNION SELECT product_id FROM web_sale WHERE quantity = 20
       AND day_id BETWEEN {first} AND {week} ORDER BY 1""",
    # CTEs and self joins
    """WITH yearly AS (SELECT c.customer_id, d.year, sum(s.net_paid) AS total FROM customer c, store_sale s, day d
       WHERE c.customer_id = s.customer_id AND s.day_id = d.day_id AND d.year IN ({year}, {next})
       AND c.country = '{country}' GROUP BY c.customer_id, d.year)
       SELECT a.customer_id FROM yearly a, yearly b WHERE a.customer_id = b.customer_id AND a.year = {year}
       AND b.year = {next} AND b.total > 2 * a.total ORDER BY 1 LIMIT 100""",
    """WITH sold AS (SELECT product_id, sum(quantity) AS q FROM store_sale WHERE day_id BETWEEN {first} AND {fortnight}
       GROUP BY product_id), back AS (SELECT product_id, sum(quantity) AS q FROM store_return
       WHERE day_id BETWEEN {first} AND {two_months} GROUP BY product_id)
       SELECT p.sku, sold.q, back.q FROM sold JOIN back USING (product_id) JOIN product p USING (product_id)
       WHERE back.q * 5 > sold.q ORDER BY back.q DESC, p.sku LIMIT 100""",
    """WITH daily AS (SELECT store_id, day_id, sum(net_paid) AS paid FROM store_sale WHERE day_id BETWEEN {first}
       AND {two_months} GROUP BY store_id, day_id) SELECT store_id, day_id, paid, avg(paid) OVER (
       PARTITION BY store_id ORDER BY day_id ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) FROM daily ORDER BY 1, 2""",
    """SELECT s1.store_id, s1.p, s2.p FROM (SELECT store_id, sum(net_paid) AS p FROM store_sale, day
       WHERE store_sale.day_id = day.day_id AND month_seq = {seq} GROUP BY store_id) s1 JOIN (
       SELECT store_id, sum(net_paid) AS p FROM store_sale, day WHERE store_sale.day_id = day.day_id
       AND month_seq = {seq} + 1 GROUP BY store_id) s2 ON s1.store_id = s2.store_id ORDER BY 1""",
    # windows, roll-ups, grouping sets
    """SELECT category, class, month, total, rank() OVER (PARTITION BY category ORDER BY total DESC) FROM (
       SELECT p.category, p.class, d.month, sum(s.net_paid) AS total FROM store_sale s, day d, product p
       WHERE s.day_id = d.day_id AND s.product_id = p.product_id AND d.year = {year} AND p.category
       IN ('{category}', '{category2}') GROUP BY ROLLUP (p.category, p.class, d.month)) x ORDER BY total DESC LIMIT
       100""",
    """SELECT w.state, p.sku, sum(CASE WHEN d.day_date < date '{date}' THEN on_hand ELSE 0 END) AS before,
       sum(CASE WHEN d.day_date >= date '{date}' THEN on_hand ELSE 0 END) AS after FROM stock_level i, warehouse w,
       product p, day d WHERE i.product_id = p.product_id AND i.warehouse_id = w.warehouse_id AND i.day_id = d.day_id
       AND p.unit_price BETWEEN {price} AND {price} + 1 AND d.day_date BETWEEN date '{date}' - interval '30' day
       AND date '{date}' + interval '30' day GROUP BY w.state, p.sku ORDER BY 1, 2 LIMIT 100""",
    """SELECT product_id, avg(on_hand) FROM stock_level WHERE product_id = {product} GROUP BY product_id""",
    """SELECT p.name, p.brand, avg(i.on_hand) FROM stock_level i, day d, product p WHERE p.product_id = i.product_id
       AND i.day_id = d.day_id AND d.month_seq BETWEEN {seq} AND {seq} + 3 AND p.colour = '{colour}'
       GROUP BY ROLLUP (p.name, p.brand) ORDER BY 3, 1, 2 LIMIT 100""",
    """SELECT * FROM (SELECT customer_id, day_id, net_paid, row_number() OVER (PARTITION BY customer_id
       ORDER BY day_id DESC) AS n FROM web_sale WHERE product_id BETWEEN {product} AND {product} + 20) x WHERE n = 1
       ORDER BY net_paid DESC LIMIT 50""",
    """SELECT d.week_seq, sum(CASE WHEN d.day_name = 'Sunday' THEN w.net_paid END), sum(CASE WHEN d.day_name = 'Monday'
       THEN w.net_paid END) FROM web_sale w, day d WHERE d.day_id = w.day_id AND d.year = {year} GROUP BY d.week_seq
       ORDER BY 1""",
    # wide joins
    """SELECT p.sku, st.state, avg(s.quantity), avg(r.quantity), avg(w.quantity) FROM store_sale s, store_return r,
       web_sale w, day d, store st, product p WHERE d.month_seq = {seq} AND d.day_id = s.day_id
       AND p.product_id = s.product_id AND st.store_id = s.store_id AND s.customer_id = r.customer_id
       AND s.product_id = r.product_id AND s.sale_id = r.sale_id AND r.customer_id = w.customer_id
       AND r.product_id = w.product_id GROUP BY p.sku, st.state ORDER BY 1, 2 LIMIT 100""",
    """SELECT c.customer_id, a.city, sum(s.net_profit) FROM store_sale s, day d, store st, profile f, customer c,
       address a WHERE s.day_id = d.day_id AND s.store_id = st.store_id AND s.customer_id = c.customer_id
       AND c.profile_id = f.profile_id AND c.address_id = a.address_id AND f.dependents = 6 AND f.vehicles > {vehicles}
       AND d.dow = 1 AND d.year = {year} AND st.employees BETWEEN 200 AND 260 GROUP BY c.customer_id, a.city
       ORDER BY 3 DESC LIMIT 100""",
    """SELECT a.zip, sum(w.sale_price) FROM web_sale w, customer c, address a, day d WHERE w.customer_id = c.customer_id
       AND c.address_id = a.address_id AND (a.zip LIKE '1{zip}%' OR a.state IN ('{state}', '{state2}')
       OR w.sale_price > 80) AND w.day_id = d.day_id AND d.quarter = {quarter} AND d.year = {year}
       GROUP BY a.zip ORDER BY a.zip LIMIT 100""",
    """SELECT wh.name, w.ship_mode, sum(CASE WHEN ship_day_id - day_id <= 30 THEN 1 ELSE 0 END) AS quick,
       sum(CASE WHEN ship_day_id - day_id > 60 THEN 1 ELSE 0 END) AS slow FROM web_sale w, warehouse wh
       WHERE w.ship_day_id BETWEEN {first} AND {two_months} AND w.warehouse_id = wh.warehouse_id
       GROUP BY wh.name, w.ship_mode ORDER BY 1, 2""",
    """SELECT o.promotion_id, o.name, sum(w.net_profit), count(r.order_id) FROM web_sale w
       LEFT JOIN web_return r ON w.order_id = r.order_id AND w.line = r.line JOIN promotion o
       ON o.promotion_id = w.promotion_id WHERE o.tv AND w.day_id BETWEEN {first} AND {two_months}
       GROUP BY o.promotion_id, o.name ORDER BY 3 DESC LIMIT 20""",
    # what does not end without an index
    """SELECT c.customer_id, (SELECT max(s.day_id) FROM store_sale s WHERE s.customer_id = c.customer_id) AS last_day
       FROM customer c, address a WHERE c.address_id = a.address_id AND a.state IN ('{state}', '{state2}', '{state3}')
       ORDER BY 2 DESC NULLS LAST LIMIT 50""",
    """SELECT p.product_id, p.name FROM product p WHERE p.category = '{category}' AND (SELECT sum(s.quantity)
       FROM store_sale s WHERE s.product_id = p.product_id AND s.day_id > {first}) < (SELECT
       coalesce(sum(w.quantity), 0)
       FROM web_sale w WHERE w.product_id = p.product_id AND w.day_id > {first}) ORDER BY 1""",
    """SELECT count(*) FROM web_sale w WHERE w.day_id BETWEEN {first} AND {two_months} AND w.net_paid > (
       SELECT 2 * avg(s.net_paid) FROM store_sale s WHERE s.product_id = w.product_id AND s.customer_id =
       w.customer_id)""",
)


def _make(text: str) -> Callable[[Random], str]:
    return lambda r: text.format(**_values(r))


RETAIL = Workload(
    "retail",
    DDL,
    _load,
    tuple(Template(f"r{n}", _make(text)) for n, text in enumerate(TEXTS, 1)),
    (
        ("customer", "address_id"),
        ("customer", "profile_id"),
        ("customer", "first_day_id"),
        *(("store_sale", f"{c}_id") for c in ("day", "product", "customer", "store", "promotion")),
        *(("store_return", f"{c}_id") for c in ("day", "product", "customer", "store")),
        *(
            ("web_sale", f"{c}_id")
            for c in ("day", "ship_day", "product", "customer", "warehouse", "promotion")
        ),
        *(("web_return", f"{c}_id") for c in ("day", "product", "customer")),
        *(("stock_level", f"{c}_id") for c in ("product", "warehouse")),
    ),
    TRACK_PLANNING,
    5_000,
)
