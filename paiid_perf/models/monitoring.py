"""Metric roll-ups, alert rules, alerts and the score's history."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Metric(models.Model):
    """One series in one bucket of time: a mergeable log-bucket histogram, a counter or a gauge."""

    class Resolution(models.IntegerChoices):
        MINUTE = 60, _("minute")
        HOUR = 3600, _("hour")
        DAY = 86400, _("day")

    name = models.CharField(_("name"), max_length=60)
    subject = models.CharField(_("subject"), max_length=255, blank=True)
    resolution = models.PositiveIntegerField(_("resolution"), choices=Resolution)
    at = models.DateTimeField(_("at"))
    count = models.BigIntegerField(_("count"), default=0)
    total = models.FloatField(_("total"), default=0.0)
    buckets = models.JSONField(_("histogram"), default=dict, blank=True)
    """bucket index → count (``telemetry.histogram`` says what an index means)"""

    class Meta:
        verbose_name = _("metric")
        verbose_name_plural = _("metrics")
        constraints = (
            models.UniqueConstraint(
                fields=["resolution", "name", "subject", "at"], name="perf_metric_series_at"
            ),
        )
        indexes = (
            models.Index(fields=["resolution", "at"], name="perf_metric_at"),
            # All subjects of a series over a window; equal entries are stored once, so it is a tenth of the unique one.
            models.Index(fields=["resolution", "name", "at"], name="perf_metric_name_at"),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.subject} {self.at:%Y-%m-%d %H:%M}"


class MetricTotal(models.Model):
    """All subjects of a name in one bucket of time: what a chart of all of them reads instead of their rows.

    Without a gap between the oldest and the newest of a name and resolution; outside, the rows themselves say it.
    """

    name = models.CharField(_("name"), max_length=60)
    resolution = models.PositiveIntegerField(_("resolution"), choices=Metric.Resolution)
    at = models.DateTimeField(_("at"))
    count = models.BigIntegerField(_("count"), default=0)
    total = models.FloatField(_("total"), default=0.0)
    failed = models.BigIntegerField(_("failed"), default=0)
    """Of the count, that of subjects that end in `` 5xx``."""
    buckets = models.JSONField(_("histogram"), default=dict, blank=True)

    class Meta:
        verbose_name = _("metric total")
        verbose_name_plural = _("metric totals")
        constraints = (
            models.UniqueConstraint(fields=["resolution", "name", "at"], name="perf_total_series_at"),
        )
        indexes = (models.Index(fields=["resolution", "at"], name="perf_total_at"),)

    def __str__(self) -> str:
        return f"{self.name} {self.at:%Y-%m-%d %H:%M}"


class MetricBatch(models.Model):
    """A batch of recorded metrics that has been stored, so that a crash cannot store it twice."""

    id = models.CharField(primary_key=True, max_length=120)
    stored_at = models.DateTimeField(_("stored at"))
    rolls_from = models.DateTimeField(_("oldest minute not rolled up"), null=True)
    """The oldest minute that it brought; None once a roll-up has been there."""

    class Meta:
        verbose_name = _("metric batch")
        verbose_name_plural = _("metric batches")
        indexes = (
            models.Index(fields=["stored_at"], name="perf_batch_stored"),
            models.Index(
                fields=["rolls_from"], condition=Q(rolls_from__isnull=False), name="perf_batch_rolls"
            ),
        )

    def __str__(self) -> str:
        return self.id


class Lease(models.Model):
    """Who leads a piece of cold work, and until when it is believed to be alive."""

    name = models.CharField(_("name"), primary_key=True, max_length=60)
    holder = models.CharField(_("holder"), max_length=80, blank=True)
    until = models.DateTimeField(_("until"))

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")

    def __str__(self) -> str:
        return f"{self.name}: {self.holder}"


class AlertRule(models.Model):
    """When a metric opens an alert, and when that alert resolves."""

    class Comparison(models.TextChoices):
        ABOVE = "above", _("above")
        BELOW = "below", _("below")

    class Severity(models.TextChoices):
        INFO = "info", _("info")
        WARNING = "warning", _("warning")
        CRITICAL = "critical", _("critical")

    class State(models.TextChoices):
        OK = "ok", _("ok")
        FIRING = "firing", _("firing")
        NO_DATA = "no data", _("no data")

    name = models.CharField(_("name"), max_length=80, unique=True)
    metric = models.CharField(_("metric"), max_length=60)
    subjects = models.CharField(
        _("subjects"),
        max_length=200,
        blank=True,
        help_text=_("Patterns apart by “;”, such as “web-*; !web-9” or “* api/orders/*”. Empty: all."),
    )
    comparison = models.CharField(_("comparison"), max_length=5, choices=Comparison)
    threshold = models.FloatField(_("threshold"))
    clear_threshold = models.FloatField(
        _("clear threshold"),
        null=True,
        blank=True,
        help_text=_("Where an open alert resolves. Empty: at the threshold."),
    )
    for_seconds = models.PositiveIntegerField(_("for seconds"), default=300)
    no_data_seconds = models.PositiveIntegerField(
        _("no data for seconds"),
        null=True,
        blank=True,
        help_text=_(
            "A subject that sends nothing for this long is an alert. Empty: only a state of the rule."
        ),
    )
    severity = models.CharField(_("severity"), max_length=8, choices=Severity, default=Severity.WARNING)
    unit = models.CharField(_("unit"), max_length=12, blank=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    declared = models.BooleanField(_("declared in code"), default=False)
    """True until a person edits it: a declaration's change then no longer overwrites it."""
    state = models.CharField(_("state"), max_length=8, choices=State, blank=True, editable=False)
    state_since = models.DateTimeField(_("state since"), null=True, editable=False)

    class Meta:
        verbose_name = _("alert rule")
        verbose_name_plural = _("alert rules")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """One thing that is wrong: at most one open alert for each (rule, subject)."""

    class Status(models.TextChoices):
        OPEN = "open", _("open")
        ACKNOWLEDGED = "acknowledged", _("acknowledged")
        NO_DATA = "no data", _("no data")
        RESOLVED = "resolved", _("resolved")

    rule = models.ForeignKey(AlertRule, models.CASCADE, related_name="alerts", verbose_name=_("alert rule"))
    subject = models.CharField(_("subject"), max_length=255, blank=True)
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.OPEN)
    severity = models.CharField(_("severity"), max_length=8, choices=AlertRule.Severity)
    value = models.FloatField(_("value"), null=True, blank=True)
    message = models.TextField(_("message"))
    opened_at = models.DateTimeField(_("opened at"))
    seen_at = models.DateTimeField(_("last seen at"))
    resolved_at = models.DateTimeField(_("resolved at"), null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("acknowledged by"),
    )
    acknowledged_at = models.DateTimeField(_("acknowledged at"), null=True, blank=True)
    comment = models.TextField(_("comment"), blank=True)
    times = models.PositiveIntegerField(_("times seen"), default=1)
    flaps = models.PositiveIntegerField(_("opened again"), default=0)
    """How often it opened again soon after it had resolved."""
    told = models.CharField(_("people were told"), max_length=12, blank=True)
    """The status that the notifiers were handed last."""
    told_at = models.DateTimeField(_("told at"), null=True, blank=True)
    evidence = models.JSONField(_("evidence"), default=dict, blank=True)
    """What a chart of it needs, where a value alone does not say why (``monitoring.types.Oddity``)."""

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering = ("-opened_at",)
        permissions = (("acknowledge_alert", _("Can acknowledge alerts")),)
        constraints = (
            models.UniqueConstraint(
                fields=["rule", "subject"], condition=~Q(status="resolved"), name="perf_one_open_alert"
            ),
        )
        indexes = (models.Index(fields=["status", "-opened_at"], name="perf_alert_status"),)

    def __str__(self) -> str:
        return self.message


class AlertSilence(models.Model):
    """Alerts of some subjects, of one rule or of all, are told to nobody until then. They still open and resolve."""

    rule = models.ForeignKey(
        AlertRule,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="silences",
        verbose_name=_("alert rule"),
        help_text=_("Empty: every rule."),
    )
    subjects = models.CharField(
        _("subjects"), max_length=200, blank=True, help_text=_("Patterns apart by “;”. Empty: all.")
    )
    until = models.DateTimeField(_("until"))
    comment = models.CharField(_("comment"), max_length=200)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("silenced by"),
    )

    class Meta:
        verbose_name = _("silence")
        verbose_name_plural = _("silences")
        ordering = ("-until",)

    def __str__(self) -> str:
        return self.comment


class Score(models.Model):
    """The score 0–100 of one moment: overall, by area, with every point taken off explained."""

    at = models.DateTimeField(_("at"))
    overall = models.FloatField(_("overall"), null=True)
    areas = models.JSONField(_("areas"), default=dict)
    """area → {"score", "confidence", "deductions": [{"name", "label", "value", "target", "unit", "points", "hint"}]}"""
    confidence = models.FloatField(_("confidence"), default=0.0)

    class Meta:
        verbose_name = _("score")
        verbose_name_plural = _("scores")
        ordering = ("-at",)
        indexes = (models.Index(fields=["-at"], name="perf_score_at"),)

    def __str__(self) -> str:
        return "–" if self.overall is None else f"{self.overall:.0f}"
