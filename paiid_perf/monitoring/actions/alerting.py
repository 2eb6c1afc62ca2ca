"""Alert rules kept in step with their declarations, and alerts opened, kept and resolved."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from paiid_perf.conf import Settings
from paiid_perf.models import Alert, AlertRule
from paiid_perf.monitoring import notifiers
from paiid_perf.monitoring.readings import reading_of
from paiid_perf.monitoring.rules import alerts as rules
from paiid_perf.monitoring.types import AlertThreshold, Rule, Sample
from paiid_perf.registry import registry

logger = logging.getLogger("paiid_perf")

#: An alert whose subject sends nothing for this long (a host that is gone) resolves.
GONE = timedelta(days=1)


@dataclass(slots=True)
class Evaluation:
    """What an evaluation of the rules changed, and which rules had nothing to judge."""

    opened: list[Alert] = field(default_factory=list)
    resolved: list[Alert] = field(default_factory=list)
    without_data: list[str] = field(default_factory=list)


def sync_rules() -> None:
    """Make an AlertRule of every declared threshold. A rule that a person has edited stays as it is.

    A rule whose declaration is gone from the code is disabled.
    """
    declared = {threshold.name: rule_values(threshold) for threshold in registry.all(AlertThreshold)}
    there = {rule.name: rule for rule in AlertRule.objects.filter(name__in=declared)}
    for name, values in declared.items():
        rule = there.get(name)
        if rule is None:
            AlertRule.objects.get_or_create(name=name, defaults=values | {"declared": True})
        elif rule.declared and any(getattr(rule, key) != value for key, value in values.items()):
            AlertRule.objects.filter(pk=rule.pk).update(**values)
    AlertRule.objects.filter(declared=True, enabled=True).exclude(name__in=declared).update(enabled=False)


def rule_values(threshold: AlertThreshold) -> dict[str, object]:
    """The fields of a declared threshold's AlertRule."""
    above = threshold.above is not None
    return {
        "metric": threshold.metric,
        "comparison": AlertRule.Comparison.ABOVE if above else AlertRule.Comparison.BELOW,
        "threshold": threshold.above if above else threshold.below,
        "clear_threshold": threshold.clear,
        "for_seconds": int(threshold.for_.total_seconds()),
        "severity": threshold.severity,
        "unit": threshold.unit,
        "enabled": True,
    }


def evaluate(now: datetime, settings: Settings) -> Evaluation:
    """Judge every enabled rule on its samples: open, keep or resolve one alert for each subject, and notify."""
    sync_rules()
    found = Evaluation()
    standing = {
        (alert.rule_id, alert.subject): alert
        for alert in Alert.objects.exclude(status=Alert.Status.RESOLVED).select_related("rule")
    }
    for rule in AlertRule.objects.filter(enabled=True):
        try:
            _judge_rule(rule, standing, now, found)
        except Exception:
            logger.exception("the alert rule %s could not be judged", rule.name)
    for alert in standing.values():  # what no rule spoke of: disabled, or a subject that sends nothing
        if not alert.rule.enabled or now - alert.seen_at > GONE:
            found.resolved += _resolve(alert, now)
    notifiers.notify([*found.opened, *found.resolved], settings)
    return found


def _judge_rule(
    rule: AlertRule, standing: dict[tuple[int, str], Alert], now: datetime, found: Evaluation
) -> None:
    lasting = timedelta(seconds=rule.for_seconds)
    by_subject = reading_of(rule.metric)(now - lasting - 2 * rules.SAMPLE_EVERY, now)
    if not by_subject:
        found.without_data.append(rule.name)
    for subject, samples in by_subject.items():
        alert = standing.get((rule.pk, subject))
        decision = rules.decide(pure(rule), samples, alert is not None, now)
        if decision == "no data":
            found.without_data.append(f"{rule.name} {subject}".strip())
            continue
        standing.pop((rule.pk, subject), None)
        if decision == "open":
            found.opened += _open(rule, subject, samples[-1], now)
        elif alert is not None:
            found.resolved += (
                _resolve(alert, now) if decision == "resolve" else _keep(alert, samples[-1], now)
            )


def pure(rule: AlertRule) -> Rule:
    """A rule's row as the pure rules see it."""
    clear = rule.threshold if rule.clear_threshold is None else rule.clear_threshold
    lasting = timedelta(seconds=rule.for_seconds)
    if rule.comparison == AlertRule.Comparison.ABOVE:
        return Rule("above", rule.threshold, clear, lasting, rule.unit)
    return Rule("below", rule.threshold, clear, lasting, rule.unit)


def _open(rule: AlertRule, subject: str, sample: Sample, now: datetime) -> Sequence[Alert]:
    alert = Alert(
        rule=rule,
        subject=subject,
        severity=rule.severity,
        value=sample.value,
        message=rules.message(rule.name, subject, pure(rule), sample.value),
        opened_at=now,
        seen_at=now,
    )
    with transaction.atomic():
        Alert.objects.bulk_create([alert], ignore_conflicts=True)
    # With ignored conflicts Django does not say whether the row is ours, or another process' of this moment.
    return list(Alert.objects.filter(rule=rule, subject=subject, opened_at=now).select_related("rule"))


def _keep(alert: Alert, sample: Sample, now: datetime) -> Sequence[Alert]:
    Alert.objects.filter(pk=alert.pk).exclude(status=Alert.Status.RESOLVED).update(
        value=sample.value,
        seen_at=now,
        times=F("times") + 1,
        message=rules.message(alert.rule.name, alert.subject, pure(alert.rule), sample.value),
    )
    return ()


def _resolve(alert: Alert, now: datetime) -> Sequence[Alert]:
    alert.status, alert.resolved_at = Alert.Status.RESOLVED, now
    still = Alert.objects.filter(pk=alert.pk).exclude(status=Alert.Status.RESOLVED)
    return [alert] if still.update(status=alert.status, resolved_at=now) else ()
