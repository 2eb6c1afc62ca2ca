"""What the security domain changes: events written, addresses banned, old rows deleted. Never called by a request."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import DatabaseError, DataError, IntegrityError, models
from django.utils import timezone

from paiid_perf.conf import Settings, get_settings
from paiid_perf.exceptions import ActionRefused
from paiid_perf.models import BlockedAddress, LoginFailure, SecurityEvent, UserSession
from paiid_perf.security import background, blocks, campaigns, chain, facts, rules, sessions
from paiid_perf.security.events import buffer, record_event
from paiid_perf.security.types import Ban, Campaign, Response, SecurityEventData, Severity

logger = logging.getLogger("paiid_perf")

#: The event that tells of each rung. The first one is what people are notified of, by the alert on campaigns.
TOLD: dict[Response, tuple[str, Severity]] = {
    "notify": (campaigns.SUSPICIOUS, "high"),
    "delay": ("address_slowed", "info"),
    "log_out": ("address_logged_out", "info"),
    "ban": ("address_banned", "info"),
}

#: Rows that one DELETE takes, so that pruning never holds a table for long.
BATCH = 5_000


@background.every_round
def flush_events() -> int:
    """Write what waits as rows, then answer whom the rows condemn; returns the number of rows."""
    taken = buffer.take()
    if not taken:
        return 0
    try:
        _write(taken)
    except DatabaseError:
        buffer.put_back(taken)
        raise
    respond({event.address for event, _count in taken if event.address}, timezone.now(), get_settings())
    return len(taken)


#: What a row that no table takes raises; a database that is away raises something else.
_UNFIT = (IntegrityError, DataError, ValueError)


def _write(taken: Sequence[tuple[SecurityEventData, int]]) -> None:
    """Add the rows to the chain; one that cannot be written keeps no other back."""
    try:
        chain.append([_row(event, count) for event, count in taken])
    except _UNFIT:
        # The usual cause: a user was deleted before what they did was written down.
        who = {event.user_id for event, _count in taken if event.user_id is not None}
        there = set(get_user_model()._default_manager.filter(pk__in=who).values_list("pk", flat=True))
        for event, count in taken:
            _write_alone(event if event.user_id in there else replace(event, user_id=None), count)


def _write_alone(event: SecurityEventData, count: int) -> None:
    try:
        chain.append([_row(event, count)])
    except _UNFIT:
        logger.exception("An event of the kind %s cannot be written down.", event.kind)


def _row(event: SecurityEventData, count: int) -> SecurityEvent:
    return SecurityEvent(
        at=event.at,
        kind=event.kind,
        severity=event.severity,
        address=event.address,
        user_id=event.user_id,
        path=event.path,
        field=event.field,
        sample=event.sample,
        action=event.action,
        count=count,
    )


def respond(addresses: set[str], now: datetime, settings: Settings) -> list[Ban]:
    """Tell of, slow down, log out or ban those whose recent events weigh too much. The kill switch stops it."""
    if not addresses or settings.KILL_SWITCH:
        return []
    counted = facts.events_by_address(addresses, now - settings.BAN_WINDOW)
    decided = rules.responses(counted, settings.BAN_SCORE, settings.BAN_FOR)
    return [decision for decision in decided if _carry_out(decision, now - settings.BAN_WINDOW)]


def _carry_out(decision: Ban, since: datetime) -> bool:
    """Whether something new was done; each rung is an event of its own, once in the window."""
    address = decision.network.partition("/")[0]
    if decision.response != "notify":
        try:
            blocks.ban(decision.network, decision.for_, decision.reason, response=decision.response)
        except ActionRefused as error:
            logger.warning("No answer to an attack: %s", error)
            return False
    kind, severity = TOLD[decision.response]
    if facts.is_told(kind, address, since):
        return False
    if decision.response in ("log_out", "ban"):
        sessions.end_sessions_of(decision.network)
    # Not towards the next rung: what it answers counts already.
    action = "report" if decision.response == "notify" else decision.response
    record_event(kind, severity, address=address, field=decision.network, action=action)
    return True


def note_campaigns(now: datetime) -> list[Campaign]:
    """The campaigns of the last minutes; each new one becomes an event of its own."""
    since = now - campaigns.WINDOW
    found = campaigns.recognise(facts.traces(since))
    known = facts.known_campaigns(since) if found else set()
    for campaign in found:
        address = campaign.network.partition("/")[0]
        if (campaign.kind, address) not in known:
            # Not towards a ban: its events count already, and the network's first address did nothing.
            record_event(campaign.kind, "high", address=address, field=campaign.network, action="report")
    return found


def prune(settings: Settings, now: datetime) -> dict[str, int]:
    """Delete events past their retention, failures, blocks and sessions that are over; rows by model."""
    old = now - settings.SECURITY_EVENT_RETENTION
    return {
        "events": _delete_in_batches(SecurityEvent, number__lte=chain.let_go(old))
        + _delete_in_batches(SecurityEvent, number=None, at__lt=old),
        "failures": _delete_in_batches(LoginFailure, window_ends_at__lt=now),
        "blocks": _delete_in_batches(BlockedAddress, expires_at__lt=now),
        "sessions": _delete_in_batches(UserSession, ends_at__lt=now),
    }


def _delete_in_batches(model: type[models.Model], **old: object) -> int:
    # Not the default manager: that of the events deletes none.
    rows, deleted = model._base_manager.filter(**old), 0
    while keys := list(rows.order_by().values_list("pk", flat=True)[:BATCH]):
        deleted += model._base_manager.filter(pk__in=keys).delete()[0]
    return deleted
