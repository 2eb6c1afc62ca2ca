"""The runner: takes the lock, walks through the phases, writes the progress as it goes, and always ends.

Every way in (command, admin, beat, JSON API) calls ``request`` and then ``execute`` here or in a worker.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection, connections, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from paiid_perf.conf import Policy, Settings, get_settings
from paiid_perf.contracts import ChangeContext, Check, Phase, PhaseResult, Proposal
from paiid_perf.exceptions import ActionRefused, AlreadyRunning
from paiid_perf.models import OptimizationRun, PhaseRun, Recommendation, Score
from paiid_perf.monitoring.rules import score as scoring
from paiid_perf.optimization import ledger, plan
from paiid_perf.optimization.lock import run_lock, running, since
from paiid_perf.registry import registry

logger = logging.getLogger("paiid_perf")
Status = OptimizationRun.Status
Report = Callable[[float, str], None]
T = TypeVar("T")

#: A queued run that no worker has taken for this long is given up.
QUEUE_PATIENCE = timedelta(minutes=10)
#: How often progress is written to the run's row.
WRITE_EVERY_SECONDS = 0.5
#: The part of a phase in which its changes are carried out: it has looked before, and looks again after.
SETTLING = (0.45, 0.9)
#: How long the runner waits for a database that went away before it gives up writing.
DATABASE_PATIENCE_SECONDS = 30.0
#: The same where it has been waited for in vain already.
RECONNECT_SECONDS = 1.0


# --- asking for a run ------------------------------------------------------------------------------


def request(
    kind: str,
    trigger: str,
    user: Any = None,
    dry_run: bool = False,
    now: datetime | None = None,
) -> OptimizationRun:
    """Write a queued run; ``execute`` or ``enqueue`` starts it.

    Raises:
        AlreadyRunning: a run is queued or at work on this database.
        ActionRefused: the app is switched off (``ENABLED``).
    """
    settings, at = get_settings(), now or timezone.now()
    if not settings.ENABLED:
        raise ActionRefused(_('the app is off: set PAIID_PERF["ENABLED"] to True.'))
    _interrupt_dead(settings, at)
    run = OptimizationRun.objects.create(
        kind=kind, trigger=trigger, user=user, dry_run=dry_run, created_at=at, status=Status.QUEUED
    )
    # Both of two simultaneous requests see each other's row; the older one wins.
    earlier = OptimizationRun.objects.filter(status__in=OptimizationRun.ACTIVE, pk__lt=run.pk).last()
    if earlier is not None:
        run.delete()
        raise AlreadyRunning(earlier.pk, since(earlier))
    return run


def enqueue(run: OptimizationRun) -> bool:
    """Hand a queued run to Celery. False, and the run is withdrawn, where no broker takes it."""
    if _send("paiid_perf.run", run.pk):
        return True
    run.delete()
    return False


def enqueue_apply(rec: Recommendation, user: Any) -> bool:
    """Let a worker apply one change; False where no broker takes it."""
    return _send("paiid_perf.apply", rec.pk, None if user is None else user.pk)


def enqueue_revert(rec: Recommendation, user: Any) -> bool:
    """Let a worker take one change back; False where no broker takes it."""
    return _send("paiid_perf.revert", rec.pk, None if user is None else user.pk)


def enqueue_warm() -> bool:
    """Let a worker warm what is due; False where no broker takes it."""
    return _send("paiid_perf.warm")


def enqueue_warmer(name: str) -> bool:
    """Let a worker run one warmer; False where no broker takes it."""
    return _send("paiid_perf.warm_one", name)


def enqueue_measure(queryid: str) -> bool:
    """Let a worker measure the plan of one counted statement; False where no broker takes it."""
    return _send("paiid_perf.measure", queryid)


def enqueue_clear(strategy: str) -> bool:
    """Let a worker clear the values of one cache strategy; False where no broker takes it."""
    return _send("paiid_perf.clear", strategy)


def _send(task: str, *args: Any) -> bool:
    from celery import current_app
    from kombu.exceptions import OperationalError as BrokerError

    if not current_app.conf.broker_url:
        return False
    try:
        current_app.send_task(task, args=args, retry=False, ignore_result=True)
    except ImportError as error:
        logger.warning("no Celery broker takes %s: its client is not installed (%s)", task, error)
        return False
    except (BrokerError, OSError) as error:
        # Not its text: it may hold the broker's address and password.
        logger.warning("no Celery broker takes %s (%s)", task, type(error).__name__)
        return False
    return True


# --- running it ------------------------------------------------------------------------------------


def execute(run_id: int, *, apply: bool = False, report: Report | None = None) -> OptimizationRun:
    """Run the phases of a queued run and return it, ended: succeeded, partial or failed.

    ``apply`` raises the policies ``report`` and ``approve`` to ``auto`` for this run. ``report(fraction, step)``
    is told the progress.

    Raises:
        AlreadyRunning: another run holds the lock of the database; this one is withdrawn.
    """
    settings = get_settings()
    run = OptimizationRun.objects.get(pk=run_id)
    with run_lock(settings.DATABASE, timezone.now()) as acquired:
        if not acquired:
            other = running()
            run.delete()
            raise AlreadyRunning(other.pk if other else 0, since(other))
        return _Execution(
            run, ledger.Terms(settings, run.dry_run, run.kind == plan.QUICK, apply), report
        ).go()


@dataclass(slots=True)
class _Execution:
    """One run on its way."""

    run: OptimizationRun
    terms: ledger.Terms
    report: Report | None
    tally: ledger.Tally = field(default_factory=ledger.Tally)
    checks: list[Check] = field(default_factory=list)
    written_at: float = 0.0
    reached: float = 0.0
    """How far it said it was: a bar never goes back."""

    def go(self) -> OptimizationRun:
        phases = plan.phases_of(self.run.kind, registry.all(Phase))
        try:
            if not self.run.dry_run:
                ledger.recover(ChangeContext(self.terms.settings, timezone.now()))
            rows = _persist(lambda: self._begin(phases))
            for position, (phase, row) in enumerate(zip(phases, rows, strict=True)):
                self._phase(phase, row, position, len(phases))
            _persist(lambda: self._end(rows))
        except Exception as error:
            logger.exception("optimization run %s failed", self.run.pk)
            self._fail(error)
        return self.run

    def _begin(self, phases: Sequence[Phase]) -> list[PhaseRun]:
        now = timezone.now()
        _interrupt_others(self.run, now)
        ledger.expire(now, self.terms.settings)
        self._save(
            status=Status.RUNNING,
            started_at=now,
            heartbeat_at=now,
            host=socket.gethostname(),
            pid=os.getpid(),
            error="",
        )
        self.run.phases.all().delete()
        return [
            PhaseRun.objects.create(run=self.run, name=phase.name, position=position)
            for position, phase in enumerate(phases)
        ]

    def _phase(self, phase: Phase, row: PhaseRun, position: int, count: int) -> None:
        def progress(fraction: float, step: str) -> None:
            self.reached = max(self.reached, plan.overall_progress(position, count, fraction))
            self._progress(self.reached, f"{phase.label}: {step}")

        progress(0.0, _("started"))
        row.status, row.started_at = PhaseRun.Status.RUNNING, timezone.now()
        context = _Context(self, progress, row.started_at)
        try:
            _persist(row.save)
            result = phase.run(context)
            if result.status == "succeeded" and self.run.kind != plan.QUICK:
                ledger.supersede_unconfirmed(phase.name, row.started_at, timezone.now())
        except Exception as error:
            logger.exception("phase %s failed", phase.name)
            _reset_connections()
            result = PhaseResult("failed", f"{type(error).__name__}: {error}".strip())
            row.error = result.summary
        self.checks.extend(result.checks)
        row.status, row.summary = PhaseRun.Status(result.status), result.summary
        row.details, row.finished_at = dict(result.details), timezone.now()
        _persist(row.save)
        progress(1.0, result.summary)

    def _end(self, rows: Sequence[PhaseRun]) -> None:
        now = timezone.now()
        card = scoring.score(self.checks).to_json()
        Score.objects.create(
            at=now, overall=card["overall"], areas=card["areas"], confidence=card["confidence"]
        )
        failed = [f"{row.name}: {row.error}" for row in rows if row.status == PhaseRun.Status.FAILED]
        changes = self.tally.to_json()
        self._save(
            status=plan.status_of([row.status for row in rows]),
            finished_at=now,
            heartbeat_at=now,
            progress=1.0,
            step=_conclusion(changes),
            score=card,
            changes=changes,
            error="\n".join(failed),
        )

    def _fail(self, error: Exception) -> None:
        """Best effort: with the database gone for good, the next run marks this one interrupted."""
        self.run.status, self.run.error = Status.FAILED, f"{type(error).__name__}: {error}"
        has_waited = isinstance(error, OperationalError | InterfaceError)
        with suppress(DatabaseError, InterfaceError):
            _persist(
                lambda: self._save(
                    status=Status.FAILED, error=self.run.error, finished_at=timezone.now(), step="failed"
                ),
                patience=RECONNECT_SECONDS if has_waited else None,
            )

    def _progress(self, fraction: float, step: str) -> None:
        if self.report is not None:
            self.report(fraction, step)
        if time.monotonic() - self.written_at < WRITE_EVERY_SECONDS or connection.in_atomic_block:
            return
        self.written_at = time.monotonic()
        with suppress(DatabaseError, InterfaceError):
            self._save(progress=fraction, step=step[:200], heartbeat_at=timezone.now())

    def _save(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self.run, name, value)
        self.run.save(update_fields=[*values])


@dataclass(frozen=True, slots=True)
class _Context:
    """The PhaseContext of a run."""

    execution: _Execution
    progress: Report
    started_at: datetime

    @property
    def settings(self) -> Settings:
        return self.execution.terms.settings

    @property
    def now(self) -> datetime:
        return timezone.now()

    @property
    def quick(self) -> bool:
        return self.execution.terms.quick

    @property
    def dry_run(self) -> bool:
        return self.execution.terms.dry_run

    def policy(self, kind: str) -> Policy:
        return self.execution.terms.policy(kind)

    def propose(self, proposals: Iterable[Proposal]) -> Sequence[int]:
        return ledger.propose(proposals, now=self.now, settings=self.settings, run=self.execution.run)

    def settle(self, area: str) -> Mapping[str, int]:
        return ledger.settle(
            area,
            self.execution.terms,
            timezone.now,
            tally=self.execution.tally,
            progress=plan.between(self.progress, *SETTLING),
            out_of_time=self.out_of_time,
        )

    def out_of_time(self) -> bool:
        return self.now - self.started_at >= self.settings.PHASE_TIMEOUT


def _conclusion(changes: Mapping[str, int]) -> str:
    return plan.conclusion(changes) or _("nothing to change")


# --- what a killed run leaves -----------------------------------------------------------------------


def _interrupt_dead(settings: Settings, now: datetime) -> None:
    """Close the rows of runs whose process died, and of queued ones that nobody took."""
    waiting = OptimizationRun.objects.filter(status=Status.QUEUED, created_at__lt=now - QUEUE_PATIENCE)
    waiting.update(status=Status.INTERRUPTED, finished_at=now, error=_("no worker took it"))
    if running() is None:
        return
    with run_lock(settings.DATABASE, now) as acquired:
        if acquired:
            _interrupt_others(None, now)


def _interrupt_others(run: OptimizationRun | None, now: datetime) -> None:
    """Only under the run lock: whatever else says ``running`` is dead."""
    dead = OptimizationRun.objects.filter(status=Status.RUNNING).exclude(pk=run.pk if run else 0)
    for other in dead:
        other.phases.filter(status=PhaseRun.Status.RUNNING).update(
            status=PhaseRun.Status.FAILED, finished_at=now, error="interrupted"
        )
    dead.update(status=Status.INTERRUPTED, finished_at=now, error=_("its process died"))


# --- a database that goes away ----------------------------------------------------------------------


def _persist(write: Callable[[], T], patience: float | None = None) -> T:
    """Do a write of the runner's own, waiting a bounded time (seconds) for a database that is restarting."""
    deadline = time.monotonic() + (DATABASE_PATIENCE_SECONDS if patience is None else patience)
    pause = 0.2
    while True:
        try:
            with transaction.atomic():
                return write()
        except (OperationalError, InterfaceError):
            _reset_connections()
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause = min(pause * 2, 3.0)


def _reset_connections() -> None:
    for wrapper in connections.all(initialized_only=True):
        if not wrapper.in_atomic_block:
            wrapper.close_if_unusable_or_obsolete()
