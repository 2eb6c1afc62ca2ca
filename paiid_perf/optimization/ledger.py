"""The ledger: a change's life, proposed → approved → applying → verifying → kept or reverted.

Each move is one compare-and-set on the row's state, so two people who press "apply" at once apply once. What a
killed process left in ``applying`` is put right by ``recover`` in the next run.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from paiid_perf.conf import Policy, Settings, get_settings
from paiid_perf.contracts import ADVICE, ChangeContext, ChangeHandler, Measurement, Proposal, Verdict
from paiid_perf.exceptions import ActionFailed, ActionRefused, AlreadyRunning, InvalidTransition
from paiid_perf.models import OptimizationRun, Recommendation
from paiid_perf.optimization import plan
from paiid_perf.optimization.lock import run_lock, running, since
from paiid_perf.registry import registry

logger = logging.getLogger("paiid_perf")
State = Recommendation.State

#: Where each state leads. What is not here is an InvalidTransition.
MOVES: dict[str, frozenset[str]] = {
    State.PROPOSED: frozenset(
        {State.APPROVED, State.APPLYING, State.DISMISSED, State.SUPERSEDED, State.EXPIRED}
    ),
    State.APPROVED: frozenset({State.APPLYING, State.DISMISSED, State.EXPIRED, State.SUPERSEDED}),
    State.APPLYING: frozenset(
        {State.VERIFYING, State.FAILED, State.PROPOSED, State.APPROVED, State.SUPERSEDED}
    ),
    State.VERIFYING: frozenset({State.KEPT, State.REVERTED, State.FAILED}),
    State.KEPT: frozenset({State.REVERTED, State.FAILED}),
    State.DISMISSED: frozenset({State.PROPOSED}),
}
#: A change that failed is not tried again for this long.
FAILED_COOL_OFF = timedelta(days=1)


@dataclass(slots=True)
class Tally:
    """How many changes a run applied, and what became of them."""

    counts: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, int]:
        return {name: self.counts[name] for name in ("applied", "kept", "reverted", "failed", "verifying")}


# --- proposing -------------------------------------------------------------------------------------


def fingerprint(kind: str, key: str) -> str:
    """What two proposals of the same change share: a SHA-256 in hex."""
    return hashlib.sha256(f"{kind}\0{key}".encode()).hexdigest()


def propose(
    proposals: Iterable[Proposal], *, now: datetime, settings: Settings, run: OptimizationRun | None = None
) -> list[int]:
    """Write proposals as rows; returns their ids. One that is open is confirmed and refreshed, not doubled.

    What was dismissed, or reverted or failed a short while ago, is left out.
    """
    rows = (_propose_one(proposal, now, settings, run) for proposal in proposals)
    return [row.pk for row in rows if row is not None]


def _propose_one(
    proposal: Proposal, now: datetime, settings: Settings, run: OptimizationRun | None
) -> Recommendation | None:
    if settings.policy(proposal.kind) == "off":
        return None
    mark = fingerprint(proposal.kind, proposal.key)
    last = Recommendation.objects.filter(fingerprint=mark).order_by("-pk").first()
    if last is not None and _rests(last, now, settings):
        return None
    if last is not None and last.is_open:
        return _confirm(last, proposal, now, run)
    try:
        with transaction.atomic():
            return Recommendation.objects.create(
                **_fields(proposal),
                area=proposal.area,
                kind=proposal.kind,
                key=proposal.key,
                fingerprint=mark,
                run=run,
                created_at=now,
                confirmed_at=now,
                history=[_entry(State.PROPOSED, now)],
            )
    except IntegrityError:
        # Another process wrote the same change between our look and our insert.
        return Recommendation.objects.filter(fingerprint=mark, state__in=Recommendation.OPEN).first()


def _rests(last: Recommendation, now: datetime, settings: Settings) -> bool:
    if last.state == State.DISMISSED:
        return True
    rest = {State.REVERTED: settings.REVERTED_COOL_OFF, State.FAILED: FAILED_COOL_OFF}.get(State(last.state))
    return rest is not None and last.finished_at is not None and now - last.finished_at < rest


def _confirm(
    last: Recommendation, proposal: Proposal, now: datetime, run: OptimizationRun | None
) -> Recommendation:
    waiting = Recommendation.objects.filter(pk=last.pk, state__in=(State.PROPOSED, State.APPROVED))
    waiting.update(**_fields(proposal), confirmed_at=now, run=run or last.run)
    last.refresh_from_db()
    return last


def _fields(proposal: Proposal) -> dict[str, Any]:
    names = ("why", "expected_gain", "cost", "risk", "how", "undo", "migration")
    values: dict[str, Any] = {name: getattr(proposal, name) for name in names}
    return values | {
        "title": proposal.title[:300],
        "evidence": dict(proposal.evidence),
        "payload": dict(proposal.payload),
    }


def expire(now: datetime, settings: Settings) -> int:
    """Close proposals that no run has confirmed for RECOMMENDATION_EXPIRES; returns how many."""
    old = Recommendation.objects.filter(
        state__in=(State.PROPOSED, State.APPROVED), confirmed_at__lt=now - settings.RECOMMENDATION_EXPIRES
    )
    return old.update(state=State.EXPIRED, finished_at=now, outcome=_("no run confirmed it for too long"))


def supersede_unconfirmed(area: str, since: datetime, now: datetime) -> int:
    """Close an area's open advice that a run which began at ``since`` no longer found; returns how many."""
    gone = Recommendation.objects.filter(
        area=area, kind=ADVICE, state__in=(State.PROPOSED, State.APPROVED), confirmed_at__lt=since
    )
    return gone.update(state=State.SUPERSEDED, finished_at=now, outcome=_("no longer found"))


# --- what a person does ----------------------------------------------------------------------------


def approve(rec: Recommendation, user: Any, now: datetime | None = None) -> Recommendation:
    """Let the next run, or ``apply``, make the change.

    Raises:
        InvalidTransition: it is not ``proposed`` any more.
    """
    return _move(rec, State.APPROVED, now or timezone.now(), by=_name(user))


def dismiss(rec: Recommendation, user: Any, reason: str = "", now: datetime | None = None) -> Recommendation:
    """Close it for good; the same change is not proposed again unless somebody reopens it.

    Raises:
        InvalidTransition: it is being applied, or has ended.
    """
    at = now or timezone.now()
    return _move(rec, State.DISMISSED, at, by=_name(user), reason=reason, outcome=reason, finished_at=at)


def reopen(rec: Recommendation, user: Any, now: datetime | None = None) -> Recommendation:
    """Undo a dismissal.

    Raises:
        InvalidTransition: it was not dismissed.
    """
    at = now or timezone.now()
    return _move(rec, State.PROPOSED, at, by=_name(user), outcome="", finished_at=None, confirmed_at=at)


def apply(rec: Recommendation, user: Any, now: datetime | None = None) -> Recommendation:
    """Make the change at a person's word, then judge it (at once by replay, else after the window).

    Raises:
        ActionRefused: there is nothing to apply, the kill switch is on, or the app is off.
        AlreadyRunning: a run is at work; it, or the next one, applies what is approved.
        InvalidTransition: somebody else has moved it.
        ActionFailed: it did not take; what was half made is cleaned up.
    """
    settings, at = get_settings(), now or timezone.now()
    refuse_while_off(settings)
    with _alone(settings, at):
        tally = Tally()
        carry_out(rec, ChangeContext(settings, at), tally, by=_name(user))
    rec.refresh_from_db()
    return rec


def refuse_while_off(settings: Settings) -> None:
    """Raises ActionRefused while nothing may be changed."""
    if settings.KILL_SWITCH or not settings.ENABLED:
        raise ActionRefused(_("the kill switch is on: set KILL_SWITCH to False (and ENABLED to True) first."))


def revert(rec: Recommendation, user: Any, now: datetime | None = None) -> Recommendation:
    """Undo a change that is verifying or kept.

    Raises:
        ActionRefused: this kind of change cannot be undone.
        AlreadyRunning: a run is at work.
        InvalidTransition: it is not verifying or kept.
    """
    settings, at = get_settings(), now or timezone.now()
    if State.REVERTED not in MOVES.get(rec.state, ()):
        raise InvalidTransition(
            _("a change that is %(state)s cannot be reverted: nothing of it is in place.")
            % {"state": rec.get_state_display()}
        )
    handler = _handler(rec)
    if handler.revert is None:
        raise ActionRefused(_("%(kind)s cannot be undone.") % {"kind": rec.kind})
    with _alone(settings, at):
        handler.revert(rec.payload, ChangeContext(settings, at))
        return _move(rec, State.REVERTED, at, by=_name(user), outcome=_("reverted by hand"), finished_at=at)


# --- what a run does -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms a run may change things."""

    settings: Settings
    dry_run: bool = False
    quick: bool = False
    apply: bool = False
    """True: a person at the keyboard raises ``report`` and ``approve`` to ``auto`` for this run."""

    def policy(self, kind: str) -> Policy:
        policy = self.settings.policy(kind)
        return "auto" if self.apply and policy != "off" else policy


def settle(
    area: str,
    terms: Terms,
    now: Callable[[], datetime],
    *,
    tally: Tally,
    progress: Callable[[float, str], None],
    out_of_time: Callable[[], bool],
) -> dict[str, int]:
    """Judge what is due and apply what policy allows in one area; returns how many changes were applied,
    kept, reverted, failed or are still verifying. One change that fails leaves the others to go on."""
    before = tally.counts.copy()
    if not terms.dry_run:
        judge_due(area, ChangeContext(terms.settings, now(), plan.between(progress, 0.0, 0.1)), tally)
    waiting = list(_waiting(area))
    each = 0.9 / max(1, len(waiting))
    for number, rec in enumerate(waiting):
        if out_of_time() or tally.counts["applied"] >= terms.settings.MAX_CHANGES_PER_RUN:
            break
        if _refusal(rec, terms, now()):
            continue
        told = plan.between(progress, 0.1 + each * number, 0.1 + each * (number + 1))
        told(0.0, rec.title)
        _guarded(rec, ChangeContext(terms.settings, now(), told), tally)
    return dict(tally.counts - before)


def settle_due(now: datetime | None = None) -> dict[str, int]:
    """Judge every change whose window is over, between runs (beat calls this); returns counts.

    Does nothing while a run is at work: that run judges them itself.
    """
    settings, at = get_settings(), now or timezone.now()
    tally = Tally()
    with run_lock(settings.DATABASE, at) as acquired:
        if acquired:
            for area in _verifying().values_list("area", flat=True).distinct():
                judge_due(area, ChangeContext(settings, at), tally)
    return tally.to_json()


def judge_due(area: str, context: ChangeContext, tally: Tally) -> None:
    """Judge the changes of an area whose time has come."""
    for rec in _verifying().filter(area=area, verify_after__lte=context.now):
        try:
            _judge(rec, context, tally)
        except Exception as error:
            logger.exception("change %s could not be judged", rec.pk)
            outcome = _("could not be judged: %(error)s") % {"error": error}
            Recommendation.objects.filter(pk=rec.pk).update(outcome=outcome)


def carry_out(rec: Recommendation, context: ChangeContext, tally: Tally, by: str = "run") -> None:
    """measure → apply → (measure → judge): the closed loop for one change.

    Raises:
        ActionRefused: there is nothing to apply, or what it stood on is gone; the row is closed with the reason.
        ActionFailed: the change did not take; its clean-up has run and the row says why.
    """
    handler = _handler(rec)
    _move(rec, State.APPLYING, context.now, by=by)
    try:
        if not rec.before:
            rec.before = handler.measure(rec.payload, _during(context, 0.0, 0.25)).to_json()
            rec.save(update_fields=["before"])
        facts = handler.apply(rec.payload, _during(context, 0.25, 0.75))
    except ActionRefused as refusal:
        # What it stood on is gone (an index that should serve in its place was reverted, say): nothing was done.
        reason = str(refusal)
        _move(
            rec, State.SUPERSEDED, context.now, by=by, reason=reason, outcome=reason, finished_at=context.now
        )
        raise
    except Exception as error:
        tally.counts["failed"] += 1
        _abandon(rec, handler, context, error)
        raise ActionFailed(f"{rec.title}: {error}") from error
    tally.counts["applied"] += 1
    wait = timedelta(0) if _judged_at_once(rec, context.settings) else context.settings.VERIFY_WINDOW
    _move(
        rec,
        State.VERIFYING,
        context.now,
        by=by,
        evidence=rec.evidence | {"applied": dict(facts)},
        applied_at=context.now,
        verify_after=context.now + wait,
    )
    if wait:
        tally.counts["verifying"] += 1
    else:
        _judge(rec, _during(context, 0.75, 1.0), tally)


def _during(context: ChangeContext, start: float, end: float) -> ChangeContext:
    """The context of one step of a change, which takes this part of its time."""
    return replace(context, progress=plan.between(context.progress, start, end))


def recover(context: ChangeContext) -> int:
    """Put right what killed processes left in ``applying``; returns how many rows.

    What cannot be cleaned up now (somebody holds the table, say) is left for the next run. Only call it under the
    run lock: nobody else is applying then.
    """
    return sum(_recover(rec, context) for rec in Recommendation.objects.filter(state=State.APPLYING))


def _recover(rec: Recommendation, context: ChangeContext) -> bool:
    try:
        _handler(rec).clean_up(rec.payload, context)
    except Exception as error:
        logger.exception("what a killed process left of change %s could not be cleaned up", rec.pk)
        outcome = _("could not be cleaned up: %(error)s") % {"error": error}
        Recommendation.objects.filter(pk=rec.pk).update(outcome=outcome)
        return False
    was_approved = any(entry["state"] == State.APPROVED for entry in rec.history)
    back = State.APPROVED if was_approved else State.PROPOSED
    reason = _("its process died while it was being applied")
    _move(rec, back, context.now, by="recovery", reason=reason, outcome="")
    return True


def _waiting(area: str) -> QuerySet[Recommendation]:
    open_rows = Recommendation.objects.filter(area=area, state__in=(State.PROPOSED, State.APPROVED))
    return open_rows.exclude(kind=ADVICE).order_by(F("expected_gain").desc(nulls_last=True), "pk")


def _verifying() -> QuerySet[Recommendation]:
    return Recommendation.objects.filter(state=State.VERIFYING).order_by("applied_at", "pk")


def _refusal(rec: Recommendation, terms: Terms, now: datetime) -> str:
    settings = terms.settings
    return plan.refused_because(
        policy=terms.policy(rec.kind),
        approved=rec.state == State.APPROVED,
        kill_switch=settings.KILL_SWITCH or not settings.ENABLED,
        dry_run=terms.dry_run,
        quick=terms.quick,
        window=None if terms.apply else settings.CHANGE_WINDOW,
        now=timezone.localtime(now).time(),
    )


def _guarded(rec: Recommendation, context: ChangeContext, tally: Tally) -> None:
    try:
        carry_out(rec, context, tally)
    except (ActionFailed, ActionRefused, InvalidTransition) as error:
        logger.warning("%s", error)


def _judged_at_once(rec: Recommendation, settings: Settings) -> bool:
    return settings.VERIFY == "replay" or rec.before.get("method") in {"none", "replay", "trial"}


def _judge(rec: Recommendation, context: ChangeContext, tally: Tally) -> None:
    handler = _handler(rec)
    before = Measurement.from_json(rec.before)
    after = handler.measure(rec.payload, context)
    verdict = handler.judge(before, after, context.settings)
    rec.after, rec.measured_gain, rec.outcome = after.to_json(), verdict.gain, verdict.reason
    rec.save(update_fields=["after", "measured_gain", "outcome"])
    if verdict.keep is None:
        again = context.now + context.settings.VERIFY_WINDOW
        Recommendation.objects.filter(pk=rec.pk).update(verify_after=again)
        tally.counts["verifying"] += 1
        return
    _conclude(rec, handler, verdict, context, tally)


def _conclude(
    rec: Recommendation, handler: ChangeHandler, verdict: Verdict, context: ChangeContext, tally: Tally
) -> None:
    keep = verdict.keep or handler.revert is None
    if not keep and handler.revert is not None:
        handler.revert(rec.payload, context)
    to = State.KEPT if keep else State.REVERTED
    _move(rec, to, context.now, by="verification", reason=verdict.reason, finished_at=context.now)
    tally.counts[to.value] += 1


def _abandon(rec: Recommendation, handler: ChangeHandler, context: ChangeContext, error: Exception) -> None:
    logger.warning("change %s failed: %s", rec.pk, error)
    outcome = f"{type(error).__name__}: {error}"
    try:
        handler.clean_up(rec.payload, context)
    except Exception as second:
        # The row stays in `applying`: the next run's recover() tries the clean-up again.
        logger.exception("change %s could not be cleaned up", rec.pk)
        raise ActionFailed(f"{outcome}; cleaning up failed too: {second}") from second
    _move(rec, State.FAILED, context.now, by="run", reason=outcome, outcome=outcome, finished_at=context.now)


# --- one row ---------------------------------------------------------------------------------------


def can_be_undone(rec: Recommendation) -> bool:
    """Whether a change of its kind can be taken back once it is made: rows that were deleted do not come back."""
    handler = registry.find(ChangeHandler, rec.kind)
    return handler is not None and handler.revert is not None


def _handler(rec: Recommendation) -> ChangeHandler:
    if rec.kind == ADVICE:
        raise ActionRefused(_("this is advice: follow what it says by hand; there is nothing to apply."))
    return registry.get(ChangeHandler, rec.kind)


def _move(
    rec: Recommendation, to: str, now: datetime, *, by: str, reason: str = "", **fields: Any
) -> Recommendation:
    if to not in MOVES.get(rec.state, ()):
        raise InvalidTransition(f"a change that is {rec.state} cannot become {to}.")
    history = [*rec.history, _entry(to, now, by, reason)]
    values = fields | {"state": to, "history": history}
    moved = Recommendation.objects.filter(pk=rec.pk, state=rec.state).update(**values)
    if not moved:
        raise InvalidTransition(f"somebody else has moved it from {rec.state} meanwhile; look again.")
    for name, value in values.items():
        setattr(rec, name, value)
    return rec


def _entry(state: str, now: datetime, by: str = "run", reason: str = "") -> dict[str, str]:
    return {"state": str(state), "at": now.isoformat(), "by": by, "reason": reason}


def _name(user: Any) -> str:
    return "command" if user is None else str(user.get_username())


@contextmanager
def _alone(settings: Settings, now: datetime) -> Iterator[None]:
    """The run lock for the length of a block, or AlreadyRunning."""
    with run_lock(settings.DATABASE, now) as acquired:
        if not acquired:
            run = running()
            raise AlreadyRunning(run.pk if run else 0, since(run))
        yield
