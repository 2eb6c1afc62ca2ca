"""The console's pages on the models. Nothing here works long: it starts runs and leads to their live pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.admin import charts
from paiid_perf.exceptions import ActionRefused, AlreadyRunning, PerfError
from paiid_perf.models import (
    Alert,
    AlertRule,
    BlockedAddress,
    OptimizationRun,
    Recommendation,
    Score,
    SecurityEvent,
)
from paiid_perf.optimization import ledger, runner
from paiid_perf.optimization.health import describe

# Generic for the type checker alone: at run time Django's class takes no parameter.
if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

VIEW = "paiid_perf.view_console"
RUN = "paiid_perf.run_optimization"
APPROVE = "paiid_perf.approve_recommendation"
APPLY = "paiid_perf.apply_recommendation"


class Console(ModelAdmin):
    """A page that is read, not written: rows are made by runs."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(VIEW)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(VIEW)


def posted(handler: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """GET never changes anything."""

    def view(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return (
            handler(self, request, *args, **kwargs)
            if request.method == "POST"
            else HttpResponseNotAllowed(["POST"])
        )

    return view


@admin.register(OptimizationRun)
class OptimizationRunAdmin(Console):
    list_display = ("id", "kind", "status", "trigger", "user", "created_at", "took", "changed")
    list_filter = ("status", "kind", "trigger")
    list_select_related = ("user",)
    actions = ("start_full", "start_quick")
    change_form_template = "admin/paiid_perf/optimizationrun/run.html"
    change_list_template = "admin/paiid_perf/optimizationrun/runs.html"

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("start/<str:kind>/", wrap(self.start_view), name="paiid_perf_run_start"),
            path("<int:pk>/progress/", wrap(self.progress_view), name="paiid_perf_run_progress"),
            *super().get_urls(),
        ]

    @posted
    def start_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        if kind not in OptimizationRun.Kind.values:
            raise PermissionDenied
        return self._start(request, kind)

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The run as JSON, for the live bar."""
        if not request.user.has_perm(VIEW):
            raise PermissionDenied
        run = get_object_or_404(OptimizationRun.objects.prefetch_related("phases"), pk=pk)
        return JsonResponse(describe(run))

    @admin.action(description=gettext_lazy("Run full optimization"), permissions=["run"])
    def start_full(self, request: HttpRequest, queryset: QuerySet[OptimizationRun]) -> HttpResponse:
        return self._start(request, "full")

    @admin.action(description=gettext_lazy("Run quick optimization"), permissions=["run"])
    def start_quick(self, request: HttpRequest, queryset: QuerySet[OptimizationRun]) -> HttpResponse:
        return self._start(request, "quick")

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RUN)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A run is started without choosing rows: Django would ask for some."""
        if (
            request.method == "POST"
            and request.POST.get("action") in self.actions
            and self.has_run_permission(request)
        ):
            return self._start(request, request.POST["action"].removeprefix("start_"))
        return super().changelist_view(
            request, {"may_run": self.has_run_permission(request), **(extra_context or {})}
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        run = self.get_object(request, object_id)
        more = {"run": run, "bar": charts.bar(run.progress, _("Progress"))} if run else {}
        return super().changeform_view(request, object_id, form_url, {**more, **(extra_context or {})})

    def _start(self, request: HttpRequest, kind: str) -> HttpResponse:
        if not self.has_run_permission(request):
            raise PermissionDenied
        try:
            run = runner.request(kind, "admin", request.user)
        except (AlreadyRunning, ActionRefused) as error:
            self.message_user(request, str(error), messages.WARNING)
            return HttpResponseRedirect(_page(OptimizationRun, getattr(error, "run_id", 0)))
        pk = run.pk
        if not runner.enqueue(run):
            hint = _(
                "No Celery broker takes the run. Start a worker, or run `manage.py perf run` in a shell."
            )
            self.message_user(request, hint, messages.ERROR)
            return HttpResponseRedirect(reverse("admin:app_list", args=["paiid_perf"]))
        self.log_change(request, OptimizationRun(pk=pk, kind=kind), _("Started."))
        return HttpResponseRedirect(_page(OptimizationRun, pk))

    @admin.display(description=gettext_lazy("seconds"))
    def took(self, run: OptimizationRun) -> str:
        return "–" if run.seconds is None else f"{run.seconds:.1f}"

    @admin.display(description=gettext_lazy("changes"))
    def changed(self, run: OptimizationRun) -> str:
        return ", ".join(f"{count} {name}" for name, count in run.changes.items() if count) or "–"


#: action → (permission, what it does, label)
MOVES: dict[str, tuple[str, Callable[..., Any], Any]] = {
    "approve": (APPROVE, ledger.approve, gettext_lazy("Approve")),
    "dismiss": (APPROVE, ledger.dismiss, gettext_lazy("Dismiss")),
    "reopen": (APPROVE, ledger.reopen, gettext_lazy("Reopen")),
    "apply": (APPLY, ledger.apply, gettext_lazy("Apply now")),
    "revert": (APPLY, ledger.revert, gettext_lazy("Revert")),
}
#: state → what a person can do with it
OFFERED = {
    "proposed": ("approve", "apply", "dismiss"),
    "approved": ("apply", "dismiss"),
    "verifying": ("revert",),
    "kept": ("revert",),
    "dismissed": ("reopen",),
}


@admin.register(Recommendation)
class RecommendationAdmin(Console):
    list_display = ("id", "title", "area", "state", "expected", "measured", "risk", "confirmed_at")
    list_display_links = ("id", "title")
    list_filter = ("state", "area", "kind", "risk")
    search_fields = ("title", "key", "how")
    actions = ("approve_selected", "dismiss_selected")
    change_form_template = "admin/paiid_perf/recommendation/recommendation.html"

    def get_urls(self) -> list[URLPattern]:
        act = self.admin_site.admin_view(self.act_view)
        return [path("<int:pk>/act/<str:move>/", act, name="paiid_perf_recommendation_act"), *super().get_urls()]

    def act_view(self, request: HttpRequest, pk: int, move: str) -> HttpResponse:
        """GET: a page that says what will happen. POST: it happens."""
        if move not in MOVES or not request.user.has_perm(MOVES[move][0]):
            raise PermissionDenied
        rec = get_object_or_404(Recommendation, pk=pk)
        if request.method != "POST":
            return self._confirm(request, rec, move)
        self._act(request, rec, move)
        return HttpResponseRedirect(_page(Recommendation, rec.pk))

    def _confirm(self, request: HttpRequest, rec: Recommendation, move: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": MOVES[move][2],
            "rec": rec,
            "move": move,
            "label": MOVES[move][2],
        }
        return TemplateResponse(request, "admin/paiid_perf/recommendation/confirm.html", context)

    def _act(self, request: HttpRequest, rec: Recommendation, move: str) -> None:
        try:
            if move == "apply" and runner.enqueue_apply(rec, request.user):
                message = _("A worker applies it now; this page shows what becomes of it.")
            else:
                more = {"reason": request.POST.get("reason", "")} if move == "dismiss" else {}
                message = _("Now %(state)s.") % {"state": MOVES[move][1](rec, request.user, **more).state}
        except PerfError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self.log_change(request, rec, str(MOVES[move][2]))
        self.message_user(request, message, messages.SUCCESS)

    @admin.action(description=gettext_lazy("Approve: the next run applies them"), permissions=["approve"])
    def approve_selected(self, request: HttpRequest, queryset: QuerySet[Recommendation]) -> None:
        for rec in queryset:
            self._act(request, rec, "approve")

    @admin.action(description=gettext_lazy("Dismiss"), permissions=["approve"])
    def dismiss_selected(self, request: HttpRequest, queryset: QuerySet[Recommendation]) -> None:
        for rec in queryset:
            self._act(request, rec, "dismiss")

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(APPROVE)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        rec = self.get_object(request, object_id)
        moves = [
            (move, MOVES[move][2])
            for move in OFFERED.get(rec.state if rec else "", ())
            if self._may(request, rec, move)
        ]
        more = {"rec": rec, "moves": moves, "queries": _compared(rec) if rec else []}
        return super().changeform_view(request, object_id, form_url, {**more, **(extra_context or {})})

    def _may(self, request: HttpRequest, rec: Any, move: str) -> bool:
        is_advice = rec is not None and rec.kind == "advice"
        return request.user.has_perm(MOVES[move][0]) and not (is_advice and move in ("apply", "approve"))

    @admin.display(description=gettext_lazy("expected gain"), ordering="expected_gain")
    def expected(self, rec: Recommendation) -> str:
        return "–" if rec.expected_gain is None else f"{100 * rec.expected_gain:.0f} %"

    @admin.display(description=gettext_lazy("measured gain"), ordering="measured_gain")
    def measured(self, rec: Recommendation) -> str:
        return "–" if rec.measured_gain is None else f"{100 * rec.measured_gain:.0f} %"


def _compared(rec: Recommendation) -> list[dict[str, Any]]:
    """Each measured query before and after, for a table."""
    after = {query["key"]: query for query in rec.after.get("queries", ())}
    return [
        {
            "text": query["text"],
            "before": query["mean_ms"],
            "after": after.get(query["key"], {}).get("mean_ms"),
        }
        for query in rec.before.get("queries", ())
    ]


@admin.register(Alert)
class AlertAdmin(Console):
    list_display = ("message", "severity", "status", "opened_at", "seen_at", "times", "acknowledged_by")
    list_filter = ("status", "severity", "rule")
    list_select_related = ("rule", "acknowledged_by")
    actions = ("acknowledge",)

    @admin.action(description=gettext_lazy("Acknowledge"), permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        done = queryset.filter(status=Alert.Status.OPEN).update(
            status=Alert.Status.ACKNOWLEDGED, acknowledged_by=request.user
        )
        self.message_user(request, _("%(count)d acknowledged.") % {"count": done}, messages.SUCCESS)

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("paiid_perf.acknowledge_alert")


@admin.register(AlertRule)
class AlertRuleAdmin(ModelAdmin):
    list_display = ("name", "comparison", "threshold", "unit", "for_seconds", "severity", "enabled")
    list_filter = ("severity", "enabled")
    exclude = ("declared",)

    def save_model(self, request: HttpRequest, obj: AlertRule, form: Any, change: bool) -> None:
        obj.declared = False  # from here on a person's values go before the declaration's
        super().save_model(request, obj, form, change)


@admin.register(SecurityEvent)
class SecurityEventAdmin(Console):
    list_display = ("at", "kind", "severity", "address", "user", "path", "field", "sample", "action", "count")
    list_filter = ("severity", "kind", "action")
    list_select_related = ("user",)
    date_hierarchy = "at"
    show_full_result_count = False


@admin.register(BlockedAddress)
class BlockedAddressAdmin(ModelAdmin):
    list_display = ("network", "reason", "created_at", "expires_at", "created_by")
    readonly_fields = ("created_by",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("paiid_perf.ban_address")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("paiid_perf.ban_address")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("paiid_perf.ban_address")

    def save_model(self, request: HttpRequest, obj: BlockedAddress, form: Any, change: bool) -> None:
        obj.created_by = obj.created_by or request.user
        super().save_model(request, obj, form, change)


@admin.register(Score)
class ScoreAdmin(Console):
    list_display = ("at", "overall", "confidence")
    date_hierarchy = "at"


def _page(model: type[Any], pk: int) -> str:
    name = model._meta.model_name
    if not pk:
        return reverse(f"admin:paiid_perf_{name}_changelist")
    return reverse(f"admin:paiid_perf_{name}_change", args=[pk])
