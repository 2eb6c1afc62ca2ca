"""What the database phase remembers between runs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class StatementSnapshot(models.Model):
    """The counters of pg_stat_statements at one moment; two of them subtracted are a workload.

    The counters themselves are never reset: other tools read them too.
    """

    taken_at = models.DateTimeField(_("taken at"))
    stats_reset = models.DateTimeField(_("counters reset at"), null=True, blank=True)
    statements = models.JSONField(_("statements"), default=dict)
    """queryid → {"text", "calls", "total_ms", "stddev_ms", "rows", "blocks"}"""

    class Meta:
        verbose_name = _("statement snapshot")
        verbose_name_plural = _("statement snapshots")
        ordering = ("-taken_at",)
        indexes = (models.Index(fields=["-taken_at"], name="perf_snapshot_taken"),)

    def __str__(self) -> str:
        return f"{self.taken_at:%Y-%m-%d %H:%M}"
