"""What is set at runtime for endpoint classes and strategies, over what the code declares."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class EndpointRule(models.Model):
    """Another rate, strategy, compression or objective for a declared endpoint class, or a class of its own.

    What is empty stays as declared. ``api.edited`` brings it to every process, and leaves out what cannot be used.
    """

    NONE = "none"
    """No limit, or no cache: other than empty, which is as declared."""

    name = models.CharField(
        _("endpoint class"),
        max_length=64,
        unique=True,
        help_text=_("One that is declared, to change it; any other name makes a class."),
    )
    match = models.TextField(
        _("matches"),
        blank=True,
        help_text=_(
            "One per line: a path that the request's begins with (/api/), a route (orders/<int:pk>/), a view's name "
            "(trading:order-list) or its dotted path. Empty: as declared."
        ),
    )
    rate = models.CharField(
        _("limit"),
        max_length=32,
        blank=True,
        help_text=_("60/m, 5/10s, 3/30d; none: no limit. Empty: as declared."),
    )
    rate_key = models.CharField(
        _("counted by"),
        max_length=80,
        blank=True,
        help_text=_("ip, user, user_or_ip or header:X-Name. Empty: as declared."),
    )
    per_method = models.BooleanField(_("each method counts by itself"), null=True, blank=True)
    cache = models.CharField(
        _("response cache"),
        max_length=64,
        blank=True,
        help_text=_("A declared response strategy; none: not cached. Empty: as declared."),
    )
    compress = models.BooleanField(_("compress"), null=True, blank=True)
    latency_objective_ms = models.FloatField(
        _("latency objective (ms)"), null=True, blank=True, help_text=_("Empty: as declared.")
    )
    enabled = models.BooleanField(_("in force"), default=True)
    changed_at = models.DateTimeField(_("changed"), auto_now=True)
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("by"),
    )

    class Meta:
        verbose_name = _("limit and caching of an endpoint class")
        verbose_name_plural = _("limits and caching")
        ordering = ("name",)
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return self.name

    def values(self) -> dict[str, Any]:
        """What it sets, by the name of the field of ``EndpointClass``; what is as declared is left out."""
        given: dict[str, Any] = {
            "match": tuple(line.strip() for line in self.match.splitlines() if line.strip()),
            "rate": self.rate,
            "rate_key": self.rate_key,
            "per_method": self.per_method,
            "cache": self.cache,
            "compress": self.compress,
            "latency_objective_ms": self.latency_objective_ms,
        }
        return {
            name: None if value == self.NONE else value
            for name, value in given.items()
            if value not in ("", (), None)
        }


class StrategyTtl(models.Model):
    """Another time to live of a cache or response strategy, set by a change in the ledger.

    ``lifetimes.edited`` brings it to every process; deleting the row brings the declared time back.
    """

    subject = models.CharField(_("strategy"), max_length=255, unique=True)
    """``portfolios``; of a response strategy ``response:user``."""
    seconds = models.FloatField(_("time to live (s)"))
    changed_at = models.DateTimeField(_("changed"))

    class Meta:
        verbose_name = _("time to live of a strategy")
        verbose_name_plural = _("times to live")
        ordering = ("subject",)
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.subject}: {self.seconds:g} s"
