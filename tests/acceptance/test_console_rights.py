"""Every address of the console by every role: who sees it, who may post to it, and that looking changes nothing."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.urls import NoReverseMatch, reverse

from paiid_perf.database import statements
from paiid_perf.http.urls import urlpatterns

pytestmark = pytest.mark.django_db
HOME = "/admin/paiid_perf/"
#: What only answers POST: address's name → the permission that it needs.
POSTS = {
    "paiid_perf_run_start": "run_optimization",
    "paiid_perf_cache_warm": "run_optimization",
    "paiid_perf_alert_acknowledge": "acknowledge_alert",
    "paiid_perf_unblock": "ban_address",
}
#: What asks first (GET) and acts then (POST) → its permission.
ASKS = {"paiid_perf_recommendation_act": "apply_recommendation"}
ALL = (
    "run_optimization",
    "approve_recommendation",
    "apply_recommendation",
    "acknowledge_alert",
    "ban_address",
)

ROLES = ("anonymous", "customer", "staff", "viewer", "superuser")
#: What a GET is answered, by role in that order → the addresses. A customer has our permissions, but is no staff;
#: staff has none of them; a viewer may only look.
EXPECTED = {
    (302, 302, 403, 200, 200): """
        alert_changelist alert_change alert_history alertrule_changelist alertsilence_changelist mark_changelist
        endpointrule_changelist recommendation_changelist recommendation_change recommendation_history
        recommendation_state optimizationrun_changelist optimizationrun_change optimizationrun_history score_changelist
        securityevent_changelist blockedaddress_changelist usersession_changelist endpoints endpoint database queries
        query query_state outlook cache settings system report run_progress security
    """,
    # Nobody adds what is recorded.
    (302, 302, 403, 403, 403): """
        alert_add recommendation_add metric_add statementsnapshot_add optimizationrun_add score_add securityevent_add
        usersession_add
    """,
    # Forms of what changes something.
    (302, 302, 403, 403, 200): """
        alertrule_add alertsilence_add mark_add endpointrule_add blockedaddress_add recommendation_act
    """,
    # A strategy of that name is not declared.
    (302, 302, 403, 403, 404): "cache_clear",
    # These lists are pages of the console.
    (302, 302, 403, 302, 302): "metric_changelist statementsnapshot_changelist",
    # Only POST.
    (302, 302, 405, 405, 405): "alert_acknowledge cache_warm run_start unblock",
    (405, 405, 405, 405, 405): "api:run-full api:run-quick",
    # The app's own place in the admin is not there for whoever may see nothing of it.
    (302, 302, 404, 200, 200): "app",
    (401, 403, 403, 200, 200): """
        api:run api:status api:metrics api:metrics-csv api:prometheus api:alerts api:recommendations api:score
        api:report
    """,
    # Load balancers ask.
    (200, 200, 200, 200, 200): "api:health",
}


@pytest.fixture
def addresses(rec, a_run, an_alert, a_score, monkeypatch):
    """name → address, for every page of our models that needs no more than these rows."""
    monkeypatch.setattr(statements, "texts", lambda settings, ids: {"1": "SELECT 1"})
    rows = {"recommendation": rec.pk, "optimizationrun": a_run.pk, "alert": an_alert.pk}
    arguments = {
        "paiid_perf_run_start": ["quick"],
        "paiid_perf_run_progress": [a_run.pk],
        "paiid_perf_recommendation_act": [rec.pk, "apply"],
        "paiid_perf_recommendation_state": [rec.pk],
        "paiid_perf_alert_acknowledge": [an_alert.pk],
        "paiid_perf_query": ["1"],
        "paiid_perf_query_state": ["1"],
        "paiid_perf_unblock": [1],
        "paiid_perf_cache_clear": ["standard"],
    }
    found = {"app": HOME}
    for model, pages in admin.site._registry.items():
        if model._meta.app_label != "paiid_perf":
            continue
        for name in {url.name for url in pages.get_urls() if url.name}:
            kind, _, what = name.removeprefix("paiid_perf_").rpartition("_")
            args = arguments.get(name, [rows[kind]] if what in ("change", "history") and kind in rows else [])
            try:
                found[name] = reverse(f"admin:{name}", args=args)
            except NoReverseMatch:
                assert what in ("change", "history", "delete"), name  # of rows that are not there
    found["paiid_perf_endpoint"] += "?name=GET%20api/orders/"
    return found


def contents():
    """Every row of every table of ours, and of what acting would write."""
    models = [*apps.get_app_config("paiid_perf").get_models(), LogEntry]
    return {model: sorted(map(repr, model.objects.values_list())) for model in models}


def test_looking_changes_nothing(client_of, addresses, broker):
    """Every address, as somebody who may do everything."""
    client = client_of("superuser")
    client.get(HOME)  # its session is written down now
    before = contents()

    statuses = {name: client.get(address).status_code for name, address in addresses.items()}

    assert {name for name, status in statuses.items() if status == 405} >= set(POSTS)
    after = contents()
    sessions = apps.get_model("paiid_perf", "UserSession")
    assert [model for model in before if before[model] != after[model] and model is not sessions] == []
    assert broker == []
    assert Session.objects.count() == 1


@pytest.fixture
def everywhere(addresses, a_run):
    """The console's addresses, and ``api:`` and its name for each of the JSON API's."""
    arguments = {"run": [a_run.pk]}
    api = {
        f"api:{url.name}": reverse(f"paiid_perf:{url.name}", args=arguments.get(url.name))
        for url in urlpatterns
    }
    return {name.removeprefix("paiid_perf_"): address for name, address in {**addresses, **api}.items()}


def test_every_address_answers_every_role_as_the_table_says(client_of, everywhere):
    """The addresses are read from the URLconf: a new one without a row here fails."""
    answers = {name: [] for name in everywhere}
    for role in ROLES:
        client = client_of(role)
        for name, address in everywhere.items():
            answers[name].append(client.get(address).status_code)

    expected = {name: list(statuses) for statuses, names in EXPECTED.items() for name in names.split()}
    assert answers == expected


def test_a_viewer_sees_every_page_and_may_do_nothing(client_of, post, addresses, broker):
    client = client_of("viewer")
    before = contents()

    seen = {name: client.get(address).status_code for name, address in addresses.items()}
    acted = {name: post(client, addresses[name]).status_code for name in (*POSTS, *ASKS)}

    refused = {name for name, status in seen.items() if status == 403}
    assert refused >= {name for name in seen if name.endswith(("_add", "_delete"))} | {*ASKS}
    assert set(acted.values()) == {403}
    assert broker == []
    assert {m for m, rows in contents().items() if rows != before[m]} <= {
        apps.get_model("paiid_perf", "UserSession")
    }


@pytest.mark.parametrize(("name", "needed"), [*POSTS.items(), *ASKS.items()])
def test_acting_needs_exactly_its_permission(name, needed, person, post, addresses, broker):
    from django.test import Client

    def answer(*permissions):
        client = Client(enforce_csrf_checks=True)
        client.cookies["csrftoken"] = "a" * 32
        client.force_login(person("-".join(permissions)[:150], "view_console", *permissions))
        return post(client, addresses[name]).status_code

    assert answer(*(other for other in ALL if other != needed)) == 403
    assert answer(needed) in (302, 404)


@pytest.mark.parametrize("name", [*POSTS, *ASKS])
def test_a_post_from_elsewhere_is_refused(name, client_of, addresses, broker):
    response = client_of("superuser").post(addresses[name])

    assert response.status_code == 403
    assert broker == []
    assert not LogEntry.objects.exists()
