"""The JSON API: who may do what at which address, and what a caller that errs is told."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from paiid_perf.contracts import Phase
from paiid_perf.http.schema import BadInput, run_options
from paiid_perf.models import Alert, OptimizationRun, Recommendation
from paiid_perf.optimization import runner
from paiid_perf.registry import registry

pytestmark = pytest.mark.django_db
BASE = "/api/optimization/"
READS = ("status", "metrics", "alerts", "recommendations", "score", "report")
TRIGGERS = ("run-full", "run-quick")
TOKENS = {"reader": ("view",), "starter": ("run",), "both": ("view", "run"), "nothing": ()}

#: role → the status of a GET of a read-out, and of a POST to a trigger
ROLES = {
    "anonymous": (401, 401),
    "customer": (403, 403),  # has the permissions, but is not staff
    "staff": (403, 403),  # is staff, but has no permission
    "viewer": (200, 403),
    "operator": (200, 202),
    "approver": (200, 403),
    "superuser": (200, 202),
    "token:reader": (200, 403),
    "token:starter": (403, 202),
    "token:both": (200, 202),
    "token:nothing": (403, 403),
    "token:unknown": (401, 401),
}


@pytest.fixture(autouse=True)
def tokens(settings):
    digests = {hashlib.sha256(name.encode()).hexdigest(): rights for name, rights in TOKENS.items()}
    settings.PAIID_PERF = settings.PAIID_PERF | {"API_TOKENS": digests}


@pytest.fixture
def caller(client_of):
    """A client of that role, and the headers it sends."""

    def make(role):
        kind, _, token = role.partition(":")
        if token:
            return Client(enforce_csrf_checks=True), {"Authorization": f"Bearer {token}"}
        return client_of(kind), {"X-CSRFToken": "a" * 32}

    return make


def send(client, path, headers=None, body=b""):
    return client.post(BASE + path, body, content_type="application/json", headers=headers or {})


def told(response):
    assert response["Content-Type"] == "application/json"
    return json.loads(response.content)


# --- role × address × method → status ----------------------------------------------------------------------


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("role", ROLES)
def test_who_may_read(role, path, caller):
    client, headers = caller(role)

    response = client.get(BASE + path, headers=headers)

    assert response.status_code == ROLES[role][0]
    assert ("WWW-Authenticate" in response) == (response.status_code == 401)
    assert "no-store" in response["Cache-Control"] or "no-cache" in response["Cache-Control"]
    told(response)


@pytest.mark.parametrize("path", TRIGGERS)
@pytest.mark.parametrize("role", ROLES)
def test_who_may_start_a_run(role, path, caller, broker):
    client, headers = caller(role)

    response = send(client, path, headers)

    assert response.status_code == ROLES[role][1]
    assert OptimizationRun.objects.count() == (response.status_code == 202)
    assert len(broker) == (response.status_code == 202)


@pytest.mark.parametrize(
    ("path", "methods", "allowed"),
    [
        *((path, ("post", "put", "patch", "delete"), "GET, HEAD") for path in (*READS, "health", "runs/1")),
        *((path, ("get", "put", "delete"), "POST") for path in TRIGGERS),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_one(path, methods, allowed, caller):
    client, headers = caller("token:both")

    for method in methods:
        response = getattr(client, method)(BASE + path, headers=headers)
        assert (response.status_code, response["Allow"]) == (405, allowed)


def test_head_is_answered_like_get(caller):
    client, headers = caller("token:reader")

    assert client.head(BASE + "status", headers=headers).status_code == 200


def test_a_session_that_posts_must_pass_the_csrf_check(client_of, broker):
    client = client_of("operator")

    response = send(client, "run-full")

    assert response.status_code == 403
    assert "CSRF" in told(response)["error"]
    assert not OptimizationRun.objects.exists()


def test_a_token_needs_no_csrf_token_even_beside_a_session(client_of, broker):
    response = send(client_of("staff"), "run-full", {"Authorization": "Bearer both"})

    assert response.status_code == 202


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic both", "both", "Bearer both extra"])
def test_an_authorization_that_is_no_token_opens_nothing(header):
    assert Client().get(BASE + "status", headers={"Authorization": header}).status_code == 401


def test_somebody_who_was_deactivated_is_anonymous(client_of, person):
    client = client_of("viewer")
    from django.contrib.auth import get_user_model

    get_user_model().objects.update(is_active=False)

    assert client.get(BASE + "status").status_code == 401


# --- triggers -------------------------------------------------------------------------------------------------


def test_a_run_that_was_taken_is_202_with_its_address(caller, broker):
    client, headers = caller("token:both")

    response = send(client, "run-quick", headers)

    run = OptimizationRun.objects.get()
    assert told(response) == {"run": run.pk, "url": f"{BASE}runs/{run.pk}"}
    assert response["Location"] == f"{BASE}runs/{run.pk}"
    assert broker == [("paiid_perf.run", run.pk)]
    assert (run.kind, run.trigger, run.status) == ("quick", "api", "queued")
    followed = told(client.get(response["Location"], headers=headers))
    assert (followed["id"], followed["status"]) == (run.pk, "queued")


def test_the_person_who_asked_is_on_the_run(client_of, broker):
    send(client_of("operator"), "run-full", {"X-CSRFToken": "a" * 32})

    run = OptimizationRun.objects.get()
    assert run.user.get_username() == "operator"
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.change_message) == (
        run.user,
        str(run.pk),
        "started (full) by the JSON API",
    )


def test_without_a_broker_it_says_what_to_do_and_leaves_nothing_queued(caller, no_broker):
    client, headers = caller("token:both")

    response = send(client, "run-full", headers)

    assert response.status_code == 503
    assert "?wait=1" in told(response)["error"]
    assert not OptimizationRun.objects.exists()


def test_with_wait_the_run_is_made_at_once(caller, no_broker, monkeypatch):
    others = {key: item for key, item in registry._items.items() if key[0] is not Phase}
    monkeypatch.setattr(registry, "_items", others)
    client, headers = caller("token:both")

    response = send(client, "run-quick?wait=1", headers, b'{"dry_run": true}')

    assert response.status_code == 200
    assert not LogEntry.objects.exists()  # a token is nobody's
    found = told(response)
    assert (found["status"], found["dry_run"], found["progress"]) == ("succeeded", True, 1.0)


def test_a_second_run_is_409_and_says_which_runs_since_when(caller, broker):
    first = runner.request("full", "test")
    client, headers = caller("token:both")

    response = send(client, "run-full", headers)

    assert response.status_code == 409
    found = told(response)
    assert found["run"] == first.pk
    assert (
        f"already running: #{first.pk}, since {timezone.localtime(first.created_at):%Y-%m-%d}"
        in found["error"]
    )


def test_an_app_that_is_off_refuses(caller, broker, settings):
    settings.PAIID_PERF = settings.PAIID_PERF | {"ENABLED": False}
    client, headers = caller("token:both")

    response = send(client, "run-full", headers)

    assert response.status_code == 409
    assert "ENABLED" in told(response)["error"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{", "body"),
        ("[]", "body"),
        ('{"dry_run": "yes"}', "dry_run"),
        ('{"dry_run": 1}', "dry_run"),
        ('{"dry_run": null}', "dry_run"),
        ('{"aply": true}', "aply"),
    ],
)
def test_what_cannot_be_used_is_400_with_the_field_named(body, field, caller, broker):
    client, headers = caller("token:both")

    response = send(client, "run-full", headers, body.encode("latin-1"))

    assert response.status_code == 400
    assert told(response)["field"] == field
    assert not OptimizationRun.objects.exists()


@pytest.mark.parametrize("body", [b"\xff", b"[" * 100_000])
def test_a_body_that_nobody_can_read_is_400(body, caller, broker, rf):
    client, headers = caller("token:both")

    assert send(client, "run-full", headers, body).status_code == 400  # by the middleware's inspection

    with pytest.raises(BadInput) as caught:
        run_options(rf.post("/", body, content_type="application/json"))
    assert caught.value.field == "body"


# --- read-outs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("metrics?window=2y", "window"),
        ("report?window=", "window"),
        ("alerts?status=gone", "status"),
        ("recommendations?state=new", "state"),
        ("recommendations?area=shop", "area"),
        ("recommendations?limit=1000", "limit"),
        ("recommendations?limit=-1", "limit"),
        ("recommendations?offset=x", "offset"),
        ("alerts?limit=²", "limit"),
    ],
)
def test_a_wrong_query_is_400_with_the_field_named(query, field, caller):
    client, headers = caller("token:reader")

    response = client.get(BASE + query, headers=headers)

    assert (response.status_code, told(response)["field"]) == (400, field)


def test_recommendations_are_filtered_and_paged(caller, make_rec):
    for number in range(5):
        make_rec(number, state="proposed" if number % 2 else "kept")
    client, headers = caller("token:reader")

    found = told(client.get(BASE + "recommendations?state=kept&limit=2", headers=headers))

    assert (found["count"], len(found["recommendations"]), found["limit"]) == (3, 2, 2)
    assert found["recommendations"][0]["evidence"]["calls"] == 12
    assert "payload" not in found["recommendations"][0]


def test_alerts_are_those_that_are_not_resolved(caller, an_alert):
    client, headers = caller("token:reader")
    assert [row["message"] for row in told(client.get(BASE + "alerts", headers=headers))["alerts"]] == [
        "p95 is 900 ms"
    ]

    Alert.objects.update(status="resolved")

    assert told(client.get(BASE + "alerts", headers=headers))["alerts"] == []
    assert told(client.get(BASE + "alerts?status=resolved", headers=headers))["count"] == 1


def test_the_score_is_told_with_its_deductions_and_no_score_is_null(caller, request):
    client, headers = caller("token:reader")
    assert told(client.get(BASE + "score", headers=headers))["overall"] is None

    request.getfixturevalue("a_score")

    found = told(client.get(BASE + "score", headers=headers))
    assert found["overall"] == 70.0
    assert found["areas"]["cache"]["deductions"][0]["points"] == 30.0


def test_an_unknown_run_is_404(caller):
    client, headers = caller("token:reader")

    assert client.get(BASE + "runs/999999", headers=headers).status_code == 404


@pytest.mark.parametrize("path", READS)
def test_the_number_of_queries_does_not_depend_on_the_rows(
    path, caller, make_rec, an_alert, a_run, django_assert_max_num_queries
):
    for number in range(40):
        make_rec(number + 2, state="proposed" if number % 2 else "kept", fingerprint=f"{number + 2:064d}")
    client, headers = caller("token:reader")

    with django_assert_max_num_queries(30):
        assert client.get(BASE + path, headers=headers).status_code == 200


# --- health ---------------------------------------------------------------------------------------------------


def test_anonymous_learns_ok_and_no_more_from_one_query(django_assert_num_queries):
    with django_assert_num_queries(1):
        response = Client().get(BASE + "health")

    assert (response.status_code, told(response)) == (200, {"status": "ok"})


def test_who_may_see_the_console_learns_why(caller, an_alert):
    assert told(Client().get(BASE + "health")) == {"status": "degraded"}
    client, headers = caller("token:reader")

    found = told(client.get(BASE + "health", headers=headers))

    assert found["status"] == "degraded"
    assert "critical" in found["reasons"][0]


@pytest.mark.parametrize("role", ["customer", "staff"])
def test_others_learn_no_more_than_anonymous(role, client_of, an_alert):
    assert told(client_of(role).get(BASE + "health")) == {"status": "degraded"}


def test_a_database_that_is_down_is_503_also_for_a_session(client_of, monkeypatch):
    client = client_of("viewer")

    def gone(*args, **kwargs):
        raise DatabaseError("gone")

    monkeypatch.setattr("django.db.models.sql.compiler.SQLCompiler.execute_sql", gone)

    response = client.get(BASE + "health")

    assert (response.status_code, told(response)) == (503, {"status": "down"})


def test_old_recommendations_carry_their_times(caller, make_rec):
    old = make_rec(1, state="kept", applied_at=timezone.now() - timedelta(days=1))
    client, headers = caller("token:reader")

    (row,) = told(client.get(BASE + "recommendations", headers=headers))["recommendations"]

    assert row["applied_at"] == Recommendation.objects.get(pk=old.pk).applied_at.isoformat()


@pytest.mark.parametrize("role", ROLES)
def test_prometheus_reads_text(role, caller):
    client, headers = caller(role)

    response = client.get(BASE + "metrics/prometheus", headers=headers)

    assert response.status_code == ROLES[role][0]
    if response.status_code == 200:
        assert response["Content-Type"].startswith("text/plain; version=0.0.4")
        assert list(text_string_to_metric_families(response.content.decode()))
