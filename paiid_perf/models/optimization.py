"""Runs, their phases, and the ledger of changes."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class OptimizationRun(models.Model):
    """One pass of observe → decide → act → prove over the phases."""

    class Kind(models.TextChoices):
        FULL = "full", _("full")
        QUICK = "quick", _("quick")

    class Status(models.TextChoices):
        QUEUED = "queued", _("queued")
        RUNNING = "running", _("running")
        SUCCEEDED = "succeeded", _("succeeded")
        PARTIAL = "partial", _("partial")
        FAILED = "failed", _("failed")
        INTERRUPTED = "interrupted", _("interrupted")

    ACTIVE = (Status.QUEUED, Status.RUNNING)

    kind = models.CharField(_("kind"), max_length=8, choices=Kind)
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.QUEUED)
    trigger = models.CharField(_("trigger"), max_length=20, default="command")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("user"),
    )
    dry_run = models.BooleanField(_("dry run"), default=False)
    created_at = models.DateTimeField(_("created at"))
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    heartbeat_at = models.DateTimeField(_("last sign of life"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    host = models.CharField(_("host"), max_length=255, blank=True)
    pid = models.PositiveIntegerField(_("process"), null=True, blank=True)
    progress = models.FloatField(_("progress"), default=0.0)
    step = models.CharField(_("step"), max_length=200, blank=True)
    score = models.JSONField(_("score"), default=dict, blank=True)
    changes = models.JSONField(_("changes"), default=dict, blank=True)
    error = models.TextField(_("error"), blank=True)

    class Meta:
        verbose_name = _("optimization run")
        verbose_name_plural = _("optimization runs")
        ordering = ("-pk",)
        permissions = (
            ("run_optimization", _("Can start optimization runs")),
            ("view_console", _("Can see the console")),
        )
        indexes = (models.Index(fields=["status"], name="perf_run_status"),)

    def __str__(self) -> str:
        return f"#{self.pk} {self.kind} {self.status}"

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE

    @property
    def seconds(self) -> float | None:
        """How long it took, None while it has not ended."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


class PhaseRun(models.Model):
    """One phase of one run."""

    class Status(models.TextChoices):
        PENDING = "pending", _("pending")
        RUNNING = "running", _("running")
        SUCCEEDED = "succeeded", _("succeeded")
        SKIPPED = "skipped", _("skipped")
        FAILED = "failed", _("failed")

    run = models.ForeignKey(
        OptimizationRun, models.CASCADE, related_name="phases", verbose_name=_("optimization run")
    )
    name = models.CharField(_("name"), max_length=40)
    position = models.PositiveSmallIntegerField(_("position"))
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.PENDING)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    summary = models.TextField(_("summary"), blank=True)
    details = models.JSONField(_("details"), default=dict, blank=True)
    error = models.TextField(_("error"), blank=True)

    class Meta:
        verbose_name = _("phase")
        verbose_name_plural = _("phases")
        ordering = ("run", "position")
        constraints = (models.UniqueConstraint(fields=["run", "name"], name="perf_phase_once_a_run"),)

    def __str__(self) -> str:
        return f"{self.name} {self.status}"

    @property
    def seconds(self) -> float | None:
        """How long it took, None while it has not ended."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


class Recommendation(models.Model):
    """A change in the ledger: what, why, the gain expected and the gain measured, and the undo."""

    class State(models.TextChoices):
        PROPOSED = "proposed", _("proposed")
        APPROVED = "approved", _("approved")
        APPLYING = "applying", _("applying")
        VERIFYING = "verifying", _("verifying")
        KEPT = "kept", _("kept")
        REVERTED = "reverted", _("reverted")
        FAILED = "failed", _("failed")
        DISMISSED = "dismissed", _("dismissed")
        SUPERSEDED = "superseded", _("superseded")
        EXPIRED = "expired", _("expired")

    #: States in which there can be only one row for a change.
    OPEN = (State.PROPOSED, State.APPROVED, State.APPLYING, State.VERIFYING)

    run = models.ForeignKey(
        OptimizationRun,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="recommendations",
        verbose_name=_("optimization run"),
    )
    area = models.CharField(_("area"), max_length=20)
    kind = models.CharField(_("kind"), max_length=40)
    key = models.TextField(_("key"))
    fingerprint = models.CharField(_("fingerprint"), max_length=64, editable=False)
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.PROPOSED)
    title = models.CharField(_("title"), max_length=300)
    why = models.TextField(_("why"))
    evidence = models.JSONField(_("evidence"), default=dict, blank=True)
    expected_gain = models.FloatField(_("expected gain"), null=True, blank=True)
    measured_gain = models.FloatField(_("measured gain"), null=True, blank=True)
    cost = models.TextField(_("cost"), blank=True)
    risk = models.CharField(_("risk"), max_length=8, default="low")
    how = models.TextField(_("how"), blank=True)
    undo = models.TextField(_("undo"), blank=True)
    migration = models.TextField(_("migration"), blank=True)
    payload = models.JSONField(_("payload"), default=dict, blank=True)
    before = models.JSONField(_("measured before"), default=dict, blank=True)
    after = models.JSONField(_("measured after"), default=dict, blank=True)
    outcome = models.TextField(_("outcome"), blank=True)
    history = models.JSONField(_("history"), default=list, blank=True)
    created_at = models.DateTimeField(_("created at"))
    confirmed_at = models.DateTimeField(_("last confirmed at"))
    applied_at = models.DateTimeField(_("applied at"), null=True, blank=True)
    verify_after = models.DateTimeField(_("judge after"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)

    class Meta:
        verbose_name = _("recommendation")
        verbose_name_plural = _("recommendations")
        ordering = ("-pk",)
        permissions = (
            ("approve_recommendation", _("Can approve or dismiss recommendations")),
            ("apply_recommendation", _("Can apply and revert recommendations")),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["fingerprint"],
                condition=Q(state__in=("proposed", "approved", "applying", "verifying")),
                name="perf_one_open_per_change",
            ),
        )
        indexes = (
            models.Index(fields=["state", "area"], name="perf_rec_state_area"),
            models.Index(fields=["fingerprint", "-id"], name="perf_rec_fingerprint"),
            models.Index(
                fields=["-applied_at"], name="perf_rec_applied", condition=Q(applied_at__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return self.title

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN
