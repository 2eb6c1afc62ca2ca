"""What the site's defences are, read from settings, Django's own checks, installed packages and the events."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import django
from django.conf import settings as django_settings
from django.core import checks
from django.db import DatabaseError, connections
from django.db.models import Q, Sum
from django.urls import NoReverseMatch, reverse

from paiid_perf.conf import Settings
from paiid_perf.models import BlockedAddress, SecurityEvent
from paiid_perf.security import chain, headers, osv
from paiid_perf.security.campaigns import FAILURES, INJECTIONS, KINDS, PROBES
from paiid_perf.security.events import buffer
from paiid_perf.security.networks import parse_networks
from paiid_perf.security.rules import advisories, dangers, vulnerable
from paiid_perf.security.sink import KIND
from paiid_perf.security.types import DeployMessage, EventCount, SecurityFacts, Trace, Version, Vulnerable

LIMITED_BACKEND = "paiid_perf.security.backends.LimitedLoginBackend"
#: Packages that show code, settings or queries to whoever finds them.
DEBUG_PACKAGES = {
    "debug_toolbar": "django-debug-toolbar",
    "django_extensions": "django-extensions",
    "silk": "django-silk",
    "django_pdb": "django-pdb",
    "django_browser_reload": "django-browser-reload",
}
logger = logging.getLogger("paiid_perf")

#: Newest rows of the chain of events that a run follows; ``perf events`` follows it all.
CHAIN_ROWS = 20_000
#: A larger file is none of advisories.
ADVISORY_BYTES = 50_000_000
#: Kinds of events that one look for campaigns reads.
TRACES = 50_000
_FAST_HASHERS = ("MD5", "SHA1", "Unsalted", "Crypt")


def read(settings: Settings, now: datetime) -> SecurityFacts:
    """All facts of one run; a few queries for the events, none elsewhere."""
    hashers = [path.rpartition(".")[2] for path in django_settings.PASSWORD_HASHERS]
    validators = declared_validators(django_settings.AUTH_PASSWORD_VALIDATORS)
    middleware = frozenset(django_settings.MIDDLEWARE)
    return SecurityFacts(
        deploy=deploy_messages(),
        debug=django_settings.DEBUG,
        middleware=middleware,
        validators=frozenset(validators),
        minimum_length=_minimum_length(validators),
        hasher=hashers[0] if hashers else "",
        weak_hashers=tuple(name for name in hashers if name.startswith(_FAST_HASHERS)),
        login_limited=_is_login_limited(),
        login_limit=settings.LOGIN_LIMIT,
        inspection=settings.INSPECTION,
        content_security_policy=_has_csp(middleware),
        headers=frozenset(_added_headers(middleware, settings.RESPONSE_HEADERS)),
        admin_path=_admin_path(),
        cors_open=_is_cors_open(),
        session_age=timedelta(seconds=django_settings.SESSION_COOKIE_AGE),
        session_pickled="Pickle" in str(getattr(django_settings, "SESSION_SERIALIZER", "")),
        versions=tuple(_versions(settings.DATABASE)),
        debug_packages=tuple(
            name for module, name in DEBUG_PACKAGES.items() if module in django_settings.INSTALLED_APPS
        ),
        trusts_everyone=any(
            network.prefixlen == 0 for network in parse_networks(tuple(settings.TRUSTED_PROXIES))
        ),
        events=events_by_severity(now - timedelta(days=1)),
        blocked=BlockedAddress.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now)).count(),
        built_statements=built_statements(now - timedelta(days=1)),
        today=now.date(),
        vulnerable=vulnerable_distributions(settings.ADVISORIES),
        dangers=dangers(lambda name, default: getattr(django_settings, name, default)),
        chain=chain.verify(last=CHAIN_ROWS),
        password_expiry=settings.PASSWORD_MAX_AGE is not None,
        longest_password=longest_password(validators),
    )


def vulnerable_distributions(where: str) -> tuple[Vulnerable, ...] | None:
    """What is installed and named by the advisories of that file, directory or service; None where there are none."""
    if not where:
        return None
    names = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"]}
    if osv.is_service(where):
        return _asked(where, names)
    documents = list(_documents(Path(where)))
    return vulnerable(names, advisories.read(documents)) if documents else None


def _asked(address: str, names: dict[str, str]) -> tuple[Vulnerable, ...] | None:
    try:
        return vulnerable(names, advisories.read(list(osv.ask(address, names))))
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s does not tell of advisories: %s", address, error)
        return None


def _documents(place: Path) -> Iterator[Any]:
    """The JSON file, or every one in the directory; one that cannot be read is logged and left out."""
    for path in sorted(place.rglob("*.json")) if place.is_dir() else [place]:
        try:
            if path.stat().st_size <= ADVISORY_BYTES:
                yield json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            logger.warning("The advisories in %s cannot be read: %s", path, error)


def deploy_messages() -> tuple[DeployMessage, ...]:
    """What ``check --deploy`` says under the tag ``security``."""
    found = checks.run_checks(tags=[checks.Tags.security], include_deployment_checks=True)
    return tuple(
        DeployMessage(message.id or "", str(message.msg), str(message.hint or ""))
        for message in found
        if not message.is_silenced()
    )


def events_by_severity(since: datetime) -> dict[str, int]:
    """How many events there were, by severity."""
    rows = (
        SecurityEvent.objects.filter(at__gte=since).order_by().values_list("severity").annotate(Sum("count"))
    )
    return dict(rows)


def built_statements(since: datetime) -> tuple[str, ...]:
    """The lines of code seen at the sink building SQL from a request, in order; at most 20."""
    rows = SecurityEvent.objects.filter(kind=KIND, at__gte=since).order_by("sample")
    return tuple(rows.values_list("sample", flat=True).distinct()[:20])


def traces(since: datetime) -> list[Trace]:
    """The events that campaigns are made of, alike ones together; the newest TRACES kinds of them at most."""
    rows = (
        SecurityEvent.objects.filter(kind__in=FAILURES | INJECTIONS | PROBES, at__gte=since)
        .exclude(address=None)
        .order_by()
        .values_list("address", "kind", "field", "path")
        .annotate(Sum("count"))
    )
    return [Trace(*row) for row in rows[:TRACES]]


def known_campaigns(since: datetime) -> set[tuple[str, str]]:
    """(kind, first address of the network) of the campaigns that were noted already."""
    rows = SecurityEvent.objects.filter(kind__in=KINDS, at__gte=since).values_list("kind", "address")
    return {(kind, address or "") for kind, address in rows}


def is_told(kind: str, address: str, since: datetime) -> bool:
    """Whether there is an event of the kind about the address, written or waiting."""
    waits = any(event.kind == kind and event.address == address for event in buffer.waiting())
    return waits or SecurityEvent.objects.filter(kind=kind, address=address, at__gte=since).exists()


def told(kind: str, since: datetime) -> int:
    """How many addresses there are events of that kind about."""
    return SecurityEvent.objects.filter(kind=kind, at__gte=since).values("address").distinct().count()


def events_by_address(addresses: set[str], since: datetime) -> list[EventCount]:
    """The events of these addresses that count towards a ban: a mere report never does."""
    rows = (
        SecurityEvent.objects.filter(address__in=addresses, at__gte=since)
        .exclude(action="report")
        .order_by()
        .values_list("address", "kind", "severity")
        .annotate(Sum("count"))
    )
    return [EventCount(*row) for row in rows]


def declared_validators(declared: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Options by class name."""
    return {entry["NAME"].rpartition(".")[2]: entry.get("OPTIONS", {}) for entry in declared}


def _minimum_length(validators: dict[str, dict[str, Any]]) -> int:
    defaults = {"MinimumLengthValidator": 8, "FiveCriteriaValidator": 12}
    lengths = [
        int(validators[name].get("min_length", d)) for name, d in defaults.items() if name in validators
    ]
    return max(lengths, default=0)


def longest_password(validators: dict[str, dict[str, Any]]) -> int | None:
    """The longest password that validators with a ``max_length`` take; None where there is none."""
    return min(
        (int(options["max_length"]) for options in validators.values() if "max_length" in options),
        default=None,
    )


def _is_login_limited() -> bool:
    backends = list(django_settings.AUTHENTICATION_BACKENDS)
    return backends[:1] == [LIMITED_BACKEND]


def _has_csp(middleware: frozenset[str]) -> bool:
    names = {path.rpartition(".")[2].lower() for path in middleware}
    return any("csp" in name or "contentsecuritypolicy" in name for name in names)


def _added_headers(middleware: frozenset[str], ours: Mapping[str, str]) -> Iterator[str]:
    if headers.MIDDLEWARE in middleware:
        yield from headers.added(ours)
    if any("permissions_policy" in path or "PermissionsPolicy" in path for path in middleware):
        yield "Permissions-Policy"


def _admin_path() -> str:
    try:
        return reverse("admin:index")
    except NoReverseMatch:
        return ""


def _is_cors_open() -> bool:
    names = ("CORS_ALLOW_ALL_ORIGINS", "CORS_ORIGIN_ALLOW_ALL")
    return any(getattr(django_settings, name, False) for name in names)


def _versions(alias: str) -> Iterator[Version]:
    yield Version("Django", ".".join(map(str, django.VERSION[:2])), django.get_version())
    yield Version("Python", ".".join(platform.python_version_tuple()[:2]), platform.python_version())
    connection = connections[alias]
    if connection.vendor == "postgresql":
        try:
            number = int(getattr(connection, "pg_version", 0))
        except DatabaseError:
            return
        yield Version("PostgreSQL", str(number // 10_000), f"{number // 10_000}.{number % 10_000}")


def installed(distribution: str) -> str | None:
    """The installed version of a distribution; None if it is not there."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
