"""Endpoint classes that people edit: refused like declarations, in force in every process, and taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection
from django.test import Client
from django.urls import reverse

from paiid_perf import edits
from paiid_perf.api.endpoints import endpoints
from paiid_perf.api.types import EditedClass, EndpointClass, ResponseStrategy
from paiid_perf.models import EndpointRule, Mark
from paiid_perf.registry import registry

#: What another worker does: it answers a request, and tells of its limit each time that it is asked.
WORKER = """
import json, os, sys
import django
from django.conf import settings

os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
told = json.loads(sys.stdin.readline())
from project import settings as site
from datetime import timedelta
site.DATABASES["default"] = told["database"]
site.CACHES = told["caches"]
site.PAIID_PERF = {**getattr(site, "PAIID_PERF", {}), "FLUSH_INTERVAL": timedelta(milliseconds=20)}
django.setup()

from paiid_perf import perf
from paiid_perf.api.endpoints import endpoints
from paiid_perf.telemetry import recorder

recorder._sink = lambda cells: {}
recorder.count("worker")
for line in sys.stdin:
    found = endpoints.of_template("api/orders/")
    print(json.dumps([found.declared and found.declared.rate, found.declared and found.declared.cache]), flush=True)
"""


@pytest.fixture(autouse=True)
def _as_declared() -> Iterator[None]:
    with registry.temporarily():
        yield


@pytest.fixture
def worker(settings: Any, transactional_db: None, redis_cache: Any) -> Iterator[subprocess.Popen[str]]:
    """Another process of the demo's site, on this test's database and cache."""
    told = {
        "database": {
            name: connection.settings_dict[name]
            for name in ("ENGINE", "NAME", "HOST", "PORT", "USER", "PASSWORD")
        },
        "caches": settings.CACHES,
    }
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings"},
    )
    assert process.stdin
    process.stdin.write(json.dumps(told) + "\n")
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(60)
        assert process.stdout
        process.stdout.close()


def says(worker: subprocess.Popen[str]) -> list[Any]:
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write("\n")
    worker.stdin.flush()
    found: list[Any] = json.loads(worker.stdout.readline())
    return found


def until(worker: subprocess.Popen[str], wanted: list[Any]) -> list[Any]:
    """What the worker says, asked until it is that, or as often as no machine is slow."""
    return next((found for _ in range(200_000) if (found := says(worker)) == wanted), says(worker))


def test_another_process_has_the_edit_and_the_way_back(worker: subprocess.Popen[str]) -> None:
    declared = says(worker)
    rule = EndpointRule.objects.create(name="trading", rate="7/m", cache="none")
    assert until(worker, ["7/m", None]) == ["7/m", None] != declared
    rule.delete()
    assert until(worker, declared) == declared


# --- in this process --------------------------------------------------------------------------------------


@pytest.fixture
def classes() -> Iterator[None]:
    with registry.temporarily(
        EndpointClass("orders", "/orders/", rate="60/m", cache="short"),
        ResponseStrategy("short", ttl=timedelta(seconds=5)),
        ResponseStrategy("everybody", ttl=timedelta(seconds=5), shared_with_users=True),
    ):
        yield


def rate_of(path: str) -> str | None:
    found = endpoints.of_template(path).declared
    return found.rate if found else None


@pytest.mark.django_db(transaction=True)
def test_what_is_empty_stays_as_declared(classes: None) -> None:
    EndpointRule.objects.create(name="orders", latency_objective_ms=50)
    found = endpoints.of_template("orders/1/").declared
    assert found
    assert (found.rate, found.cache, found.latency_objective_ms) == ("60/m", "short", 50)


@pytest.mark.django_db(transaction=True)
def test_a_class_can_be_added_and_put_out_of_force(classes: None) -> None:
    rule = EndpointRule.objects.create(name="exports", match="/orders/export/\n/dump/", rate="2/h")
    assert [rate_of("orders/export/"), rate_of("dump/"), rate_of("orders/1/")] == ["2/h", "2/h", "60/m"]
    rule.enabled = False
    rule.save()
    assert rate_of("orders/export/") == "60/m"


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_used_is_left_out_whole(classes: None, caplog: pytest.LogCaptureFixture) -> None:
    EndpointRule.objects.create(name="orders", rate="3/month", cache="none")
    assert rate_of("orders/") == "60/m"
    assert "3/month" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_the_table_is_read_when_something_was_said(redis_cache: Any, classes: None) -> None:
    now = [0.0]
    known = edits.Edits(clock=lambda: now[0])
    edits.tell()
    known.look()
    # An edit that says nothing (``update()``) is seen within a minute, any other at once.
    EndpointRule.objects.bulk_create([EndpointRule(name="orders", rate="1/m")])
    known.look()
    assert rate_of("orders/") == "60/m"
    now[0] += edits.ANYWAY_SECONDS
    known.look()
    assert rate_of("orders/") == "1/m"
    EndpointRule.objects.all().update(rate="2/m")
    known.look()
    assert rate_of("orders/") == "1/m"
    redis_cache.set(edits.word_key(), "another")
    known.look()
    assert rate_of("orders/") == "2/m"


def test_a_table_that_cannot_be_read_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, classes: None
) -> None:
    def broken() -> None:
        raise DatabaseError("gone")

    registry.swap(EditedClass, EditedClass("orders", {"rate": "4/m"}))
    monkeypatch.setattr(edits, "take_over", broken)
    known = edits.Edits()
    known.look()
    known.look()
    assert rate_of("orders/") == "4/m"
    assert caplog.text.count("gone") == 1


@pytest.mark.parametrize("rates", [("300/m", "301/m"), ("301/m", "300/m"), ("400/m", "400/h")])
def test_another_rate_counts_on_or_anew_but_counts(redis_cache: Any, site: None, rates: Any) -> None:
    """A log of requests and a ring of counters are never taken for each other."""
    client, left = Client(), []
    for rate in rates:
        with registry.temporarily(EditedClass("limited", {"rate": rate})):
            left += [client.get("/limited/number/").headers["RateLimit"] for _ in range(2)]
    assert all("r=" in told for told in left)


# --- in the admin -----------------------------------------------------------------------------------------

FORM = {"match": "", "rate": "", "rate_key": "", "cache": "", "latency_objective_ms": "", "enabled": "on"}
LIST = "admin:paiid_perf_endpointrule_changelist"
ADD = "admin:paiid_perf_endpointrule_add"


def client_of(*permissions: str) -> Client:
    user = get_user_model().objects.create_user(f"u{'-'.join(permissions)}", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=permissions, content_type__app_label="paiid_perf")
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rate": "3/month"}, "there is no month"),
        ({"rate": "60"}, "is no rate"),
        ({"cache": "forever"}, "No response strategy is named so"),
        ({"cache": "everybody"}, "only a declaration can say so"),
        ({"rate_key": "my.function"}, "Write ip, user"),
        ({"name": "new"}, "say what it matches"),
        ({"name": "new", "match": "shop:no-such-view"}, "No route or view is named so: shop:no-such-view"),
        ({"latency_objective_ms": "0"}, "more than 0"),
    ],
)
def test_the_form_refuses_what_a_declaration_may_not_say(
    classes: None, given: dict[str, str], told: str
) -> None:
    answer = client_of("change_endpointrule").post(reverse(ADD), {**FORM, "name": "orders", **given})
    assert answer.status_code == 200
    assert told in answer.content.decode()
    assert not EndpointRule.objects.exists()


@pytest.mark.django_db
def test_one_permission_edits_and_takes_back_and_both_are_logged(
    classes: None, django_capture_on_commit_callbacks: Any
) -> None:
    client = client_of("change_endpointrule")
    with django_capture_on_commit_callbacks(execute=True):
        client.post(reverse(ADD), {**FORM, "name": "orders", "rate": "6/m"})
    rule = EndpointRule.objects.get()
    assert rate_of("orders/") == "6/m"
    assert rule.changed_by
    with django_capture_on_commit_callbacks(execute=True):
        change = reverse("admin:paiid_perf_endpointrule_change", args=[rule.pk])
        client.post(change, {**FORM, "name": "orders", "rate": "9/m"})
    assert LogEntry.objects.latest("pk").get_change_message() == "rate: 6/m → 9/m"
    with django_capture_on_commit_callbacks(execute=True):
        client.post(reverse(LIST), {"action": "take_back", "_selected_action": [rule.pk]})
    assert rate_of("orders/") == "60/m"
    assert LogEntry.objects.count() == 3
    assert Mark.objects.filter(label__startswith="orders").count() == 3


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("permissions", "seen", "edited_by"), [((), 403, 403), (("view_console",), 200, 403)]
)
def test_who_may_not_edit_does_not(
    classes: None, permissions: tuple[str, ...], seen: int, edited_by: int
) -> None:
    client = client_of(*permissions)
    assert client.get(reverse(LIST)).status_code == seen
    assert client.post(reverse(ADD), {**FORM, "name": "orders", "rate": "6/m"}).status_code == edited_by
    assert not EndpointRule.objects.exists()


@pytest.mark.django_db
def test_the_pages_say_what_is_in_force_and_why(classes: None) -> None:
    registry.swap(EditedClass, EditedClass("orders", {"rate": "6/m"}))
    client = client_of("change_endpointrule", "view_console")
    for address in (reverse(LIST), reverse("admin:paiid_perf_endpoint") + "?name=GET%20orders/"):
        shown = client.get(address).content.decode()
        assert '6/m <span class="perf-quiet">edited' in shown
        assert 'short <span class="perf-quiet">declared' in shown
        assert f"{reverse(ADD)}?name=orders" in shown


@pytest.mark.django_db(transaction=True)
def test_no_request_asks_for_the_edits(site: None, django_assert_num_queries: Any) -> None:
    EndpointRule.objects.create(name="public", match="/public/", rate="2/h", rate_key="ip", cache="none")
    client = Client()
    with django_assert_num_queries(0):
        assert [client.get("/public/number/").status_code for _ in range(3)] == [200, 200, 429]
