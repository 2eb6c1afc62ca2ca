"""Alerts and the rules that open them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy, ngettext

from paiid_perf.admin.base import ACKNOWLEDGE, VIEW, ModelAdmin, PageAdmin, pill, post_only, require
from paiid_perf.models import Alert, AlertRule


@admin.register(Alert)
class AlertAdmin(PageAdmin):
    """What is, or was, past its threshold."""

    list_display = (
        "message",
        "severity_label",
        "status_label",
        "opened_at",
        "seen_at",
        "times",
        "acknowledged_by",
    )
    list_filter = ("status", "severity", "rule")
    list_select_related = ("rule", "acknowledged_by")
    actions = ("acknowledge",)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        seen = path("<int:pk>/acknowledge/", wrap(self.acknowledge_view), name="paiid_perf_alert_acknowledge")
        return [seen, *super().get_urls()]

    @post_only
    def acknowledge_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """One alert, from the overview."""
        require(request, ACKNOWLEDGE)
        self._acknowledge(request, Alert.objects.filter(pk=pk))
        return HttpResponseRedirect(self.address("app_list", "paiid_perf"))

    @admin.action(description=gettext_lazy("Acknowledge"), permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        self._acknowledge(request, queryset)

    def _acknowledge(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        opened = list(queryset.filter(status=Alert.Status.OPEN))
        done = Alert.objects.filter(pk__in=[alert.pk for alert in opened], status=Alert.Status.OPEN).update(
            status=Alert.Status.ACKNOWLEDGED, acknowledged_by=request.user
        )
        for alert in opened:
            self.log_change(request, alert, "acknowledged")
        told = ngettext("%(count)d alert acknowledged.", "%(count)d alerts acknowledged.", done)
        self.message_user(request, told % {"count": done}, messages.SUCCESS)

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(ACKNOWLEDGE)

    @admin.display(description=gettext_lazy("severity"), ordering="severity")
    def severity_label(self, alert: Alert) -> SafeString:
        return pill(alert.severity, alert.get_severity_display())

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def status_label(self, alert: Alert) -> SafeString:
        return pill(alert.status, alert.get_status_display())


@admin.register(AlertRule)
class AlertRuleAdmin(ModelAdmin):
    """Thresholds. Django's own permissions on the model say who edits them."""

    list_display = ("name", "metric", "comparison", "threshold", "unit", "for_seconds", "severity", "enabled")
    list_filter = ("severity", "enabled")
    exclude = ("declared",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(VIEW) or super().has_view_permission(request, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(VIEW) or super().has_module_permission(request)

    def save_model(self, request: HttpRequest, obj: AlertRule, form: Any, change: bool) -> None:
        obj.declared = False  # from here on a person's values go before the declaration's
        super().save_model(request, obj, form, change)
