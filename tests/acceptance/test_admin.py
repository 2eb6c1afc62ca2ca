"""The console: who sees what, who may do what, that GET changes nothing, and that rows do not cost queries."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import resolve, reverse
from django.utils import timezone

from paiid_perf.models import Alert, AlertRule, BlockedAddress, Metric, OptimizationRun, Recommendation, Score
from paiid_perf.optimization import reports, runner
from paiid_perf.telemetry.histogram import bucket_of

pytestmark = pytest.mark.django_db
HOME = "/admin/paiid_perf/"
LISTS = (
    "optimizationrun",
    "recommendation",
    "alert",
    "alertrule",
    "securityevent",
    "blockedaddress",
    "score",
)
ACT = HOME + "recommendation/{pk}/act/{move}/"
POLICY = "default-src 'self'"


def page(client, path, status=200):
    response = client.get(path)
    assert response.status_code == status, path
    return response.content.decode()


def messages_of(response):
    return [str(message) for message in response.context["messages"]]


@pytest.fixture
def traffic(db):
    """Twenty minutes of requests, look-ups and gauges."""
    now = timezone.now().replace(second=0, microsecond=0)
    rows = []

    def add(at, name, subject, count, total, **more):
        rows.append(
            Metric(name=name, subject=subject, resolution=60, at=at, count=count, total=total, **more)
        )

    for minute in range(20):
        at = now - timedelta(minutes=minute + 1)
        buckets = {str(bucket_of(value)): 10 for value in (5, 20, 80)}
        for route in ("api/orders/", "api/portfolios/<int:pk>/"):
            add(at, "api.latency_ms", f"GET {route} 2xx", 30, 1050, buckets=buckets)
            add(at, "api.db_ms", f"GET {route}", 30, 300)
        add(at, "cache.hits", "standard", 8, 8)
        add(at, "cache.misses", "standard", 2, 2)
        add(at, "system.cpu_percent", "web-1", 1, 40)
        add(at, "monitoring.heartbeat", "", 1, 1)
    Metric.objects.bulk_create(rows)


# --- the overview ----------------------------------------------------------------------------------------------


def test_everything_is_on_one_page(client_of, traffic, a_score, a_run, an_alert, rec, make_rec):
    query = {"key": "1", "text": "SELECT 1", "calls": 10, "mean_ms": 212.0}
    make_rec(
        2,
        state="kept",
        title="Index on order history",
        measured_gain=0.957,
        outcome="212 → 9 ms",
        applied_at=timezone.now() - timedelta(minutes=5),
        before={"method": "replay", "queries": [query]},
        after={"method": "replay", "queries": [query | {"mean_ms": 9.0}]},
    )

    html = page(client_of("viewer"), HOME)

    for part in (
        "70 of 100",  # the dial
        "Cache hit ratio",
        "−30",  # a deduction
        an_alert.message,
        rec.title,
        "Index on order history",
        "212 ms → 9 ms",
        f"#{a_run.pk} full",
        "Response time",
        "Throughput",
        "api/portfolios/&lt;int:pk&gt;/",
        "Index on order history (kept)",  # a mark on the charts
    ):
        assert part in html, part
    assert html.count("<svg") >= 6 + 1


def test_an_empty_site_says_what_to_do_next(client_of):
    html = page(client_of("operator"), HOME)

    assert "No run yet." in html
    assert "paiid_perf.middleware.PerfMiddleware" in html
    assert "Celery beat" in html
    assert "Recommendations appear here after the first run." in html


@pytest.mark.parametrize("window", ["1h", "6h", "24h", "7d", "30d", "", "bad"])
def test_every_window_is_a_page(window, client_of, traffic):
    html = page(client_of("viewer"), f"{HOME}?window={window}")

    assert f'aria-current="true">{window if window and window != "bad" else "1h"}</a>' in html


def test_the_kill_switch_is_told(client_of, settings):
    settings.PAIID_PERF = settings.PAIID_PERF | {"KILL_SWITCH": True}

    assert "kill switch is on" in page(client_of("viewer"), HOME)


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(
    client_of, traffic, a_score, a_run, an_alert, rec
):
    client = client_of("superuser")
    for path in (HOME, f"{HOME}recommendation/{rec.pk}/change/", f"{HOME}optimizationrun/{a_run.pk}/change/"):
        response = client.get(path)
        html = response.content.decode()

        assert POLICY in response["Content-Security-Policy"]
        assert " style=" not in html
        assert "<style" not in html
        assert "<script>" not in html
        assert not re.findall(
            r"""\s(?:on\w+|(?:src|href|action)=["']?(?:https?:|//|data:|javascript:))""", html
        )


# --- who sees what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    ("role", "status"),
    [("viewer", 200), ("superuser", 200), ("staff", 403), ("anonymous", 302), ("customer", 302)],
)
def test_who_sees_the_lists(role, status, name, client_of):
    assert client_of(role).get(f"{HOME}{name}/").status_code == status


def test_staff_without_the_permission_does_not_see_the_console(client_of, a_run, rec):
    client = client_of("staff")

    assert client.get(HOME).status_code == 404  # Django's answer for an app without a page for them
    assert "Performance" not in page(client, "/admin/")
    for path in (
        f"optimizationrun/{a_run.pk}/change/",
        f"optimizationrun/{a_run.pk}/progress/",
        "optimizationrun/report/",
        f"recommendation/{rec.pk}/change/",
        f"recommendation/{rec.pk}/state/",
    ):
        page(client, HOME + path, 403)


def test_a_person_with_a_model_permission_only_is_told_what_is_missing(client_of, person):
    from django.contrib.auth.models import Permission
    from django.test import Client

    user = person("editor")
    user.user_permissions.add(Permission.objects.get(codename="change_alertrule"))
    client = Client()
    client.force_login(user)

    assert "paiid_perf.view_console" in page(client, HOME)


def test_buttons_are_shown_to_those_who_may_press_them(client_of, an_alert, rec):
    viewer, operator, watch = client_of("viewer"), client_of("operator"), client_of("watch")

    assert "Run full optimization" not in page(viewer, HOME)
    assert "Run full optimization" in page(operator, HOME)
    assert "Acknowledge" not in page(viewer, HOME)
    assert "Acknowledge" in page(watch, HOME)
    assert "/act/" not in page(viewer, f"{HOME}recommendation/{rec.pk}/change/")


# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "status"),
    [("operator", 302), ("superuser", 302), ("viewer", 403), ("staff", 403), ("anonymous", 302)],
)
def test_who_starts_a_run(role, status, client_of, post, broker):
    response = post(client_of(role), f"{HOME}optimizationrun/start/quick/")

    assert response.status_code == status
    assert OptimizationRun.objects.exists() == (role in ("operator", "superuser"))


def test_a_started_run_leads_to_its_live_page_and_into_the_log(client_of, post, broker):
    client = client_of("operator")

    response = post(client, f"{HOME}optimizationrun/start/full/", follow=True)

    run = OptimizationRun.objects.get()
    assert response.redirect_chain == [(f"{HOME}optimizationrun/{run.pk}/change/", 302)]
    assert f'data-follow="{HOME}optimizationrun/{run.pk}/progress/"' in response.content.decode()
    assert (run.trigger, run.user.username, broker) == ("admin", "operator", [("paiid_perf.run", run.pk)])
    assert LogEntry.objects.get().object_id == str(run.pk)


@pytest.mark.parametrize(("action", "kind"), [("start_full", "full"), ("start_quick", "quick")])
def test_the_action_of_the_list_needs_no_row(action, kind, client_of, post, broker):
    response = post(client_of("operator"), f"{HOME}optimizationrun/", {"action": action})

    assert response.status_code == 302
    assert OptimizationRun.objects.get().kind == kind


def test_the_action_of_the_list_needs_the_permission(client_of, post, broker):
    assert post(client_of("viewer"), f"{HOME}optimizationrun/", {"action": "start_full"}).status_code == 403
    assert not OptimizationRun.objects.exists()


def test_without_a_broker_it_says_what_to_do(client_of, post, no_broker):
    response = post(client_of("operator"), f"{HOME}optimizationrun/start/full/", follow=True)

    assert "manage.py perf run" in messages_of(response)[0]
    assert not OptimizationRun.objects.exists()


def test_a_second_run_leads_to_the_first(client_of, post, broker):
    first = runner.request("full", "test")

    response = post(client_of("operator"), f"{HOME}optimizationrun/start/full/", follow=True)

    assert response.redirect_chain[-1][0].endswith(f"/{first.pk}/change/")
    assert f"already running: #{first.pk}" in messages_of(response)[0]


def test_progress_is_told_as_json(client_of, a_run):
    found = client_of("viewer").get(f"{HOME}optimizationrun/{a_run.pk}/progress/").json()

    assert (found["progress"], found["status_label"], found["elapsed"]) == (1.0, "succeeded", "3 s")
    assert found["phases"][0]["name"] == "database"
    assert found["phases"][0]["status_label"] == "succeeded"


def test_what_has_ended_counts_as_progress(client_of, a_run):
    now = timezone.now()
    OptimizationRun.objects.update(progress=0.1, status="running", finished_at=None)
    a_run.phases.update(started_at=now, finished_at=now)
    a_run.phases.create(name="api", position=1)

    found = client_of("viewer").get(f"{HOME}optimizationrun/{a_run.pk}/progress/").json()

    assert found["progress"] == 0.5


def test_a_run_shows_what_it_decided_and_why_not(client_of, a_run, make_rec):
    rec = make_rec(1, run=a_run)

    html = page(client_of("viewer"), f"{HOME}optimizationrun/{a_run.pk}/change/")

    assert "no statement gets cheaper" in html
    assert rec.title in html


# --- the ledger ---------------------------------------------------------------------------------------------------


def test_a_recommendation_shows_all_that_a_person_needs(client_of, rec):
    html = page(client_of("applier"), f"{HOME}recommendation/{rec.pk}/change/")

    for part in (
        rec.why,
        "CREATE INDEX CONCURRENTLY",
        "DROP INDEX CONCURRENTLY",
        "migrations.Migration",
        "−50 %",
        "3.5 ms",
    ):
        assert part in html
    assert "data-copy" in html
    assert [move in html for move in ("act/approve/", "act/apply/", "act/dismiss/", "act/revert/")] == [
        True,
        True,
        True,
        False,
    ]


def test_what_a_change_did_is_drawn_over_time(client_of, make_rec):
    now = timezone.now().replace(second=0, microsecond=0)
    query = {"key": "-4711", "text": "SELECT history", "calls": 10, "mean_ms": 212.0}
    Metric.objects.bulk_create(
        Metric(
            name="db.statement_ms", subject="-4711", resolution=60, at=at, count=10, total=10 * ms, buckets={}
        )
        for at, ms in ((now - timedelta(hours=1), 212.0), (now - timedelta(minutes=10), 9.0))
    )
    done = {"state": "kept", "applied_at": now - timedelta(minutes=30)}
    before = {"method": "replay", "queries": [query, query | {"key": "watched:12"}]}
    changed, untouched = make_rec(1, **done, before=before), make_rec(2)
    cached = make_rec(3, **done, area="cache", kind="cache_config")

    client = client_of("viewer")
    html = page(client, f"{HOME}recommendation/{changed.pk}/change/")
    assert "Mean time a call, before and after" in html
    assert "212 ms" in html
    assert html.count("perf-mark") >= 1  # where it was made
    assert "before and after" not in page(client, f"{HOME}recommendation/{untouched.pk}/change/")
    assert "Cache hit ratio, before and after" in page(client, f"{HOME}recommendation/{cached.pk}/change/")


def test_advice_cannot_be_applied(client_of, make_rec):
    rec = make_rec(1, kind="advice", area="security")

    html = page(client_of("applier"), f"{HOME}recommendation/{rec.pk}/change/")

    assert "act/apply/" not in html
    assert "act/dismiss/" in html


@pytest.mark.parametrize("move", ["approve", "apply", "dismiss", "revert", "reopen"])
@pytest.mark.parametrize("role", ["viewer", "staff", "approver", "applier"])
def test_who_may_move_it(role, move, client_of, post, rec, broker):
    path = ACT.format(pk=rec.pk, move=move)
    allowed = role == "applier" or (role == "approver" and move in ("approve", "dismiss", "reopen"))
    client = client_of(role)

    assert client.get(path).status_code == (200 if allowed else 403)
    assert post(client, path).status_code == (302 if allowed else 403)
    if not allowed:
        rec.refresh_from_db()
        assert (rec.state, broker) == ("proposed", [])


@pytest.mark.parametrize("move", ["approve", "apply", "dismiss", "revert", "reopen"])
def test_get_only_asks(move, client_of, rec, broker):
    before = Recommendation.objects.values().get()

    page(client_of("applier"), ACT.format(pk=rec.pk, move=move))

    assert Recommendation.objects.values().get() == before
    assert broker == []


def test_an_unknown_move_is_404(client_of, rec):
    page(client_of("applier"), ACT.format(pk=rec.pk, move="delete"), 404)


def test_a_post_without_the_csrf_token_is_refused(client_of, rec):
    client = client_of("applier")

    assert client.post(ACT.format(pk=rec.pk, move="approve")).status_code == 403
    assert Recommendation.objects.get().state == "proposed"


def test_approving_is_written_down_with_who_did_it(client_of, post, rec):
    post(client_of("approver"), ACT.format(pk=rec.pk, move="approve"))

    rec.refresh_from_db()
    assert rec.state == "approved"
    assert rec.history[-1]["by"] == "approver"
    assert LogEntry.objects.get().change_message == "approve"


def test_dismissing_keeps_the_reason(client_of, post, rec):
    post(client_of("approver"), ACT.format(pk=rec.pk, move="dismiss"), {"reason": "too wide"})

    rec.refresh_from_db()
    assert (rec.state, rec.outcome) == ("dismissed", "too wide")
    assert LogEntry.objects.get().change_message == "dismiss: too wide"


def test_applying_is_a_workers_work_and_pressed_twice_is_queued_by_its_state(client_of, post, rec, broker):
    client = client_of("applier")

    post(client, ACT.format(pk=rec.pk, move="apply"))

    rec.refresh_from_db()
    user = client.session["_auth_user_id"]
    assert rec.state == "approved"  # a run that is at work takes it along
    assert broker == [("paiid_perf.apply", rec.pk, int(user))]


def test_without_a_broker_the_command_is_told(client_of, post, rec, no_broker):
    response = post(client_of("applier"), ACT.format(pk=rec.pk, move="apply"), follow=True)

    assert f"manage.py perf apply {rec.pk}" in messages_of(response)[0]
    assert not LogEntry.objects.exists()


def test_while_the_kill_switch_is_on_nothing_is_handed_to_a_worker(client_of, post, rec, broker, settings):
    settings.PAIID_PERF = {"KILL_SWITCH": True}

    response = post(client_of("applier"), ACT.format(pk=rec.pk, move="apply"), follow=True)

    assert "KILL_SWITCH" in messages_of(response)[0]
    assert broker == []
    assert Recommendation.objects.get().state == "proposed"


def test_a_move_that_the_state_does_not_allow_says_why(client_of, post, make_rec):
    rec = make_rec(1, state="kept")

    response = post(client_of("approver"), ACT.format(pk=rec.pk, move="approve"), follow=True)

    assert "kept" in messages_of(response)[0]


def test_what_cannot_be_undone_is_not_offered_for_it(client_of, post, make_rec, broker):
    """A worker would refuse it, and the page wait for ever."""
    rec = make_rec(1, kind="retention", state="kept")
    client = client_of("applier")

    assert ACT.format(pk=rec.pk, move="revert") not in page(client, f"{HOME}recommendation/{rec.pk}/change/")
    response = post(client, ACT.format(pk=rec.pk, move="revert"), follow=True)

    assert "retention" in messages_of(response)[0]
    assert broker == []
    assert not LogEntry.objects.exists()


def test_many_are_asked_about_first_and_only_those_whose_state_allows_it_are_moved(client_of, post, make_rec):
    proposed, kept = make_rec(1), make_rec(2, state="kept", title="Kept already")
    client = client_of("approver")
    data = {"action": "approve_selected", "_selected_action": [proposed.pk, kept.pk]}

    asked = post(client, f"{HOME}recommendation/", data)

    assert asked.status_code == 200
    assert "Left as they are" in asked.content.decode()
    assert {row.state for row in Recommendation.objects.all()} == {"proposed", "kept"}

    post(client, f"{HOME}recommendation/", data | {"confirmed": "1"})

    assert {row.pk: row.state for row in Recommendation.objects.all()} == {
        proposed.pk: "approved",
        kept.pk: "kept",
    }


def test_very_many_are_asked_about_in_portions(client_of, post, make_rec, monkeypatch):
    """A form with a field for each of 10,000 rows would be refused by Django."""
    monkeypatch.setattr("paiid_perf.admin.base.AT_ONCE", 2)
    rows = [make_rec(number) for number in range(1, 6)]
    client = client_of("approver")
    data = {
        "action": "approve_selected",
        "_selected_action": [rows[0].pk],
        "select_across": "1",
        "index": "0",
    }

    asked = post(client, f"{HOME}recommendation/", data)
    chosen = re.findall(r'name="_selected_action" value="(\d+)"', asked.content.decode())
    assert len(chosen) == 2
    assert "3 more were selected" in asked.content.decode()
    done = {"action": "approve_selected", "_selected_action": chosen, "confirmed": "1"}
    response = post(client, f"{HOME}recommendation/", done, follow=True)

    assert messages_of(response) == ["2 recommendations: now approved."]
    assert Recommendation.objects.filter(state="approved").count() == 2
    assert LogEntry.objects.count() == 2


@pytest.mark.parametrize(
    ("gain", "found"),
    [
        ("half", {"won"}),
        ("tenth", {"hoped"}),
        ("less", {"little"}),
        ("loss", {"lost"}),
        ("none", {"unknown"}),
        ("nonsense", {"won", "hoped", "little", "lost", "unknown"}),
    ],
)
def test_the_ledger_is_filtered_by_what_was_won(gain, found, client_of, make_rec):
    made = {"won": (0.1, 0.9), "hoped": (0.3, None), "little": (0.9, 0.0), "lost": (0.6, -0.2)}
    for number, (title, (expected, measured)) in enumerate(made.items(), start=1):
        make_rec(number, title=title, expected_gain=expected, measured_gain=measured)
    make_rec(9, title="unknown", expected_gain=None)

    response = client_of("viewer").get(f"{HOME}recommendation/", {"gain": gain})

    assert {row.title for row in response.context["cl"].queryset} == found


def test_many_need_the_permission_as_one_does(client_of, post, rec):
    data = {"action": "apply_selected", "_selected_action": [rec.pk], "confirmed": "1"}

    post(client_of("approver"), f"{HOME}recommendation/", data)

    assert Recommendation.objects.get().state == "proposed"


# --- alerts, rules, blocks ------------------------------------------------------------------------------------------


def test_an_alert_is_acknowledged_by_post_only(client_of, post, an_alert):
    client, path = client_of("watch"), f"{HOME}alert/{an_alert.pk}/acknowledge/"

    assert client.get(path).status_code == 405
    assert post(client, path).status_code == 302

    an_alert.refresh_from_db()
    assert (an_alert.status, an_alert.acknowledged_by.username) == ("acknowledged", "watch")
    assert LogEntry.objects.get().change_message == "acknowledged"


@pytest.mark.parametrize("role", ["viewer", "operator", "staff"])
def test_others_acknowledge_nothing(role, client_of, post, an_alert):
    assert post(client_of(role), f"{HOME}alert/{an_alert.pk}/acknowledge/").status_code == 403
    assert Alert.objects.get().status == "open"


def test_a_rule_that_a_person_edits_is_the_persons(client_of, post, an_alert):
    AlertRule.objects.update(declared=True)
    rule = AlertRule.objects.get()
    values = {
        "name": "slow",
        "metric": "api_p95_ms",
        "comparison": "above",
        "threshold": 800,
        "for_seconds": 60,
        "severity": "info",
        "enabled": "on",
    }

    assert post(client_of("viewer"), f"{HOME}alertrule/{rule.pk}/change/", values).status_code == 403
    assert post(client_of("superuser"), f"{HOME}alertrule/{rule.pk}/change/", values).status_code == 302

    rule.refresh_from_db()
    assert (rule.threshold, rule.declared) == (800, False)


def test_a_network_is_blocked_and_unblocked(client_of, post):
    client = client_of("watch")

    post(
        client,
        f"{HOME}blockedaddress/add/",
        {"network": " 203.0.113.9/24 ", "reason": "scanner", "lasting": 24},
    )

    row = BlockedAddress.objects.get()
    assert timedelta(hours=23) < row.expires_at - timezone.now() < timedelta(hours=25)
    assert (row.network, row.reason, row.created_by.username) == ("203.0.113.0/24", "scanner", "watch")

    post(client, f"{HOME}blockedaddress/{row.pk}/delete/", {"post": "yes"})

    assert not BlockedAddress.objects.exists()
    assert LogEntry.objects.count() == 2


@pytest.mark.parametrize(
    ("network", "why"),
    [("everybody", "is no network"), ("127.0.0.1", "your own address"), ("0.0.0.0/0", "your own address")],
)
def test_nobody_blocks_nonsense_or_themselves(network, why, client_of, post):
    response = post(client_of("watch"), f"{HOME}blockedaddress/add/", {"network": network, "lasting": 0})

    assert response.status_code == 200
    assert why in response.content.decode()
    assert not BlockedAddress.objects.exists()


def test_blocking_needs_the_permission(client_of, post):
    asked = {"network": "203.0.113.7", "lasting": 0}

    assert post(client_of("viewer"), f"{HOME}blockedaddress/add/", asked).status_code == 403


# --- the report, and the cost of a page -----------------------------------------------------------------------------


def test_the_report_is_one_file(client_of, traffic, a_score, rec):
    response = client_of("viewer").get(f"{HOME}optimizationrun/report/?window=24h")

    assert response["Content-Disposition"].startswith('attachment; filename="performance-')
    html = response.content.decode()
    assert rec.title in html
    assert "<svg" in html
    assert "<script" not in html
    assert "<link" not in html


@pytest.mark.parametrize(("kind", "media"), [("md", "text/markdown"), ("json", "application/json")])
@pytest.mark.parametrize("window", ["90m", "14d"])
def test_the_report_has_other_formats_and_any_window(kind, media, window, client_of, traffic, a_score, rec):
    response = client_of("viewer").get(f"{HOME}optimizationrun/report/?window={window}&format={kind}")

    assert response["Content-Type"].startswith(media)
    assert f"-{window}.{kind}" in response["Content-Disposition"]
    assert rec.title in response.content.decode()
    page(client_of("superuser"), f"{HOME}optimizationrun/report/?format=exe", 404)


@pytest.mark.parametrize(
    ("written", "hours"),
    [
        ("90m", 1.5),
        ("6h", 6),
        ("14d", 336),
        ("2w", 336),
        *((bad, None) for bad in ("", "h", "-1h", "0d", "9y", "9999w")),
    ],
)
def test_a_window_is_read_as_people_write_it(written, hours):
    span = reports.span_of(written)

    assert span == (None if hours is None else timedelta(hours=hours))


def fill(make_rec, count, start):
    now = timezone.now()
    rule, _ = AlertRule.objects.get_or_create(
        name="r", defaults={"metric": "m", "comparison": "above", "threshold": 1}
    )
    run = OptimizationRun.objects.create(
        kind="quick", status="succeeded", created_at=now, score={}, changes={}
    )
    for n in range(start, start + count):
        make_rec(
            n,
            state="kept" if n % 2 else "proposed",
            run=run,
            applied_at=now - timedelta(minutes=n) if n % 2 else None,
        )
        Alert.objects.create(
            rule=rule, subject=str(n), severity="warning", message=f"alert {n}", opened_at=now, seen_at=now
        )
        OptimizationRun.objects.create(kind="quick", status="succeeded", created_at=now, score={}, changes={})
        Score.objects.create(at=now - timedelta(hours=n), overall=n, areas={})
    return run


@pytest.mark.parametrize("path", ["", *(f"{name}/" for name in LISTS), "run", "recommendation"])
def test_rows_do_not_cost_queries(path, client_of, make_rec, traffic, django_assert_max_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client = client_of("superuser")
    run = fill(make_rec, 3, 1)
    addresses = {
        "run": reverse("admin:paiid_perf_optimizationrun_change", args=[run.pk]),
        "recommendation": reverse(
            "admin:paiid_perf_recommendation_change", args=[run.recommendations.first().pk]
        ),
    }
    address = addresses.get(path, HOME + path)
    page(client, address)
    with CaptureQueriesContext(connection) as few:
        page(client, address)
    fill(make_rec, 40, 100)

    with django_assert_max_num_queries(len(few)):
        page(client, address)

    assert len(few) <= 30


@pytest.mark.parametrize(
    "path",
    [
        f"{HOME}optimizationrun/start/full/",
        f"{HOME}optimizationrun/",
        f"{HOME}recommendation/1/act/apply/",
        "/api/optimization/run-full",
    ],
)
def test_what_a_worker_must_find_is_committed_even_with_atomic_requests(path):
    assert "default" in resolve(path).func._non_atomic_requests
