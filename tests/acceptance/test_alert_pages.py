"""Alerts, their rules and silences in the console."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from paiid_perf.models import Alert, AlertRule, AlertSilence

pytestmark = pytest.mark.django_db
HOME = "/admin/paiid_perf/"


def test_an_alert_is_acknowledged_with_a_name_and_a_comment(client_of, post, an_alert):
    client, page = client_of("watch"), f"{HOME}alert/{an_alert.pk}/change/"
    assert 'name="comment"' in client.get(page).content.decode()

    answer = post(client, f"{HOME}alert/{an_alert.pk}/acknowledge/", {"comment": "on it", "next": page})

    an_alert.refresh_from_db()
    assert answer.url == page
    assert (an_alert.acknowledged_by.username, an_alert.comment) == ("watch", "on it")
    assert an_alert.acknowledged_at is not None
    assert 'name="comment"' not in client.get(page).content.decode()


def test_it_leads_back_to_no_other_site(client_of, post, an_alert):
    path = f"{HOME}alert/{an_alert.pk}/acknowledge/"

    assert post(client_of("watch"), path, {"next": "https://evil.example/"}).url == HOME


def test_many_are_acknowledged_with_one_comment(client_of, post, an_alert):
    Alert.objects.update(status="no data")
    data = {"action": "acknowledge", "_selected_action": [an_alert.pk], "comment": "all mine"}

    post(client_of("watch"), f"{HOME}alert/", data)

    assert list(Alert.objects.values_list("status", "comment")) == [("acknowledged", "all mine")]


def test_an_anomaly_is_drawn_with_its_band(client_of, an_alert):
    now = timezone.now()
    an_alert.evidence = {
        "metric": "cpu_percent web-1",
        "unit": "%",
        "band": {"value": 80.0, "low": 20.0, "middle": 30.0, "high": 40.0},
        "points": [[(now - timedelta(minutes=9 - n)).isoformat(), 20.0 + 7 * n] for n in range(10)],
    }
    an_alert.save()

    text = client_of("viewer").get(f"{HOME}alert/{an_alert.pk}/change/").content.decode()

    assert "cpu_percent web-1 before the alert, and what is usual at its time" in text
    assert "usually under" in text


def test_a_rules_state_is_shown(client_of, an_alert):
    AlertRule.objects.update(state="no data")

    assert "perf-pill-no-data" in client_of("viewer").get(f"{HOME}alertrule/").content.decode()


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("staff", 403), ("watch", 302)])
def test_who_acknowledges_may_silence(role, status, client_of, post):
    until = timezone.now() + timedelta(hours=1)
    data = {"until_0": f"{until:%Y-%m-%d}", "until_1": f"{until:%H:%M:%S}", "comment": "maintenance"}

    assert post(client_of(role), f"{HOME}alertsilence/add/", data).status_code == status

    made = list(AlertSilence.objects.values_list("comment", "created_by__username"))
    assert made == ([("maintenance", "watch")] if status == 302 else [])


def test_each_input_of_a_silence_has_a_name(client_of):
    text = client_of("watch").get(f"{HOME}alertsilence/add/").content.decode()

    assert 'aria-label="Date"' in text
    assert 'aria-label="Time"' in text


def test_silences_are_listed_for_who_may_look(client_of):
    AlertSilence.objects.create(until=timezone.now(), comment="over by now")

    assert "over by now" in client_of("viewer").get(f"{HOME}alertsilence/").content.decode()
    assert client_of("staff").get(f"{HOME}alertsilence/").status_code == 403
