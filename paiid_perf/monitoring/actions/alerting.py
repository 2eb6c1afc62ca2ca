"""Alert rules kept in step with their declarations, and alerts opened, kept and resolved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F

from paiid_perf.conf import Settings
from paiid_perf.models import Alert, AlertRule
from paiid_perf.monitoring.actions.telling import tell_news
from paiid_perf.monitoring.readings import reading_of
from paiid_perf.monitoring.rules import alerts as rules
from paiid_perf.monitoring.types import AlertThreshold, Comparison, Decision, Rule, Sample
from paiid_perf.registry import registry

logger = logging.getLogger("paiid_perf")

#: An alert whose subject sends nothing for this long (a host that is gone) resolves.
GONE = timedelta(days=1)
Status = Alert.Status


@dataclass(slots=True)
class Evaluation:
    """What an evaluation of the rules changed, and which rules had nothing to judge."""

    opened: list[Alert] = field(default_factory=list)
    resolved: list[Alert] = field(default_factory=list)
    without_data: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Look:
    """One rule and one of its subjects at one moment."""

    rule: AlertRule
    subject: str
    samples: Sequence[Sample]
    alert: Alert | None
    now: datetime

    def message(self) -> str:
        last = self.samples[-1]
        said = last.why.get("text")
        return said or rules.message(self.rule.name, self.subject, pure(self.rule), last.value)


# --- rules ---------------------------------------------------------------------------------------------


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
        "subjects": threshold.subjects,
        "comparison": AlertRule.Comparison.ABOVE if above else AlertRule.Comparison.BELOW,
        "threshold": threshold.above if above else threshold.below,
        "clear_threshold": threshold.clear,
        "for_seconds": int(threshold.for_.total_seconds()),
        "no_data_seconds": threshold.no_data and int(threshold.no_data.total_seconds()),
        "severity": threshold.severity,
        "unit": threshold.unit,
        "enabled": True,
    }


def pure(rule: AlertRule) -> Rule:
    """A rule's row as the pure rules see it."""
    clear = rule.threshold if rule.clear_threshold is None else rule.clear_threshold
    comparison: Comparison = "above" if rule.comparison == AlertRule.Comparison.ABOVE else "below"
    return Rule(comparison, rule.threshold, clear, timedelta(seconds=rule.for_seconds), rule.unit)


# --- judging ---------------------------------------------------------------------------------------------


def evaluate(now: datetime, settings: Settings) -> Evaluation:
    """Judge every enabled rule on its samples: open, keep or resolve one alert for each subject, and tell people."""
    sync_rules()
    found = Evaluation()
    standing = {
        (alert.rule_id, alert.subject): alert
        for alert in Alert.objects.exclude(status=Status.RESOLVED).select_related("rule")
    }
    for rule in AlertRule.objects.filter(enabled=True):
        try:
            _judge_rule(rule, standing, now, found)
        except Exception:
            logger.exception("the alert rule %s could not be judged", rule.name)
    for alert in standing.values():  # what no rule could judge: disabled, or a subject that sends nothing
        _abandon(alert, now, found)
    tell_news(now, settings)
    return found


def _judge_rule(
    rule: AlertRule, standing: dict[tuple[int, str], Alert], now: datetime, found: Evaluation
) -> None:
    by_subject = _read(rule, [alert for (pk, _), alert in standing.items() if pk == rule.pk], now)
    looks = [Look(rule, s, by_subject[s], standing.get((rule.pk, s)), now) for s in sorted(by_subject)]
    decisions = [_judge(look, found) for look in looks]
    for look, decision in zip(looks, decisions, strict=True):
        if decision == "no data":
            found.without_data.append(f"{rule.name} {look.subject}".strip())
        else:
            standing.pop((rule.pk, look.subject), None)
    if not looks:
        found.without_data.append(rule.name)
    _note_state(rule, rules.state(decisions), now)


def _read(rule: AlertRule, alerts: Sequence[Alert], now: datetime) -> Mapping[str, Sequence[Sample]]:
    lasting = timedelta(seconds=rule.for_seconds)
    flaps = max((alert.flaps for alert in alerts), default=0)
    silence = 2 * timedelta(seconds=rule.no_data_seconds or 0)
    back = max(rules.calm(lasting, flaps), silence) + 2 * rules.SAMPLE_EVERY
    return reading_of(rule.metric, rule.subjects)(now - back, now)


def _judge(look: Look, found: Evaluation) -> Decision:
    decision = _decide(look)
    if decision == "no data" and look.alert is None and _speaks_of_silence(look):
        found.opened += _open(look, Status.NO_DATA)
    elif (act := MOVES.get(decision)) is not None:
        act(look, found)
    return decision


def _decide(look: Look) -> Decision:
    rule, alert = pure(look.rule), look.alert
    if alert is None or alert.status != Status.NO_DATA:
        return rules.decide(rule, look.samples, alert is not None, look.now, alert.flaps if alert else 0)
    # The data may have come back on either side; the threshold alone says which.
    return AFTER_SILENCE[rules.decide(rule, look.samples, False, look.now)]


def _speaks_of_silence(look: Look) -> bool:
    after = look.rule.no_data_seconds
    return rules.is_silent(look.samples, timedelta(seconds=after) if after else None, look.now)


def _note_state(rule: AlertRule, state: str, now: datetime) -> None:
    if state != rule.state:
        AlertRule.objects.filter(pk=rule.pk).update(state=state, state_since=now)


# --- what becomes of an alert ----------------------------------------------------------------------------


def _do_open(look: Look, found: Evaluation) -> None:
    found.opened += _open(look, Status.OPEN)


def _keep(look: Look, found: Evaluation) -> None:
    if look.alert is None:
        return
    there = Alert.objects.filter(pk=look.alert.pk).exclude(status=Status.RESOLVED)
    there.update(value=look.samples[-1].value, seen_at=look.now, times=F("times") + 1, message=look.message())
    # Data that came back: it stands where a person had left it. What comes and goes flaps, as what opens and resolves.
    silent = there.filter(status=Status.NO_DATA)
    silent.filter(acknowledged_at__isnull=False).update(status=Status.ACKNOWLEDGED, flaps=F("flaps") + 1)
    silent.update(status=Status.OPEN, flaps=F("flaps") + 1)


def _do_resolve(look: Look, found: Evaluation) -> None:
    if look.alert is not None:
        found.resolved += _resolve(look.alert, look.now)


AFTER_SILENCE: Mapping[Decision, Decision] = {"open": "keep", "none": "resolve", "no data": "no data"}
MOVES: Mapping[Decision, Callable[[Look, Evaluation], None]] = {
    "open": _do_open,
    "keep": _keep,
    "resolve": _do_resolve,
}


def _open(look: Look, status: str) -> Sequence[Alert]:
    """The alert, unless another process has opened it at this moment; one that has just resolved opens again."""
    text = (
        rules.silence_message(look.rule.name, look.subject, look.samples)
        if status == Status.NO_DATA
        else look.message()
    )
    return _open_again(look, status, text) or _open_new(look, status, text)


def _open_again(look: Look, status: str, text: str) -> Sequence[Alert]:
    lately = Alert.objects.filter(
        rule=look.rule,
        subject=look.subject,
        status=Status.RESOLVED,
        resolved_at__gt=look.now - rules.FLAP_WINDOW,
    )
    last = lately.order_by("-resolved_at").values_list("pk", flat=True).first()
    if last is None:
        return ()
    with suppress(IntegrityError), transaction.atomic():
        again = lately.filter(pk=last).update(
            status=status,
            value=look.samples[-1].value,
            message=text,
            seen_at=look.now,
            resolved_at=None,
            acknowledged_by=None,
            acknowledged_at=None,
            times=F("times") + 1,
            flaps=F("flaps") + 1,
        )
        if again:
            return [Alert.objects.select_related("rule").get(pk=last)]
    return ()


def _open_new(look: Look, status: str, text: str) -> Sequence[Alert]:
    alert = Alert(
        rule=look.rule,
        subject=look.subject,
        status=status,
        severity=look.rule.severity,
        value=look.samples[-1].value,
        message=text,
        evidence=look.samples[-1].why,
        opened_at=look.now,
        seen_at=look.now,
    )
    with transaction.atomic():
        Alert.objects.bulk_create([alert], ignore_conflicts=True)
    # With ignored conflicts Django does not say whether the row is ours, or another process' of this moment.
    mine = Alert.objects.filter(rule=look.rule, subject=look.subject, opened_at=look.now)
    return list(mine.select_related("rule"))


def _abandon(alert: Alert, now: datetime, found: Evaluation) -> None:
    if not alert.rule.enabled or now - alert.seen_at > GONE:
        found.resolved += _resolve(alert, now)
    elif alert.status != Status.NO_DATA:
        still = Alert.objects.filter(pk=alert.pk, status=alert.status)
        still.update(status=Status.NO_DATA)


def _resolve(alert: Alert, now: datetime) -> Sequence[Alert]:
    alert.status, alert.resolved_at = Status.RESOLVED, now
    still = Alert.objects.filter(pk=alert.pk).exclude(status=Status.RESOLVED)
    return [alert] if still.update(status=alert.status, resolved_at=now) else ()
