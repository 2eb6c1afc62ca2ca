"""Sessions on real requests: time-outs, the limit under concurrent logins, what ends them, expired passwords."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.auth import authenticate, get_user_model, login
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from django.utils import timezone

from paiid_perf.models import PasswordRecord, SecurityEvent, UserSession
from paiid_perf.security import accounts, actions, sessions
from paiid_perf.security.passwords import mark_compromised

User = get_user_model()


def who(request):
    return HttpResponse(request.user.get_username() or "nobody")


urlpatterns = [
    path("who/", who),
    path("accounts/", include("django.contrib.auth.urls")),
    path("admin/", admin.site.urls),
]


@pytest.fixture(autouse=True)
def _site(settings, perf):
    settings.ROOT_URLCONF = __name__
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "paiid_perf.security.accounts.AccountMiddleware",
    ]


@pytest.fixture
def user(db):
    return User.objects.create_user("ada", password="first-password")


@pytest.fixture
def later(monkeypatch):
    """Let the middleware's clock run ahead."""

    start = timezone.now()

    def go(by):
        at = start + by
        monkeypatch.setattr(accounts.timezone, "now", lambda: at)

    return go


def logged_in(user, **headers):
    client = Client(headers=headers)
    client.force_login(user)
    return client


def asked(client, **kwargs):
    return client.get("/who/", **kwargs).content.decode()


def test_an_idle_session_ends_and_a_used_one_goes_on(user, perf, later):
    perf(SESSION_IDLE=timedelta(minutes=30))
    client = logged_in(user)
    for minutes in (20, 40, 60):
        later(timedelta(minutes=minutes))
        assert asked(client) == "ada"
    later(timedelta(minutes=91))
    assert asked(client) == "nobody"
    assert not UserSession.objects.exists()


def test_a_session_ends_at_its_absolute_age_however_it_is_used(user, perf, later):
    perf(SESSION_ABSOLUTE=timedelta(hours=8))
    client = logged_in(user)
    later(timedelta(hours=7, minutes=59))
    assert asked(client) == "ada"
    later(timedelta(hours=8, minutes=1))
    assert asked(client) == "nobody"


@pytest.mark.django_db(transaction=True)
def test_time_outs_hold_under_asgi(perf, later):
    perf(SESSION_IDLE=timedelta(minutes=30))
    user = User.objects.create_user("ada", password="first-password")
    client = AsyncClient()
    client.force_login(user)
    assert async_to_sync(client.get)("/who/").content == b"ada"
    later(timedelta(minutes=31))
    assert async_to_sync(client.get)("/who/").content == b"nobody"


def test_a_request_costs_no_query_of_ours_but_once_a_minute(user, later):
    client = logged_in(user)
    asked(client)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        asked(client)
    assert [query["sql"] for query in queries if "usersession" in query["sql"]] == []


def test_answers_vary_by_cookie_only_where_the_view_looks(user):
    client = logged_in(user)
    assert client.get("/who/").headers["Vary"] == "Cookie"
    assert "Vary" not in client.get("/nowhere/").headers


def test_past_the_limit_the_oldest_session_ends(user, perf):
    perf(SESSION_LIMIT=2)
    first, second, third = (logged_in(user) for _ in range(3))
    assert [asked(client) for client in (first, second, third)] == ["nobody", "ada", "ada"]


def test_past_the_limit_a_login_can_be_refused(user, perf):
    perf(SESSION_LIMIT=1, SESSION_LIMIT_ACTION="refuse")
    first = logged_in(user)
    with pytest.raises(sessions.TooManySessions):
        logged_in(user)
    assert asked(first) == "ada"
    first.logout()
    assert asked(logged_in(user)) == "ada"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", ["end_oldest", "refuse"])
def test_the_limit_holds_with_fifty_logins_at_once(perf, action):
    perf(SESSION_LIMIT=3, SESSION_LIMIT_ACTION=action)
    user = User.objects.create_user("ada", password="first-password")

    def log_in(_):
        request = RequestFactory().get("/")
        request.session = SessionStore()
        try:
            login(request, User.objects.get(pk=user.pk), backend="django.contrib.auth.backends.ModelBackend")
        except PermissionDenied:
            return None
        finally:
            connection.close()
        return request.session.session_key

    with ThreadPoolExecutor(8) as pool:
        keys = [key for key in pool.map(log_in, range(50)) if key]

    assert len(keys) == (50 if action == "end_oldest" else 3)
    assert sum(SessionStore().exists(key) for key in keys) == 3
    assert len(sessions.live_sessions(user, timezone.now())) == 3


def test_a_new_password_ends_the_other_sessions_and_a_deactivation_all(user):
    here, there = logged_in(user), logged_in(user)
    asked(here), asked(there)
    form = {
        "old_password": "first-password",
        "new_password1": "Qx7-another-one",
        "new_password2": "Qx7-another-one",
    }
    assert here.post("/accounts/password_change/", form).status_code == 302
    assert [asked(here), asked(there)] == ["ada", "nobody"]
    assert len(sessions.live_sessions(user, timezone.now())) == 1
    user.refresh_from_db()
    user.is_active = False
    user.save()
    assert asked(here) == "nobody"
    user.is_active = True
    user.save()
    assert asked(here) == "nobody"


def test_own_sessions_can_be_ended_others_only_by_permission(user):
    client = logged_in(user, user_agent="Firefox\r\nX: y")
    stranger = User.objects.create_user("eve", password="another-password")
    (session,) = sessions.live_sessions(user, timezone.now())
    assert "\n" not in session.agent
    with pytest.raises(PermissionDenied):
        sessions.end_session(stranger, session)
    assert asked(client) == "ada"
    sessions.end_session(user, session)
    assert asked(client) == "nobody"


def test_a_login_gets_a_new_key_and_a_planted_one_is_worth_nothing(user):
    planted = SessionStore()
    planted["basket"] = 1
    planted.save()
    client = Client()
    client.cookies["sessionid"] = planted.session_key
    client.login(request=RequestFactory().get("/"), username="ada", password="first-password")
    assert client.cookies["sessionid"].value != planted.session_key
    thief = Client()
    thief.cookies["sessionid"] = planted.session_key
    assert asked(thief) == "nobody"


def test_a_session_seen_from_another_browser_is_a_signal_not_a_lock(user):
    client = logged_in(user, user_agent="Firefox")
    asked(client, headers={"user-agent": "Firefox"})
    assert asked(client, headers={"user-agent": "curl"}) == "ada"
    assert asked(client, headers={"user-agent": "curl"}) == "ada"
    actions.flush_events()
    moved = SecurityEvent.objects.filter(kind="session_moved", field="agent")
    assert sum(moved.values_list("count", flat=True)) == 2  # to Firefox after the login's none, to curl


class TestExpiredPasswords:
    @pytest.fixture
    def client(self, db, perf):
        perf(PASSWORD_MAX_AGE=timedelta(days=90))
        user = User.objects.create_user("ada", password="first-password")
        PasswordRecord.objects.filter(user=user).update(set_at=timezone.now() - timedelta(days=91))
        return logged_in(user)

    def test_a_browser_is_led_to_the_change_page(self, client):
        answer = client.get("/who/", headers={"accept": "text/html"})
        assert (answer.status_code, answer.url) == (302, "/accounts/password_change/")

    def test_a_program_gets_a_clear_code(self, client):
        answer = client.get("/who/", headers={"accept": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (403, "password_expired")

    @pytest.mark.parametrize("page", ["/accounts/logout/", "/accounts/password_reset/", "/static/x.css"])
    def test_reset_logout_and_static_files_are_exempt(self, client, page):
        answer = client.get(page, headers={"accept": "application/json"})
        assert answer.status_code != 403

    def test_the_change_ends_it_at_once(self, client):
        form = {
            "old_password": "first-password",
            "new_password1": "Qx7-another-one",
            "new_password2": "Qx7-another-one",
        }
        assert (
            client.post("/accounts/password_change/", form, headers={"accept": "text/html"}).status_code
            == 302
        )
        assert asked(client) == "ada"

    def test_a_younger_one_is_in_nobodys_way(self, client):
        PasswordRecord.objects.update(set_at=timezone.now() - timedelta(days=89))
        assert asked(client, headers={"accept": "text/html"}) == "ada"

    def test_a_compromised_one_expires_without_any_age(self, db, perf):
        perf(PASSWORD_MAX_AGE=None)
        user = User.objects.create_user("bob", password="first-password")
        mark_compromised(user)
        assert client_answer(logged_in(user)) == 403


def client_answer(client):
    return client.get("/who/").status_code


def test_sessions_in_signed_cookies_are_left_alone(user, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    client = logged_in(user)
    assert asked(client) == "ada"
    assert not UserSession.objects.exists()


def test_a_refused_user_is_told_nothing_by_authenticate(user):
    assert authenticate(RequestFactory().get("/"), username="ada", password="wrong") is None
