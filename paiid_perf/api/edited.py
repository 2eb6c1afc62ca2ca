"""Endpoint classes that people edit while the site runs (``EndpointRule``): what may be set, and what is in force."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _

from paiid_perf import edits
from paiid_perf.api.endpoints import known_names
from paiid_perf.api.limits import parse_rate
from paiid_perf.api.types import EditedClass, EndpointClass, ResponseStrategy
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.registry import registry

logger = logging.getLogger("paiid_perf")

KEYS = ("ip", "user", "user_or_ip")


# --- what may be set ----------------------------------------------------------------------------------------


def problems(name: str, values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with what is set for a class, by field; the rules of declarations. Empty: it can be used."""
    declared = next((c for c in registry.all(EndpointClass) if c.name == name), None)
    found = (
        ("match", _match_problem(values, declared)),
        ("rate", _rate_problem(values.get("rate"))),
        ("rate_key", _key_problem(values.get("rate_key"))),
        ("cache", _cache_problem(values.get("cache"), declared)),
        ("latency_objective_ms", _objective_problem(values.get("latency_objective_ms"))),
    )
    return {field: words for field, words in found if words}


def _match_problem(values: Mapping[str, Any], declared: EndpointClass | None) -> str:
    matches = values.get("match", ())
    if not matches and declared is None:
        return _("No class of this name is declared: say what it matches.")
    names = [match for match in matches if not match.startswith("/")]
    unknown = sorted(set(names) - known_names()) if names else []
    return _("No route or view is named so: %s") % ", ".join(unknown) if unknown else ""


def _rate_problem(rate: str | None) -> str:
    try:
        if rate:
            parse_rate(rate)
    except ConfigurationError as error:
        return str(error)
    return ""


def _key_problem(key: str | None) -> str:
    if not key or key in KEYS or (key.startswith("header:") and len(key) > len("header:")):
        return ""
    return _("Write ip, user, user_or_ip or header:X-Name; a function is declared in code.")


def _cache_problem(cache: str | None, declared: EndpointClass | None) -> str:
    if not cache:
        return ""
    strategies = {strategy.name: strategy for strategy in registry.all(ResponseStrategy)}
    if cache not in strategies:
        return _("No response strategy is named so. There are: %s") % (", ".join(strategies) or "–")
    # The one mistake that hands one user's answer to another is made in code, where it is reviewed, or not at all.
    if strategies[cache].shared_with_users and (declared is None or declared.cache != cache):
        return _("This strategy gives one answer to all users: only a declaration can say so of an endpoint.")
    return ""


def _objective_problem(objective: float | None) -> str:
    return _("It must be more than 0.") if objective is not None and objective <= 0 else ""


# --- what is in force -------------------------------------------------------------------------------------


def take_over() -> None:
    """Read the table, and put what it says in force in this process; what cannot be used is left out and logged."""
    edited = tuple(_usable())
    if edited != registry.all(EditedClass):
        registry.swap(EditedClass, *edited)


def _usable() -> Iterator[EditedClass]:
    from paiid_perf.models import EndpointRule  # the thread that asks is named before the apps are loaded

    for rule in EndpointRule.objects.filter(enabled=True).order_by("name"):
        values = rule.values()
        if wrong := problems(rule.name, values):
            logger.error("The edited endpoint class %r is not used: %s", rule.name, wrong)
        else:
            yield EditedClass(rule.name, values)


def connect() -> None:
    """Follow the table."""
    from paiid_perf.models import EndpointRule

    edits.follow(EndpointRule, take_over)
