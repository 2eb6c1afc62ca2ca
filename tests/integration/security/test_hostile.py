"""What an attacker tries: each row of the table in docs/security-model.md that no other test holds."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from statistics import median
from unittest.mock import patch

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from paiid_perf.models import BlockedAddress, SecurityEvent, UserSession
from paiid_perf.security import actions
from paiid_perf.security.addresses import client_address
from project.trading.models import Portfolio

pytestmark = pytest.mark.django_db
GOOD, OWN, PROXY = "correct horse battery staple", "203.0.113.7", "10.0.0.1"


@pytest.fixture
def alice():
    return get_user_model().objects.create_user("alice", "alice@example.com", GOOD)


def post_login(client, name, password, **headers):
    body = json.dumps({"username": name, "password": password})
    return client.post("/api/login/", body, content_type="application/json", **headers)


# --- the client's address ---------------------------------------------------------------------------------

FORGED = (
    "198.51.100.1",
    "127.0.0.1",
    PROXY,
    "::1",
    "unknown",
    "",
    "203.0.113.7:80",
    "' OR 1=1 --",
    "a" * 5_000,
)


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("position", ["alone", "before", "many before", "header of its own"])
def test_no_header_chooses_the_address(forged, position, perf):
    perf(TRUSTED_PROXIES=("10.0.0.0/8",))
    chains = {
        "alone": (OWN, forged),
        "before": (PROXY, f"{forged}, {OWN}"),
        "many before": (PROXY, ", ".join([forged] * 50 + [OWN, "10.0.0.9"])),
        "header of its own": (PROXY, OWN),
    }
    remote, forwarded = chains[position]
    others = dict.fromkeys(
        ("HTTP_X_REAL_IP", "HTTP_CLIENT_IP", "HTTP_FORWARDED", "HTTP_CF_CONNECTING_IP"), forged
    )
    request = RequestFactory().get("/", REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR=forwarded, **others)
    assert client_address(request) == OWN


def test_attempts_through_forged_hops_are_counted_together(alice, perf):
    perf(TRUSTED_PROXIES=("10.0.0.0/8",))
    for n in range(5):
        post_login(Client(), "alice", "x", REMOTE_ADDR=PROXY, HTTP_X_FORWARDED_FOR=f"198.51.100.{n}, {OWN}")
    answer = post_login(Client(), "alice", GOOD, REMOTE_ADDR=PROXY, HTTP_X_FORWARDED_FOR=f"127.0.0.1, {OWN}")
    assert answer.status_code == 401


# --- who exists -----------------------------------------------------------------------------------------


def cost_of(name):
    """(hashes, statements, events, answer) of one attempt with a wrong password: what its time is made of."""
    work = patch.object(MD5PasswordHasher, "encode", autospec=True, side_effect=MD5PasswordHasher.encode)
    with work as hashed, CaptureQueriesContext(connection) as queries:
        answer = post_login(Client(REMOTE_ADDR="203.0.113.99"), name, "wrong")
    statements = [query["sql"].split()[0] for query in queries]
    events = [(event.kind, event.severity, count) for event, count in actions.buffer.take()]
    return hashed.call_count, statements, events, answer.status_code, answer.content


@pytest.mark.parametrize("attempts", [0, 5], ids=["open", "locked"])
def test_a_name_that_exists_costs_what_one_that_does_not_costs(alice, perf, attempts):
    perf(LOGIN_LIMIT="5/5m")
    inactive = get_user_model().objects.create_user("ina", password=GOOD, is_active=False)
    costs = []
    for number, name in enumerate((alice.username, "nobody", inactive.username)):
        for _ in range(attempts):
            request = RequestFactory().post("/", REMOTE_ADDR=f"198.51.{number}.1")
            authenticate(request, username=name, password="x")
        actions.buffer.take()
        with patch("paiid_perf.security.login.client_address", lambda _, n=number: f"198.51.{n}.1"):
            costs.append(cost_of(name))
    assert costs[0][0] == (0 if attempts else 1)
    assert costs[0] == costs[1] == costs[2]


def test_no_time_tells_who_exists(alice, perf, settings):
    """CPU time of interleaved attempts under a hasher whose work is most of the time, as a site's is."""
    perf(LOGIN_LIMIT="1000/5m")
    settings.PASSWORD_HASHERS = ["tests.integration.security.hashers.ShortPBKDF2"]
    alice.set_password(GOOD)
    alice.save()
    taken = {"alice": [], "nobody": []}
    for _ in range(15):
        for name, times in taken.items():
            started = time.thread_time()
            post_login(Client(REMOTE_ADDR=OWN), name, "wrong")
            times.append(time.thread_time() - started)
    known, unknown = (median(times[3:]) for times in taken.values())
    assert abs(known - unknown) < 0.25 * max(known, unknown), (known, unknown)


# --- what is written down ---------------------------------------------------------------------------------


def test_a_user_agent_with_lines_of_its_own_forges_no_line(alice, caplog):
    agent = "curl\r\n2026-01-01 CRITICAL forged\u2028x\x00<script>alert(1)</script>"
    client = Client(REMOTE_ADDR=OWN, HTTP_USER_AGENT=agent)
    caplog.set_level("INFO", "security")
    assert post_login(client, "alice", GOOD).status_code in (200, 400)
    client.get("/api/instruments/")
    actions.flush_events()
    kept = [
        *UserSession.objects.values_list("agent", flat=True),
        *SecurityEvent.objects.values_list("sample", flat=True),
    ]
    told = [record.getMessage() for record in caplog.records if record.name == "security"]
    assert len([text for text in kept if text]) >= 2
    assert told
    assert not [text for text in (*kept, *told) if any(ord(character) < 32 for character in text)]
    assert all(json.loads(line) for line in told)


# --- the ladder -------------------------------------------------------------------------------------------


def test_an_attacker_who_goes_on_is_kept_out_for_a_while_and_nobody_else_is(
    perf, alice, django_capture_on_commit_callbacks
):
    perf(INSPECTION="block", BAN_SCORE=100, BAN_FOR=timedelta(minutes=30))
    attacker, neighbour = Client(REMOTE_ADDR="2001:db8:1:2::5"), Client(REMOTE_ADDR="2001:db8:1:3::5")
    statuses = [
        attacker.get("/api/instruments/", {"q": "x' UNION SELECT 1,2 --"}).status_code for _ in range(3)
    ]
    assert statuses == [403] * 3
    with django_capture_on_commit_callbacks(execute=True):
        actions.flush_events()
    assert BlockedAddress.objects.get().network == "2001:db8:1:2::/64"
    assert attacker.get("/api/market-data/movers/").status_code == 403
    assert Client(REMOTE_ADDR="2001:db8:1:2:ffff::1").get("/api/market-data/movers/").status_code == 403
    assert neighbour.get("/api/market-data/movers/").status_code != 403


# --- other people's things --------------------------------------------------------------------------------

#: path → what a stranger, another customer, the owner and a member of staff without rights are told
PORTFOLIO = {
    "/api/portfolios/{pk}/": (401, 404, 200, 404),
    "/api/portfolios/{pk}/positions/": (401, 404, 200, 404),
    "/api/portfolios/{pk}/orders/": (401, 404, 200, 404),
    "/api/portfolios/{pk}/insights/": (401, 404, 200, 404),
}


@pytest.mark.parametrize(("path", "expected"), PORTFOLIO.items())
def test_a_portfolio_tells_others_nothing_not_even_from_the_cache(path, expected, alice):
    users = get_user_model().objects
    portfolio = Portfolio.objects.create(owner=alice, name="Alice's")
    people = (
        None,
        users.create_user("bob", password="x"),
        alice,
        users.create_user("st", password="x", is_staff=True),
    )
    for _again in range(2):
        told = []
        # The owner first: what is kept of that answer must reach nobody else.
        for person in (alice, *people):
            client = Client(REMOTE_ADDR=OWN)
            if person is not None:
                client.force_login(person)
            told.append(client.get(path.format(pk=portfolio.pk)).status_code)
        assert tuple(told[1:]) == expected
