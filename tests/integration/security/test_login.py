"""Login limits through the real ways in, with Redis alive, dead and emptied."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.cache import cache, caches
from django.db import DatabaseError, connection, connections
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from paiid_perf.models import LoginFailure, SecurityEvent
from paiid_perf.security import actions, login, refusals
from paiid_perf.security.forms import LimitedPasswordResetForm
from paiid_perf.security.login import normalised
from paiid_perf.security.types import Rate

pytestmark = pytest.mark.django_db
GOOD, BAD = "correct horse battery staple", "wrong"


@pytest.fixture(params=["alive", "dead", "none"])
def store(request):
    """Where attempts are counted: Valkey, rows because Valkey is dead, rows because there is none."""
    if request.param == "alive":
        request.getfixturevalue("redis_cache")
    elif request.param == "dead":
        request.getfixturevalue("dead_redis")
    else:
        local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "attempts"}
        request.getfixturevalue("settings").CACHES = {"default": local}
        caches["default"].clear()
    return request.param


@pytest.fixture
def alice():
    return get_user_model().objects.create_superuser("alice", "alice@example.com", GOOD)


def attempt(name="alice", password=BAD, address="203.0.113.7"):
    """True if an attempt through ``authenticate`` gets in."""
    request = RequestFactory().post("/", REMOTE_ADDR=address)
    return authenticate(request, username=name, password=password) is not None


def hashes():
    return patch.object(MD5PasswordHasher, "encode", autospec=True, side_effect=MD5PasswordHasher.encode)


def post_login(address="203.0.113.7", password=BAD):
    body = json.dumps({"username": "alice", "password": password})
    return Client(REMOTE_ADDR=address).post("/api/login/", body, content_type="application/json")


def test_five_failures_lock_the_api(store, alice):
    assert [post_login().status_code for _ in range(5)] == [401] * 5
    with hashes() as hashed:
        assert post_login(password=GOOD).status_code == 401
    assert hashed.call_count == 0, "a locked attempt reached the password hash"
    assert post_login(address="203.0.113.8", password=GOOD).status_code == 200


def test_a_locked_attempt_asks_the_database_nothing(redis_cache, alice):
    for _ in range(5):
        attempt()
    with CaptureQueriesContext(connection) as queries:
        assert not attempt(password=GOOD)
        assert not attempt("ALICE ", GOOD)
    assert len(queries) == 0


@pytest.mark.django_db(transaction=True)
def test_a_flood_of_locked_attempts_asks_nobody(redis_cache, alice, monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(refusals.time, "monotonic", lambda: now[0])
    for _ in range(6):
        attempt()
    with patch.object(login, "_take", side_effect=AssertionError("asked")), hashes() as hashed:
        assert not attempt(password=GOOD)
        assert not attempt("nobody", GOOD), "the address is full for every name"
    assert hashed.call_count == 0
    assert attempt(password=GOOD, address="203.0.113.8"), "only who was refused is"
    LoginFailure.objects.all().delete()
    redis_cache.flushall()
    assert not attempt(password=GOOD)
    now[0] += refusals.REFUSED_FOR
    assert attempt(password=GOOD), "it is asked again after a second"


def test_a_refusal_outlives_no_transaction(store, alice):
    for _ in range(6):
        attempt()
    assert not refusals._until


def test_refusals_stay_bounded():
    for number in range(refusals.REFUSALS + 10):
        refusals.refuse_for_now(f"name-{number}", "203.0.113.7", {"pair"})
    assert len(refusals._until) <= refusals.REFUSALS
    refusals.refuse_for_now("alice", "203.0.113.8", {"crowd"})
    assert not refusals.is_refused("alice", "203.0.113.8"), "a crowd at once passes"


def test_a_failure_takes_few_statements(dead_redis, alice):
    attempt("mallory", address="203.0.113.9")
    with CaptureQueriesContext(connection) as queries:
        attempt("mallory", address="203.0.113.9")
    asked = [query["sql"] for query in queries if "perf_loginfailure" in query["sql"].lower()]
    assert 0 < len(asked) <= 7, asked


def test_a_row_that_retention_takes_meanwhile_is_made_anew(dead_redis, alice):
    real, calls = LoginFailure.objects.bulk_create, []

    def late(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs) if len(calls) > 1 else None

    with patch.object(LoginFailure.objects, "bulk_create", side_effect=late):
        assert attempt(password=GOOD)
    assert [attempt() for _ in range(5)] == [False] * 5
    assert not attempt(password=GOOD)


def test_five_failures_lock_the_admin(store, alice):
    client = Client(REMOTE_ADDR="203.0.113.7")
    for _ in range(5):
        client.post("/admin/login/", {"username": "alice", "password": BAD})
    refused = client.post("/admin/login/?next=/admin/", {"username": "alice", "password": GOOD})
    assert refused.status_code == 200
    assert "_auth_user_id" not in client.session
    other = Client(REMOTE_ADDR="203.0.113.9")
    assert (
        other.post("/admin/login/?next=/admin/", {"username": "alice", "password": GOOD}).status_code == 302
    )


def test_other_names_from_the_same_address_are_locked_too(store, alice):
    for number in range(5):
        attempt(f"nobody-{number}")
    assert not attempt("alice", GOOD)


def test_success_starts_the_name_over_but_forgives_only_its_own_failures(store, alice):
    for _ in range(3):
        attempt()
    attempt("mallory")
    assert attempt(password=GOOD)
    for _ in range(3):
        assert not attempt()
    assert attempt(password=GOOD), "3 + 1 failures count, the forgiven ones do not"
    for number in range(4):
        attempt(f"mallory-{number}")
    assert not attempt(password=GOOD), "one failure of mallory and four of hers are five"


def test_logging_in_often_is_no_failure(store, alice):
    assert all(attempt(password=GOOD) for _ in range(8))


def test_variants_of_a_name_are_one_name(store, alice):
    for number, name in enumerate(("Alice", "ALICE ", "ａｌｉｃｅ", " alice", "aLiCe") * 4):
        attempt(name, address=f"198.51.100.{number}")
    assert not attempt("alice", GOOD, "203.0.113.99"), "20 failures from anywhere lock the name for strangers"
    assert normalised("ＡLICE ") == "alice"


def test_neither_long_nor_broken_names_do_harm(store):
    """A name of megabytes takes as long as a short one, and half a character is a name that nobody has."""
    assert len(normalised("\ufdfa" * 2_000_000)) < 20 * login.MAX_NAME
    assert login.mark("\ud800").startswith("name:")
    request = RequestFactory().post("/", REMOTE_ADDR="203.0.113.7")
    for _ in range(7):
        assert authenticate(request, username="x" * 1_000_000, password=BAD) is None
    counted = login.login_tiers("x" * 600, "203.0.113.7", Rate(5, 60))
    assert counted == login.login_tiers("x" * 700, "203.0.113.7", Rate(5, 60))


def test_strangers_cannot_lock_the_owner_out_of_a_known_place(store, alice):
    client = Client(REMOTE_ADDR="192.0.2.10")
    client.post(
        "/api/login/", json.dumps({"username": "alice", "password": GOOD}), content_type="application/json"
    )
    actions.flush_events()
    for number in range(25):
        attempt("alice", address=f"198.51.100.{number}")
    assert not attempt("alice", GOOD, "203.0.113.99")
    assert attempt("alice", GOOD, "192.0.2.10")


@pytest.mark.parametrize(
    ("at_home", "later"), [("203.0.113.7", "203.0.113.7"), ("2001:db8:1:2::a", "2001:db8:1:2:ffff::b")]
)
def test_a_place_that_many_share_is_known_to_each(store, alice, at_home, later):
    """More logins of others than are looked through, and an IPv6 device's address of another day."""
    bob, now = get_user_model().objects.create_user("bob"), timezone.now()
    logins = [(alice, now - timedelta(days=9)), *[(bob, now)] * 60]
    SecurityEvent.objects.bulk_create(
        SecurityEvent(at=at, kind="login", severity="info", address=at_home, user=who) for who, at in logins
    )
    for number in range(25):
        attempt(address=f"198.51.100.{number}")
    assert not attempt(password=GOOD, address="198.51.100.200"), "strangers used up the name"
    assert not attempt(password=GOOD, address="2001:db8:9::1"), "no other place is known"
    assert attempt(password=GOOD, address=later)


def test_an_ipv6_attacker_cannot_rotate_within_its_network(store, alice):
    for number in range(5):
        attempt(f"nobody-{number}", address=f"2001:db8:1:2::{number + 1:x}")
    assert not attempt("alice", GOOD, "2001:db8:1:2:ffff::1")
    assert attempt("alice", GOOD, "2001:db8:1:3::1")


def test_a_forged_header_changes_nothing(store, alice):
    for number in range(5):
        request = RequestFactory().post(
            "/", REMOTE_ADDR="203.0.113.7", HTTP_X_FORWARDED_FOR=f"10.9.8.{number}"
        )
        authenticate(request, username="alice", password=BAD)
    assert not attempt(password=GOOD)


def test_the_lock_ends_with_its_window(dead_redis, alice):
    for _ in range(5):
        attempt()
    assert not attempt(password=GOOD)
    LoginFailure.objects.update(window_ends_at=timezone.now() - timedelta(seconds=1))
    assert attempt(password=GOOD)


@pytest.mark.parametrize("how", ["flushall", "clear"])
def test_emptying_redis_forgives_nothing(redis_cache, alice, how):
    for _ in range(4):
        attempt()
    redis_cache.flushall() if how == "flushall" else cache.clear()
    assert not attempt()
    assert not attempt(password=GOOD)


def test_redis_dying_in_an_attack_forgives_nothing(redis_cache, alice, settings):
    for _ in range(4):
        attempt()
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"},
    }
    assert not attempt()
    assert not attempt(password=GOOD)


@pytest.mark.django_db(transaction=True)
def test_many_at_once_get_no_more_tries(store, alice):
    def one(_number):
        try:
            return attempt()
        finally:
            connections.close_all()

    with hashes() as hashed, ThreadPoolExecutor(12) as pool:
        list(pool.map(one, range(24)))
    assert hashed.call_count == 5


def test_events_tell_what_happened_and_no_name(store, alice):
    for _ in range(6):
        attempt()
    actions.flush_events()
    counts = dict(SecurityEvent.objects.values_list("kind", "count"))
    assert counts == {"login_failed": 5, "login_locked": 1}
    assert not SecurityEvent.objects.filter(sample__contains="alice").exists()


def test_the_safelist_is_never_locked(store, alice, perf):
    perf(SAFELIST=("203.0.113.0/24",))
    for _ in range(7):
        attempt()
    assert attempt(password=GOOD)


def test_a_session_made_through_the_backend_works(store, alice):
    client = Client()
    client.post("/admin/login/?next=/admin/", {"username": "alice", "password": GOOD})
    assert client.get("/admin/").status_code == 200


def test_password_resets_stop_at_three_without_saying_so(store, alice):
    with patch.object(PasswordResetForm, "save") as sent:
        for number in range(5):
            request = RequestFactory().post("/", REMOTE_ADDR=f"203.0.113.{number}")
            form = LimitedPasswordResetForm(
                {"email": "Alice@example.com" if number % 2 else "alice@example.com"}
            )
            assert form.is_valid()
            form.save(request=request)
    assert sent.call_count == 3


def test_with_neither_redis_nor_rows_there_is_no_login(dead_redis, alice):
    with patch.object(LoginFailure.objects, "bulk_create", side_effect=DatabaseError("gone")):
        assert not attempt(password=GOOD)
    assert attempt(password=GOOD)
