"""The defences that are scored: how much of each is in place, and what puts it in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, get_args

from django.utils.translation import gettext_lazy

from paiid_perf.security import eol
from paiid_perf.security.types import Policy, SecurityFacts, Version

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as StrPromise

AREA = "security"


@dataclass(frozen=True, slots=True)
class Measure:
    """One scored defence: ``read`` gives the share of it that is in place (0–1; None: cannot be said)."""

    name: str
    label: StrPromise
    weight: float
    policy: Policy
    read: Callable[[SecurityFacts], float | None]
    hint: StrPromise
    how: str
    """Settings that put it in place."""
    reference: str = ""


def _without(*ids: str) -> Callable[[SecurityFacts], float]:
    """The share of these ``check --deploy`` results that do not show up."""

    def read(facts: SecurityFacts) -> float:
        found = {message.id for message in facts.deploy}
        return 1 - len(found.intersection(ids)) / len(ids)

    return read


def _secrets(facts: SecurityFacts) -> float:
    if facts.debug:
        return 0.0
    return _without("security.W009", "security.W020", "security.W018")(facts)


def _transport(facts: SecurityFacts) -> float:
    found = {message.id for message in facts.deploy}
    # Without a redirect or HSTS the first request goes in the clear; the two sub-options matter less.
    lost = {"security.W008": 0.4, "security.W004": 0.4, "security.W005": 0.1, "security.W021": 0.1}
    hsts_absent = {"security.W005": 0.1, "security.W021": 0.1} if "security.W004" in found else {}
    return max(
        0.0,
        1 - sum(points for id_, points in (lost | hsts_absent).items() if id_ in found or id_ in hsts_absent),
    )


COOKIES = {
    "session": ("security.W010", "security.W011", "security.W012"),
    "csrf": ("security.W015", "security.W016", "security.W017"),
    "script": ("security.W013", "security.W014"),
}


def _cookies(facts: SecurityFacts) -> float:
    found = {message.id for message in facts.deploy}
    return sum(not found.intersection(ids) for ids in COOKIES.values()) / len(COOKIES)


def _headers(facts: SecurityFacts) -> float:
    ids = (
        "security.W001",
        "security.W002",
        "security.W003",
        "security.W006",
        "security.W019",
        "security.W022",
    )
    return _without(*ids)(facts)


def _csp(facts: SecurityFacts) -> float:
    return float(facts.content_security_policy)


def _isolation(facts: SecurityFacts) -> float:
    return len(facts.headers & {"Permissions-Policy", "Cross-Origin-Resource-Policy"}) / 2


def password_profile(validators: frozenset[str], minimum_length: int) -> str:
    """Which policy the validators in force amount to: ``nist``, ``classic``, ``django``, ``weak`` or ``none``."""
    common = "CommonPasswordValidator" in validators
    if minimum_length >= 15 and common:
        return "nist"
    if {"FiveCriteriaValidator", "HistoryValidator"} <= validators and common:
        return "classic"
    if minimum_length >= 8 and common:
        return "django"
    return "weak" if validators else "none"


_PROFILE_WORTH = {"nist": 1.0, "classic": 1.0, "django": 0.6, "weak": 0.3, "none": 0.0}


def _passwords(facts: SecurityFacts) -> float:
    return _PROFILE_WORTH[password_profile(facts.validators, facts.minimum_length)]


#: Slow hashers of Django and of its optional dependencies (ASVS 11.4.2).
_SLOW = ("PBKDF2", "Argon2", "Scrypt", "BCrypt")


def _hashing(facts: SecurityFacts) -> float:
    if not any(name in facts.hasher for name in _SLOW):
        return 0.0
    return 0.5 if facts.weak_hashers else 1.0


def _login(facts: SecurityFacts) -> float:
    return float(facts.login_limited)


def _inspection(facts: SecurityFacts) -> float:
    return {"block": 1.0, "report": 0.8}.get(facts.inspection, 0.0)


def _admin(facts: SecurityFacts) -> float:
    return 0.0 if facts.admin_path == "/admin/" else 1.0


def unsupported(facts: SecurityFacts) -> tuple[Version, ...]:
    """What runs past its makers' support on that day."""
    return tuple(v for v in facts.versions if (eol.ends(v.product, v.series) or facts.today) < facts.today)


def _versions(facts: SecurityFacts) -> float | None:
    if not facts.versions:
        return None
    return 1 - len(unsupported(facts)) / len(facts.versions)


def _vulnerabilities(facts: SecurityFacts) -> float | None:
    """None without advisories to look in; each vulnerable package costs a quarter, a grave one all of it."""
    if facts.vulnerable is None:
        return None
    if any(found.severity in ("high", "critical") for found in facts.vulnerable):
        return 0.0
    return max(0.0, 1 - len(facts.vulnerable) / 4)


def _dangers(facts: SecurityFacts) -> float:
    return max(0.0, 1 - len(facts.dangers) / 3)


def _event_chain(facts: SecurityFacts) -> float:
    return float(facts.chain.broken_at is None)


def _sessions(facts: SecurityFacts) -> float:
    if facts.session_pickled:
        return 0.0
    return 1.0 if facts.session_age <= timedelta(days=14) else 0.5


def _exposure(facts: SecurityFacts) -> float:
    bad = (facts.cors_open, facts.trusts_everyone, bool(facts.debug_packages))
    return 1 - sum(bad) / len(bad)


POLICIES: tuple[Policy, ...] = get_args(Policy)
MEASURES: tuple[Measure, ...] = (
    Measure(
        "secrets",
        gettext_lazy("Secret key, DEBUG and allowed hosts"),
        16,
        "transport",
        _secrets,
        gettext_lazy("Turn DEBUG off, use a random SECRET_KEY of 50 characters, and name the hosts."),
        "DEBUG = False\n"
        'SECRET_KEY = os.environ["SECRET_KEY"]  # get_random_secret_key()\nALLOWED_HOSTS = ["www.example.com"]',
        "ASVS 13.4.2",
    ),
    Measure(
        "transport",
        gettext_lazy("HTTPS only"),
        12,
        "transport",
        _transport,
        gettext_lazy("Redirect to HTTPS and send HSTS; start with an hour, then a year."),
        "SECURE_SSL_REDIRECT = True\nSECURE_HSTS_SECONDS = 31_536_000\n"
        "SECURE_HSTS_INCLUDE_SUBDOMAINS = True\nSECURE_HSTS_PRELOAD = True\n"
        'SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # only behind a proxy that sets it',
        "ASVS 12.2.1, 3.4.1",
    ),
    Measure(
        "cookies",
        gettext_lazy("Cookies over HTTPS only and out of reach of scripts"),
        10,
        "transport",
        _cookies,
        gettext_lazy("Mark the session and CSRF cookies Secure and the session cookie HttpOnly."),
        "SESSION_COOKIE_SECURE = True\nCSRF_COOKIE_SECURE = True\nSESSION_COOKIE_HTTPONLY = True",
        "ASVS 3.3.1, 3.3.4",
    ),
    Measure(
        "headers",
        gettext_lazy("Protective middleware and headers"),
        8,
        "transport",
        _headers,
        gettext_lazy("Keep Django's security, CSRF and clickjacking middleware with their defaults."),
        'MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", …,\n'
        '    "django.middleware.csrf.CsrfViewMiddleware", "django.middleware.clickjacking.XFrameOptionsMiddleware"]\n'
        'SECURE_CONTENT_TYPE_NOSNIFF = True\nX_FRAME_OPTIONS = "DENY"\nSECURE_REFERRER_POLICY = "same-origin"',
        "ASVS 3.4",
    ),
    Measure(
        "content_security_policy",
        gettext_lazy("A Content-Security-Policy"),
        8,
        "transport",
        _csp,
        gettext_lazy("Send a policy without unsafe-inline: it is what stops the XSS that escaping missed."),
        "# Django 6.0: django.middleware.csp.ContentSecurityPolicyMiddleware and\n"
        'SECURE_CSP = {"default-src": [CSP.SELF], "object-src": [CSP.NONE], "base-uri": [CSP.NONE]}\n'
        "# Django 5.2: the django-csp package",
        "ASVS 3.4.3",
    ),
    Measure(
        "isolation",
        gettext_lazy("Permissions-Policy and Cross-Origin-Resource-Policy"),
        3,
        "transport",
        _isolation,
        gettext_lazy("Say which devices pages may use and who may load what the site answers."),
        'MIDDLEWARE = ["paiid_perf.security.headers.headers_middleware", …]\n'
        'PAIID_PERF = {"RESPONSE_HEADERS": {"Permissions-Policy": "camera=(self)"}}  # if pages use a device',
        "ASVS 3.4, 3.5.8",
    ),
    Measure(
        "passwords",
        gettext_lazy("Password policy"),
        12,
        "passwords",
        _passwords,
        gettext_lazy("Use the nist profile (15 characters and a common-password list) or the classic one."),
        "from paiid_perf.security.profiles import password_validators\n\n"
        'AUTH_PASSWORD_VALIDATORS = password_validators("nist")  # or "classic"',
        "ASVS 6.2",
    ),
    Measure(
        "hashing",
        gettext_lazy("Password hashing"),
        6,
        "passwords",
        _hashing,
        gettext_lazy("Hash with PBKDF2, scrypt or Argon2, and list no fast hasher."),
        'PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher",\n'
        '    "django.contrib.auth.hashers.ScryptPasswordHasher"]',
        "ASVS 11.4.2",
    ),
    Measure(
        "login_limits",
        gettext_lazy("Login limits"),
        12,
        "limits",
        _login,
        gettext_lazy("Put LimitedLoginBackend first: attempts are counted before a password is hashed."),
        'AUTHENTICATION_BACKENDS = ["paiid_perf.security.backends.LimitedLoginBackend",\n'
        '    "django.contrib.auth.backends.ModelBackend"]',
        "ASVS 6.3.1",
    ),
    Measure(
        "inspection",
        gettext_lazy("Input inspection"),
        4,
        "inspection",
        _inspection,
        gettext_lazy("Report what looks like an attack; block once the reports show no false alarm."),
        'PAIID_PERF = {"INSPECTION": "block"}',
    ),
    Measure(
        "admin_address",
        gettext_lazy("The admin's address"),
        2,
        "transport",
        _admin,
        gettext_lazy("Serve the admin under an address that scanners do not try."),
        'path("backoffice-7f3a/", admin.site.urls)',
        "ASVS 13.4.5",
    ),
    Measure(
        "supported_versions",
        gettext_lazy("Supported versions"),
        8,
        "software",
        _versions,
        gettext_lazy("Move off what its makers no longer patch."),
        "",
        "ASVS 15.2.1",
    ),
    Measure(
        "vulnerabilities",
        gettext_lazy("No known vulnerabilities"),
        10,
        "software",
        _vulnerabilities,
        gettext_lazy("Update what advisories name; keep the advisory file fresh."),
        'PAIID_PERF = {"ADVISORIES": "/srv/advisories/"}  # or "https://api.osv.dev"',
        "ASVS 15.2.1",
    ),
    Measure(
        "sessions",
        gettext_lazy("Sessions"),
        3,
        "sessions",
        _sessions,
        gettext_lazy("Serialise sessions as JSON and end them within two weeks."),
        "SESSION_COOKIE_AGE = 60 * 60 * 24 * 14\n"
        'SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer"',
        "ASVS 7.3",
    ),
    Measure(
        "exposure",
        gettext_lazy("Open doors"),
        5,
        "transport",
        _exposure,
        gettext_lazy(
            "Name the origins that CORS allows and the proxies you trust; no debug tools in production."
        ),
        'CORS_ALLOW_ALL_ORIGINS = False\nPAIID_PERF = {"TRUSTED_PROXIES": ("10.0.0.0/8",)}',
        "ASVS 3.4.2",
    ),
    Measure(
        "dangerous_settings",
        gettext_lazy("No dangerous settings"),
        6,
        "transport",
        _dangers,
        gettext_lazy("Change the settings that are named: each opens what Django keeps shut."),
        "",
        "ASVS 13.4",
    ),
    Measure(
        "event_chain",
        gettext_lazy("Security events as they were written"),
        4,
        "inspection",
        _event_chain,
        gettext_lazy("Somebody changed or removed events: compare with what the security logger was told."),
        "",
        "ASVS 16.4.2",
    ),
)
