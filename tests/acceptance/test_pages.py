"""The console's own pages: what they show, who may see and do what, and that rows cost no queries."""

from __future__ import annotations

import gettext
import re
from collections import Counter
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from paiid_perf import conf, tasks
from paiid_perf.admin.pages.database import CHECKS
from paiid_perf.api.types import ResponseStrategy
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.conf import get_settings
from paiid_perf.database import statements
from paiid_perf.database.rules.health import RULES
from paiid_perf.models import Metric, PhaseRun
from paiid_perf.registry import registry
from paiid_perf.telemetry import samples
from paiid_perf.telemetry.histogram import bucket_of
from paiid_perf.telemetry.trace import REPEATS, mark_of
from paiid_perf.testing import register_temporarily

pytestmark = pytest.mark.django_db
CONSOLE = "/admin/paiid_perf/"
HOME = f"{CONSOLE}metric/"
QUERIES = "/admin/paiid_perf/statementsnapshot/queries/"
QUERY = "/admin/paiid_perf/statementsnapshot/queries/{}/"
ORDERS = "GET api/orders/"


def page(client, path, status=200):
    response = client.get(path)
    assert response.status_code == status, path
    return response.content.decode()


def row(name, subject, count, total, minute=1, **more):
    at = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=minute)
    return Metric(name=name, subject=subject, resolution=60, at=at, count=count, total=total, **more)


@pytest.fixture(autouse=True)
def _no_samples():
    yield
    samples.forget()


@pytest.fixture
def traffic(db):
    fast, slow = ({"buckets": {str(bucket_of(ms)): 30}} for ms in (20, 900))
    Metric.objects.bulk_create(
        [
            row("api.latency_ms", f"{ORDERS} 2xx", 30, 600, **fast),
            row("api.latency_ms", f"{ORDERS} 5xx", 10, 100),
            row("api.latency_ms", "GET api/reports/ 2xx", 30, 27_000, **slow),
            row("api.queries", ORDERS, 30, 360),
            row("api.db_ms", ORDERS, 30, 300),
            row("api.hit_ms", ORDERS, 30, 30),
            row("api.view_ms", ORDERS, 10, 400),
            row("api.repeats", f"{ORDERS}|shop/views.py:12 in listing|shop_asset.id", 4, 80),
            row("cache.hits", "standard", 8, 8),
            row("cache.misses", "standard", 2, 2),
            row("system.cpu_percent", "web-1", 1, 40),
        ]
    )


# --- who may see what -----------------------------------------------------------------------------------------

SEEN = ("endpoints/", f"endpoints/one/?name={quote(ORDERS)}", "cache/", "system/", "database/", "settings/")
WHO = (("anonymous", 302), ("customer", 302), ("staff", 403), ("viewer", 200), ("superuser", 200))


@pytest.mark.parametrize(("role", "status"), WHO)
def test_a_page_opens_by_permission_alone(role, status, client_of, traffic):
    client = client_of(role)

    assert {client.get(HOME + path).status_code for path in SEEN} == {status}
    assert client.get(QUERIES).status_code == status


#: path → role → status of a POST
ACTS = {
    "cache/warm/": {"staff": 403, "viewer": 403, "approver": 403, "operator": 302, "superuser": 302},
    "cache/clear/standard/": {"staff": 403, "viewer": 403, "operator": 403, "applier": 302},
}


@pytest.mark.parametrize(
    ("path", "role", "status"),
    [(p, role, status) for p, table in ACTS.items() for role, status in table.items()],
)
def test_acting_needs_its_own_permission(path, role, status, client_of, post, broker, strategy):
    response = post(client_of(role), HOME + path)

    assert response.status_code == status
    assert len(broker) == (status == 302)
    assert LogEntry.objects.count() == len(broker)


def test_nothing_is_cleared_by_looking(client_of, broker, strategy):
    client = client_of("applier")

    assert (
        client.get(HOME + "cache/warm/").status_code == 405
        or client.get(HOME + "cache/warm/").status_code == 403
    )
    assert "forgets every value" in page(client, HOME + "cache/clear/standard/")
    page(client, HOME + "cache/clear/nothing/", 404)
    assert broker == []


def test_without_a_broker_it_says_what_to_start(client_of, post, no_broker, strategy):
    response = post(client_of("superuser"), HOME + "cache/clear/standard/", follow=True)

    assert "Start a worker" in response.content.decode()
    assert not LogEntry.objects.exists()


@pytest.fixture
def strategy(redis_cache):
    return next(s for s in registry.all(CacheStrategy) if s.name == "standard")


def test_what_cannot_be_cleared_is_not_offered(client_of, post, broker, settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    client = client_of("superuser")

    html = page(client, HOME + "cache/")

    assert "cache/clear/" not in html
    assert "none can be cleared by itself" in html
    assert post(client, HOME + "cache/clear/standard/").status_code == 404
    assert broker == []


# --- what they show -----------------------------------------------------------------------------------------------


def test_endpoints_are_sorted_by_what_the_address_says(client_of, traffic):
    client = client_of("viewer")

    def order(query):
        html = page(client, f"{HOME}endpoints/?{query}")
        return html.index("api/orders/") < html.index("api/reports/")

    assert [order("o=time"), order("o=p95"), order("o=errors"), order("o=queries"), order("o=nonsense")] == [
        False,
        False,
        True,
        True,
        False,
    ]
    html = page(client, f"{HOME}endpoints/")
    assert "10 (25 %)" in html  # errors
    assert "12" in html  # statements a request
    assert "75 %" in html  # hit ratio
    assert 'aria-sort="descending"' in html


def test_an_endpoint_names_the_line_that_repeats(client_of, traffic):
    html = page(client_of("viewer"), f"{HOME}endpoints/one/?name={quote(ORDERS)}")

    assert "shop/views.py:12 in listing" in html
    assert "shop_asset.id" in html
    page(client_of("superuser"), f"{HOME}endpoints/one/?name=nonsense", 404)


def test_more_endpoints_cost_no_more_queries(client_of, traffic, django_assert_num_queries):
    client = client_of("superuser")
    client.get(f"{HOME}endpoints/")
    with django_assert_num_queries(4):
        client.get(f"{HOME}endpoints/")
    Metric.objects.bulk_create(row("api.latency_ms", f"GET api/{n}/ 2xx", 1, 5) for n in range(120))
    with django_assert_num_queries(4):
        html = page(client, f"{HOME}endpoints/?p=2")
    assert "Page 2 of 3" in html


@pytest.mark.parametrize(
    "path",
    [
        "../",
        "system/",
        "database/",
        "outlook/",
        "cache/",
        "endpoints/",
        "endpoints/one/?name=GET%20api/orders/",
    ],
)
def test_no_page_repeats_a_statement_as_it_tells_others_not_to(path, client_of, traffic):
    """Or the app advises its users on its own pages."""
    client = client_of("viewer")
    client.get(HOME + path)
    with CaptureQueriesContext(connection) as found:
        client.get(HOME + path)

    times = Counter(re.sub(r"'[^']*'|\b\d+\b", "?", one["sql"]) for one in found)
    assert max(times.values()) < REPEATS


def test_the_database_page_names_what_was_checked_and_found_well(client_of, a_run):
    findings = [
        {"check": "duplicate_index", "title": f"Duplicate {n}", "why": "w", "how": ""} for n in (1, 2)
    ]
    findings.append({"check": "setting", "title": "jit", "why": "w", "how": ""})
    details = {"findings": findings, "missing": {"replicas": "GRANT pg_monitor"}}
    PhaseRun.objects.filter(run=a_run, name="database").update(finished_at=timezone.now(), details=details)

    html = page(client_of("viewer"), f"{HOME}database/")

    assert re.search(r"2 findings</strong> Duplicate indexes", html)
    assert "1 finding</strong> Settings, plans" in html
    assert html.count("nothing found") == len(CHECKS) - 1
    assert html.index("Duplicate indexes") < html.index("Transaction ids before wraparound")
    assert "What could not be read" in html


def test_every_check_of_a_run_is_named_on_the_page():
    assert len(CHECKS) == len(RULES)


def test_a_strategy_tells_how_often_commits_made_it_old(client_of):
    Metric.objects.bulk_create(
        row("cache.invalidations", model, 4, 4) for model in ("auth.user", "auth.group", "auth.permission")
    )
    with register_temporarily(CacheStrategy("people", None, depends_on=("auth.User", "auth.Group"))):
        html = page(client_of("viewer"), f"{HOME}cache/")

    line = next(line for line in html.split("<tr>") if "<strong>people</strong>" in line)
    assert '<td class="perf-number">8</td><td>auth.User, auth.Group</td>' in line


def test_values_and_responses_of_one_name_are_told_apart(client_of, a_run):
    memory = {"groups": [{"group": "pages", "bytes": 2048}]}
    PhaseRun.objects.create(
        run=a_run, name="cache", position=2, finished_at=timezone.now(), details={"memory": memory}
    )
    ttl = timedelta(minutes=1)
    with register_temporarily(CacheStrategy("pages", ttl), ResponseStrategy("pages", ttl)):
        html = page(client_of("viewer"), f"{HOME}cache/")

    assert html.count("2 kB") == 1


def test_the_cache_says_what_each_strategy_brings(client_of, traffic, a_run, strategy):
    memory = {
        "groups": [{"group": "standard", "bytes": 2048}, {"group": "perf:answer", "bytes": 5120}],
        "patterns": [{"group": "perf:v:standard:*", "keys": 40, "bytes": 2048, "idle_keys": 3}],
        "largest": [{"key": "perf:v:standard:huge", "bytes": 7_340_032}],
    }
    PhaseRun.objects.create(
        run=a_run,
        name="cache",
        position=2,
        status="succeeded",
        finished_at=timezone.now(),
        details={
            "memory": memory,
            "server": {"version": "8.0"},
            "nodes": [{"node": "10.0.0.5:7000"}],
            "footprint": [{"name": "clients", "bytes": 3_145_728, "share": 0.31}, {"name": "of tomorrow"}],
        },
    )

    html = page(client_of("viewer"), f"{HOME}cache/")

    assert "80 %" in html
    assert "2 kB" in html
    assert "5 kB" in html
    assert "8.0" in html
    assert "perf:v:standard:huge" in html
    assert "perf:v:standard:*" in html
    assert "7 MB" in html
    assert "10.0.0.5:7000" in html
    assert "Buffers of the clients" in html
    assert "31 %" in html
    assert "Clear" not in html  # a viewer clears nothing


def test_settings_tell_their_source_and_keep_their_secrets(client_of, settings):
    settings.PAIID_PERF = {
        "WEBHOOK_SECRET": "hunter2",
        "API_TOKENS": {"ab12": ("view",)},
        "SLACK_URL": "https://hooks.example.org/services/T0/B0/sesame",
        "WEBHOOK_URL": "https://example.org/open-up",
        "OTLP_ENDPOINT": "http://collector:opensesame@otlp.example.org:4318",
        "PASSWORD_CHANGE_URL": "change-it",
        "LOGIN_LIMIT": "9/5m",
    }

    html = page(client_of("viewer"), f"{HOME}settings/")

    assert [word for word in ("hunter2", "ab12", "sesame", "open-up") if word in html] == []
    assert "otlp.example.org:4318" in html
    assert "change-it" in html  # no secret, for all its name
    assert "9/5m" in html
    assert "settings.PAIID_PERF" in html
    assert "Failed logins per client address" in html


def test_empty_pages_say_what_to_do(client_of):
    client = client_of("viewer")

    assert "PerfMiddleware" in page(client, f"{HOME}endpoints/")
    assert "perf run" in page(client, f"{HOME}database/")
    assert "Start Celery beat" in page(client, f"{HOME}system/")


# --- queries --------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(db):
    """A statement that the server counted; its id."""
    with connection.cursor() as cursor:
        for _n in range(3):
            cursor.execute(
                "SELECT count(*) AS seen_by_the_console FROM auth_user WHERE username = 'x-secret'"
            )
    found = statements.counted(get_settings())
    assert not found.because
    texts = statements.texts(get_settings(), [one.queryid for one in found.rows])
    return next(queryid for queryid, text in texts.items() if "seen_by_the_console" in text)


@pytest.mark.parametrize(
    ("name", "next_step"),
    [
        ("recommendation", "perf run"),
        ("optimizationrun", "perf run"),
        ("score", "every run ends with one"),
        ("mark", "perf mark"),
        ("alert", "Celery beat"),
        ("alertrule", "add one here"),
        ("alertsilence", "everybody is told"),
        ("securityevent", "PerfMiddleware"),
        ("blockedaddress", "block one here"),
        ("endpointrule", "Edit one above"),
    ],
)
def test_an_empty_list_says_what_to_do_and_one_without_a_match_leads_back(name, next_step, client_of):
    client = client_of("viewer")

    html = page(client, f"{CONSOLE}{name}/")
    assert next_step in html
    assert "to change" not in html  # Django's title asks for a row
    if name in ("recommendation", "securityevent"):
        html = page(client, f"{CONSOLE}{name}/?q=nowhere")
        assert "No row matches" in html
        assert next_step not in html


def test_an_area_that_nothing_measured_does_not_say_that_all_is_well(client_of):
    html = page(client_of("viewer"), CONSOLE)

    assert html.count("insufficient data") == 6  # the dial, and five areas
    assert "nothing deducted" not in html


def test_a_query_has_its_text_its_figures_and_its_plan(client_of, counted):
    client = client_of("viewer")

    html = page(client, QUERY.format(counted))

    assert "seen_by_the_console" in html
    assert "x-secret" not in html
    assert "Aggregate" in html
    page(client, QUERY.format("1"), 404)
    page(client, QUERY.format("x;--"), 404)


def test_what_a_statement_sets_to_a_text_is_not_shown(client_of):
    """The server keeps ``CREATE ROLE … PASSWORD '…'`` as it was written."""
    with connection.cursor() as cursor:
        cursor.execute("COMMENT ON TABLE auth_group IS 'open sesame'")
        cursor.execute("SELECT queryid FROM pg_stat_statements WHERE query LIKE 'COMMENT%%sesame%%' LIMIT 1")
        (queryid,) = cursor.fetchone()

    html = page(client_of("viewer"), f"/admin/paiid_perf/statementsnapshot/queries/{queryid}/")

    assert "COMMENT ON TABLE auth_group" in html
    assert "sesame" not in html


def test_a_plan_is_measured_by_a_worker_for_who_may_apply(client_of, post, counted, broker, redis_cache):
    address = QUERY.format(counted)
    assert post(client_of("viewer"), address).status_code == 403
    assert broker == []
    client = client_of("applier")

    assert post(client, address).status_code == 302

    assert broker == [("paiid_perf.measure", counted)]
    assert 'data-now="measuring"' in page(client, address)
    assert client.get(f"{address}state/").json() == {"status": "measuring"}
    tasks.measure(counted)
    assert client.get(f"{address}state/").json() == {"status": "measured"}
    html = page(client, address)
    assert "QUERY_SAMPLE_RATE" in html  # nothing sampled it: that is what would help
    assert "as the planner expects it" in html


def test_without_a_broker_nothing_is_waited_for(client_of, post, counted, no_broker, redis_cache):
    html = post(client_of("applier"), QUERY.format(counted), follow=True).content.decode()

    assert "Start a worker" in html
    assert 'data-now="measuring"' not in html


def test_a_measured_plan_points_at_the_wrong_estimate(client_of, post, settings, broker):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    sql = (
        "SELECT count(*) AS measured_here FROM generate_series(1, %s) AS n "
        "JOIN django_content_type AS t ON n + 0 = t.id + %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [4_000, 0])
    samples.record(sql, (4_000, 0))
    found = statements.counted(get_settings())
    texts = statements.texts(get_settings(), [one.queryid for one in found.rows])
    queryid = next(queryid for queryid, text in texts.items() if "measured_here" in text)

    client = client_of("applier")
    post(client, QUERY.format(queryid))
    tasks.measure(queryid)
    html = page(client, QUERY.format(queryid))

    assert "Plan, measured" in html
    assert "Function Scan" in html
    assert "Rows seen" in html
    assert re.search(r"4,000</td>\s*<td[^>]*>4,000", html)  # expected and seen, of the function's rows
    assert re.search(r"estimate off [\d.,]+ times", html)
    assert "perf-level-1" in html  # a step below another
    assert all(masked in html for masked in ("(n.n + ?)", "(t.id + ?)"))
    assert LogEntry.objects.get().change_message == f"measured the query {queryid}"


def test_queries_are_listed_and_have_a_history(client_of, counted, settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    now = timezone.now()
    assert statements.observe(get_settings(), now - timedelta(minutes=10)) == 0  # the first look remembers
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) AS seen_by_the_console FROM auth_user WHERE username = 'x-secret'")

    assert statements.observe(get_settings(), now) > 0

    assert Metric.objects.get(name=statements.SERIES, subject=counted).count == 1
    with connection.cursor() as cursor:  # as if evicted: it comes back, and runs more often than it had
        own = "(SELECT oid FROM pg_database WHERE datname = current_database())"
        cursor.execute(f"SELECT pg_stat_statements_reset(0, {own}, %s)", [int(counted)])
        for _n in range(5):
            cursor.execute(
                "SELECT count(*) AS seen_by_the_console FROM auth_user WHERE username = 'x-secret'"
            )
    assert statements.observe(get_settings(), now + timedelta(minutes=10)) > 0
    assert Metric.objects.get(name=statements.SERIES, subject=counted, at__gt=now).count == 5

    html = page(client_of("viewer"), QUERIES + "?window=1h&o=calls")
    assert "Show everything since" in html
    assert page(client_of("operator"), QUERIES + "?window=1h&p=99").count("seen_by_the_console") == 1
    assert "Since the counters began" in page(client_of("superuser"), QUERIES + "?window=all")


@pytest.mark.parametrize("by", statements.ORDERS)
def test_queries_are_sorted_and_cut_by_the_server(by, counted):
    def figure(row):
        return {
            "time": row.took_ms,
            "calls": row.ran,
            "mean": row.mean_ms,
            "rows": row.rows_a_call,
            "hits": row.counted.hit_ratio,
        }[by]

    def listed(spent, limit=1000, offset=0):
        return statements.listed(get_settings(), spent, by, limit, offset)

    whole = listed(None)
    known = [figure(row) for row in whole.rows if figure(row) is not None]
    some = [row.counted.queryid for row in whole.rows[:5]]
    window = listed({queryid: (n + 1, 10.0 * n) for n, queryid in enumerate([*some, "1"])})

    assert known == sorted(known, reverse=True)
    assert whole.count == len(whole.rows) > len(some)
    assert whole.took_ms == pytest.approx(sum(row.counted.total_ms for row in whole.rows))
    assert len(listed(None, 2, 1).rows) == 2
    assert {row.counted.queryid: (row.ran, row.took_ms) for row in window.rows} == {
        queryid: (n + 1, 10.0 * n) for n, queryid in enumerate(some)
    }


def test_an_endpoint_and_its_statements_lead_to_each_other(client_of, settings, traffic):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    sql = "SELECT count(*) AS sent_by_orders FROM django_content_type WHERE model = %s AND id IN (%s, %s)"
    with connection.cursor() as cursor:
        cursor.execute(sql, ["x", 1, 2])
    samples.record(sql, ("x", 1, 2))
    subject = f"{ORDERS}|{mark_of(sql)}|shop/views.py:30 in orders|django_content_type.model"
    Metric.objects.bulk_create([row("api.statement_ms", subject, 4, 48.0)])
    client = client_of("viewer")
    endpoint = f"{HOME}endpoints/one/?name={quote(ORDERS)}"
    assert "shop/views.py:30 in orders" in page(client, endpoint)  # also while it is not linked

    assert statements.link(get_settings()) == 1

    (queryid,) = statements.linked(get_settings()).values()
    html = page(client, endpoint)
    assert QUERY.format(queryid) in html
    assert "12 ms" in html
    html = page(client, QUERY.format(queryid))
    assert "sent_by_orders" in html
    assert quote(ORDERS, "") in html
    assert "shop/views.py:30 in orders" in html


# --- German -----------------------------------------------------------------------------------------------------


GERMAN = {
    "": ("Braucht Sie", "Volle Optimierung starten"),
    f"metric/endpoints/one/?name={quote(ORDERS)}": ("Codezeile",),
    "recommendation/{rec}/change/": ("Dasselbe als Django-Migration", "vorgeschlagen", "niedrig"),
    "optimizationrun/{run}/change/": ("gelungen",),
    "optimizationrun/report/?format=md": ("Leistungsbericht", "Endpunkte (nach Gesamtzeit)"),
    **dict.fromkeys(
        f"metric/{name}/" for name in ("endpoints", "cache", "system", "database", "settings", "outlook")
    ),
    **dict.fromkeys(
        ("statementsnapshot/queries/", "recommendation/", "optimizationrun/", "alert/", "alertrule/")
    ),
    **dict.fromkeys(
        ("securityevent/", "securityevent/overview/", "blockedaddress/", "usersession/", "mark/")
    ),
}


#: Names of a strategy and of a database; they happen to be words.
NAMES = {"user", "default"}


@pytest.fixture(scope="module")
def german():
    with (Path(conf.__file__).parent / "locale/de/LC_MESSAGES/django.mo").open("rb") as file:
        return gettext.GNUTranslations(file)


@pytest.mark.parametrize("path", GERMAN)
def test_the_console_speaks_the_readers_language(path, client_of, traffic, rec, a_score, a_run, german):
    address = f"{CONSOLE}{path.format(rec=rec.pk, run=a_run.pk)}"

    answer = client_of("superuser").get(address, headers={"Accept-Language": "de-CH,de;q=0.9"})
    html = answer.content.decode()
    words = {unescape(text).strip() for text in re.findall(r">([^<>]+)<", html)}

    assert answer.status_code == 200
    assert answer.headers["Content-Language"] == "de"
    assert [text for text in GERMAN[path] or () if text not in html] == []
    assert {text for text in words - NAMES if text and german.gettext(text) != text} == set()
