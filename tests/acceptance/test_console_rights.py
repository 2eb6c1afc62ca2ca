"""Every address of the console by every role: who sees it, who may post to it, and that looking changes nothing."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.urls import NoReverseMatch, reverse

from paiid_perf.database import statements

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


@pytest.mark.parametrize("role", ["anonymous", "customer", "staff"])
def test_nobody_sees_anything_without_the_permission(role, client_of, addresses):
    client = client_of(role)

    seen = {name: client.get(address).status_code for name, address in addresses.items()}

    # The app's own place in the admin says what permission is missing.
    wrong = {name: status for name, status in seen.items() if status not in (302, 403, 404, 405)}
    assert wrong == {}
    leads_to_login = role in ("anonymous", "customer")
    assert all(status == 302 for status in seen.values()) == leads_to_login


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
