"""What was changed, and when: drawn on every chart."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Mark(models.Model):
    """A moment at which something changed that the app did not change itself."""

    class Kind(models.TextChoices):
        DEPLOYMENT = "deployment", _("deployment")
        MIGRATION = "migration", _("migration")
        STRATEGY = "strategy", _("cache strategy")
        LIMIT = "limit", _("limit")
        NOTE = "note", _("note")

    at = models.DateTimeField(_("at"))
    kind = models.CharField(_("kind"), max_length=12, choices=Kind, default=Kind.NOTE)
    label = models.CharField(_("what changed"), max_length=300)
    state = models.JSONField(_("state"), default=dict, blank=True)
    """What was declared from then on, so that the next look can tell what differs."""

    class Meta:
        verbose_name = _("change mark")
        verbose_name_plural = _("change marks")
        ordering = ("-at", "-pk")
        indexes = (
            models.Index(fields=["-at"], name="perf_mark_at"),
            models.Index(fields=["kind", "-at"], name="perf_mark_kind"),
        )

    def __str__(self) -> str:
        return self.label
