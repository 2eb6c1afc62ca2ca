"""Statements as real applications write them, nasty ones first; what each is there for is its name.

They run once each on empty tables, so that pg_stat_statements holds them as the server normalises them.
"""

from __future__ import annotations

TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TABLE account (id bigserial PRIMARY KEY, owner_id bigint, name varchar(80), email text, active boolean,
  balance numeric(12, 2), data jsonb, tags text[], opened date, at timestamptz, ip inet, key uuid, body text,
  vector tsvector, span tstzrange, scores int[], mood mood);
CREATE TABLE entry (id bigserial PRIMARY KEY, account_id bigint, kind text, amount numeric, at timestamptz,
  UNIQUE (account_id, kind));
CREATE TABLE "Mixed Case" ("Id" serial PRIMARY KEY, "Group" int, "select" text);
CREATE TABLE node (id int PRIMARY KEY, parent_id int, path text);
CREATE TABLE parted (id bigint, at date NOT NULL, kind int) PARTITION BY RANGE (at);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE VIEW active_account AS SELECT id, owner_id AS who, name FROM account WHERE active;
CREATE MATERIALIZED VIEW totals AS SELECT account_id, sum(amount) AS total FROM entry GROUP BY account_id;
"""

NASTY: dict[str, str] = {
    "cte": "WITH mine AS (SELECT * FROM account WHERE owner_id = 7) SELECT count(*) FROM mine WHERE active",
    "materialized cte": "WITH m AS MATERIALIZED (SELECT id FROM account WHERE email = 'a') SELECT e.* FROM entry e "
    "JOIN m ON m.id = e.account_id",
    "recursive cte": "WITH RECURSIVE up AS (SELECT id, parent_id FROM node WHERE id = 7 UNION ALL "
    "SELECT n.id, n.parent_id FROM node n JOIN up ON up.parent_id = n.id) SELECT * FROM up",
    "cte that writes": "WITH gone AS (DELETE FROM entry WHERE kind = 'x' RETURNING account_id) "
    "UPDATE account SET active = false FROM gone WHERE account.id = gone.account_id",
    "lateral": "SELECT a.id, last.amount FROM account a CROSS JOIN LATERAL (SELECT e.amount FROM entry e "
    "WHERE e.account_id = a.id ORDER BY e.at DESC LIMIT 1) last WHERE a.owner_id = 3",
    "left lateral": "SELECT a.id, last.at FROM account a LEFT JOIN LATERAL (SELECT e.at FROM entry e "
    "WHERE e.account_id = a.id ORDER BY e.at DESC FETCH FIRST 2 ROWS ONLY) AS last ON true WHERE a.email = 'b'",
    "grouping sets": "SELECT kind, account_id, sum(amount) FROM entry WHERE at > '2025-01-01' "
    "GROUP BY GROUPING SETS ((kind), (account_id), ())",
    "rollup": "SELECT kind, account_id, sum(amount), grouping(kind) FROM entry GROUP BY ROLLUP (kind, account_id)",
    "cube": "SELECT kind, account_id, sum(amount) FROM entry GROUP BY CUBE (kind, account_id) HAVING sum(amount) > 9",
    "window frame": "SELECT id, sum(amount) OVER (PARTITION BY account_id ORDER BY at "
    "ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) FROM entry WHERE account_id = 5",
    "named window": "SELECT rank() OVER w, lag(amount, 1, 0.0) OVER w FROM entry WHERE kind = 'k' "
    "WINDOW w AS (PARTITION BY account_id ORDER BY at DESC)",
    "range frame": "SELECT avg(amount) OVER (ORDER BY at RANGE BETWEEN '1 day' PRECEDING AND CURRENT ROW "
    "EXCLUDE CURRENT ROW) FROM entry",
    "filter": "SELECT count(*) FILTER (WHERE kind = 'a'), string_agg(kind, ',' ORDER BY at) FROM entry "
    "WHERE account_id = 8",
    "ordered set": "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY amount) FROM entry WHERE kind = 'z'",
    "union": "SELECT id FROM account WHERE owner_id = 1 UNION SELECT account_id FROM entry WHERE kind = 'a' "
    "ORDER BY 1 LIMIT 9",
    "except": "(SELECT id FROM account WHERE email = 'q') EXCEPT (SELECT account_id FROM entry WHERE kind = 'p')",
    "intersect all": "SELECT id FROM account INTERSECT ALL SELECT account_id FROM entry WHERE amount > 3",
    "in list": "SELECT * FROM account WHERE id IN (1, 2, 3, 4) AND owner_id IN (5, 6)",
    "in sub-query": "SELECT * FROM account WHERE id IN (SELECT account_id FROM entry WHERE kind = 'x')",
    "not in": "SELECT * FROM account WHERE id NOT IN (SELECT account_id FROM entry WHERE kind = 'y')",
    "row in": "SELECT * FROM entry WHERE (account_id, kind) IN ((1, 'a'), (2, 'b'))",
    "row in sub-query": "SELECT * FROM entry WHERE (account_id, kind) IN (SELECT id, name FROM account WHERE active)",
    "row order": "SELECT * FROM entry WHERE (at, id) < ('2025-06-01', 77) ORDER BY at DESC, id DESC LIMIT 20",
    "date literal": "SELECT * FROM account WHERE opened >= date '2025-01-01' AND opened < date '2025-02-01'",
    "interval unit": "SELECT * FROM entry WHERE at > now() - interval '1' day",
    "interval words": "SELECT * FROM entry WHERE at > timestamptz '2025-01-01 00:00+00' + interval '2 days 3 hours'",
    "interval to": "SELECT interval '1-2' year to month, id FROM account WHERE owner_id = 2",
    "interval precision": "SELECT id FROM entry WHERE at > now() - interval '5.5' second(1)",
    "timestamp types": "SELECT id FROM entry WHERE at BETWEEN timestamp with time zone '2025-01-01' "
    "AND timestamp '2025-02-01'",
    "extract": "SELECT extract(year FROM at), count(*) FROM entry WHERE extract('month' FROM at) = 3 GROUP BY 1",
    "date_trunc": "SELECT date_trunc('day', at AT TIME ZONE 'Europe/Berlin'), count(*) FROM entry "
    "WHERE at >= '2025-01-01'::timestamptz GROUP BY 1 ORDER BY 1",
    "casts": "SELECT '7'::int, CAST('8' AS bigint), name::text, balance::int FROM account WHERE owner_id = '9'::bigint",
    "function cast": "SELECT int4(3.2), numeric '1.5', id FROM account WHERE balance > numeric '10.5'",
    "substring": "SELECT substring(name FROM 1 FOR 2), position('a' IN name), overlay(name PLACING 'x' FROM 2), "
    "trim(both ' ' from name) FROM account WHERE substring(name FROM 1 FOR 3) = 'abc'",
    "arrays": "SELECT * FROM account WHERE id = ANY('{1,2,3}'::bigint[]) AND tags && ARRAY['a', 'b'] AND "
    "'c' = ANY(tags)",
    "array constructor": "SELECT * FROM account WHERE owner_id = ANY(ARRAY[1, 2]) AND scores[1] > 3 "
    "AND tags @> ARRAY['x']::text[]",
    "array slices": "SELECT tags[1:2], array_length(scores, 1) FROM account WHERE scores <@ ARRAY[1, 2, 3]",
    "jsonb operators": """SELECT data -> 'a' ->> 'b', data #>> '{a,b}' FROM account WHERE data @> '{"k": 1}' """
    "AND data ? 'x' AND data ->> 'plan' = 'pro'",
    "jsonb any key": "SELECT id FROM account WHERE data ?| ARRAY['a', 'b'] AND NOT data ?& ARRAY['c']",
    "jsonb path": "SELECT id FROM account WHERE data @? '$.a[*] ? (@ > 2)' AND data @@ '$.b == 1'",
    "jsonb functions": "SELECT k, count(*) FROM account, jsonb_each_text(data) AS j(k, v) WHERE owner_id = "
    "4 GROUP BY k",
    "full text": "SELECT id, ts_rank(vector, q) FROM account, to_tsquery('english', 'a & b') q WHERE vector @@ q "
    "ORDER BY 2 DESC LIMIT 10",
    "full text on a column": "SELECT id FROM account WHERE to_tsvector('english', body) @@ plainto_tsquery('cat')",
    "text search literal": "SELECT id FROM account WHERE vector @@ 'fat & rat'::tsquery",
    "ranges": "SELECT id FROM account WHERE span && tstzrange('2025-01-01', '2025-02-01') AND span @> now()",
    "network": "SELECT id FROM account WHERE ip << '10.0.0.0/8' AND key = uuid '00000000-0000-0000-0000-000000000001'",
    "patterns": "SELECT id FROM account WHERE name LIKE 'a%' AND email ILIKE '%b%' AND body NOT LIKE '%c%' ESCAPE '!'",
    "similar": "SELECT id FROM account WHERE name SIMILAR TO '(a|b)%' OR email ~* '^x' OR email !~ 'y'",
    "starts with": "SELECT id FROM account WHERE name ^@ 'abc' AND starts_with(email, 'd')",
    "collate": 'SELECT id FROM account WHERE name COLLATE "C" > \'m\' ORDER BY name COLLATE "C" LIMIT 3',
    "is distinct": "SELECT id FROM account WHERE owner_id IS NOT DISTINCT FROM 5 AND active IS NOT TRUE",
    "case": "SELECT sum(CASE WHEN kind = 'a' THEN amount ELSE 0 END) FROM entry WHERE CASE WHEN amount > 0 "
    "THEN kind ELSE 'n' END = 'a'",
    "coalesce": "SELECT coalesce(owner_id, 0), nullif(name, ''), greatest(balance, 1) FROM account "
    "WHERE coalesce(owner_id, 0) = 3",
    "distinct on": "SELECT DISTINCT ON (account_id) account_id, amount FROM entry ORDER BY account_id, at "
    "DESC NULLS LAST",
    "values join": "SELECT a.id FROM account a JOIN (VALUES (1, 'a'), (2, 'b')) AS v(id, n) ON v.id = a.owner_id",
    "unnest": "SELECT a.id FROM account a JOIN unnest('{1,2}'::bigint[]) WITH ORDINALITY AS u(id, n) ON u.id = a.id",
    "generate_series": "SELECT d, count(e.id) FROM generate_series(date '2025-01-01', date '2025-01-31', '1 day') d "
    "LEFT JOIN entry e ON e.at::date = d GROUP BY d",
    "rows from": "SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS r(a, b) "
    "JOIN account ON account.id = r.a",
    "natural join": "SELECT kind FROM entry NATURAL JOIN totals WHERE kind = '3'",
    "using": "SELECT count(*) FROM entry e JOIN totals t USING (account_id) WHERE total > 100",
    "full join": "SELECT a.id FROM account a FULL JOIN entry e ON e.account_id = a.id WHERE a.owner_id IS NULL",
    "tablesample": "SELECT count(*) FROM account TABLESAMPLE SYSTEM (10) REPEATABLE (3) WHERE active",
    "only": "SELECT count(*) FROM ONLY account WHERE owner_id = 12",
    "for update": "SELECT id FROM account WHERE active ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
    "for no key": "SELECT id FROM account WHERE owner_id = 13 FOR NO KEY UPDATE OF account NOWAIT",
    "with ties": "SELECT id FROM entry ORDER BY amount DESC OFFSET 2 ROWS FETCH NEXT 5 ROWS WITH TIES",
    "limit all": "SELECT id FROM account ORDER BY email LIMIT ALL OFFSET 3",
    "exists": "SELECT id FROM account a WHERE EXISTS (SELECT FROM entry e WHERE e.account_id = a.id AND e.amount > 5)",
    "not exists": "SELECT id FROM account a WHERE NOT EXISTS (SELECT 1 FROM entry WHERE account_id = a.id)",
    "correlated": "SELECT id, (SELECT max(at) FROM entry WHERE account_id = account.id) FROM account "
    "WHERE balance > (SELECT avg(balance) FROM account b WHERE b.owner_id = account.owner_id)",
    "all": "SELECT id FROM account WHERE balance >= ALL (SELECT amount FROM entry WHERE kind = 'w')",
    "array sub-query": "SELECT ARRAY(SELECT kind FROM entry WHERE account_id = account.id) FROM account WHERE id = 3",
    "view": "SELECT * FROM active_account WHERE who = 6",
    "matview": "SELECT * FROM totals WHERE account_id = 6",
    "mixed case": 'SELECT "select" FROM "Mixed Case" m WHERE m."Group" = 3 ORDER BY "Id"',
    "partitioned": "SELECT * FROM parted WHERE kind = 4 AND at > '2025-02-01'",
    "schema qualified": "SELECT x.id FROM planted.account AS x WHERE x.owner_id = 8",
    "whole row": "SELECT a FROM account a WHERE a.email = 'r'",
    "row to json": "SELECT row_to_json(t) FROM (SELECT id, name FROM account WHERE email = 's') t",
    "sqlcommenter": "SELECT id FROM account WHERE email = 't' /*action='list',controller='x',route='%5Ea%2F%24'*/",
    "leading comment": "/* a -- b */ -- c\nSELECT id FROM account /* nested /* deeper */ */ WHERE name = 'u'",
    "dollar quotes": "SELECT id FROM account WHERE body = $$it's$$ AND name = $tag$ $$ $tag$",
    "escape string": r"SELECT id FROM account WHERE name = E'a\'b' AND email = U&'d\0061t'",
    "insert": "INSERT INTO entry (account_id, kind, amount) VALUES (1, 'a', 2.5), (2, 'b', 3.5) RETURNING id",
    "insert select": "INSERT INTO entry (account_id, kind) SELECT id, 'c' FROM account WHERE owner_id = 9",
    "on conflict": "INSERT INTO entry (account_id, kind, amount) VALUES (1, 'a', 4) ON CONFLICT (account_id, kind) "
    "DO UPDATE SET amount = entry.amount + excluded.amount WHERE entry.amount < 100",
    "on conflict nothing": "INSERT INTO entry (account_id, kind) VALUES (1, 'z') ON CONFLICT DO NOTHING",
    "default values": "INSERT INTO account DEFAULT VALUES",
    "insert cte": "WITH s AS (SELECT id FROM account WHERE email = 'v') INSERT INTO entry (account_id) "
    "SELECT id FROM s",
    "update": "UPDATE account SET balance = balance + 1, active = DEFAULT WHERE owner_id = 5 AND active",
    "update from": "UPDATE account a SET balance = t.total FROM totals t WHERE t.account_id = a.id AND a.owner_id = 6",
    "update row": "UPDATE account SET (name, email) = ('a', 'b') WHERE id = 3",
    "update row sub-query": "UPDATE account SET (balance, at) = (SELECT sum(amount), max(at) FROM entry "
    "WHERE account_id = account.id) WHERE owner_id = 11",
    "update returning": "UPDATE entry SET kind = upper(kind) WHERE id IN (SELECT id FROM entry WHERE kind = 'q' "
    "ORDER BY id LIMIT 5 FOR UPDATE SKIP LOCKED) RETURNING *",
    "update jsonb": "UPDATE account SET data = jsonb_set(data, '{a}', '1') || '{\"b\": 2}', tags = tags || 'x'::text, "
    "scores[1] = 4 WHERE data ->> 'k' = 'v'",
    "delete": "DELETE FROM entry WHERE at < now() - interval '90' day",
    "delete using": "DELETE FROM entry e USING account a WHERE a.id = e.account_id AND a.email = 'w' RETURNING e.id",
    "delete limit": "DELETE FROM entry WHERE ctid = ANY(ARRAY(SELECT ctid FROM entry WHERE kind = 'old' LIMIT 100))",
    "merge": "MERGE INTO entry e USING account a ON e.account_id = a.id AND e.kind = 'm' WHEN MATCHED AND a.active "
    "THEN UPDATE SET amount = a.balance WHEN NOT MATCHED THEN INSERT (account_id, kind) VALUES (a.id, 'm')",
    "merge values": "MERGE INTO node n USING (VALUES (1, 2), (3, 4)) v(id, p) ON n.id = v.id "
    "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN DO NOTHING",
    "no table": "SELECT 1 + 1, now(), current_date",
    "values": "VALUES (1, 'a'), (2, 'b')",
    "table": "TABLE node",
    "aggregate args": "SELECT json_agg(DISTINCT kind), array_agg(id ORDER BY at DESC) FROM entry WHERE account_id = 4",
    "between symmetric": "SELECT id FROM entry WHERE amount BETWEEN SYMMETRIC 9 AND 3",
    "overlaps": "SELECT id FROM entry WHERE (at, interval '1 hour') OVERLAPS (timestamptz '2025-01-01', "
    "interval '2 days')",
    "operator()": "SELECT id FROM entry WHERE amount OPERATOR(pg_catalog.>) 3",
    "bits": "SELECT id & 3, id << 2, B'101', X'1F' FROM account WHERE (owner_id & 4) = 4",
    "unary": "SELECT -id, @ balance, |/ 4.0 FROM account WHERE owner_id = -5",
    "enum": "SELECT id FROM account WHERE mood = 'sad'",
    "foreign key's own": 'SELECT 1 FROM ONLY "planted"."account" x WHERE "owner_id" OPERATOR(pg_catalog.=) '
    "1 FOR KEY SHARE",
    "string with marks": "SELECT id FROM account WHERE email = '/* -- it''s */' AND name = 'x'",
    "boolean words": "SELECT id FROM account WHERE active = true AND (owner_id IS NULL) IS NOT TRUE",
}

#: PREPARE and EXECUTE: the statement that is counted is the prepared one.
PREPARED = (
    "PREPARE look (bigint, text) AS SELECT * FROM entry WHERE account_id = $1 AND kind = $2 AND amount > 1",
    "EXECUTE look(1, 'a')",
    "DEALLOCATE look",
)
#: Utility statements, which are left out by name.
UTILITY = ("SET work_mem = '5MB'", "SHOW work_mem", "ANALYZE node", "VACUUM node")
