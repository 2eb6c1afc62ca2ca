"""A second decision-support workload: hospitals, their patients, visits, claims, prescriptions and laboratory.

A snowflake of sixteen tables with primary keys only, and 44 query shapes of the kind that TPC-DS asks: dimensions of
dimensions, correlated filters, prefixes of codes in lists, ORs of ANDs, roll-ups, windows, set operations, CTEs used
twice. Written for this project, after the advisor was: what it is measured by here it was not built on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tests.benchmarks.advisor_workload import TRACK_PLANNING, Template, Workload

DDL = (
    """CREATE TABLE calendar (date_key int PRIMARY KEY, full_date date NOT NULL, year int, quarter int, month int,
        month_no int, week_no int, weekday int, is_weekend boolean)""",
    "CREATE TABLE region (region_key int PRIMARY KEY, region_name text)",
    "CREATE TABLE city (city_key int PRIMARY KEY, city_name text, region_key int, population int)",
    """CREATE TABLE facility (facility_key int PRIMARY KEY, facility_name text, city_key int, kind text, beds int,
        zip char(5))""",
    "CREATE TABLE specialty (specialty_key int PRIMARY KEY, specialty_name text, is_surgical boolean)",
    """CREATE TABLE provider (provider_key int PRIMARY KEY, provider_name text, specialty_key int,
        facility_key int, hired date)""",
    "CREATE TABLE payer (payer_key int PRIMARY KEY, payer_name text, payer_type text)",
    "CREATE TABLE plan (plan_key int PRIMARY KEY, payer_key int, plan_name text, tier text, deductible int)",
    """CREATE TABLE patient (patient_key int PRIMARY KEY, mrn text, last_name text, birth_year int, sex char(1),
        city_key int, zip char(5), language text, plan_key int, registered_key int)""",
    "CREATE TABLE chapter (chapter_key int PRIMARY KEY, chapter_name text)",
    """CREATE TABLE diagnosis (diagnosis_key int PRIMARY KEY, code text, title text, chapter_key int,
        chronic boolean)""",
    """CREATE TABLE drug (drug_key int PRIMARY KEY, ndc text, drug_name text, drug_class text, maker text,
        unit_cost numeric(9,2))""",
    """CREATE TABLE visit (visit_key int PRIMARY KEY, patient_key int, provider_key int, facility_key int,
        date_key int, discharge_key int, kind text, diagnosis_key int, charges numeric(10,2), readmitted boolean)""",
    """CREATE TABLE claim (claim_key int, line int, visit_key int, patient_key int, plan_key int, date_key int,
        paid_key int, procedure_code text, status text, billed numeric(10,2), paid numeric(10,2),
        PRIMARY KEY (claim_key, line))""",
    """CREATE TABLE prescription (prescription_key bigint PRIMARY KEY, visit_key int, patient_key int,
        provider_key int, drug_key int, date_key int, days int, refills int, cost numeric(9,2))""",
    """CREATE TABLE lab (lab_key bigint PRIMARY KEY, visit_key int, patient_key int, test text, date_key int,
        value numeric(9,2), abnormal boolean)""",
)

DAYS, FIRST_YEAR, YEARS = 2192, 2017, 6
KINDS = ("inpatient", "outpatient", "emergency", "telehealth", "observation")
FACILITY_KINDS = ("hospital", "clinic", "urgent care", "surgery center")
TYPES = ("commercial", "public", "self", "union")
TIERS = ("bronze", "silver", "gold", "platinum")
LANGUAGES = ("English", "Spanish", "Mandarin", "Vietnamese", "French", "Arabic", "Polish", "Hindi")
CLASSES = tuple(f"class {n}" for n in range(40))
MAKERS = tuple(f"maker {n}" for n in range(60))
STATUSES = ("paid", "denied", "pending", "appealed")
TESTS = (
    "glucose",
    "a1c",
    "sodium",
    "potassium",
    "ldl",
    "hdl",
    "tsh",
    "creatinine",
    "wbc",
    "hgb",
    "plt",
    "crp",
)


def _any(values: Sequence[str]) -> str:
    return "(ARRAY[" + ",".join(f"'{v}'" for v in values) + f"])[1 + floor(random() * {len(values)})::int]"


def _of(values: Sequence[str], number: str) -> str:
    """The value that a number (SQL) stands for."""
    return "(ARRAY[" + ",".join(f"'{v}'" for v in values) + f"])[1 + ({number}) % {len(values)}]"


def _upto(n: int, power: float = 1.0) -> str:
    """A number from 1 to n; the higher the power, the more often a small one."""
    return f"(1 + floor(power(random(), {power}) * {n})::int)"


def _load(scale: float) -> Sequence[str]:
    patients, providers = max(400, int(60_000 * scale)), max(60, int(1_500 * scale))
    visits, cities, drugs = max(1500, int(300_000 * scale)), 240, max(100, int(3_000 * scale))
    facilities, diagnoses, plans = 160, 2_000, 90
    return (
        "SELECT setseed(0.19)",
        f"""INSERT INTO calendar SELECT k, d, extract(year FROM d), extract(quarter FROM d), extract(month FROM d),
            (extract(year FROM d) - {FIRST_YEAR}) * 12 + extract(month FROM d), k / 7, extract(dow FROM d),
            extract(dow FROM d) IN (0, 6)
            FROM (SELECT k, date '{FIRST_YEAR}-01-01' + k - 1 AS d FROM generate_series(1, {DAYS}) k) x""",
        "INSERT INTO region SELECT k, 'region ' || k FROM generate_series(1, 12) k",
        f"""INSERT INTO city SELECT k, 'city ' || k, 1 + k % 12, 5000 + 9000 * (k % 31)
            FROM generate_series(1, {cities}) k""",
        f"""INSERT INTO facility SELECT k, 'facility ' || k, c, {_any(FACILITY_KINDS)}, 10 * {_upto(40)},
            lpad((10000 + c * 97)::text, 5, '0')
            FROM (SELECT k, {_upto(cities, 1.8)} AS c FROM generate_series(1, {facilities}) k OFFSET 0) x""",
        "INSERT INTO specialty SELECT k, 'specialty ' || k, k % 5 = 0 FROM generate_series(1, 45) k",
        f"""INSERT INTO provider SELECT k, 'Dr ' || md5(k::text), {_upto(45, 1.4)}, {_upto(facilities)},
            date '1990-01-01' + {_upto(9000)} FROM generate_series(1, {providers}) k""",
        f"INSERT INTO payer SELECT k, 'payer ' || k, {_of(TYPES, 'k')} FROM generate_series(1, 15) k",
        f"""INSERT INTO plan SELECT k, 1 + k % 15, 'plan ' || k, {_of(TIERS, "k / 15")}, 250 * {_upto(20)}
            FROM generate_series(1, {plans}) k""",
        f"""INSERT INTO patient SELECT k, 'MRN' || lpad((k * 7 % 1000003)::text, 8, '0'), 'N' || {_upto(4000, 1.5)},
            1925 + {_upto(95)}, {_any(("F", "M"))}, c, lpad((10000 + c * 97 + {_upto(60)})::text, 5, '0'),
            CASE WHEN random() < 0.7 THEN 'English' ELSE {_any(LANGUAGES)} END, {_upto(plans, 1.5)}, {_upto(DAYS)}
            FROM (SELECT k, {_upto(cities, 2)} AS c FROM generate_series(1, {patients}) k OFFSET 0) x""",
        "INSERT INTO chapter SELECT k, 'chapter ' || k FROM generate_series(1, 21) k",
        f"""INSERT INTO diagnosis SELECT k, chr(65 + k % 21) || lpad((k / 21)::text, 3, '0') || '.' || k % 10,
            'diagnosis ' || md5(k::text), 1 + k % 21, k % 7 = 0 FROM generate_series(1, {diagnoses}) k""",
        f"""INSERT INTO drug SELECT k, lpad((k * 31)::text, 11, '0'), 'drug ' || md5(k::text), 'class ' || c,
            'maker ' || (c * 3 + floor(random() * 4)::int) % 60, 1 + power(random(), 4) * 800
            FROM (SELECT k, {_upto(40)} - 1 AS c FROM generate_series(1, {drugs}) k OFFSET 0) x""",
        f"""INSERT INTO visit SELECT k, p, {_upto(providers)}, {_upto(facilities, 1.6)}, d,
            CASE WHEN kind = 'inpatient' THEN least(d + {_upto(12)}, {DAYS}) END, kind, {_upto(diagnoses, 2)},
            40 + power(random(), 3) * 20000, random() < 0.04
            FROM (SELECT k, {_upto(patients, 1.5)} AS p, greatest(1, (k * {DAYS}::bigint / {visits})::int) AS d,
                         {_any(KINDS)} AS kind FROM generate_series(1, {visits}) k OFFSET 0) x""",
        f"""INSERT INTO claim SELECT v.visit_key, l, v.visit_key, v.patient_key, p.plan_key, v.date_key,
            CASE WHEN random() < 0.85 THEN least(v.date_key + {_upto(120, 2)}, {DAYS}) END,
            'P' || lpad({_upto(700, 1.7)}::text, 4, '0'),
            CASE WHEN random() < 0.8 THEN 'paid' ELSE {_any(STATUSES)} END, v.charges / 2, v.charges * random() / 2
            FROM visit v JOIN patient p USING (patient_key), LATERAL generate_series(1, 1 + v.visit_key % 4) l""",
        f"""INSERT INTO prescription SELECT row_number() OVER (), visit_key, patient_key, provider_key,
            {_upto(drugs, 2)}, date_key, 10 * {_upto(9)}, floor(random() * 5)::int, power(random(), 3) * 900
            FROM visit, LATERAL generate_series(1, (visit_key % 5 + 1) / 2) i ORDER BY date_key""",
        f"""INSERT INTO lab SELECT row_number() OVER (), visit_key, patient_key, {_any(TESTS)}, date_key,
            random() * 300, random() < 0.12
            FROM visit, LATERAL generate_series(1, visit_key % 4) i ORDER BY date_key""",
    )


# --- queries -----------------------------------------------------------------------------------------------

Values = dict[str, object]


def _zips(r: Random, count: int) -> str:
    return ", ".join(f"'{10000 + r.randint(1, 240) * 97:05}'"[:4] + "'" for _ in range(count))


def _values(r: Random) -> Values:
    """What the texts below may ask for; each text takes what it names."""
    year = r.randint(FIRST_YEAR, FIRST_YEAR + YEARS - 2)
    kinds, tests, classes = r.sample(KINDS, 2), r.sample(TESTS, 2), r.sample(CLASSES, 3)
    first = r.randint(100, DAYS - 400)
    return {
        "year": year,
        "next": year + 1,
        "month": r.randint(1, 11),
        "quarter": r.randint(1, 4),
        "month_no": r.randint(2, 60),
        "first": first,
        "week": first + 7,
        "month_later": first + 30,
        "year_later": first + 365,
        "date": f"{year}-{r.randint(1, 12):02}-{r.randint(1, 28):02}",
        "region": f"region {r.randint(1, 12)}",
        "region2": f"region {r.randint(1, 12)}",
        "city": f"city {r.randint(1, 240)}",
        "kind": kinds[0],
        "kind2": kinds[1],
        "facility_kind": r.choice(FACILITY_KINDS),
        "facility": r.randint(1, 160),
        "specialty": f"specialty {r.randint(1, 45)}",
        "type": r.choice(TYPES),
        "tier": r.choice(TIERS),
        "payer": f"payer {r.randint(1, 15)}",
        "language": r.choice(LANGUAGES[1:]),
        "class": classes[0],
        "class2": classes[1],
        "class3": classes[2],
        "maker": r.choice(MAKERS),
        "status": r.choice(STATUSES[1:]),
        "test": tests[0],
        "test2": tests[1],
        "sex": r.choice("FM"),
        "birth": r.randint(1930, 2000),
        "last": f"N{r.randint(1, 4000)}",
        "mrn": f"MRN{r.randint(1, 40_000) * 7 % 1000003:08}",
        "patient": r.randint(1, 30_000),
        "provider": r.randint(1, 900),
        "visit": r.randint(1, 150_000),
        "code": f"{r.choice('ABCDEFGHIJKLMNOPQRSTU')}{r.randint(0, 94):03}",
        "letter": r.choice("ABCDEFGHIJKLMNOPQRSTU"),
        "procedure": f"P{r.randint(1, 700):04}",
        "procedure2": f"P{r.randint(1, 700):04}",
        "zips": _zips(r, 6),
        "amount": r.randint(9, 17) * 1000,
        "drug": r.randint(1, 1_500),
    }


TEXTS = (
    # roll-ups over a snowflake
    """SELECT r.region_name, c.city_name, sum(v.charges) AS charges FROM visit v JOIN facility f USING (facility_key)
       JOIN city c ON c.city_key = f.city_key JOIN region r USING (region_key) JOIN calendar d ON d.date_key =
       v.date_key
       WHERE d.year = {year} AND d.month = {month} AND v.kind = '{kind}' GROUP BY ROLLUP (r.region_name, c.city_name)
       ORDER BY 1, 2 LIMIT 100""",
    """SELECT p.tier, y.payer_type, grouping(p.tier) + grouping(y.payer_type) AS level, sum(c.billed - c.paid) AS gap
       FROM claim c, plan p, payer y, calendar d WHERE c.plan_key = p.plan_key AND p.payer_key = y.payer_key
       AND d.date_key = c.date_key AND d.month_no BETWEEN {month_no} AND {month_no} + 2
       GROUP BY ROLLUP (y.payer_type, p.tier) ORDER BY level DESC, gap DESC LIMIT 100""",
    """SELECT g.drug_class, g.maker, d.year, d.quarter, sum(x.cost), rank() OVER (PARTITION BY g.drug_class
       ORDER BY sum(x.cost) DESC) FROM prescription x, drug g, calendar d WHERE x.drug_key = g.drug_key
       AND x.date_key = d.date_key AND d.year = {year} AND g.drug_class IN ('{class}', '{class2}', '{class3}')
       GROUP BY g.drug_class, g.maker, d.year, d.quarter ORDER BY 1, 6 LIMIT 100""",
    """SELECT f.facility_name, s.specialty_name, count(*) FROM visit v, provider o, specialty s, facility f, calendar d
       WHERE v.provider_key = o.provider_key AND o.specialty_key = s.specialty_key AND v.facility_key = f.facility_key
       AND v.date_key = d.date_key AND d.full_date BETWEEN date '{date}' AND date '{date}' + interval '21' day
       AND f.kind = '{facility_kind}' GROUP BY CUBE (f.facility_name, s.specialty_name) HAVING count(*) > 3
       ORDER BY 3 DESC LIMIT 100""",
    # prefixes of codes, lists, ORs of ANDs
    """SELECT f.facility_name, sum(c.paid) FROM claim c, visit v, facility f, calendar d WHERE c.visit_key = v.visit_key
       AND v.facility_key = f.facility_key AND d.date_key = c.date_key AND d.quarter = {quarter} AND d.year = {year}
       AND substr(f.zip, 1, 3) IN ({zips}) GROUP BY f.facility_name ORDER BY 1 LIMIT 100""",
    """SELECT t.zip, sum(c.billed) FROM claim c, patient t, calendar d WHERE c.patient_key = t.patient_key
       AND (substr(t.zip, 1, 3) IN ({zips}) OR t.language IN ('{language}', 'Hindi') OR c.billed > {amount})
       AND c.date_key = d.date_key AND d.quarter = {quarter} AND d.year = {year} GROUP BY t.zip ORDER BY t.zip LIMIT
       100""",
    """SELECT avg(v.charges), avg(x.cost), sum(x.days) FROM visit v, prescription x, patient t, drug g
       WHERE x.visit_key = v.visit_key AND v.patient_key = t.patient_key AND x.drug_key = g.drug_key AND (
         (g.maker = '{maker}' AND t.sex = 'F' AND x.days BETWEEN 30 AND 60 AND v.kind = '{kind}')
         OR (g.maker = 'maker 7' AND t.sex = 'M' AND x.days BETWEEN 10 AND 20 AND v.kind = '{kind2}'))""",
    """SELECT count(*), sum(c.paid) FROM claim c, visit v WHERE (c.visit_key = v.visit_key
       AND c.procedure_code = '{procedure}' AND c.status = 'denied' AND v.kind IN ('{kind}', 'emergency'))
       OR (c.visit_key = v.visit_key AND c.procedure_code = '{procedure2}' AND c.status = 'appealed'
       AND v.kind IN ('{kind2}', 'inpatient'))""",
    """SELECT sum(v.charges) FROM visit v, patient t, city c WHERE t.patient_key = v.patient_key
       AND t.city_key = c.city_key AND v.date_key BETWEEN {first} AND {year_later}
       AND ((t.language = '{language}' AND c.city_name = '{city}' AND v.charges BETWEEN 100 AND 200)
         OR (t.language = 'English' AND c.city_name = 'city 3' AND v.charges BETWEEN 150 AND 300)
         OR (t.language = 'Polish' AND c.population > 200000 AND v.charges BETWEEN 50 AND 250))""",
    """SELECT code, count(*) FROM diagnosis g JOIN visit v USING (diagnosis_key) WHERE g.code LIKE '{code}%'
       GROUP BY code ORDER BY 2 DESC""",
    # facts that meet
    """SELECT g.drug_name, count(*) FROM visit v, prescription x, lab l, drug g WHERE x.visit_key = v.visit_key
       AND l.visit_key = v.visit_key AND x.drug_key = g.drug_key AND l.test = '{test}' AND l.abnormal
       AND v.date_key BETWEEN {first} AND {month_later} GROUP BY g.drug_name ORDER BY 2 DESC, 1 LIMIT 50""",
    """SELECT s.specialty_name, avg(x.cost) FROM prescription x JOIN provider o USING (provider_key)
       JOIN specialty s USING (specialty_key) JOIN drug g USING (drug_key) WHERE g.maker = '{maker}'
       AND s.specialty_name = '{specialty}' GROUP BY s.specialty_name""",
    """SELECT t.mrn, v.visit_key, w.visit_key FROM visit v JOIN visit w ON w.patient_key = v.patient_key
       AND w.date_key BETWEEN v.discharge_key + 1 AND v.discharge_key + 30 JOIN patient t
       ON t.patient_key = v.patient_key WHERE v.kind = 'inpatient' AND w.kind = 'inpatient'
       AND v.discharge_key BETWEEN {first} AND {week} ORDER BY t.mrn LIMIT 100""",
    """SELECT y.payer_name, count(DISTINCT c.claim_key), sum(c.billed) FROM claim c, plan p, payer y
       WHERE c.plan_key = p.plan_key AND p.payer_key = y.payer_key AND c.status = '{status}'
       AND c.procedure_code = '{procedure}' GROUP BY y.payer_name ORDER BY 3 DESC""",
    """SELECT d.month_no, count(*), avg(p.date_key - c.date_key) FROM claim c JOIN calendar d USING (date_key)
       JOIN calendar p ON p.date_key = c.paid_key WHERE c.plan_key IN (SELECT plan_key FROM plan WHERE tier = '{tier}'
       AND payer_key IN (SELECT payer_key FROM payer WHERE payer_name = '{payer}')) AND d.year = {year}
       GROUP BY d.month_no ORDER BY 1""",
    """SELECT h.chapter_name, t.sex, count(*), sum(v.charges) FROM visit v, diagnosis g, chapter h, patient t, city c,
       region r WHERE v.diagnosis_key = g.diagnosis_key AND g.chapter_key = h.chapter_key
       AND v.patient_key = t.patient_key AND t.city_key = c.city_key AND c.region_key = r.region_key
       AND r.region_name = '{region}' AND g.chronic AND v.date_key BETWEEN {first} AND {month_later}
       GROUP BY h.chapter_name, t.sex ORDER BY 4 DESC""",
    # one patient, one visit, one provider
    "SELECT * FROM patient WHERE mrn = '{mrn}'",
    """SELECT v.visit_key, d.full_date, f.facility_name FROM visit v JOIN calendar d USING (date_key)
       JOIN facility f USING (facility_key) WHERE v.patient_key = {patient} ORDER BY v.date_key DESC LIMIT 10""",
    "SELECT test, value FROM lab WHERE visit_key = {visit} ORDER BY test",
    "SELECT sum(billed), sum(paid) FROM claim WHERE patient_key = {patient} AND date_key > {first}",
    """SELECT t.last_name, t.mrn, c.city_name FROM patient t JOIN city c USING (city_key) WHERE t.last_name = '{last}'
       AND t.birth_year BETWEEN {birth} AND {birth} + 10 ORDER BY t.mrn""",
    """SELECT max(date_key) FROM prescription WHERE drug_key = {drug}""",
    """SELECT value, date_key FROM lab WHERE patient_key = {patient} AND test = '{test}' ORDER BY date_key DESC
       LIMIT 5""",
    """SELECT claim_key, line, billed FROM claim WHERE status = 'pending' AND paid_key IS NULL
       AND date_key BETWEEN {first} AND {week} ORDER BY billed DESC LIMIT 20""",
    # EXISTS, NOT EXISTS, IN, set operations
    """SELECT t.language, count(*) FROM patient t WHERE EXISTS (SELECT 1 FROM visit v WHERE v.patient_key =
       t.patient_key
       AND v.kind = 'emergency' AND v.date_key BETWEEN {first} AND {month_later}) AND NOT EXISTS (SELECT 1
       FROM prescription x WHERE x.patient_key = t.patient_key AND x.date_key BETWEEN {first} AND {month_later})
       GROUP BY t.language ORDER BY 2 DESC""",
    """SELECT count(*) FROM (SELECT patient_key FROM visit WHERE kind = 'telehealth' AND date_key BETWEEN {first} AND
       {month_later} INTERSECT SELECT patient_key FROM lab WHERE test = '{test}' AND abnormal AND date_key BETWEEN
       {first}
       AND {month_later} EXCEPT SELECT patient_key FROM claim WHERE status = 'denied' AND date_key BETWEEN {first}
       AND {month_later}) x""",
    """SELECT o.provider_name FROM provider o WHERE o.specialty_key IN (SELECT specialty_key FROM specialty
       WHERE is_surgical) AND NOT EXISTS (SELECT 1 FROM visit v WHERE v.provider_key = o.provider_key
       AND v.date_key BETWEEN {first} AND {week}) ORDER BY 1 LIMIT 100""",
    """SELECT t.patient_key, t.mrn FROM patient t JOIN plan p USING (plan_key) WHERE p.tier = '{tier}'
       AND (EXISTS (SELECT 1 FROM lab l WHERE l.patient_key = t.patient_key AND l.test = '{test}' AND l.value > 290)
         OR EXISTS (SELECT 1 FROM prescription x JOIN drug g USING (drug_key) WHERE x.patient_key = t.patient_key
         AND g.drug_class = '{class}' AND x.refills = 4)) AND t.birth_year < 1940 ORDER BY t.mrn LIMIT 100""",
    """SELECT facility_key, sum(n) FROM (SELECT facility_key, count(*) AS n FROM visit WHERE date_key BETWEEN {first}
       AND {week} GROUP BY 1 UNION ALL SELECT o.facility_key, count(*) FROM prescription x JOIN provider o
       USING (provider_key) WHERE x.date_key BETWEEN {first} AND {week} GROUP BY 1) z GROUP BY 1 ORDER BY 2 DESC""",
    """SELECT count(*) FROM visit WHERE diagnosis_key NOT IN (SELECT diagnosis_key FROM diagnosis WHERE chronic)
       AND facility_key = {facility} AND date_key BETWEEN {first} AND {year_later} AND readmitted""",
    # correlated sub-queries
    """SELECT v.visit_key, v.charges FROM visit v WHERE v.date_key BETWEEN {first} AND {week} AND v.charges > 3 * (
       SELECT avg(w.charges) FROM visit w WHERE w.provider_key = v.provider_key) ORDER BY 2 DESC LIMIT 100""",
    """SELECT g.drug_name, g.unit_cost FROM drug g WHERE g.unit_cost > 1.5 * (SELECT avg(h.unit_cost) FROM drug h
       WHERE h.drug_class = g.drug_class) AND (SELECT count(*) FROM prescription x WHERE x.drug_key = g.drug_key
       AND x.date_key > {first}) > 10 AND g.maker = '{maker}' ORDER BY 2 DESC""",
    """SELECT sum(c.billed) FROM claim c, visit v WHERE c.visit_key = v.visit_key AND v.facility_key = {facility}
       AND c.paid < (SELECT 0.3 * avg(b.paid) FROM claim b WHERE b.procedure_code = c.procedure_code)
       AND v.date_key BETWEEN {first} AND {week}""",
    """SELECT t.mrn, (SELECT count(*) FROM visit v WHERE v.patient_key = t.patient_key) AS visits, (SELECT max(l.value)
       FROM lab l WHERE l.patient_key = t.patient_key AND l.test = '{test}') AS top FROM patient t
       WHERE t.city_key = (SELECT min(city_key) FROM city WHERE city_name = '{city}') AND t.birth_year = {birth}""",
    # CTEs used twice, windows
    """WITH monthly AS (SELECT f.facility_key, d.month_no, sum(v.charges) AS total FROM visit v JOIN calendar d
       USING (date_key) JOIN facility f USING (facility_key) WHERE f.kind = '{facility_kind}' AND d.year IN ({year},
       {next})
       GROUP BY 1, 2) SELECT a.facility_key, a.month_no, a.total, b.total FROM monthly a JOIN monthly b
       ON a.facility_key = b.facility_key AND b.month_no = a.month_no + 12 WHERE b.total > 1.4 * a.total
       ORDER BY 1, 2 LIMIT 100""",
    """WITH spend AS (SELECT patient_key, sum(cost) AS total FROM prescription WHERE date_key BETWEEN {first}
       AND {year_later} GROUP BY patient_key) SELECT t.mrn, s.total FROM spend s JOIN patient t USING (patient_key)
       WHERE s.total > (SELECT 4 * avg(total) FROM spend) AND t.language = '{language}' ORDER BY 2 DESC LIMIT 100""",
    """SELECT * FROM (SELECT o.facility_key, x.provider_key, sum(x.cost) AS cost, row_number() OVER (
       PARTITION BY o.facility_key ORDER BY sum(x.cost) DESC) AS place FROM prescription x JOIN provider o
       USING (provider_key) JOIN drug g USING (drug_key) WHERE g.drug_class = '{class}' GROUP BY 1, 2) z
       WHERE place <= 3 ORDER BY 1, 4""",
    """SELECT month_no, total, avg(total) OVER (ORDER BY month_no ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM (
       SELECT d.month_no, sum(c.paid) AS total FROM claim c JOIN calendar d ON d.date_key = c.paid_key
       WHERE c.procedure_code = '{procedure}' GROUP BY d.month_no) z ORDER BY month_no""",
    """WITH ranked AS (SELECT patient_key, date_key, value, lag(value) OVER (PARTITION BY patient_key ORDER BY date_key)
       AS before FROM lab WHERE test = '{test}' AND date_key BETWEEN {first} AND {year_later})
       SELECT count(*), avg(value - before) FROM ranked WHERE value > 1.5 * before""",
    """WITH RECURSIVE near AS (SELECT city_key, 0 AS hops FROM city WHERE city_name = '{city}' UNION
       SELECT c.city_key, n.hops + 1 FROM near n JOIN city c ON c.city_key = n.city_key + 12 WHERE n.hops < 3)
       SELECT count(*) FROM visit v JOIN facility f USING (facility_key) JOIN near n ON n.city_key = f.city_key
       WHERE v.date_key BETWEEN {first} AND {month_later}""",
    # lists, newest first, distinct
    """SELECT DISTINCT t.language, y.payer_name FROM patient t JOIN plan p USING (plan_key) JOIN payer y
       USING (payer_key) WHERE t.birth_year > 2010 AND y.payer_type = '{type}' ORDER BY 1, 2""",
    """SELECT v.visit_key, v.date_key, t.mrn FROM visit v JOIN patient t USING (patient_key)
       WHERE v.provider_key = {provider} AND v.kind = '{kind}' ORDER BY v.date_key DESC, v.visit_key LIMIT 25""",
    """SELECT t.patient_key, t.last_name FROM patient t LEFT JOIN visit v ON v.patient_key = t.patient_key
       AND v.date_key > {first} WHERE v.visit_key IS NULL AND t.registered_key BETWEEN {first} AND {week}
       ORDER BY t.last_name""",
    """SELECT extract(month FROM d.full_date), count(*) FILTER (WHERE c.status = 'denied'), count(*) FROM claim c
       JOIN calendar d USING (date_key) JOIN visit v USING (visit_key) JOIN diagnosis g USING (diagnosis_key)
       WHERE substr(g.code, 1, 1) = '{letter}' AND d.year = {year} AND v.kind = '{kind}' GROUP BY 1 ORDER BY 1""",
)


def _maker(text: str) -> Callable[[Random], str]:
    return lambda random: text.format(**_values(random))


CLINIC = Workload(
    "clinic",
    DDL,
    _load,
    tuple(Template(f"c{n}", _maker(text)) for n, text in enumerate(TEXTS, 1)),
    (
        ("city", "region_key"),
        ("facility", "city_key"),
        ("provider", "specialty_key"),
        ("provider", "facility_key"),
        ("plan", "payer_key"),
        ("patient", "city_key"),
        ("patient", "plan_key"),
        ("patient", "registered_key"),
        ("diagnosis", "chapter_key"),
        ("visit", "patient_key"),
        ("visit", "provider_key"),
        ("visit", "facility_key"),
        ("visit", "date_key"),
        ("visit", "discharge_key"),
        ("visit", "diagnosis_key"),
        ("claim", "visit_key"),
        ("claim", "patient_key"),
        ("claim", "plan_key"),
        ("claim", "date_key"),
        ("claim", "paid_key"),
        ("prescription", "visit_key"),
        ("prescription", "patient_key"),
        ("prescription", "provider_key"),
        ("prescription", "drug_key"),
        ("prescription", "date_key"),
        ("lab", "visit_key"),
        ("lab", "patient_key"),
        ("lab", "date_key"),
    ),
    TRACK_PLANNING,
)
