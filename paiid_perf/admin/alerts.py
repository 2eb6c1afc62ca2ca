"""Alerts, the rules that open them, and silences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from paiid_perf.admin import charts, marks
from paiid_perf.admin.base import ACKNOWLEDGE, VIEW, ModelAdmin, PageAdmin, pill, post_only, require
from paiid_perf.admin.charts import Chart, Line
from paiid_perf.models import Alert, AlertRule, AlertSilence

#: What a person has not seen yet.
UNSEEN = (Alert.Status.OPEN, Alert.Status.NO_DATA)


class CommentForm(ActionForm):
    """The list's actions, with a word to go with them."""

    comment = forms.CharField(label=gettext_lazy("Comment"), required=False, max_length=500)


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
        "comment",
    )
    list_filter = ("status", "severity", "rule")
    list_select_related = ("rule", "acknowledged_by")
    empty = gettext_lazy("No alert was opened yet. Celery beat judges the alert rules each minute.")
    actions = ("acknowledge",)
    action_form = CommentForm
    change_form_template = "paiid_perf/alert.html"
    readonly_fields = ("picture", "severity_label", "status_label")
    fieldsets = (
        (
            None,
            {"fields": ("message", "picture", "severity_label", "status_label", "rule", "subject", "value")},
        ),
        (gettext_lazy("When"), {"fields": ("opened_at", "seen_at", "resolved_at", "times", "flaps")}),
        (
            gettext_lazy("Who"),
            {"fields": ("acknowledged_by", "acknowledged_at", "comment", "told", "told_at")},
        ),
    )

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        seen = path("<int:pk>/acknowledge/", wrap(self.acknowledge_view), name="paiid_perf_alert_acknowledge")
        return [seen, *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        alert = kwargs.get("obj")
        may = request.user.has_perm(ACKNOWLEDGE) and alert is not None and alert.status in UNSEEN
        return super().render_change_form(request, {**context, "may_acknowledge": may}, *args, **kwargs)

    @post_only
    def acknowledge_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """One alert, from its own page or the overview."""
        require(request, ACKNOWLEDGE)
        self._acknowledge(request, Alert.objects.filter(pk=pk))
        back = request.POST.get("next", "")
        here = url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()})
        return HttpResponseRedirect(back if here else self.address("app_list", "paiid_perf"))

    @admin.action(description=gettext_lazy("Acknowledge"), permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        self._acknowledge(request, queryset)

    def _acknowledge(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        opened = list(queryset.filter(status__in=UNSEEN))
        done = Alert.objects.filter(pk__in=[alert.pk for alert in opened], status__in=UNSEEN).update(
            status=Alert.Status.ACKNOWLEDGED,
            acknowledged_by=request.user,
            acknowledged_at=timezone.now(),
            comment=request.POST.get("comment", "").strip()[:500],
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
        return pill(alert.status.replace(" ", "-"), alert.get_status_display())

    @admin.display(description=gettext_lazy("why"))
    def picture(self, alert: Alert) -> SafeString | str:
        return drawn(alert.evidence) if alert.evidence.get("points") else "–"


def drawn(evidence: Mapping[str, Any]) -> SafeString:
    """The hours before an anomaly beside the band that they should have stayed in."""
    points = [(datetime.fromisoformat(at), value) for at, value in evidence["points"]]
    start, end, band = points[0][0], points[-1][0], evidence["band"]
    edges = ((_("usually under"), band["high"]), (_("usually over"), band["low"]))
    lines = [
        Line(evidence["metric"], points, band["value"]),
        *(Line(label, [(at, edge) for at, _value in points], edge) for label, edge in edges),
    ]
    title = _("%(metric)s before the alert, and what is usual at its time") % {"metric": evidence["metric"]}
    made = marks.marks(start, end)
    return charts.line_chart(Chart(title, lines, start, end, evidence["unit"], marks=made))


@admin.register(AlertRule)
class AlertRuleAdmin(ModelAdmin):
    """Thresholds. Django's own permissions on the model say who edits them."""

    list_display = (
        "name",
        "metric",
        "subjects",
        "comparison",
        "threshold",
        "clear_threshold",
        "unit",
        "for_seconds",
        "severity",
        "enabled",
        "state_label",
    )
    list_filter = ("state", "severity", "enabled")
    exclude = ("declared",)
    empty = gettext_lazy("No rule yet: a run adds those that are declared, and you can add one here.")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(VIEW) or super().has_view_permission(request, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(VIEW) or super().has_module_permission(request)

    def save_model(self, request: HttpRequest, obj: AlertRule, form: Any, change: bool) -> None:
        obj.declared = False  # from here on a person's values go before the declaration's
        super().save_model(request, obj, form, change)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_label(self, rule: AlertRule) -> SafeString | str:
        return pill(rule.state.replace(" ", "-"), rule.get_state_display()) if rule.state else "–"


@admin.register(AlertSilence)
class AlertSilenceAdmin(ModelAdmin):
    """Alerts that people are not told of for a time. Whoever may acknowledge alerts may silence them."""

    list_display = ("comment", "rule", "subjects", "until", "created_by", "holds")
    list_select_related = ("rule", "created_by")
    empty = gettext_lazy("Nothing is silenced: everybody is told of every alert.")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "until":  # Django's two inputs share one label, which names neither
            for widget, label in zip(field.widget.widgets, (_("Date"), _("Time")), strict=True):
                widget.attrs["aria-label"] = label
        return field

    @admin.display(description=gettext_lazy("holds"), boolean=True)
    def holds(self, silence: AlertSilence) -> bool:
        return silence.until > timezone.now()

    def save_model(self, request: HttpRequest, obj: AlertSilence, form: Any, change: bool) -> None:
        obj.created_by = obj.created_by or request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(VIEW)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(VIEW)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(ACKNOWLEDGE)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(ACKNOWLEDGE)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(ACKNOWLEDGE)
