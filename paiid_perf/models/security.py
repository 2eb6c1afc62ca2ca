"""Security events, blocked addresses, and what the password and login policies must remember."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import models
from django.utils.translation import gettext_lazy as _


class AppendOnly(models.QuerySet["SecurityEvent"]):
    """Rows that are only added; retention alone deletes them (``security.actions.prune``)."""

    def update(self, **_values: object) -> int:
        """Refused with PermissionDenied."""
        raise PermissionDenied(_("Security events are never changed."))

    def delete(self) -> tuple[int, dict[str, int]]:
        """Refused with PermissionDenied."""
        raise PermissionDenied(_("Security events are deleted by retention alone."))

    delete.queryset_only = True  # type: ignore[attr-defined]


class SecurityEvent(models.Model):
    """Something that happened, with a redacted sample; never a secret or a raw payload."""

    class Severity(models.TextChoices):
        INFO = "info", _("info")
        LOW = "low", _("low")
        MEDIUM = "medium", _("medium")
        HIGH = "high", _("high")
        CRITICAL = "critical", _("critical")

    at = models.DateTimeField(_("at"))
    kind = models.CharField(_("kind"), max_length=40)
    severity = models.CharField(_("severity"), max_length=8, choices=Severity)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("user"),
    )
    path = models.CharField(_("path"), max_length=255, blank=True)
    field = models.CharField(_("field"), max_length=120, blank=True)
    sample = models.CharField(_("redacted sample"), max_length=200, blank=True)
    action = models.CharField(_("action"), max_length=20, blank=True)
    count = models.PositiveIntegerField(_("count"), default=1)
    """How many alike within the flush that wrote it: a flood is counted, not stored."""
    number = models.BigIntegerField(_("number"), null=True, unique=True, editable=False)
    digest = models.CharField(
        _("digest"), max_length=64, blank=True, editable=False, default="", db_default=""
    )
    """Seals this row and, through the digest of the one before it, all that came before."""

    objects = AppendOnly.as_manager()

    class Meta:
        verbose_name = _("security event")
        verbose_name_plural = _("security events")
        ordering = ("-at",)
        permissions = (("view_samples", _("Can see redacted samples of what was sent")),)
        indexes = (
            models.Index(fields=["-at"], name="perf_event_at"),
            models.Index(fields=["kind", "-at"], name="perf_event_kind"),
            models.Index(fields=["address", "-at"], name="perf_event_address"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.address or ''}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the row; PermissionDenied for one that is there already."""
        if not self._state.adding:
            raise PermissionDenied(_("Security events are never changed."))
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Refused with PermissionDenied."""
        raise PermissionDenied(_("Security events are deleted by retention alone."))


class SecurityChain(models.Model):
    """Where the chain of security events begins and ends."""

    name = models.CharField(_("name"), max_length=20, primary_key=True)
    number = models.BigIntegerField(_("number"), default=0)
    digest = models.CharField(_("digest"), max_length=64, blank=True)
    begins_after = models.BigIntegerField(_("begins after"), default=0)
    """The last number that retention let go."""
    begins_after_digest = models.CharField(_("begins after the digest"), max_length=64, blank=True)
    seal = models.CharField(_("seal"), max_length=64, blank=True)

    class Meta:
        verbose_name = _("chain of security events")
        verbose_name_plural = _("chains of security events")

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


class BlockedAddress(models.Model):
    """A network that is slowed down, or gets 403, until that expires."""

    class Response(models.TextChoices):
        DELAY = "delay", _("slowed down")
        LOG_OUT = "log_out", _("logged out and slowed down")
        BAN = "ban", _("blocked")

    network = models.CharField(_("network"), max_length=49, unique=True)
    reason = models.CharField(_("reason"), max_length=200, blank=True)
    response = models.CharField(
        _("what is done"), max_length=10, choices=Response.choices, default=Response.BAN, editable=False
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("blocked by"),
    )

    class Meta:
        verbose_name = _("blocked address")
        verbose_name_plural = _("blocked addresses")
        ordering = ("-created_at",)
        permissions = (("ban_address", _("Can block and unblock addresses")),)
        indexes = (models.Index(fields=["expires_at"], name="perf_blocked_expires"),)

    def __str__(self) -> str:
        return self.network


class LoginFailure(models.Model):
    """Failed logins of one key in one window: where counting goes when Redis is away."""

    key = models.CharField(_("key"), max_length=64, unique=True)
    window_ends_at = models.DateTimeField(_("window ends at"))
    count = models.PositiveIntegerField(_("count"), default=0)

    class Meta:
        verbose_name = _("login failure")
        verbose_name_plural = _("login failures")
        indexes = (models.Index(fields=["window_ends_at"], name="perf_login_window"),)

    def __str__(self) -> str:
        return f"{self.count}"


class PasswordRecord(models.Model):
    """A password hash that a user had, for the history and age policies."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user")
    )
    password = models.CharField(_("password hash"), max_length=256)
    set_at = models.DateTimeField(_("set at"))

    class Meta:
        verbose_name = _("password record")
        verbose_name_plural = _("password records")
        ordering = ("-set_at",)
        indexes = (models.Index(fields=["user", "-set_at"], name="perf_password_user"),)

    def __str__(self) -> str:
        return f"{self.set_at:%Y-%m-%d}"


class UserSession(models.Model):
    """A session that somebody is logged in with, so that sessions can be counted, listed and ended."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user")
    )
    key = models.CharField(_("session key"), max_length=64, unique=True)
    began_at = models.DateTimeField(_("began at"))
    seen_at = models.DateTimeField(_("seen at"))
    ends_at = models.DateTimeField(_("ends at"))
    """When it ends if nothing more is heard of it."""
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    agent = models.CharField(_("user agent"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        ordering = ("began_at", "pk")
        permissions = (("end_session", _("Can end other people's sessions")),)
        indexes = (
            models.Index(fields=["user", "began_at"], name="perf_session_user"),
            models.Index(fields=["ends_at"], name="perf_session_ends"),
        )

    def __str__(self) -> str:
        return f"{self.began_at:%Y-%m-%d %H:%M}"
