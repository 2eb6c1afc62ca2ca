"""Security: what was noticed, and who is kept out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from paiid_perf.admin.base import BAN, VIEW_SAMPLES, ModelForm, PageAdmin, pill
from paiid_perf.admin.pages import security as overview
from paiid_perf.exceptions import ActionRefused
from paiid_perf.models import BlockedAddress, SecurityEvent
from paiid_perf.security import blocks


@admin.register(SecurityEvent)
class SecurityEventAdmin(PageAdmin):
    """What was noticed; samples are redacted, and shown with a permission of their own."""

    pages = overview.PAGES
    list_display = (
        "at",
        "kind",
        "severity_label",
        "address",
        "user",
        "path",
        "field",
        "sample",
        "action",
        "count",
    )
    list_filter = ("severity", "kind")
    list_select_related = ("user",)
    search_fields = ("address", "path")
    date_hierarchy = "at"
    empty = gettext_lazy(
        "Nothing was noticed yet. PerfMiddleware looks at what requests send, and at logins."
    )

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [name for name in self.list_display if name not in self.get_exclude(request)]

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if request.user.has_perm(VIEW_SAMPLES) else ("sample",)

    @admin.display(description=gettext_lazy("severity"), ordering="severity")
    def severity_label(self, event: SecurityEvent) -> SafeString:
        return pill(event.severity, event.get_severity_display())


#: hours → how long that is; 0: without an end
LASTING = {
    1: gettext_lazy("an hour"),
    24: gettext_lazy("a day"),
    30 * 24: gettext_lazy("30 days"),
    0: gettext_lazy("until somebody unblocks it"),
}


class BlockForm(ModelForm):
    """A network to block; what would lock out the person who asks is refused."""

    request: HttpRequest
    lasting = forms.TypedChoiceField(
        label=gettext_lazy("For"),
        choices=list(LASTING.items()),
        coerce=int,
        initial=24,
    )

    class Meta:
        model = BlockedAddress
        fields = ("network", "reason")

    def clean_network(self) -> str:
        try:
            return blocks.checked(self.cleaned_data["network"], self.request)
        except ActionRefused as error:
            raise ValidationError(str(error)) from error


@admin.register(BlockedAddress)
class BlockedAddressAdmin(PageAdmin):
    """Networks that get 403 or are slowed down: block one, or unblock some."""

    form = BlockForm
    list_display = ("network", "response", "reason", "created_at", "expires_at", "created_by")
    list_filter = ("response",)
    empty = gettext_lazy(
        "Nobody is kept out now. An address whose events pass BAN_SCORE is blocked by itself where the policy allows "
        "it; you can block one here."
    )
    list_select_related = ("created_by",)
    search_fields = ("network", "reason")

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return request.user.has_perm(BAN)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(BAN)

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, *args, **kwargs)
        return type(form.__name__, (form,), {"request": request})

    def save_model(self, request: HttpRequest, obj: BlockedAddress, form: Any, change: bool) -> None:
        hours = form.cleaned_data["lasting"]
        for_ = timedelta(hours=hours) if hours else None
        obj.pk = blocks.ban(obj.network, for_, obj.reason, by=request.user, request=request).pk  # type: ignore[arg-type]

    def delete_model(self, request: HttpRequest, obj: BlockedAddress) -> None:
        blocks.unban(obj.network)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[BlockedAddress]) -> None:
        for row in queryset:
            blocks.unban(row.network)
