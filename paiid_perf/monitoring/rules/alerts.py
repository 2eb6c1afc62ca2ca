"""When an alert opens, stays and resolves. Pure: the samples and the time are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from paiid_perf.monitoring.types import Decision, Rule, Sample

#: Samples come once a minute; one that is late does not break a breach.
SAMPLE_EVERY = timedelta(minutes=1)
#: Share of the expected samples that a window needs before it says anything.
COVERAGE = 0.6


def decide(rule: Rule, samples: Sequence[Sample], is_open: bool, now: datetime) -> Decision:
    """What becomes of the alert of one (rule, subject).

    It opens when every sample of the last ``lasting`` is past the threshold, and resolves when every one is on
    the good side of the clear threshold: a metric that flaps between the two keeps one alert. Too few samples
    are "no data", which neither opens nor resolves.
    """
    window = [sample for sample in samples if now - rule.lasting - SAMPLE_EVERY < sample.at <= now]
    if len(window) < max(1.0, COVERAGE * (rule.lasting / SAMPLE_EVERY)):
        return "no data"
    if not is_open:
        return "open" if all(_is_past(rule, sample.value, rule.threshold) for sample in window) else "none"
    calm = not any(_is_past(rule, sample.value, rule.clear) for sample in window)
    return "resolve" if calm else "keep"


def _is_past(rule: Rule, value: float, limit: float) -> bool:
    return value > limit if rule.comparison == "above" else value < limit


def message(metric: str, subject: str, rule: Rule, value: float) -> str:
    """One line for people: what, where, how much, against which limit."""
    where = f" on {subject}" if subject else ""
    return f"{metric}{where} is {value:,.4g} {rule.unit}".rstrip() + (
        f" ({rule.comparison} {rule.threshold:g} for {_duration(rule.lasting)})"
    )


def _duration(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"
