"""People told of what alerts became, once each, however many processes look at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.db.models import Q

from paiid_perf.conf import Settings
from paiid_perf.models import Alert, AlertSilence
from paiid_perf.monitoring import notifiers
from paiid_perf.monitoring.rules import alerts as rules
from paiid_perf.monitoring.rules import telling
from paiid_perf.monitoring.types import Standing

#: An alert that resolved longer ago is no news, whatever kept it from being told.
NEWS_FOR = timedelta(days=1)


def tell_news(now: datetime, settings: Settings) -> None:
    """Hand each alert that stands elsewhere than people were told to the notifiers of its severity. Never raises."""
    for alert in _news(now, settings):
        # Claimed first: of processes that look at once, one tells.
        mine = Alert.objects.filter(pk=alert.pk, told=alert.told, told_at=alert.told_at)
        if mine.update(told=alert.status, told_at=now):
            notifiers.notify(alert, settings)


def _news(now: datetime, settings: Settings) -> Iterator[Alert]:
    lately = Q(resolved_at__isnull=True) | Q(resolved_at__gt=now - NEWS_FOR)
    silences = list(AlertSilence.objects.filter(until__gt=now))
    for alert in Alert.objects.filter(lately).select_related("rule"):
        standing = Standing(
            alert.status, alert.told, alert.told_at, alert.flaps, is_silenced(alert, silences)
        )
        if telling.is_news(standing, settings.NOTIFY_COOL_DOWN, now):
            yield alert


def is_silenced(alert: Alert, silences: Sequence[AlertSilence]) -> bool:
    """Whether one of the silences that hold speaks of the alert."""
    return any(
        silence.rule_id in (None, alert.rule_id) and rules.matches(silence.subjects, alert.subject)
        for silence in silences
    )
