"""Limits and caching of endpoint classes, edited while the site runs; every worker has them at its next flush."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.admin.base import VIEW, ModelAdmin, ModelForm
from paiid_perf.admin.figures import number
from paiid_perf.api import edited
from paiid_perf.api.endpoints import in_force
from paiid_perf.api.types import EditedClass, EndpointClass
from paiid_perf.models import EndpointRule
from paiid_perf.optimization import marks
from paiid_perf.registry import registry

EDIT = "paiid_perf.change_endpointrule"


class EndpointRuleForm(ModelForm):
    """Refuses what a declaration would be refused for."""

    class Meta:
        model = EndpointRule
        fields = (
            "name",
            "match",
            "rate",
            "rate_key",
            "per_method",
            "cache",
            "compress",
            "latency_objective_ms",
            "enabled",
        )
        widgets = {"match": forms.Textarea(attrs={"rows": 3, "cols": 60})}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        rule = EndpointRule(**cleaned)
        for field, words in edited.problems(rule.name, rule.values()).items():
            if field not in self.errors:
                self.add_error(field, words)
        return cleaned


@admin.register(EndpointRule)
class EndpointRuleAdmin(ModelAdmin):
    """What is set for endpoint classes, over what is declared. One permission edits, adds and takes back."""

    form = EndpointRuleForm
    list_display = ("name", "set_to", "enabled", "changed_at", "changed_by")
    list_select_related = ("changed_by",)
    actions = ("take_back",)
    empty = gettext_lazy("Nothing is set here: every class is as it is declared. Edit one above.")
    change_list_template = "paiid_perf/endpoint_rules.html"

    # --- who may -------------------------------------------------------------------------------------------

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(VIEW) or super().has_view_permission(request, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(EDIT)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(EDIT)

    # --- what is shown -------------------------------------------------------------------------------------

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Every class in force with its source, above the list of what was set."""
        rules = dict(EndpointRule.objects.values_list("name", "pk"))
        classes = [
            {"name": one.name, "facts": facts(one), "url": _address(rules.get(one.name), one.name)}
            for one in in_force()
        ]
        return super().changelist_view(request, {"classes": classes} | (extra_context or {}))

    @admin.display(description=gettext_lazy("set to"))
    def set_to(self, rule: EndpointRule) -> str:
        return told(rule.values())

    # --- what is done --------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: EndpointRule, form: Any, change: bool) -> None:
        obj.changed_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)
        marks.note(f"{obj.name}: {self._words(obj)}")

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """What it was and what it is, for Django's log."""
        changes = [
            f"{field}: {form.initial.get(field) or '–'} → {form.cleaned_data.get(field) or '–'}"
            for field in form.changed_data
        ]
        return "; ".join(changes)

    def _words(self, rule: EndpointRule) -> str:
        return told(rule.values()) if rule.enabled else "–"

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Django's own log, and a mark on the charts."""
        for rule in queryset:
            marks.note(f"{rule.name}: " + _("back to what is declared"))
        return super().log_deletions(request, queryset)

    @admin.action(description=gettext_lazy("Back to what is declared"), permissions=["delete"])
    def take_back(self, request: HttpRequest, queryset: QuerySet[EndpointRule]) -> None:
        rules = list(queryset)
        self.log_deletions(request, rules)
        for rule in rules:
            rule.delete()
        words = _("As declared again: %s") % ", ".join(rule.name for rule in rules)
        self.message_user(request, words, messages.SUCCESS)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Taking back is what deleting is here."""
        found: dict[str, Any] = super().get_actions(request)
        found.pop("delete_selected", None)
        return found


def told(values: dict[str, Any]) -> str:
    """``rate 60/m, cache none``."""
    words = {name: ", ".join(value) if name == "match" else value for name, value in values.items()}
    return ", ".join(f"{name} {'none' if value is None else value}" for name, value in words.items()) or "–"


def facts(one: EndpointClass) -> list[tuple[str, str, str]]:
    """(what, value, source) of a class in force; the source is "declared" or "edited"."""
    values = next((e.values for e in registry.all(EditedClass) if e.name == one.name), {})
    key = one.rate_key if isinstance(one.rate_key, str) else one.rate_key.__name__
    shown = (
        ("rate", _("Limit"), one.rate or _("none")),
        ("rate_key", _("Counted by"), key),
        ("cache", _("Response cache"), one.cache or _("not cached")),
        ("compress", _("Compressed"), _("yes") if one.compress else _("no")),
        ("latency_objective_ms", _("Objective"), number(one.latency_objective_ms, "ms")),
    )
    return [(what, value, source_of(field, values)) for field, what, value in shown]


def source_of(field: str, values: Any) -> str:
    return _("edited") if field in values else _("declared")


def address(name: str, match: str = "") -> str:
    """The page that edits a class: of the rule that is there, or of a new one under the class's name."""
    pk = EndpointRule.objects.filter(name=name).values_list("pk", flat=True).first() if name else None
    return _address(pk, name, match)


def _address(pk: int | None, name: str, match: str = "") -> str:
    if pk is not None:
        return reverse("admin:paiid_perf_endpointrule_change", args=[pk])
    given = urlencode({"name": name, **({"match": match} if match else {})})
    return f"{reverse('admin:paiid_perf_endpointrule_add')}?{given}"
