"""Which phases a run has, and whether a change may be made now. Pure: no clock, no setting, no database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import time

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from paiid_perf.contracts import Phase
from paiid_perf.exceptions import ConfigurationError

QUICK = "quick"


def phases_of(kind: str, phases: Iterable[Phase]) -> tuple[Phase, ...]:
    """The phases of a run of that kind, in their order."""
    chosen = (phase for phase in phases if kind != QUICK or phase.quick)
    return tuple(sorted(chosen, key=lambda phase: (phase.order, phase.name)))


def overall_progress(position: int, count: int, fraction: float) -> float:
    """How far a run is (0–1) when phase ``position`` (from 0) of ``count`` is at ``fraction``."""
    return (position + min(max(fraction, 0.0), 1.0)) / count if count else 1.0


def between(tell: Callable[[float, str], None], start: float, end: float) -> Callable[[float, str], None]:
    """Tell 0–1 of a part as ``start``–``end`` of the whole."""
    return lambda fraction, step: tell(start + (end - start) * min(max(fraction, 0.0), 1.0), step)


def status_of(phases: Collection[str]) -> str:
    """A run's status from its phases' statuses: one that fails leaves the others' work standing."""
    failed = sum(status == "failed" for status in phases)
    if not failed:
        return "succeeded"
    return "failed" if failed == len(phases) else "partial"


#: What became of a run's changes, in the order of their lives.
OUTCOMES: Mapping[str, str | Promise] = {
    "applied": gettext_lazy("%(count)d applied"),
    "kept": gettext_lazy("%(count)d kept"),
    "reverted": gettext_lazy("%(count)d reverted"),
    "failed": gettext_lazy("%(count)d failed"),
    "verifying": gettext_lazy("%(count)d verifying"),
}


def conclusion(changes: Mapping[str, int]) -> str:
    """``2 applied, 1 kept``; empty for nothing."""
    return ", ".join(
        str(words) % {"count": changes[name]} for name, words in OUTCOMES.items() if changes.get(name)
    )


def parse_window(window: tuple[str, str]) -> tuple[time, time]:
    """("22:00", "05:00") as times.

    Raises:
        ConfigurationError: one of them is not HH:MM.
    """
    try:
        start, end = (time.fromisoformat(text) for text in window)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f'CHANGE_WINDOW is {window!r}: two times are wanted, such as ("22:00", "05:00").'
        ) from error
    return start, end


def in_window(window: tuple[str, str] | None, now: time) -> bool:
    """Whether ``now`` lies in the window; one whose end is before its start goes over midnight."""
    if window is None:
        return True
    start, end = parse_window(window)
    return start <= now < end if start <= end else now >= start or now < end


def refused_because(
    *,
    policy: str,
    approved: bool,
    kill_switch: bool,
    dry_run: bool,
    quick: bool,
    window: tuple[str, str] | None,
    now: time,
) -> str:
    """Why a change may not be made now; an empty string if it may. The first reason that holds is given."""
    reasons = (
        (dry_run, "this is a dry run"),
        (kill_switch, "the kill switch is on (KILL_SWITCH)"),
        (policy == "off", "its policy is off"),
        (quick, "a quick run makes no change"),
        (policy == "report" and not approved, "its policy is report"),
        (policy == "approve" and not approved, "its policy asks for a person's approval"),
        (not in_window(window, now), f"it is outside the change window {window}"),
    )
    return next((reason for holds, reason in reasons if holds), "")
