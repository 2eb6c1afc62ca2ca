"""Events are counted, bounded and kept; bans follow from them, expire, and never hit their maker."""

from __future__ import annotations

import json
import logging
import tracemalloc
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError
from django.test import RequestFactory
from django.utils import timezone

from paiid_perf.conf import get_settings
from paiid_perf.exceptions import ActionRefused
from paiid_perf.models import BlockedAddress, LoginFailure, SecurityEvent, UserSession
from paiid_perf.security import actions, background, blocks, chain, recorders
from paiid_perf.security.blocks import ban, is_blocked, must_wait, unban
from paiid_perf.security.events import CAPACITY, buffer, record_event
from paiid_perf.security.inspection import inspect_request

HOUR = timedelta(hours=1)
ATTACK = "x' OR 'a'='a' --"


def banned(network, **values):
    with patch("django.db.transaction.on_commit", lambda work, **_: work()):
        return ban(network, values.pop("for_", HOUR), values.pop("reason", "test"), **values)


@pytest.mark.django_db
def test_alike_events_are_one_row_with_a_count():
    for _ in range(1_000):
        record_event("login_failed", "low", address="203.0.113.7")
    record_event("login_failed", "low", address="203.0.113.8")
    assert actions.flush_events() == 2
    assert dict(SecurityEvent.objects.values_list("address", "count")) == {
        "203.0.113.7": 1_000,
        "203.0.113.8": 1,
    }


@pytest.mark.django_db
def test_a_flood_of_different_events_is_bounded_and_counted(caplog):
    caplog.set_level(logging.CRITICAL, "security")
    flood = 20_000
    tracemalloc.start()
    for number in range(flood):
        record_event(
            "scan",
            "low",
            address=str(10 * 2**24 + number and f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"),
        )
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(buffer) <= CAPACITY + 1
    assert peak < 10_000_000
    actions.flush_events()
    assert SecurityEvent.objects.count() <= CAPACITY + 1
    assert sum(SecurityEvent.objects.values_list("count", flat=True)) == flood


@pytest.mark.django_db
def test_a_database_that_is_away_loses_nothing_yet():
    record_event("login_failed", "low", address="203.0.113.7")
    with (
        patch.object(SecurityEvent.objects, "bulk_create", side_effect=DatabaseError("away")),
        pytest.raises(DatabaseError),
    ):
        actions.flush_events()
    record_event("login_failed", "low", address="203.0.113.7")
    actions.flush_events()
    assert SecurityEvent.objects.get().count == 2


@pytest.mark.django_db
def test_a_round_survives_a_failing_job(caplog):
    record_event("login_failed", "low", address="203.0.113.7")
    with patch.object(SecurityEvent.objects, "bulk_create", side_effect=DatabaseError("away")):
        background.work()
    assert "flush_events failed" in caplog.text
    assert len(buffer) == 1


def test_the_security_logger_gets_one_json_line_per_kind(caplog):
    caplog.set_level(logging.INFO, "security")
    request = RequestFactory().get("/x/", HTTP_USER_AGENT="a\r\nb", REMOTE_ADDR="203.0.113.7")
    for _ in range(3):
        record_event(
            "input_xss", "high", request, field="query:q\r\nforged", sample="<script>", action="report"
        )
    lines = [record.getMessage() for record in caplog.records if record.name == "security"]
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert (line["kind"], line["address"], line["path"]) == ("input_xss", "203.0.113.7", "/x/")
    assert "\n" not in line["field"]


@pytest.mark.django_db
def test_a_ban_is_known_at_once_here_and_after_a_round_elsewhere():
    assert not is_blocked("203.0.113.7")
    banned("203.0.113.7")
    assert is_blocked("203.0.113.7")
    assert not is_blocked("203.0.113.8")
    blocks._current = blocks.BlockList()  # what another process knows before its next round
    assert not is_blocked("203.0.113.7")
    background.work()
    assert is_blocked("203.0.113.7")


@pytest.mark.django_db
def test_networks_of_both_families_and_mapped_addresses():
    banned("198.51.100.0/24")
    banned("2001:db8:1::/48")
    assert is_blocked("198.51.100.77")
    assert is_blocked("::ffff:198.51.100.77")
    assert is_blocked("2001:db8:1:ffff::1")
    assert not is_blocked("2001:db8:2::1")
    assert not is_blocked("")
    assert not is_blocked("not an address")


@pytest.mark.django_db
def test_looking_up_costs_no_query(django_assert_num_queries):
    banned("198.51.100.0/24")
    with django_assert_num_queries(0):
        assert is_blocked("198.51.100.1")
        assert not is_blocked("198.51.101.1")


@pytest.mark.django_db
def test_a_ban_expires_and_can_be_taken_back():
    banned("203.0.113.7", for_=timedelta(seconds=-1))
    assert not is_blocked("203.0.113.7")
    banned("203.0.113.8")
    with patch("django.db.transaction.on_commit", lambda work, **_: work()):
        assert unban("203.0.113.8")
        assert not unban("203.0.113.8")
    assert not is_blocked("203.0.113.8")


@pytest.mark.django_db
def test_the_longer_ban_wins():
    first = banned("203.0.113.7", for_=HOUR)
    assert banned("203.0.113.7", for_=timedelta(minutes=1)).expires_at == first.expires_at
    assert banned("203.0.113.7", for_=None).expires_at is None
    assert banned("203.0.113.7", for_=HOUR).expires_at is None
    assert BlockedAddress.objects.count() == 1


@pytest.mark.django_db
def test_nobody_bans_themselves_or_the_safelist(perf):
    perf(SAFELIST=("192.0.2.0/28",), TRUSTED_PROXIES=("10.0.0.0/8",))
    own = RequestFactory().post("/", REMOTE_ADDR="203.0.113.7")
    for network, why in (
        ("203.0.113.0/24", "your own address"),
        ("192.0.2.4", "SAFELIST"),
        ("0.0.0.0/0", "your own address"),
        ("10.1.2.3", "TRUSTED_PROXIES"),
        ("nonsense", "no network"),
    ):
        with pytest.raises(ActionRefused, match=why):
            ban(network, HOUR, "test", request=own)
    assert not BlockedAddress.objects.exists()


@pytest.mark.django_db
def test_attacks_that_were_blocked_lead_to_a_ban_and_reports_do_not(perf):
    perf(BAN_SCORE=100)
    for _ in range(5):
        record_event("input_sqli", "high", address="203.0.113.7", action="block")
        record_event("input_sqli", "high", address="203.0.113.8", action="report")
    actions.flush_events()
    row = BlockedAddress.objects.get()
    assert row.network == "203.0.113.7"
    assert "input_sqli" in row.reason
    assert row.expires_at is not None


def fail_logins(times, address="203.0.113.7"):
    """So many failed logins, and what the background makes of them."""
    for _ in range(times):
        record_event("login_failed", "low", address=address)
    background.work()
    background.work()


def told():
    """The kinds of what is told of the ladder."""
    kinds = [kind for kind, _severity in actions.TOLD.values()]
    return list(
        SecurityEvent.objects.filter(kind__in=kinds)
        .order_by("number")
        .values_list("kind", "address", "action")
    )


@pytest.mark.django_db
@patch.object(blocks, "PACE", 1_000.0)
def test_each_rung_of_the_ladder_is_climbed_and_told_once(client, django_user_model):
    user = django_user_model.objects.create_user("bob", password="s3cret-enough")
    client.force_login(user)
    here = {"REMOTE_ADDR": "203.0.113.7"}
    own = UserSession.objects.get()
    UserSession.objects.filter(pk=own.pk).update(address="203.0.113.7")

    fail_logins(8)
    assert told() == [("suspicious_address", "203.0.113.7", "report")]
    assert dict(recorders.campaigns())["suspicious_address"] == 1
    assert must_wait("203.0.113.7") == 0
    assert not BlockedAddress.objects.exists()

    fail_logins(4)
    assert told()[1:] == [("address_slowed", "203.0.113.7", "delay")]
    assert (must_wait("203.0.113.7"), must_wait("203.0.113.7"), must_wait("203.0.113.8")) == (0, 1_000, 0)
    assert not is_blocked("203.0.113.7")
    assert UserSession.objects.exists()

    fail_logins(4)
    assert told()[2:] == [("address_logged_out", "203.0.113.7", "log_out")]
    assert not UserSession.objects.exists()
    assert not client.session.exists(own.key)

    fail_logins(4)
    fail_logins(1)
    assert told()[3:] == [("address_banned", "203.0.113.7", "ban")]
    assert BlockedAddress.objects.get().response == "ban"
    assert is_blocked("203.0.113.7")
    assert client.get("/api/optimization/health", **here).status_code == 403


@pytest.mark.django_db
@patch.object(blocks, "PACE", 1_000.0)
def test_a_slowed_network_is_answered_now_and_then_and_told_when_to_come_back(client):
    fail_logins(12)
    here = {"REMOTE_ADDR": "203.0.113.7"}
    answers = [client.get("/api/optimization/health", **here) for _ in range(3)]
    assert [answer.status_code == 429 for answer in answers] == [False, True, True]
    assert answers[1].headers["Retry-After"] == "1000"
    assert client.get("/api/optimization/health", REMOTE_ADDR="203.0.113.8").status_code != 429
    with patch.object(blocks, "PACE", 0.0):
        assert client.get("/api/optimization/health", **here).status_code != 429


@pytest.mark.django_db
def test_the_harsher_answer_wins_until_it_has_run_out():
    banned("203.0.113.7", for_=HOUR)
    banned("203.0.113.7", for_=2 * HOUR, response="delay")
    assert BlockedAddress.objects.get().response == "ban"
    BlockedAddress.objects.update(expires_at=timezone.now() - HOUR)
    banned("203.0.113.7", response="delay")
    assert BlockedAddress.objects.get().response == "delay"
    assert not is_blocked("203.0.113.7")
    banned("203.0.113.7", for_=timedelta(minutes=1))
    assert is_blocked("203.0.113.7")


@pytest.mark.django_db
def test_the_ladder_spares_the_safelist(perf):
    perf(SAFELIST=("203.0.113.0/24",))
    fail_logins(30)
    assert not BlockedAddress.objects.exists()


@pytest.mark.django_db
def test_the_kill_switch_stops_automatic_bans(perf):
    perf(KILL_SWITCH=True)
    record_event("x", "critical", address="203.0.113.7", action="block")
    actions.flush_events()
    assert not BlockedAddress.objects.exists()


@pytest.mark.django_db
def test_old_rows_are_pruned():
    now = timezone.now()
    SecurityEvent.objects.create(at=now - timedelta(days=91), kind="x", severity="low")
    SecurityEvent.objects.create(at=now - timedelta(days=89), kind="y", severity="low")
    LoginFailure.objects.create(key="a", window_ends_at=now - HOUR, count=3)
    BlockedAddress.objects.create(network="203.0.113.7", expires_at=now - HOUR)
    assert actions.prune(get_settings(), now) == {"events": 1, "failures": 1, "blocks": 1, "sessions": 0}
    assert SecurityEvent.objects.get().kind == "y"


@pytest.mark.django_db
def test_no_event_keeps_the_others_from_being_written():
    """Halves of characters, which no column holds, and a user who is gone before what they did is written."""
    for document in ({"\ud800": ATTACK}, {"a": ATTACK + "\udfff"}):
        request = RequestFactory().post("/", json.dumps(document), content_type="application/json")
        assert inspect_request(request).findings
    actions.flush_events()
    assert sorted(SecurityEvent.objects.values_list("field", flat=True)) == ["json: ", "json:a"]


@pytest.mark.django_db(transaction=True)
def test_who_deletes_their_account_is_no_end_of_events():
    user = get_user_model().objects.create_user("bob")
    record_event("login", "info", address="203.0.113.7", user_id=user.pk)
    record_event("other", "info", address="203.0.113.7")
    user.delete()
    actions.flush_events()
    assert sorted(SecurityEvent.objects.values_list("kind", "user")) == [("login", None), ("other", None)]
    assert chain.verify().why == ""


@pytest.mark.django_db
def test_one_row_that_fits_no_table_is_left_out_alone():
    record_event("good", "info", address="203.0.113.7")
    record_event("bad", "info", address="203.0.113.7")
    fits = actions._row
    with patch.object(actions, "_row", side_effect=lambda event, count: _misfit(fits(event, count))):
        actions.flush_events()
    assert list(SecurityEvent.objects.values_list("kind", flat=True)) == ["good"]


def _misfit(row):
    row.kind = row.kind if row.kind == "good" else "x" * 99
    return row
