"""When an alert opens, stays and resolves, and whom a rule or a silence speaks of. Pure: the time is an argument."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from paiid_perf.monitoring.types import Decision, Rule, RuleState, Sample

#: Samples come once a minute; one that is late does not break a breach.
SAMPLE_EVERY = timedelta(minutes=1)
#: Share of the expected samples that a window needs before it says anything.
COVERAGE = 0.6
#: A breach this soon after its alert has resolved is the same trouble: the alert opens again, it is no new one.
FLAP_WINDOW = timedelta(hours=1)
#: Each time that an alert opens again doubles the calm that resolves it, this often at the most.
MAX_DOUBLINGS = 3


def decide(rule: Rule, samples: Sequence[Sample], is_open: bool, now: datetime, flaps: int = 0) -> Decision:
    """What becomes of the alert of one (rule, subject).

    It opens when every sample of the last ``lasting`` is past the threshold, and resolves when every one is on
    the good side of the clear threshold: a metric that flaps between the two keeps one alert. One that has opened
    again ``flaps`` times wants a longer calm. Too few samples are "no data", which is neither good nor bad.
    """
    if not _covers(samples, rule.lasting, now):
        return "no data"
    if not is_open:
        recent = _within(samples, rule.lasting, now)
        return "open" if all(_is_past(rule, sample.value, rule.threshold) for sample in recent) else "none"
    calm_for = calm(rule.lasting, flaps)
    quiet = not any(_is_past(rule, s.value, rule.clear) for s in _within(samples, calm_for, now))
    return "resolve" if quiet and _covers(samples, calm_for, now) else "keep"


def calm(lasting: timedelta, flaps: int) -> timedelta:
    """How long a metric must be good before its alert resolves."""
    doublings: int = min(flaps, MAX_DOUBLINGS)
    return lasting * (1 << doublings)


def is_silent(samples: Sequence[Sample], after: timedelta | None, now: datetime) -> bool:
    """Whether a subject that sent samples has sent none for ``after``; None: silence is no alert."""
    return after is not None and bool(samples) and max(sample.at for sample in samples) <= now - after


def state(decisions: Iterable[Decision]) -> RuleState:
    """The rule's own state from what was decided for its subjects: "no data" where none could be judged."""
    known = {decision for decision in decisions if decision != "no data"}
    if not known:
        return "no data"
    return "firing" if known & {"open", "keep"} else "ok"


def _within(samples: Sequence[Sample], span: timedelta, now: datetime) -> list[Sample]:
    return [sample for sample in samples if now - span - SAMPLE_EVERY < sample.at <= now]


def _covers(samples: Sequence[Sample], span: timedelta, now: datetime) -> bool:
    return len(_within(samples, span, now)) >= max(1.0, COVERAGE * (span / SAMPLE_EVERY))


def _is_past(rule: Rule, value: float, limit: float) -> bool:
    return value > limit if rule.comparison == "above" else value < limit


# --- whom a rule speaks of ---------------------------------------------------------------------------


def matches(subjects: str, subject: str) -> bool:
    """Whether a subject passes a filter: patterns apart by ``;``, ``*`` stands for anything, ``!`` leaves out.

    ``""`` passes all; ``"web-*; !web-9"`` the hosts of that name but one; ``"* api/orders/*"`` those endpoints.
    """
    wanted, unwanted = _patterns(subjects)
    if any(pattern.fullmatch(subject) for pattern in unwanted):
        return False
    return not wanted or any(pattern.fullmatch(subject) for pattern in wanted)


@lru_cache(maxsize=256)
def _patterns(subjects: str) -> tuple[tuple[re.Pattern[str], ...], tuple[re.Pattern[str], ...]]:
    parts = [part for part in map(str.strip, subjects.split(";")) if part]
    wanted = tuple(_pattern(part) for part in parts if not part.startswith("!"))
    return wanted, tuple(_pattern(part[1:].strip()) for part in parts if part.startswith("!"))


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)


# --- what people read ----------------------------------------------------------------------------------


def message(metric: str, subject: str, rule: Rule, value: float) -> str:
    """One line for people: what, where, how much, against which limit."""
    where = f" on {subject}" if subject else ""
    return f"{metric}{where} is {value:,.4g} {rule.unit}".rstrip() + (
        f" ({rule.comparison} {rule.threshold:g} for {_duration(rule.lasting)})"
    )


def silence_message(metric: str, subject: str, samples: Sequence[Sample]) -> str:
    """One line for people: who sends nothing any more, and since when."""
    where = f" on {subject}" if subject else ""
    return f"{metric}{where} sends no data since {max(s.at for s in samples):%Y-%m-%d %H:%M} UTC"


def _duration(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"
