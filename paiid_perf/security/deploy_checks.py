"""System checks of the security domain (E050–E059, W050–W059); ``paiid_perf.checks`` registers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core import checks

from paiid_perf.conf import SETTING, get_settings
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.security import facts
from paiid_perf.security.networks import parse_networks
from paiid_perf.security.rules import departures, parse_rate

BACKEND = "paiid_perf.security.backends.LimitedLoginBackend"
Found = list[checks.CheckMessage]


def check_values(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> Found:
    """E050 a rate that cannot be read · E051 a network that is none."""
    try:
        settings = get_settings()
    except ConfigurationError:
        return []  # E002 says so already
    rates = ((name, getattr(settings, name)) for name in ("LOGIN_LIMIT", "PASSWORD_RESET_LIMIT"))
    networks = ((name, tuple(getattr(settings, name))) for name in ("TRUSTED_PROXIES", "SAFELIST"))
    return [
        *_unusable(rates, parse_rate, "paiid_perf.E050"),
        *_unusable(networks, parse_networks, "paiid_perf.E051"),
    ]


def _unusable(values: Any, parse: Callable[[Any], object], id_: str) -> Found:
    found: Found = []
    for name, value in values:
        try:
            parse(value)
        except ValueError as error:
            found.append(checks.Error(f"settings.{SETTING}[{name!r}] cannot be used: {error}", id=id_))
    return found


def check_login_backend(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> Found:
    """W050 logins are not limited · W051 the limiting backend is not the first."""
    backends = list(django_settings.AUTHENTICATION_BACKENDS)
    if BACKEND not in backends:
        return [
            checks.Warning(
                "logins are not limited: passwords can be guessed as fast as they hash.",
                hint=f"Put {BACKEND!r} first in AUTHENTICATION_BACKENDS.",
                id="paiid_perf.W050",
            )
        ]
    if backends[0] != BACKEND or len(backends) == 1:
        return [
            checks.Warning(
                "the limiting backend must be the first of at least two: it asks those after it.",
                hint=f'AUTHENTICATION_BACKENDS = [{BACKEND!r}, "django.contrib.auth.backends.ModelBackend"]',
                id="paiid_perf.W051",
            )
        ]
    return []


def check_proxies(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> Found:
    """W052 every client is a trusted proxy, so each can name its own address."""
    try:
        networks = parse_networks(tuple(get_settings().TRUSTED_PROXIES))
    except (ConfigurationError, ValueError):
        return []
    if not any(network.prefixlen == 0 for network in networks):
        return []
    return [
        checks.Warning(
            f'settings.{SETTING}["TRUSTED_PROXIES"] trusts everyone: a client can forge its address.',
            hint="Name the networks of your proxies only.",
            id="paiid_perf.W052",
        )
    ]


def check_password_profile(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> Found:
    """I053 the password policy departs from OWASP ASVS."""
    try:
        expires = get_settings().PASSWORD_MAX_AGE is not None
    except ConfigurationError:
        return []
    validators = facts.declared_validators(django_settings.AUTH_PASSWORD_VALIDATORS)
    clauses = departures("FiveCriteriaValidator" in validators, expires, facts.longest_password(validators))
    if not clauses:
        return []
    return [
        checks.Info(
            f"the password policy departs from {', '.join(clauses)}.",
            hint='Use password_validators("nist") unless a rule of yours asks for more.',
            id="paiid_perf.I053",
        )
    ]


#: (check, only under ``check --deploy``)
CHECKS: tuple[tuple[Callable[..., Found], bool], ...] = (
    (check_values, False),
    (check_login_backend, True),
    (check_proxies, True),
    (check_password_profile, True),
)
