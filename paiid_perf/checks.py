"""System checks: what can be known to be wrong before the first request. docs/reference.md lists them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import time
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.db import connections

from paiid_perf.api import sources
from paiid_perf.api.endpoints import views
from paiid_perf.api.limits import parse_rate
from paiid_perf.api.types import EndpointClass, InClass, ResponseStrategy
from paiid_perf.cache.types import CacheStrategy, CacheWarmer
from paiid_perf.conf import SETTING, get_settings, known_settings, unknown_settings
from paiid_perf.database.types import IndexCandidate, RetentionRule
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.monitoring.misfits import misfits
from paiid_perf.optimization.plan import in_window
from paiid_perf.registry import registry
from paiid_perf.security.deploy_checks import CHECKS as SECURITY_CHECKS
from paiid_perf.stores import redis_gate

Messages = Iterator[checks.CheckMessage]
MIDDLEWARE = "paiid_perf.middleware.PerfMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


def register() -> None:
    """Register the checks with Django (called once, from ``ready``)."""
    for check in (check_settings, check_declarations, check_middleware, check_stores, check_sources):
        checks.register(check, "paiid_perf")
    for security_check, deploy in SECURITY_CHECKS:
        checks.register(security_check, "paiid_perf", "security", deploy=deploy)


def check_settings(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """E001 unknown key · E002 unusable value."""
    return [*_unusable_settings()] or [
        checks.Error(
            f"settings.{SETTING} has an unknown key {key!r}.",
            hint=f"Known keys: {', '.join(known_settings())}.",
            id="paiid_perf.E001",
        )
        for key in unknown_settings()
    ]


def _unusable_settings() -> Messages:
    try:
        settings = get_settings()
        if settings.CHANGE_WINDOW is not None:
            in_window(settings.CHANGE_WINDOW, time())
    except (ConfigurationError, TypeError) as error:
        yield checks.Error(f"settings.{SETTING} cannot be used: {error}", id="paiid_perf.E002")
        return
    for key, wrong in misfits(settings):
        yield checks.Error(f"settings.{SETTING}[{key!r}] {wrong}.", id="paiid_perf.E002")
    for key, alias, known in (
        ("DATABASE", settings.DATABASE, set(connections)),
        ("CACHE", settings.CACHE, set(django_settings.CACHES)),
    ):
        if alias not in known:
            yield checks.Error(
                f"settings.{SETTING}[{key!r}] is {alias!r}, which is not configured.",
                hint=f"Use one of: {', '.join(sorted(known))}.",
                id="paiid_perf.E002",
            )


def check_declarations(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """E003 a declaration names something that does not exist · E004 a rate that cannot be read."""
    return [
        *(
            checks.Error(
                f"{owner} names {what} {name!r}, which does not exist.", hint=hint, id="paiid_perf.E003"
            )
            for owner, what, name, hint in _dangling()
        ),
        *_unreadable_rates(),
    ]


def _unreadable_rates() -> Messages:
    for endpoint in registry.all(EndpointClass):
        try:
            if endpoint.rate:
                parse_rate(endpoint.rate)
        except ConfigurationError as error:
            yield checks.Error(
                f"EndpointClass {endpoint.name!r} is not limited: {error}", id="paiid_perf.E004"
            )


def _dangling() -> Iterator[tuple[str, str, str, str]]:
    strategies = {strategy.name for strategy in registry.all(ResponseStrategy)}
    for endpoint in registry.all(EndpointClass):
        if endpoint.cache and endpoint.cache not in strategies:
            hint = f"Declare it with ResponseStrategy({endpoint.cache!r}, …)."
            yield f"EndpointClass {endpoint.name!r}", "the response strategy", endpoint.cache, hint
    classes = {endpoint.name for endpoint in registry.all(EndpointClass)}
    for view in registry.all(InClass):
        if view.endpoint_class not in classes:
            hint = f"Declare it with EndpointClass({view.endpoint_class!r}, match=(), …)."
            yield f"The view {view.name}", "the endpoint class", view.endpoint_class, hint
    caching = {strategy.name for strategy in registry.all(CacheStrategy)}
    for warmer in registry.all(CacheWarmer):
        name = warmer.strategy or warmer.name
        if name not in caching:
            yield (
                f"CacheWarmer {warmer.name!r}",
                "the cache strategy",
                name,
                f"Declare CacheStrategy({name!r}, …).",
            )
    for owner, label in _labels():
        try:
            apps.get_model(label)
        except (LookupError, ValueError):
            yield owner, "the model", label, "Write it as app_label.ModelName."


def _labels() -> Iterator[tuple[str, str]]:
    owners: tuple[IndexCandidate | RetentionRule, ...]
    owners = (*registry.all(IndexCandidate), *registry.all(RetentionRule))
    for owner in owners:
        yield f"{type(owner).__name__} {owner.name!r}", owner.model
    dependents: tuple[ResponseStrategy | CacheStrategy, ...]
    dependents = (*registry.all(ResponseStrategy), *registry.all(CacheStrategy))
    for dependent in dependents:
        for label in dependent.depends_on:
            yield f"{type(dependent).__name__} {dependent.name!r}", label
    for strategy in registry.all(ResponseStrategy):
        for label in strategy.depends_on_rows:
            # The third part, where there is one, is the foreign key of the row that it belongs to.
            yield f"ResponseStrategy {strategy.name!r}", ".".join(label.split(".")[:2])


def check_middleware(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """W001 the middleware is missing · W002 it stands before authentication."""
    chain = list(django_settings.MIDDLEWARE)
    if MIDDLEWARE not in chain:
        return [
            checks.Warning(
                "the middleware is not installed: no request is recorded, limited or cached.",
                hint=f"Add {MIDDLEWARE!r} to MIDDLEWARE, right after {AUTHENTICATION!r}.",
                id="paiid_perf.W001",
            )
        ]
    if AUTHENTICATION in chain and chain.index(AUTHENTICATION) > chain.index(MIDDLEWARE):
        return [
            checks.Warning(
                "the middleware stands before authentication: limits and cached answers cannot know the user.",
                hint=f"Move {MIDDLEWARE!r} right after {AUTHENTICATION!r}.",
                id="paiid_perf.W002",
            )
        ]
    return []


def check_stores(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """W003 the cache is not Redis · W004 a strategy unpickles · W005 the cache is each process' own."""
    settings = get_settings()
    found: list[checks.CheckMessage] = []
    if settings.CACHE in django_settings.CACHES and not redis_gate.is_redis():
        found.append(
            checks.Info(
                f"the cache {settings.CACHE!r} is {type(caches[settings.CACHE]).__name__}, not django-redis: "
                "rate limits use a fixed window, metrics go straight to the database, and no strategy can be "
                "cleared by itself (a commit that touches what it depends on makes its values old all the same).",
                hint="Point it at Redis or Valkey with django-redis for exact limits and shared caching.",
                id="paiid_perf.W003",
            )
        )
        if isinstance(caches[settings.CACHE], LocMemCache):
            found.append(
                checks.Info(
                    f"the cache {settings.CACHE!r} is in each process' own memory: with N workers a client gets up to "
                    "N times its limit, and an invalidation reaches the worker that commits and no other.",
                    hint="Enough for one process; point it at Redis or Valkey for more.",
                    id="paiid_perf.W005",
                )
            )
    return [*found, *_unpicklers()]


def _unpicklers() -> Messages:
    for strategy in registry.all(CacheStrategy):
        if strategy.serializer == "pickle":
            yield checks.Warning(
                f"the cache strategy {strategy.name!r} unpickles what it reads: whoever can write to the cache "
                "can run code here.",
                hint='Use serializer="msgpack" or "json".',
                id="paiid_perf.W004",
            )


def check_sources(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """W006 writes that invalidate nothing · W007 a strategy that does not fit a view that knows its user."""
    return [*_silent_writes(), *_personal_views()]


def _silent_writes() -> Messages:
    dependents: tuple[ResponseStrategy | CacheStrategy, ...]
    dependents = (*registry.all(ResponseStrategy), *registry.all(CacheStrategy))
    labels = {label.lower() for dependent in dependents for label in dependent.depends_on}
    labels |= {
        ".".join(label.lower().split(".")[:2])
        for strategy in registry.all(ResponseStrategy)
        for label in strategy.depends_on_rows
    }
    known = {model._meta.label for model in apps.get_models() if model._meta.label_lower in labels}
    for write in sources.silent_writes(known):
        yield checks.Warning(
            f"{write.line} writes {write.label} by {write.call}(), which sends no signal: cached answers that "
            "depend on it stay as they are.",
            hint=f"Call paiid_perf.declarations.invalidate({write.label!r}) beside it.",
            id="paiid_perf.W006",
        )


def _personal_views() -> Messages:
    if not any(strategy.scope == "public" for strategy in registry.all(ResponseStrategy)):
        return
    try:
        found = [*views()]
    except Exception:  # a URLconf that cannot be imported: Django's own checks tell it, and why
        return
    for route, endpoint, view in found:
        strategy = endpoint.strategy
        if strategy is None or strategy.scope != "public" or not (why := sources.personal(view)):
            continue
        told = (
            "gives all users one answer" if strategy.shared_with_users else "is for anonymous requests only"
        )
        yield checks.Warning(
            f"the response strategy {strategy.name!r} {told}, but {route.template!r} is personal: {why}.",
            hint='Use a strategy with scope="user" for it.',
            id="paiid_perf.W007",
        )
