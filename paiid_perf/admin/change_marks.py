"""The marks on the charts; who may start runs may add a note."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy

from paiid_perf.admin.base import RUN, PageAdmin
from paiid_perf.models import Mark


@admin.register(Mark)
class MarkAdmin(PageAdmin):
    """What changed when, beside what the ledger holds."""

    list_display = ("at", "kind", "label")
    list_filter = ("kind",)
    date_hierarchy = "at"
    empty = gettext_lazy(
        "Nothing was marked yet. Set RELEASE, or let your pipeline run manage.py perf mark NAME --deployment."
    )
    fields = ("kind", "label")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).exclude(label="")  # the first looks have no words

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return request.user.has_perm(RUN)

    def save_model(self, request: HttpRequest, obj: Mark, form: ModelForm[Mark], change: bool) -> None:
        obj.at = timezone.now()
        super().save_model(request, obj, form, change)
