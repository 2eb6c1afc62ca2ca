"""A TPC-H-like workload: eight tables with primary keys only, 22 query shapes, data made in SQL.

The schema, the shapes of the queries and the distributions follow the TPC-H specification (revision 3, chapters
2 and 4); the text and the data are this project's. Figures from it are not TPC-H results.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.benchmarks.advisor_workload import TRACK_PLANNING, Template, Workload

DDL = (
    """CREATE TABLE region (r_regionkey integer PRIMARY KEY, r_name char(25) NOT NULL, r_comment varchar(152))""",
    """CREATE TABLE nation (n_nationkey integer PRIMARY KEY, n_name char(25) NOT NULL,
        n_regionkey integer NOT NULL, n_comment varchar(152))""",
    """CREATE TABLE supplier (s_suppkey integer PRIMARY KEY, s_name char(25) NOT NULL,
        s_address varchar(40) NOT NULL, s_nationkey integer NOT NULL, s_phone char(15) NOT NULL,
        s_acctbal numeric(15,2) NOT NULL, s_comment varchar(101) NOT NULL)""",
    """CREATE TABLE customer (c_custkey integer PRIMARY KEY, c_name varchar(25) NOT NULL,
        c_address varchar(40) NOT NULL, c_nationkey integer NOT NULL, c_phone char(15) NOT NULL,
        c_acctbal numeric(15,2) NOT NULL, c_mktsegment char(10) NOT NULL, c_comment varchar(117) NOT NULL)""",
    """CREATE TABLE part (p_partkey integer PRIMARY KEY, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL,
        p_brand char(10) NOT NULL, p_type varchar(25) NOT NULL, p_size integer NOT NULL,
        p_container char(10) NOT NULL, p_retailprice numeric(15,2) NOT NULL, p_comment varchar(23) NOT NULL)""",
    """CREATE TABLE partsupp (ps_partkey integer NOT NULL, ps_suppkey integer NOT NULL,
        ps_availqty integer NOT NULL, ps_supplycost numeric(15,2) NOT NULL, ps_comment varchar(199) NOT NULL,
        PRIMARY KEY (ps_partkey, ps_suppkey))""",
    """CREATE TABLE orders (o_orderkey integer PRIMARY KEY, o_custkey integer NOT NULL,
        o_orderstatus char(1) NOT NULL, o_totalprice numeric(15,2) NOT NULL, o_orderdate date NOT NULL,
        o_orderpriority char(15) NOT NULL, o_clerk char(15) NOT NULL, o_shippriority integer NOT NULL,
        o_comment varchar(79) NOT NULL)""",
    """CREATE TABLE lineitem (l_orderkey integer NOT NULL, l_partkey integer NOT NULL, l_suppkey integer NOT NULL,
        l_linenumber integer NOT NULL, l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL,
        l_discount numeric(15,2) NOT NULL, l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL,
        l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL,
        l_receiptdate date NOT NULL, l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL,
        l_comment varchar(44) NOT NULL, PRIMARY KEY (l_orderkey, l_linenumber))""",
)

NATIONS = (
    ("ALGERIA", 0), ("ARGENTINA", 1), ("BRAZIL", 1), ("CANADA", 1), ("EGYPT", 4), ("ETHIOPIA", 0), ("FRANCE", 3),
    ("GERMANY", 3), ("INDIA", 2), ("INDONESIA", 2), ("IRAN", 4), ("IRAQ", 4), ("JAPAN", 2), ("JORDAN", 4),
    ("KENYA", 0), ("MOROCCO", 0), ("MOZAMBIQUE", 0), ("PERU", 1), ("CHINA", 2), ("ROMANIA", 3),
    ("SAUDI ARABIA", 4), ("VIETNAM", 2), ("RUSSIA", 3), ("UNITED KINGDOM", 3), ("UNITED STATES", 1),
)  # fmt: skip
REGIONS = ("AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST")
SEGMENTS = ("AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY")
COLOURS = (
    "almond", "antique", "azure", "beige", "black", "blue", "brown", "chocolate", "coral", "cornsilk",
    "cyan", "dark", "dim", "drab", "forest", "frosted", "gold", "green", "grey", "honeydew", "hot",
    "indian", "ivory", "khaki", "lace", "lavender", "lemon", "light", "lime", "linen", "magenta", "maroon",
    "midnight", "mint", "misty", "moccasin", "navy", "olive", "orange", "orchid", "pale", "papaya", "peach",
    "pink", "plum", "powder", "puff", "purple", "red", "rose", "royal", "saddle", "salmon", "sandy",
    "sienna", "sky", "slate", "smoke", "snow", "spring", "steel", "tan", "thistle", "tomato", "turquoise",
    "violet", "wheat", "white",
)  # fmt: skip
WORDS = (
    "furiously", "quickly", "carefully", "slyly", "blithely", "special", "pending", "regular", "express",
    "final", "ironic", "even", "bold", "silent", "requests", "deposits", "packages", "accounts",
    "instructions", "theodolites", "foxes", "ideas", "dependencies", "platelets", "sleep", "nag", "haggle",
    "wake", "boost", "detect", "integrate", "cajole", "across", "along", "above", "among", "the", "after",
    "between",
)  # fmt: skip
TYPES = (
    ("STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO"),
    ("ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED"),
    ("TIN", "NICKEL", "BRASS", "STEEL", "COPPER"),
)
CONTAINERS = (
    ("SM", "LG", "MED", "JUMBO", "WRAP"),
    ("CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM"),
)
MODES = ("REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB")
PRIORITIES = ("1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW")
INSTRUCTIONS = ("DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN")


def _array(values: Sequence[str]) -> str:
    return "ARRAY[" + ",".join(f"'{v}'" for v in values) + "]"


def _any(values: Sequence[str]) -> str:
    """SQL for one of the values, drawn for each row."""
    return f"({_array(values)})[1 + floor(random() * {len(values)})::int]"


def _words(count: int, width: int) -> str:
    """SQL for some words, cut at the column's width."""
    text = " || ' ' || ".join([_any(WORDS)] * count)
    return f"left({text}, {width})"


def _load(scale: float) -> Sequence[str]:
    suppliers, parts = max(20, int(10_000 * scale)), max(200, int(200_000 * scale))
    customers, orders = max(150, int(150_000 * scale)), max(1500, int(1_500_000 * scale))
    regions = ",".join(f"({n},'{name}','region')" for n, name in enumerate(REGIONS))
    nations = ",".join(f"({n},'{name}',{region},'nation')" for n, (name, region) in enumerate(NATIONS))
    digits = "floor(random() * 899 + 100)::int"
    phone = f"(10 + n) || '-' || {digits} || '-' || {digits} || '-' || {digits} || '0'"
    return (
        "SELECT setseed(0.42)",
        f"INSERT INTO region VALUES {regions}",
        f"INSERT INTO nation VALUES {nations}",
        f"""INSERT INTO supplier SELECT k, 'Supplier#' || lpad(k::text, 9, '0'), {_words(3, 40)}, n,
            {phone}, (random() * 10998 - 999)::numeric(15,2),
            CASE WHEN k % 500 = 7 THEN 'wake Customer slow Complaints ' ELSE '' END || {_words(6, 70)}
            FROM (SELECT k, floor(random() * 25)::int AS n FROM generate_series(1, {suppliers}) k OFFSET 0) x""",
        f"""INSERT INTO customer SELECT k, 'Customer#' || lpad(k::text, 9, '0'), {_words(3, 40)}, n,
            {phone}, (random() * 10998 - 999)::numeric(15,2), {_any(SEGMENTS)}, {_words(10, 117)}
            FROM (SELECT k, floor(random() * 25)::int AS n FROM generate_series(1, {customers}) k OFFSET 0) x""",
        f"""INSERT INTO part SELECT k, {" || ' ' || ".join([_any(COLOURS)] * 5)}, 'Manufacturer#' || m,
            'Brand#' || m || (1 + floor(random() * 5)::int),
            {" || ' ' || ".join(_any(t) for t in TYPES)}, 1 + floor(random() * 50)::int,
            {" || ' ' || ".join(_any(c) for c in CONTAINERS)},
            (90000 + (k / 10) % 20001 + 100 * (k % 1000)) / 100.0, {_words(3, 23)}
            FROM (SELECT k, 1 + floor(random() * 5)::int AS m FROM generate_series(1, {parts}) k OFFSET 0) x""",
        f"""INSERT INTO partsupp SELECT k, (k + i * ({suppliers} / 4 + (k - 1) / {suppliers})) % {suppliers} + 1,
            1 + floor(random() * 9999)::int, (1 + random() * 999)::numeric(15,2), {_words(16, 199)}
            FROM generate_series(1, {parts}) k, generate_series(0, 3) i ON CONFLICT DO NOTHING""",
        f"""INSERT INTO orders SELECT (k / 8) * 32 + k % 8, c - (c % 3 = 0)::int, 'O', 0, d, {_any(PRIORITIES)},
            'Clerk#' || lpad((1 + floor(random() * {max(1, int(1000 * scale))})::int)::text, 9, '0'), 0, {_words(6, 79)}
            FROM (SELECT k, 2 + floor(random() * {customers - 2})::int AS c,
                         date '1992-01-01' + floor(random() * 2405)::int AS d
                    FROM generate_series(1, {orders}) k OFFSET 0) x""",
        f"""INSERT INTO lineitem
            SELECT o, p, (p + i * ({suppliers} / 4 + (p - 1) / {suppliers})) % {suppliers} + 1, line, q,
                   q * ((90000 + (p / 10) % 20001 + 100 * (p % 1000)) / 100.0), floor(random() * 11) / 100,
                   floor(random() * 9) / 100,
                   CASE WHEN ship + received > date '1995-06-17' THEN 'N' WHEN random() < 0.5 THEN 'R' ELSE 'A' END,
                   CASE WHEN ship > date '1995-06-17' THEN 'O' ELSE 'F' END,
                   ship, d + 30 + floor(random() * 61)::int, ship + received, {_any(INSTRUCTIONS)}, {_any(MODES)},
                   {_words(4, 44)}
              FROM (SELECT o_orderkey AS o, o_orderdate AS d, line, 1 + floor(random() * {parts})::int AS p,
                           floor(random() * 4)::int AS i, 1 + floor(random() * 50)::int AS q,
                           o_orderdate + 1 + floor(random() * 121)::int AS ship,
                           1 + floor(random() * 30)::int AS received
                      FROM orders, generate_series(1, 1 + (hashint4(o_orderkey) & 2147483647) % 7) line OFFSET 0) x""",
        """UPDATE orders SET o_totalprice = t, o_orderstatus = s FROM (
            SELECT l_orderkey, sum(l_extendedprice * (1 + l_tax) * (1 - l_discount)) AS t,
                   CASE WHEN min(l_linestatus) <> max(l_linestatus) THEN 'P' ELSE min(l_linestatus) END AS s
              FROM lineitem GROUP BY 1) x WHERE l_orderkey = o_orderkey""",
        "VACUUM FULL orders",
    )


# --- the queries -------------------------------------------------------------------------------------------


def _month(r: Random, first: int, last: int, months: int = 12) -> str:
    return f"{r.randint(first, last)}-{r.randint(1, months):02}-01"


def _q1(r: Random) -> str:
    return f"""SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price,
        sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
        sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge, avg(l_quantity) AS avg_qty,
        avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc, count(*) AS count_order
        FROM lineitem WHERE l_shipdate <= date '1998-12-01' - interval '{r.randint(60, 120)}' day
        GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus"""


def _q2(r: Random) -> str:
    region = r.choice(REGIONS)
    return f"""SELECT s_acctbal, s_name, n_name, p_partkey, p_mfgr, s_address, s_phone, s_comment
        FROM part, supplier, partsupp, nation, region
        WHERE p_partkey = ps_partkey AND s_suppkey = ps_suppkey AND p_size = {r.randint(1, 50)}
          AND p_type LIKE '%{r.choice(TYPES[2])}' AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey
          AND r_name = '{region}' AND ps_supplycost = (
            SELECT min(ps_supplycost) FROM partsupp, supplier, nation, region
            WHERE p_partkey = ps_partkey AND s_suppkey = ps_suppkey AND s_nationkey = n_nationkey
              AND n_regionkey = r_regionkey AND r_name = '{region}')
        ORDER BY s_acctbal DESC, n_name, s_name, p_partkey LIMIT 100"""


def _q3(r: Random) -> str:
    day = f"1995-03-{r.randint(1, 31):02}"
    return f"""SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue, o_orderdate, o_shippriority
        FROM customer, orders, lineitem
        WHERE c_mktsegment = '{r.choice(SEGMENTS)}' AND c_custkey = o_custkey AND l_orderkey = o_orderkey
          AND o_orderdate < date '{day}' AND l_shipdate > date '{day}'
        GROUP BY l_orderkey, o_orderdate, o_shippriority ORDER BY revenue DESC, o_orderdate LIMIT 10"""


def _q4(r: Random) -> str:
    day = _month(r, 1993, 1997, 10)
    return f"""SELECT o_orderpriority, count(*) AS order_count FROM orders
        WHERE o_orderdate >= date '{day}' AND o_orderdate < date '{day}' + interval '3' month
          AND EXISTS (SELECT * FROM lineitem WHERE l_orderkey = o_orderkey AND l_commitdate < l_receiptdate)
        GROUP BY o_orderpriority ORDER BY o_orderpriority"""


def _q5(r: Random) -> str:
    day = f"{r.randint(1993, 1997)}-01-01"
    return f"""SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue
        FROM customer, orders, lineitem, supplier, nation, region
        WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey = s_suppkey
          AND c_nationkey = s_nationkey AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey
          AND r_name = '{r.choice(REGIONS)}' AND o_orderdate >= date '{day}'
          AND o_orderdate < date '{day}' + interval '1' year
        GROUP BY n_name ORDER BY revenue DESC"""


def _q6(r: Random) -> str:
    day, discount = f"{r.randint(1993, 1997)}-01-01", r.randint(2, 9) / 100
    return f"""SELECT sum(l_extendedprice * l_discount) AS revenue FROM lineitem
        WHERE l_shipdate >= date '{day}' AND l_shipdate < date '{day}' + interval '1' year
          AND l_discount BETWEEN {discount} - 0.01 AND {discount} + 0.01 AND l_quantity < {r.randint(24, 25)}"""


def _q7(r: Random) -> str:
    a, b = r.sample([n for n, _ in NATIONS], 2)
    return f"""SELECT supp_nation, cust_nation, l_year, sum(volume) AS revenue FROM (
            SELECT n1.n_name AS supp_nation, n2.n_name AS cust_nation, extract(year FROM l_shipdate) AS l_year,
                   l_extendedprice * (1 - l_discount) AS volume
            FROM supplier, lineitem, orders, customer, nation n1, nation n2
            WHERE s_suppkey = l_suppkey AND o_orderkey = l_orderkey AND c_custkey = o_custkey
              AND s_nationkey = n1.n_nationkey AND c_nationkey = n2.n_nationkey
              AND ((n1.n_name = '{a}' AND n2.n_name = '{b}') OR (n1.n_name = '{b}' AND n2.n_name = '{a}'))
              AND l_shipdate BETWEEN date '1995-01-01' AND date '1996-12-31') AS shipping
        GROUP BY supp_nation, cust_nation, l_year ORDER BY supp_nation, cust_nation, l_year"""


def _q8(r: Random) -> str:
    nation, region = r.choice(NATIONS)
    kind = " ".join(r.choice(t) for t in TYPES)
    return f"""SELECT o_year, sum(CASE WHEN nation = '{nation}' THEN volume ELSE 0 END) / sum(volume) AS mkt_share
        FROM (SELECT extract(year FROM o_orderdate) AS o_year, l_extendedprice * (1 - l_discount) AS volume,
                     n2.n_name AS nation
              FROM part, supplier, lineitem, orders, customer, nation n1, nation n2, region
              WHERE p_partkey = l_partkey AND s_suppkey = l_suppkey AND l_orderkey = o_orderkey
                AND o_custkey = c_custkey AND c_nationkey = n1.n_nationkey AND n1.n_regionkey = r_regionkey
                AND r_name = '{REGIONS[region]}' AND s_nationkey = n2.n_nationkey
                AND o_orderdate BETWEEN date '1995-01-01' AND date '1996-12-31' AND p_type = '{kind}'
        ) AS all_nations GROUP BY o_year ORDER BY o_year"""


def _q9(r: Random) -> str:
    return f"""SELECT nation, o_year, sum(amount) AS sum_profit FROM (
            SELECT n_name AS nation, extract(year FROM o_orderdate) AS o_year,
                   l_extendedprice * (1 - l_discount) - ps_supplycost * l_quantity AS amount
            FROM part, supplier, lineitem, partsupp, orders, nation
            WHERE s_suppkey = l_suppkey AND ps_suppkey = l_suppkey AND ps_partkey = l_partkey
              AND p_partkey = l_partkey AND o_orderkey = l_orderkey AND s_nationkey = n_nationkey
              AND p_name LIKE '%{r.choice(COLOURS)}%') AS profit
        GROUP BY nation, o_year ORDER BY nation, o_year DESC"""


def _q10(r: Random) -> str:
    day = f"{r.choice((1993, 1994))}-{r.randint(2, 12):02}-01"
    return f"""SELECT c_custkey, c_name, sum(l_extendedprice * (1 - l_discount)) AS revenue, c_acctbal, n_name,
            c_address, c_phone, c_comment
        FROM customer, orders, lineitem, nation
        WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND o_orderdate >= date '{day}'
          AND o_orderdate < date '{day}' + interval '3' month AND l_returnflag = 'R' AND c_nationkey = n_nationkey
        GROUP BY c_custkey, c_name, c_acctbal, c_phone, n_name, c_address, c_comment
        ORDER BY revenue DESC LIMIT 20"""


def _q11(r: Random) -> str:
    nation = r.choice(NATIONS)[0]
    return f"""SELECT ps_partkey, sum(ps_supplycost * ps_availqty) AS value FROM partsupp, supplier, nation
        WHERE ps_suppkey = s_suppkey AND s_nationkey = n_nationkey AND n_name = '{nation}'
        GROUP BY ps_partkey HAVING sum(ps_supplycost * ps_availqty) > (
            SELECT sum(ps_supplycost * ps_availqty) * 0.001 FROM partsupp, supplier, nation
            WHERE ps_suppkey = s_suppkey AND s_nationkey = n_nationkey AND n_name = '{nation}')
        ORDER BY value DESC"""


def _q12(r: Random) -> str:
    a, b = r.sample(MODES, 2)
    day = f"{r.randint(1993, 1997)}-01-01"
    return f"""SELECT l_shipmode,
            sum(CASE WHEN o_orderpriority = '1-URGENT' OR o_orderpriority = '2-HIGH' THEN 1 ELSE 0 END) AS high,
            sum(CASE WHEN o_orderpriority <> '1-URGENT' AND o_orderpriority <> '2-HIGH' THEN 1 ELSE 0 END) AS low
        FROM orders, lineitem
        WHERE o_orderkey = l_orderkey AND l_shipmode IN ('{a}', '{b}') AND l_commitdate < l_receiptdate
          AND l_shipdate < l_commitdate AND l_receiptdate >= date '{day}'
          AND l_receiptdate < date '{day}' + interval '1' year
        GROUP BY l_shipmode ORDER BY l_shipmode"""


def _q13(r: Random) -> str:
    first = r.choice(("special", "pending", "unusual", "express"))
    second = r.choice(("packages", "requests", "accounts", "deposits"))
    return f"""SELECT c_count, count(*) AS custdist FROM (
            SELECT c_custkey, count(o_orderkey) AS c_count FROM customer
            LEFT OUTER JOIN orders ON c_custkey = o_custkey AND o_comment NOT LIKE '%{first}%{second}%'
            GROUP BY c_custkey) AS c_orders
        GROUP BY c_count ORDER BY custdist DESC, c_count DESC"""


def _q14(r: Random) -> str:
    day = _month(r, 1993, 1997)
    return f"""SELECT 100.00 * sum(CASE WHEN p_type LIKE 'PROMO%' THEN l_extendedprice * (1 - l_discount) ELSE 0 END)
            / sum(l_extendedprice * (1 - l_discount)) AS promo_revenue
        FROM lineitem, part
        WHERE l_partkey = p_partkey AND l_shipdate >= date '{day}'
          AND l_shipdate < date '{day}' + interval '1' month"""


def _q15(r: Random) -> str:
    day = _month(r, 1993, 1997, 10)
    return f"""WITH revenue (supplier_no, total_revenue) AS (
            SELECT l_suppkey, sum(l_extendedprice * (1 - l_discount)) FROM lineitem
            WHERE l_shipdate >= date '{day}' AND l_shipdate < date '{day}' + interval '3' month
            GROUP BY l_suppkey)
        SELECT s_suppkey, s_name, s_address, s_phone, total_revenue FROM supplier, revenue
        WHERE s_suppkey = supplier_no AND total_revenue = (SELECT max(total_revenue) FROM revenue)
        ORDER BY s_suppkey"""


def _q16(r: Random) -> str:
    sizes = ", ".join(str(n) for n in r.sample(range(1, 51), 8))
    return f"""SELECT p_brand, p_type, p_size, count(DISTINCT ps_suppkey) AS supplier_cnt FROM partsupp, part
        WHERE p_partkey = ps_partkey AND p_brand <> 'Brand#{r.randint(1, 5)}{r.randint(1, 5)}'
          AND p_type NOT LIKE '{r.choice(TYPES[0])} {r.choice(TYPES[1])}%' AND p_size IN ({sizes})
          AND ps_suppkey NOT IN (SELECT s_suppkey FROM supplier WHERE s_comment LIKE '%Customer%Complaints%')
        GROUP BY p_brand, p_type, p_size ORDER BY supplier_cnt DESC, p_brand, p_type, p_size"""


def _container(r: Random) -> str:
    return " ".join(r.choice(c) for c in CONTAINERS)


def _q17(r: Random) -> str:
    return f"""SELECT sum(l_extendedprice) / 7.0 AS avg_yearly FROM lineitem, part
        WHERE p_partkey = l_partkey AND p_brand = 'Brand#{r.randint(1, 5)}{r.randint(1, 5)}'
          AND p_container = '{_container(r)}'
          AND l_quantity < (SELECT 0.2 * avg(l_quantity) FROM lineitem WHERE l_partkey = p_partkey)"""


def _q18(r: Random) -> str:
    return f"""SELECT c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice, sum(l_quantity)
        FROM customer, orders, lineitem
        WHERE o_orderkey IN (
            SELECT l_orderkey FROM lineitem GROUP BY l_orderkey HAVING sum(l_quantity) > {r.randint(312, 315)})
          AND c_custkey = o_custkey AND o_orderkey = l_orderkey
        GROUP BY c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice
        ORDER BY o_totalprice DESC, o_orderdate LIMIT 100"""


def _q19(r: Random) -> str:
    branches = []
    for first, low, sizes in (("SM", 1, 5), ("MED", 10, 10), ("LG", 20, 15)):
        containers = ", ".join(f"'{first} {c}'" for c in r.sample(CONTAINERS[1], 4))
        quantity = r.randint(low, low + 10)
        branches.append(
            f"""(p_partkey = l_partkey AND p_brand = 'Brand#{r.randint(1, 5)}{r.randint(1, 5)}'
              AND p_container IN ({containers}) AND l_quantity >= {quantity} AND l_quantity <= {quantity} + 10
              AND p_size BETWEEN 1 AND {sizes} AND l_shipmode IN ('AIR', 'AIR REG')
              AND l_shipinstruct = 'DELIVER IN PERSON')"""
        )
    return f"""SELECT sum(l_extendedprice * (1 - l_discount)) AS revenue FROM lineitem, part
        WHERE {" OR ".join(branches)}"""


def _q20(r: Random) -> str:
    day = f"{r.randint(1993, 1997)}-01-01"
    return f"""SELECT s_name, s_address FROM supplier, nation
        WHERE s_suppkey IN (
            SELECT ps_suppkey FROM partsupp
            WHERE ps_partkey IN (SELECT p_partkey FROM part WHERE p_name LIKE '{r.choice(COLOURS)}%')
              AND ps_availqty > (
                SELECT 0.5 * sum(l_quantity) FROM lineitem
                WHERE l_partkey = ps_partkey AND l_suppkey = ps_suppkey AND l_shipdate >= date '{day}'
                  AND l_shipdate < date '{day}' + interval '1' year))
          AND s_nationkey = n_nationkey AND n_name = '{r.choice(NATIONS)[0]}' ORDER BY s_name"""


def _q21(r: Random) -> str:
    return f"""SELECT s_name, count(*) AS numwait FROM supplier, lineitem l1, orders, nation
        WHERE s_suppkey = l1.l_suppkey AND o_orderkey = l1.l_orderkey AND o_orderstatus = 'F'
          AND l1.l_receiptdate > l1.l_commitdate
          AND EXISTS (SELECT * FROM lineitem l2
                      WHERE l2.l_orderkey = l1.l_orderkey AND l2.l_suppkey <> l1.l_suppkey)
          AND NOT EXISTS (SELECT * FROM lineitem l3
                          WHERE l3.l_orderkey = l1.l_orderkey AND l3.l_suppkey <> l1.l_suppkey
                            AND l3.l_receiptdate > l3.l_commitdate)
          AND s_nationkey = n_nationkey AND n_name = '{r.choice(NATIONS)[0]}'
        GROUP BY s_name ORDER BY numwait DESC, s_name LIMIT 100"""


def _q22(r: Random) -> str:
    codes = ", ".join(f"'{n}'" for n in r.sample(range(10, 35), 7))
    return f"""SELECT cntrycode, count(*) AS numcust, sum(c_acctbal) AS totacctbal FROM (
            SELECT substring(c_phone FROM 1 FOR 2) AS cntrycode, c_acctbal FROM customer
            WHERE substring(c_phone FROM 1 FOR 2) IN ({codes})
              AND c_acctbal > (SELECT avg(c_acctbal) FROM customer
                               WHERE c_acctbal > 0.00 AND substring(c_phone FROM 1 FOR 2) IN ({codes}))
              AND NOT EXISTS (SELECT * FROM orders WHERE o_custkey = c_custkey)) AS custsale
        GROUP BY cntrycode ORDER BY cntrycode"""


QUERIES = (
    *(_q1, _q2, _q3, _q4, _q5, _q6, _q7, _q8, _q9, _q10, _q11),
    *(_q12, _q13, _q14, _q15, _q16, _q17, _q18, _q19, _q20, _q21, _q22),
)

TPCH = Workload(
    "tpch",
    DDL,
    _load,
    tuple(Template(f"q{n}", make) for n, make in enumerate(QUERIES, 1)),
    (
        ("nation", "n_regionkey"),
        ("supplier", "s_nationkey"),
        ("customer", "c_nationkey"),
        ("partsupp", "ps_partkey"),
        ("partsupp", "ps_suppkey"),
        ("orders", "o_custkey"),
        ("lineitem", "l_orderkey"),
        ("lineitem", "l_partkey"),
        ("lineitem", "l_suppkey"),
    ),
    TRACK_PLANNING,
)
