"""Server time of every page of the console on a full house, as JSON.

    DATABASE_URL=… REDIS_URL=… python -m tests.benchmarks.console --json [--metrics 10000000] [--keep]

Fills the database that the settings name (use one of its own) with metric rows, recommendations and security events,
all written by generate_series, and asks for each page: once to warm up, then a few times. ``ms`` is the median of
wall time in this process, ``cpu_ms`` of processor time, ``sql_ms`` of the time spent in queries.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

#: Pages → the address after /admin/paiid_perf/.
PAGES = {
    "overview 1h": "",
    "overview 24h": "?window=24h",
    "overview 7d": "?window=7d",
    "overview 30d": "?window=30d",
    "endpoints 1h": "metric/endpoints/",
    "endpoints 24h": "metric/endpoints/?window=24h",
    "endpoints 30d": "metric/endpoints/?window=30d",
    "endpoints 24h by p95": "metric/endpoints/?window=24h&o=p95",
    "endpoint 1h": "metric/endpoints/one/?name=GET%20api/r1/",
    "endpoint 30d": "metric/endpoints/one/?name=GET%20api/r1/&window=30d",
    "queries": "statementsnapshot/queries/",
    "queries all": "statementsnapshot/queries/?window=all",
    "query": "statementsnapshot/queries/{query}/",
    "recommendations": "recommendation/",
    "recommendations filtered": "recommendation/?state__exact=kept&area__exact=database",
    "recommendations searched": "recommendation/?q=trading_order",
    "recommendation": "recommendation/{rec}/change/",
    "runs": "optimizationrun/",
    "security 24h": "securityevent/overview/",
    "security 30d": "securityevent/overview/?window=30d",
    "security events": "securityevent/",
    "security events filtered": "securityevent/?severity__exact=high",
    "sessions": "usersession/",
    "alerts": "alert/",
    "scores": "score/",
    "cache 24h": "metric/cache/?window=24h",
    "system 24h": "metric/system/?window=24h",
    "outlook": "metric/outlook/",
    "database 24h": "metric/database/?window=24h",
    "settings": "metric/settings/",
}

METRICS = """
INSERT INTO paiid_perf_metric (name, subject, resolution, at, count, total, buckets)
SELECT name, subject, %(resolution)s, at, n, n * 20.0, CASE WHEN name = 'api.latency_ms'
       THEN jsonb_build_object('120', n / 2, '150', n / 3, '180', n - n / 2 - n / 3) ELSE '{{}}'::jsonb END
  FROM generate_series(date_trunc(%(unit)s, now()) - %(span)s::interval, now(), %(step)s::interval) at,
       LATERAL (SELECT 20 + (extract(epoch FROM at)::bigint %% 30)::int AS n) many,
       ({subjects}) AS series
ON CONFLICT DO NOTHING
"""
#: What each stored batch and each roll-up add up as they go.
TOTALS = """
INSERT INTO paiid_perf_metrictotal (name, resolution, at, count, total, failed, buckets)
SELECT name, resolution, at, sum(count), sum(total),
       coalesce(sum(count) FILTER (WHERE subject LIKE '%% 5xx'), 0),
       CASE WHEN name = 'api.latency_ms' THEN jsonb_build_object('120', sum((buckets->>'120')::int),
         '150', sum((buckets->>'150')::int), '180', sum((buckets->>'180')::int)) ELSE '{}'::jsonb END
  FROM paiid_perf_metric GROUP BY name, resolution, at
ON CONFLICT DO NOTHING
"""
SUBJECTS = """
SELECT 'api.latency_ms' AS name, 'GET api/r' || r || '/ 2xx' AS subject FROM generate_series(1, %(routes)s) r
UNION ALL SELECT 'api.latency_ms', 'GET api/r' || r || '/ 5xx' FROM generate_series(1, %(routes)s, 10) r
UNION ALL SELECT name, 'GET api/r' || r || '/' FROM generate_series(1, %(routes)s) r,
          unnest(ARRAY['api.queries', 'api.db_ms', 'api.bytes']) name
UNION ALL SELECT name, 's' || s FROM generate_series(1, 10) s, unnest(ARRAY['cache.hits', 'cache.misses']) name
UNION ALL SELECT name, 'web-1' FROM unnest(ARRAY['system.cpu_percent', 'system.memory_percent']) name
"""
RECOMMENDATIONS = """
INSERT INTO paiid_perf_recommendation (area, kind, key, fingerprint, state, title, why, evidence, expected_gain,
  measured_gain, cost, risk, how, undo, migration, payload, before, after, outcome, history, created_at, confirmed_at,
  applied_at, finished_at)
SELECT (ARRAY['database','api','cache','security'])[1 + n %% 4], 'index_create', 'k' || n, lpad(n::text, 64, '0'),
  (ARRAY['proposed','kept','reverted','dismissed','expired'])[1 + n %% 5], 'Index trading_order (c' || n || ')',
  repeat('why ', 40), jsonb_build_object('queries', repeat('SELECT 1 ', 100)), 0.5, 0.4, '', 'low',
  'CREATE INDEX i' || n, 'DROP INDEX i' || n, repeat('migration ', 60), '{}', '{}', '{}', 'won', '[]',
  now() - n * interval '5 min', now(), CASE WHEN n %% 5 IN (1, 2) THEN now() - n * interval '5 min' END, NULL
  FROM generate_series(1, %(n)s) n ON CONFLICT DO NOTHING
"""
EVENTS = """
INSERT INTO paiid_perf_securityevent (at, kind, severity, address, path, field, sample, action, count)
SELECT now() - n * interval '20 s', (ARRAY['sqli','xss','login_failed','limited'])[1 + n %% 4],
  (ARRAY['info','low','medium','high'])[1 + n %% 4], ('10.0.' || n %% 250 || '.' || n %% 200)::inet, '/api/x/', 'q',
  'sample', 'report', 1 FROM generate_series(1, %(n)s) n
"""


def seed(metrics: int, recommendations: int, events: int, statements: int) -> dict[str, int]:
    """Fill up; returns the rows there are of each kind."""
    from django.db import connection

    #: resolution, unit, span: as long as each is kept, METRIC_RETENTION's defaults
    spans = ((60, "minute", "48 hours"), (3600, "hour", "60 days"), (86400, "day", "700 days"))
    moments = 2_880 + 1_440 + 700
    routes = max(5, int(metrics / moments / 4.1))
    with connection.cursor() as cursor:
        for resolution, unit, span in spans:
            step = f"1 {unit}"
            params = {"resolution": resolution, "unit": unit, "span": span, "step": step, "routes": routes}
            cursor.execute(METRICS.format(subjects=SUBJECTS), params)
        cursor.execute(TOTALS, [])
        cursor.execute(RECOMMENDATIONS, {"n": recommendations})
        cursor.execute(EVENTS, {"n": events})
        for n in range(statements):
            cursor.execute(f"SELECT {n} AS statement_{n} FROM paiid_perf_score LIMIT 1")
        cursor.execute(
            "VACUUM ANALYZE paiid_perf_metric, paiid_perf_metrictotal, paiid_perf_recommendation, "
            + "paiid_perf_securityevent"
        )
        found = {}
        for table in ("metric", "recommendation", "securityevent"):
            cursor.execute(f"SELECT count(*) FROM paiid_perf_{table}")
            found[table] = cursor.fetchone()[0]
    return found | {"statements": _statements(), "routes": routes}


def _statements() -> int:
    from paiid_perf.conf import get_settings
    from paiid_perf.database import statements

    return len(statements.counted(get_settings()).rows)


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Page → {"ms", "cpu_ms", "sql_ms", "queries", "kb"}; medians of ``rounds`` after one to warm up."""
    from django.contrib.auth import get_user_model
    from django.db import connection
    from django.test import Client

    from paiid_perf.conf import get_settings
    from paiid_perf.database import statements
    from paiid_perf.models import Recommendation

    user, _new = get_user_model().objects.get_or_create(
        username="bench", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client()
    client.force_login(user)
    counted = statements.counted(get_settings()).rows
    places = {
        "rec": Recommendation.objects.values_list("pk", flat=True)[0],
        "query": counted[0].queryid if counted else "0",
    }
    found = {}
    for name, path in PAGES.items():
        one = []
        for _round in range(rounds + 1):
            timer = _Timer()
            with connection.execute_wrapper(timer):
                wall, cpu = time.perf_counter(), time.process_time()
                answer = client.get("/admin/paiid_perf/" + path.format(**places))
                took = time.perf_counter() - wall, time.process_time() - cpu
            one.append((*took, timer.seconds, timer.count, len(answer.content)))
        medians = [statistics.median(values) for values in zip(*one[1:], strict=True)]
        found[name] = {
            "status": answer.status_code,
            "ms": round(1000 * medians[0], 1),
            "cpu_ms": round(1000 * medians[1], 1),
            "sql_ms": round(1000 * medians[2], 1),
            "queries": medians[3],
            "kb": round(medians[4] / 1024),
        }
    return found


class _Timer:
    """Times every query of the connection."""

    def __init__(self) -> None:
        self.seconds, self.count = 0.0, 0

    def __call__(self, execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        start = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.seconds += time.perf_counter() - start
            self.count += 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--metrics", type=int, default=10_000_000)
    parser.add_argument("--recommendations", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--statements", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-seed", action="store_true", help="the rows are there already")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    import django

    django.setup()
    rows = {}
    if not options.no_seed:
        rows = seed(options.metrics, options.recommendations, options.events, options.statements)
    pages = measure(options.rounds)
    if options.json:
        print(json.dumps({"rows": rows, "pages": pages}))
        return
    for name, one in pages.items():
        sys.stdout.write(
            f"{name:28} {one['ms']:8.1f} ms  cpu {one['cpu_ms']:7.1f}  sql {one['sql_ms']:7.1f}  "
            f"{one['queries']:3.0f} queries  {one['kb']:5} kB  {one['status']}\n"
        )


if __name__ == "__main__":
    main()
