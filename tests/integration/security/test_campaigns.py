"""From requests to events to a campaign: noted once, counted for the alert, never in the request's way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import authenticate
from django.test import RequestFactory
from django.utils import timezone

from paiid_perf.models import SecurityEvent
from paiid_perf.security import actions
from paiid_perf.security.events import CAPACITY, PER_ADDRESS, buffer, record_event
from paiid_perf.security.login import mark
from paiid_perf.security.recorders import campaigns

pytestmark = pytest.mark.django_db


def test_many_names_from_one_network_are_credential_stuffing(perf):
    perf(LOGIN_LIMIT="100/5m")
    for n in range(12):
        request = RequestFactory().post("/login/", REMOTE_ADDR=f"203.0.113.{n}")
        assert authenticate(request, username=f"user{n}", password="x") is None
    actions.flush_events()
    assert dict(campaigns()) == {
        "brute_force": 0,
        "credential_stuffing": 1,
        "scanning": 0,
        "injection_campaign": 0,
        "suspicious_address": 0,
    }
    actions.flush_events()
    event = SecurityEvent.objects.get(kind="credential_stuffing")
    assert (event.severity, event.address, event.field) == ("high", "203.0.113.0", "203.0.113.0/24")
    assert dict(campaigns())["credential_stuffing"] == 1
    actions.flush_events()
    assert SecurityEvent.objects.filter(kind="credential_stuffing").count() == 1


def test_a_campaign_is_over_when_its_events_are_old():
    for _ in range(30):
        record_event("login_failed", "low", address="203.0.113.7", field="name:a")
    actions.flush_events()
    assert len(actions.note_campaigns(timezone.now())) == 1
    assert actions.note_campaigns(timezone.now() + timedelta(minutes=11)) == []


def test_events_tell_names_apart_without_saying_them():
    assert mark("Joe ") == mark("joe") != mark("joan")
    assert "joe" not in mark("joe")


def test_a_scanner_is_seen_through_the_answers_of_404(client):
    for path in ("/wp-login.php", "/.env", "/.git/config", "/phpmyadmin/", "/xmlrpc.php", "/nothing/"):
        assert client.get(path, REMOTE_ADDR="203.0.113.7").status_code == 404
    client.get("/nothing/", REMOTE_ADDR="203.0.113.7")
    actions.flush_events()
    assert dict(SecurityEvent.objects.values_list("path", "kind")) == {
        "/wp-login.php": "probe",
        "/.env": "probe",
        "/.git/config": "probe",
        "/phpmyadmin/": "probe",
        "/xmlrpc.php": "probe",
        "": "not_found",
    }
    assert SecurityEvent.objects.get(kind="not_found").count == 1
    assert dict(campaigns())["scanning"] == 1


def test_one_address_cannot_fill_the_rows_with_paths():
    for n in range(1_000):
        record_event("probe", "low", RequestFactory().get(f"/{n}.php", REMOTE_ADDR="203.0.113.7"))
    assert len(buffer) == PER_ADDRESS + 1
    assert sum(count for _, count in buffer.take()) == 1_000


def test_a_minute_has_so_many_rows_however_often_it_is_flushed():
    rows = 0
    for flush in range(4):
        for n in range(CAPACITY // 2):
            record_event("x", "low", address=f"10.{flush}.{n >> 8}.{n & 255}")
        rows += len(buffer.take())
    # A minute may end in between: then there are two.
    assert rows <= 2 * CAPACITY + 4
