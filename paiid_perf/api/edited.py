"""Endpoint classes that people edit while the site runs (``EndpointRule``), brought to every process.

No request asks for them. Each process' flusher thread looks every ``FLUSH_INTERVAL``: in Redis at a word that changes
with every edit, and in the table when it did, once a minute anyway, and each time where there is no Redis.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models.signals import post_delete, post_save
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from paiid_perf.api.endpoints import known_names
from paiid_perf.api.limits import parse_rate
from paiid_perf.api.types import EditedClass, EndpointClass, ResponseStrategy
from paiid_perf.conf import get_settings
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.registry import registry
from paiid_perf.stores import redis_gate
from paiid_perf.telemetry import recorder

logger = logging.getLogger("paiid_perf")

#: Seconds after which the table is read although Redis says nothing of an edit (it may have been down then).
ANYWAY_SECONDS = 60.0
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


# --- how every process hears of it -----------------------------------------------------------------------


class Edits:
    """What this process knows of the edits, and when it looked. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._word: bytes | None = None
        self._read_at: float | None = None
        self._failed = False

    def look(self) -> None:
        """Take the edits over if there may be new ones. Never raises; what cannot be read stays as it was."""
        try:
            word = self._told()
            if self._is_due(word):
                take_over()
                self._word, self._read_at, self._failed = word, self._clock(), False
        except (DatabaseError, RedisError) as error:
            if not self._failed:
                logger.warning("Edited endpoint classes cannot be read (%s); those known stay.", error)
            self._failed = True

    def _told(self) -> bytes | None:
        client = redis_gate.patient()
        try:
            return client.get(_key()) if client else None  # type: ignore[return-value]
        except RedisError:
            return None  # the table says it, at its pace

    def _is_due(self, word: bytes | None) -> bool:
        at = self._read_at
        return at is None or word is None or word != self._word or self._clock() - at >= ANYWAY_SECONDS


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


def _changed(**_sent: Any) -> None:
    transaction.on_commit(tell)


def tell() -> None:
    """Make every process look at the table: this one now, the others at their next flush."""
    try:
        client = redis_gate.patient()
        if client is not None:
            client.set(_key(), uuid.uuid4().hex)
    except RedisError as error:
        logger.warning("The others hear of the edited endpoint class within a minute (%s).", error)
    take_over()


def _key() -> str:
    return f"{get_settings().KEY_PREFIX}:endpoint-rules"


def connect() -> None:
    """Look with every flush, and tell of every change."""
    from paiid_perf.models import EndpointRule

    for signal in (post_save, post_delete):
        signal.connect(_changed, sender=EndpointRule, dispatch_uid="paiid_perf.edited")
    recorder.beside("endpoint classes", Edits().look)
