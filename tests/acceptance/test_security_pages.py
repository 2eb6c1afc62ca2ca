"""Security in the console: events over time, top offenders, blocked addresses, sessions and samples."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from paiid_perf.models import BlockedAddress, SecurityEvent, UserSession

pytestmark = pytest.mark.django_db
HOME = "/admin/paiid_perf/"
OVERVIEW = HOME + "securityevent/overview/"
SESSIONS = HOME + "usersession/"


def page(client, path, status=200):
    response = client.get(path)
    assert response.status_code == status, path
    return response.content.decode()


@pytest.fixture
def events(db):
    now = timezone.now()
    rows = [
        ("sqli", "critical", "203.0.113.7", 40, "' OR ▒"),
        ("login_failed", "low", "203.0.113.7", 2, ""),
        ("xss", "medium", "198.51.100.2", 90, "<script▒"),
    ]
    SecurityEvent.objects.bulk_create(
        SecurityEvent(
            at=now - timedelta(minutes=n + 1),
            kind=kind,
            severity=severity,
            address=address,
            count=count,
            sample=sample,
        )
        for n, (kind, severity, address, count, sample) in enumerate(rows)
    )


@pytest.fixture
def block(db):
    return BlockedAddress.objects.create(network="203.0.113.7", reason="scanner")


# --- at a glance ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", ["1h", "24h", "30d"])
def test_events_offenders_and_blocks_are_on_one_page(window, client_of, events, block):
    html = page(client_of("viewer"), f"{OVERVIEW}?window={window}")

    assert html.index("203.0.113.7") < html.index("198.51.100.2")  # grave events come first
    assert "high and critical <strong>40</strong>" in html
    assert "medium <strong>90</strong>" in html
    assert "scanner" in html
    assert "You are logged in" in html
    assert "Unblock" not in html  # a viewer only looks


def test_what_is_quiet_says_so(client_of):
    html = page(client_of("watch"), OVERVIEW)

    assert "Nothing was noticed in this window." in html
    assert "Nobody is kept out now." in html


def test_more_events_cost_no_more_queries(client_of, events, django_assert_max_num_queries):
    client = client_of("superuser")
    client.get(OVERVIEW)  # its session is written down
    now = timezone.now()
    SecurityEvent.objects.bulk_create(
        SecurityEvent(at=now, kind=f"k{n % 9}", severity="low", address=f"10.0.0.{n}") for n in range(200)
    )
    with django_assert_max_num_queries(13):
        client.get(OVERVIEW)


def test_an_address_is_let_in_again_by_who_may(client_of, post, block):
    path = f"{HOME}securityevent/unblock/{block.pk}/"

    assert post(client_of("viewer"), path).status_code == 403
    assert client_of("watch").get(path).status_code == 405
    assert BlockedAddress.objects.exists()
    client = Client(enforce_csrf_checks=True)
    assert client.post(path).status_code in (302, 403)
    assert BlockedAddress.objects.exists()

    response = post(client_of("superuser"), path, follow=True)

    assert "let in again" in response.content.decode()
    assert not BlockedAddress.objects.exists()
    assert LogEntry.objects.get().object_repr == "203.0.113.7"


def test_samples_need_a_permission_of_their_own(client_of, person, events):
    event = SecurityEvent.objects.get(kind="sqli")
    places = (HOME + "securityevent/", f"{HOME}securityevent/{event.pk}/change/")

    viewer = client_of("viewer")
    assert not [path for path in places if "OR ▒" in page(viewer, path)]
    reader = Client()
    reader.force_login(person("reader", "view_console", "view_samples"))
    assert [path for path in places if "OR ▒" in page(reader, path)] == list(places)


# --- sessions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def two_people(person):
    """Two who may see the console, each logged in; (client, row) of each."""

    def enter(name, *permissions):
        user, client = person(name, "view_console", *permissions, password="pw-of-a-test-9"), Client()
        client.force_login(user)
        client.get(HOME + "score/")  # its session is written down
        now = timezone.now()
        row, _new = UserSession.objects.update_or_create(
            key=client.session.session_key,
            defaults={
                "user": user,
                "began_at": now,
                "seen_at": now,
                "ends_at": now + timedelta(hours=1),
                "agent": f"browser of {name}",
            },
        )
        return client, row

    return enter("ada"), enter("grace", "end_session")


def end(client, row, **more):
    data = {"action": "end_selected", "_selected_action": row.pk, **more}
    return client.post(SESSIONS, data, follow=True)


def test_everybody_sees_their_own_and_who_may_sees_all(two_people):
    (ada, _), (grace, _) = two_people

    assert "browser of grace" not in page(ada, SESSIONS)
    assert "this one" in page(ada, SESSIONS)
    assert "browser of ada" in page(grace, SESSIONS)


def test_a_sessions_key_is_shown_nowhere(two_people):
    (_, row), (grace, _) = two_people

    for path in ("", f"{row.pk}/change/", f"{row.pk}/history/", f"{row.pk}/delete/"):
        response = grace.get(SESSIONS + path, follow=True)
        assert row.key not in response.content.decode()
    assert row.key not in end(grace, row).content.decode()


def test_a_session_is_ended_after_being_asked(two_people):
    (ada, row), (grace, _) = two_people

    asked = end(grace, row).content.decode()
    assert "must log in again" in asked
    assert UserSession.objects.filter(pk=row.pk).exists()
    assert ada.get(HOME).status_code == 200

    assert "1 session ended" in end(grace, row, confirmed="1").content.decode()
    assert ada.get(HOME).status_code == 302
    assert "ended a session of ada" in LogEntry.objects.get().change_message


def test_nobody_ends_anothers_session_without_the_permission(two_people):
    (ada, _), (grace, row) = two_people

    end(ada, row, confirmed="1")

    assert UserSession.objects.filter(pk=row.pk).exists()
    assert grace.get(HOME).status_code == 200
    assert not LogEntry.objects.exists()
