"""What the database phase remembers between runs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class IndexSighting(models.Model):
    """When an index was first seen. PostgreSQL does not say since when one is there: without it, an index of yesterday
    looks like one that nothing has read in all the time that the statistics cover."""

    alias = models.CharField(_("database"), max_length=64)
    schema = models.CharField(_("schema"), max_length=63)
    name = models.CharField(_("name"), max_length=63)
    oid = models.BigIntegerField(_("object id"))
    first_seen_at = models.DateTimeField(_("first seen at"))

    class Meta:
        verbose_name = _("index sighting")
        verbose_name_plural = _("index sightings")
        constraints = (models.UniqueConstraint(fields=["alias", "oid"], name="perf_sighting_once"),)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


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
