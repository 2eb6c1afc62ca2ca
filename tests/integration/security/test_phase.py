"""The security phase on a real database, the system checks, and the password history."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils import timezone

from paiid_perf.conf import get_settings
from paiid_perf.models import PasswordRecord, SecurityEvent
from paiid_perf.security import deploy_checks, facts
from paiid_perf.security.events import record_event
from paiid_perf.security.passwords import HISTORY_CAP, password_set_at
from paiid_perf.security.phase import PHASE
from paiid_perf.security.profiles import password_validators

pytestmark = pytest.mark.django_db


class Context(SimpleNamespace):
    """What the runner lends to a phase, noting what is proposed."""

    def __init__(self, **values):
        super().__init__(
            settings=get_settings(), now=timezone.now(), quick=False, dry_run=False, proposed=[], **values
        )

    def progress(self, fraction, step):
        assert 0 <= fraction <= 1

    def propose(self, proposals):
        self.proposed = list(proposals)
        return range(len(self.proposed))

    def settle(self, area):
        assert area == "security"
        return {}


def run(**values):
    context = Context()
    for name, value in values.items():
        setattr(context, name, value)
    return context, PHASE.run(context)


def test_the_phase_scores_advises_writes_events_and_prunes():
    SecurityEvent.objects.create(at=timezone.now() - timedelta(days=100), kind="old", severity="low")
    record_event("login_failed", "low", address="203.0.113.7")
    context, result = run()
    assert result.status == "succeeded"
    assert sum(check.weight for check in result.checks) > 80
    assert {proposal.area for proposal in context.proposed} == {"security"}
    assert result.details["pruned"]["events"] == 1
    assert list(SecurityEvent.objects.values_list("kind", flat=True)) == ["login_failed"]


def test_a_dry_run_writes_nothing():
    SecurityEvent.objects.create(at=timezone.now() - timedelta(days=100), kind="old", severity="low")
    record_event("login_failed", "low", address="203.0.113.7")
    _context, result = run(dry_run=True)
    assert result.details["pruned"] == {}
    assert list(SecurityEvent.objects.values_list("kind", flat=True)) == ["old"]


def test_the_deployment_checks_are_django_s_own(settings):
    settings.SECURE_SSL_REDIRECT = False
    settings.SESSION_COOKIE_SECURE = False
    found = {message.id for message in facts.deploy_messages()}
    assert {"security.W008", "security.W012"} <= found
    settings.SECURE_SSL_REDIRECT = True
    settings.SESSION_COOKIE_SECURE = True
    assert not {"security.W008", "security.W012"} & {message.id for message in facts.deploy_messages()}


def test_settings_move_the_score(settings):
    def value(name):
        _context, result = run()
        return next(check.value for check in result.checks if check.name == name)

    assert value("login_limits") == 1
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    assert value("login_limits") == 0
    settings.AUTH_PASSWORD_VALIDATORS = []
    assert value("passwords") == 0
    settings.AUTH_PASSWORD_VALIDATORS = password_validators("classic")
    assert value("passwords") == 1


def ids(messages):
    return [message.id for message in messages]


def test_system_checks_say_what_is_wrong(settings, perf):
    assert [ids(check()) for check, _deploy in deploy_checks.CHECKS] == [[], [], [], []]
    perf(LOGIN_LIMIT="often", TRUSTED_PROXIES=("0.0.0.0/0",), SAFELIST=("nonsense",))
    assert ids(deploy_checks.check_values()) == ["paiid_perf.E050", "paiid_perf.E051"]
    assert ids(deploy_checks.check_proxies()) == ["paiid_perf.W052"]
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    assert ids(deploy_checks.check_login_backend()) == ["paiid_perf.W050"]
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, deploy_checks.BACKEND]
    assert ids(deploy_checks.check_login_backend()) == ["paiid_perf.W051"]
    settings.AUTH_PASSWORD_VALIDATORS = password_validators("classic")
    assert ids(deploy_checks.check_password_profile()) == ["paiid_perf.I053"]


@pytest.fixture
def classic(settings):
    settings.AUTH_PASSWORD_VALIDATORS = password_validators("classic")
    return settings


def codes(password, user):
    try:
        validate_password(password, user)
    except ValidationError as error:
        return [item.code for item in error.error_list]
    return []


def test_the_last_passwords_are_refused(classic):
    user = get_user_model().objects.create_user("zoe", password="First-Pass-1")
    PasswordRecord.objects.update(set_at=timezone.now() - timedelta(days=2))
    assert codes("First-Pass-1", user) == ["password_reused"]
    assert codes("Second-Pass-2", user) == []
    for number in range(2, 8):
        user.set_password(f"Number-Pass-{number}")
        user.save()
    PasswordRecord.objects.update(set_at=timezone.now() - timedelta(days=2))
    assert PasswordRecord.objects.filter(user=user).count() == 5
    assert codes("First-Pass-1", user) == [], "only the last five count"


def test_a_password_stays_a_day(classic):
    user = get_user_model().objects.create_user("zoe", password="First-Pass-1")
    assert password_set_at(user) is not None
    assert codes("Second-Pass-2", user) == ["password_too_young"]


def test_a_user_from_before_the_history_cannot_keep_the_password(classic):
    user = get_user_model().objects.create_user("zoe", password="First-Pass-1")
    PasswordRecord.objects.all().delete()
    assert codes("First-Pass-1", user) == ["password_reused"]


def test_history_stores_hashes_and_is_capped(classic):
    user = get_user_model().objects.create_user("zoe", password="First-Pass-1")
    record = PasswordRecord.objects.get(user=user)
    assert record.password == user.password != "First-Pass-1"
    assert HISTORY_CAP <= 12
    assert django_settings.AUTH_PASSWORD_VALIDATORS[3]["OPTIONS"]["last"] <= HISTORY_CAP


def advisory(fixed):
    events = [{"introduced": "0"}, {"fixed": fixed}]
    affected = {
        "package": {"ecosystem": "PyPI", "name": "Django"},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    return {"id": "GHSA-x", "aliases": ["CVE-2099-1"], "summary": "Open.", "affected": [affected]}


def test_installed_packages_are_looked_up_in_the_advisories(settings, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "django.json").write_text(json.dumps(advisory("99.1")))
    (tmp_path / "old.json").write_text(json.dumps(advisory("0.1")))
    (tmp_path / "broken.json").write_text("{")
    settings.PAIID_PERF = {**settings.PAIID_PERF, "ADVISORIES": str(tmp_path)}
    context, result = run()
    (found,) = result.details["vulnerable"]
    assert (found["name"], found["fixed"], found["ids"]) == ("Django", "99.1", ("CVE-2099-1",))
    assert "security.vulnerable.Django" in {proposal.key for proposal in context.proposed}
    assert {policy["policy"] for policy in result.details["policies"]} >= {"software", "transport"}
    json.dumps(result.details)


def test_advisories_that_name_nothing_are_no_lack_of_advisories(settings, tmp_path):
    for where, expected in ((tmp_path / "none.json", None), (tmp_path / "audit.json", 1.0)):
        (tmp_path / "audit.json").write_text(json.dumps({"dependencies": [], "fixes": []}))
        settings.PAIID_PERF = {**settings.PAIID_PERF, "ADVISORIES": str(where)}
        _context, result = run()
        assert {check.name: check.value for check in result.checks}["vulnerabilities"] == expected
