"""The console's pages on the models. Nothing here works long: it starts runs and leads to their live pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from paiid_perf.admin import charts
from paiid_perf.admin.base import (
    ACKNOWLEDGE,
    APPLY,
    APPROVE,
    BAN,
    RUN,
    VIEW,
    ModelAdmin,
    ModelForm,
    PageAdmin,
    counts,
    pill,
    post_only,
    require,
)
from paiid_perf.admin.console import AREA_NAMES, DEFAULT_WINDOW, areas_of
from paiid_perf.admin.evidence import Compared, compared, facts_of, won
from paiid_perf.admin.figures import duration, number, signed
from paiid_perf.contracts import ADVICE
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
from paiid_perf.optimization.reports import WINDOWS
from paiid_perf.security import blocks

# --- runs ----------------------------------------------------------------------------------------------

RUN_ACTIONS = {"start_full": "full", "start_quick": "quick"}
#: Recommendations that a run's page lists.
SHOWN = 100


@admin.register(OptimizationRun)
class OptimizationRunAdmin(PageAdmin):
    """Runs: start one, watch it, read what it found and decided."""

    list_display = ("name", "state", "trigger", "user", "created_at", "took", "changed", "overall")
    list_filter = ("status", "kind", "trigger")
    list_select_related = ("user",)
    actions = tuple(RUN_ACTIONS)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("start/<str:kind>/", wrap(self.start_view), name="paiid_perf_run_start"),
            path("<int:pk>/progress/", wrap(self.progress_view), name="paiid_perf_run_progress"),
            path("report/", wrap(self.report_view), name="paiid_perf_report"),
            *super().get_urls(),
        ]

    # A worker must find the row: it is committed before the run is handed over.
    @transaction.non_atomic_requests
    @post_only
    def start_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        if kind not in OptimizationRun.Kind.values:
            raise Http404
        return self._start(request, kind)

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The run as JSON, for the live bar."""
        require(request, VIEW)
        run = get_object_or_404(OptimizationRun.objects.prefetch_related("phases"), pk=pk)
        return JsonResponse(_told(run))

    def report_view(self, request: HttpRequest) -> HttpResponse:
        """The report of a window as one file, which needs nothing else to be read or printed."""
        require(request, VIEW)
        window = request.GET.get("window", DEFAULT_WINDOW)
        known = window if window in WINDOWS else DEFAULT_WINDOW
        name = f"performance-{timezone.localdate():%Y-%m-%d}-{known}.html"
        answer = HttpResponse(render_to_string("paiid_perf/report.html", {"window": known}))
        answer["Content-Disposition"] = f'attachment; filename="{name}"'
        return answer

    @admin.action(description=gettext_lazy("Run full optimization"), permissions=["run"])
    def start_full(self, request: HttpRequest, queryset: QuerySet[OptimizationRun]) -> HttpResponse:
        return self._start(request, "full")

    @admin.action(description=gettext_lazy("Run quick optimization"), permissions=["run"])
    def start_quick(self, request: HttpRequest, queryset: QuerySet[OptimizationRun]) -> HttpResponse:
        return self._start(request, "quick")

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RUN)

    @transaction.non_atomic_requests
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A run is started without choosing rows: Django would ask for some."""
        if request.method == "POST" and request.POST.get("action") in RUN_ACTIONS:
            return self._start(request, RUN_ACTIONS[request.POST["action"]])
        more = {"may_run": self.has_run_permission(request)}
        return super().changelist_view(request, more | (extra_context or {}))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        require(request, VIEW)
        run = self.get_object(request, object_id)
        if run is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        phases = [
            (phase, AREA_NAMES.get(phase.name, phase.name), facts_of(phase.details))
            for phase in run.phases.all()
        ]
        return self.page(
            request,
            "paiid_perf/run.html",
            _("Run #%(id)d") % {"id": run.pk},
            run=run,
            bar=charts.bar(run.progress, _("Progress")),
            elapsed=duration(_elapsed(run)),
            phases=phases,
            areas=areas_of(run.score.get("areas", {})) if run.score else [],
            recommendations=run.recommendations.all()[:SHOWN],
            may_run=self.has_run_permission(request),
        )

    def _start(self, request: HttpRequest, kind: str) -> HttpResponse:
        require(request, RUN)
        try:
            run = runner.request(kind, "admin", request.user)
        except AlreadyRunning as error:
            self.message_user(request, str(error), messages.WARNING)
            return HttpResponseRedirect(self.address("paiid_perf_optimizationrun_change", error.run_id))
        except ActionRefused as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(self.address_of_list())
        pk = run.pk
        if not runner.enqueue(run):
            hint = _(
                "No Celery broker takes the run. Start a worker, or run `manage.py perf run` in a shell."
            )
            self.message_user(request, hint, messages.ERROR)
            return HttpResponseRedirect(self.address_of_list())
        started = OptimizationRun.objects.get(pk=pk)
        self.log_change(request, started, f"started ({kind})")
        return HttpResponseRedirect(self.address_of(started))

    @admin.display(description=gettext_lazy("run"), ordering="pk")
    def name(self, run: OptimizationRun) -> str:
        words = _("#%(id)d %(kind)s") % {"id": run.pk, "kind": run.get_kind_display()}
        return f"{words} ({_('dry run')})" if run.dry_run else words

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def state(self, run: OptimizationRun) -> SafeString:
        return pill(run.status, run.get_status_display())

    @admin.display(description=gettext_lazy("took"))
    def took(self, run: OptimizationRun) -> str:
        return duration(run.seconds)

    @admin.display(description=gettext_lazy("changes"))
    def changed(self, run: OptimizationRun) -> str:
        return counts(run.changes)

    @admin.display(description=gettext_lazy("score"))
    def overall(self, run: OptimizationRun) -> str:
        return number((run.score or {}).get("overall"))


def _told(run: OptimizationRun) -> dict[str, Any]:
    """The run as JSON with its words for people. What has ended counts, however seldom progress is written."""
    phases = list(run.phases.all())
    ended = sum(phase.finished_at is not None for phase in phases) / len(phases) if phases else 0.0
    told = describe(run)
    for phase, row in zip(phases, told["phases"], strict=True):
        row.update(status_label=phase.get_status_display(), took=duration(phase.seconds))
    return told | {
        "progress": max(run.progress, ended),
        "status_label": run.get_status_display(),
        "elapsed": duration(_elapsed(run)),
    }


def _elapsed(run: OptimizationRun) -> float | None:
    if run.started_at is None:
        return None
    return ((run.finished_at or timezone.now()) - run.started_at).total_seconds()


# --- the ledger ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Move:
    """What a person can do with a recommendation."""

    name: str
    label: str | Promise
    permission: str
    states: tuple[str, ...]
    """The states that it is offered in."""
    effect: str | Promise
    """What the page that asks for confirmation says will happen."""
    for_advice: bool = False
    """Whether it means something for advice, which the app cannot apply."""


MOVES: dict[str, Move] = {
    move.name: move
    for move in (
        Move(
            "approve",
            gettext_lazy("Approve"),
            APPROVE,
            ("proposed",),
            gettext_lazy("The next run does this, measures it, and takes it back if it does not pay."),
        ),
        Move(
            "apply",
            gettext_lazy("Apply now"),
            APPLY,
            ("proposed", "approved"),
            gettext_lazy("A worker does this now, measures it, and takes it back if it does not pay."),
        ),
        Move(
            "revert",
            gettext_lazy("Revert"),
            APPLY,
            ("verifying", "kept"),
            gettext_lazy("A worker takes this change back."),
        ),
        Move(
            "dismiss",
            gettext_lazy("Dismiss"),
            APPROVE,
            ("proposed", "approved"),
            gettext_lazy("It is closed, and not proposed again unless somebody reopens it."),
            for_advice=True,
        ),
        Move(
            "reopen",
            gettext_lazy("Reopen"),
            APPROVE,
            ("dismissed",),
            gettext_lazy("It is open again."),
            for_advice=True,
        ),
    )
}
#: The moves that take long: a worker makes them.
QUEUED: dict[str, Callable[..., bool]] = {
    "apply": runner.enqueue_apply,
    "revert": runner.enqueue_revert,
}
BY_HAND: dict[str, Callable[..., Recommendation]] = {
    "approve": ledger.approve,
    "dismiss": ledger.dismiss,
    "reopen": ledger.reopen,
}

#: States that a worker will end.
MOVING = (Recommendation.State.APPLYING, Recommendation.State.APPROVED)


def offered(rec: Recommendation, move: Move) -> bool:
    """Whether the row's state and kind lead there."""
    return rec.state in move.states and (move.for_advice or rec.kind != ADVICE)


@admin.register(Recommendation)
class RecommendationAdmin(PageAdmin):
    """The ledger: what is proposed, what was done about it, and what that brought."""

    list_display = ("title", "area_label", "state_label", "expected", "measured", "risk", "confirmed_at")
    list_filter = ("state", "area", "kind", "risk")
    search_fields = ("title", "key", "how")
    actions = ("approve_selected", "apply_selected", "revert_selected", "dismiss_selected")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/act/<str:move>/", wrap(self.act_view), name="paiid_perf_recommendation_act"),
            path("<int:pk>/state/", wrap(self.state_view), name="paiid_perf_recommendation_state"),
            *super().get_urls(),
        ]

    def state_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The state as JSON: a page that waits for a worker asks for it."""
        require(request, VIEW)
        return JsonResponse({"status": get_object_or_404(Recommendation, pk=pk).state})

    # The worker that is told to apply it must find what was written here.
    @transaction.non_atomic_requests
    def act_view(self, request: HttpRequest, pk: int, move: str) -> HttpResponse:
        """GET: a page that says what will happen. POST: it happens."""
        if move not in MOVES:
            raise Http404
        require(request, MOVES[move].permission)
        rec = get_object_or_404(Recommendation, pk=pk)
        if request.method != "POST":
            return self._confirm(request, MOVES[move], [rec], self.address_of(rec))
        self._act(request, rec, MOVES[move])
        # A change that is being taken back stays what it was until a worker is done: its page is told to wait.
        waits = "?await=1" if move in QUEUED else ""
        return HttpResponseRedirect(self.address_of(rec) + waits)

    @admin.action(description=gettext_lazy("Approve"), permissions=["approve"])
    def approve_selected(
        self, request: HttpRequest, queryset: QuerySet[Recommendation]
    ) -> HttpResponse | None:
        return self._bulk(request, "approve", queryset)

    @admin.action(description=gettext_lazy("Apply now"), permissions=["apply"])
    def apply_selected(self, request: HttpRequest, queryset: QuerySet[Recommendation]) -> HttpResponse | None:
        return self._bulk(request, "apply", queryset)

    @admin.action(description=gettext_lazy("Revert"), permissions=["apply"])
    def revert_selected(
        self, request: HttpRequest, queryset: QuerySet[Recommendation]
    ) -> HttpResponse | None:
        return self._bulk(request, "revert", queryset)

    @admin.action(description=gettext_lazy("Dismiss"), permissions=["approve"])
    def dismiss_selected(
        self, request: HttpRequest, queryset: QuerySet[Recommendation]
    ) -> HttpResponse | None:
        return self._bulk(request, "dismiss", queryset)

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(APPROVE)

    def has_apply_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(APPLY)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        require(request, VIEW)
        rec = self.get_object(request, object_id)
        if rec is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        rows = compared(rec.before, rec.after)
        return self.page(
            request,
            "paiid_perf/recommendation.html",
            rec.title,
            rec=rec,
            is_advice=rec.kind == ADVICE,
            is_moving=rec.state in MOVING or ("await" in request.GET and offered(rec, MOVES["revert"])),
            area=AREA_NAMES.get(rec.area, rec.area),
            moves=[
                move
                for move in MOVES.values()
                if offered(rec, move) and request.user.has_perm(move.permission)
            ],
            expected=signed(rec.expected_gain),
            measured=signed(rec.measured_gain),
            evidence=facts_of(rec.evidence),
            compared=[(row, _versus(row), signed(row.gain)) for row in rows],
            won=_won(rows),
            numbers=_numbers(rec),
            history=_history(rec),
        )

    def _bulk(
        self, request: HttpRequest, name: str, queryset: QuerySet[Recommendation]
    ) -> HttpResponse | None:
        """First a page that says what will happen; then it happens to each row whose state allows it."""
        move, rows = MOVES[name], list(queryset)
        if "confirmed" not in request.POST:
            return self._confirm(request, move, rows, self.address_of_list(), bulk=True)
        for rec in rows:
            if offered(rec, move):
                self._act(request, rec, move)
        return None

    def _confirm(
        self, request: HttpRequest, move: Move, rows: Sequence[Recommendation], back: str, bulk: bool = False
    ) -> HttpResponse:
        return self.page(
            request,
            "paiid_perf/confirm.html",
            _("%(move)s?") % {"move": move.label},
            move=move,
            rows=[rec for rec in rows if offered(rec, move)],
            refused=[rec for rec in rows if not offered(rec, move)],
            back=back,
            bulk=bulk,
            checkbox=ACTION_CHECKBOX_NAME,
        )

    def _act(self, request: HttpRequest, rec: Recommendation, move: Move) -> None:
        try:
            told = self._make(request, rec, move)
        except PerfError as error:
            self.message_user(request, f"{rec.title}: {error}", messages.ERROR)
            return
        self.log_change(request, rec, f"{move.name}: {request.POST.get('reason', '')}".removesuffix(": "))
        self.message_user(request, f"{rec.title}: {told}", messages.SUCCESS)

    def _make(self, request: HttpRequest, rec: Recommendation, move: Move) -> str:
        """Do it, or have a worker do it; returns what to tell. What is to be applied is approved first, so that a
        run which is at work takes it along."""
        if move.name in BY_HAND:
            more = {"reason": request.POST.get("reason", "")[:300]} if move.name == "dismiss" else {}
            moved = BY_HAND[move.name](rec, request.user, **more)
            return _("now %(state)s.") % {"state": moved.get_state_display()}
        if move.name == "apply" and rec.state == Recommendation.State.PROPOSED:
            ledger.approve(rec, request.user)
        if QUEUED[move.name](rec, request.user):
            return _("a worker does it now; its page shows what becomes of it.")
        command = f"manage.py perf {move.name} {rec.pk}"
        raise ActionRefused(
            _("no Celery broker takes it; run `%(command)s` in a shell.") % {"command": command}
        )

    @admin.display(description=gettext_lazy("area"), ordering="area")
    def area_label(self, rec: Recommendation) -> str:
        return str(AREA_NAMES.get(rec.area, rec.area))

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_label(self, rec: Recommendation) -> SafeString:
        return pill(rec.state, rec.get_state_display())

    @admin.display(description=gettext_lazy("expected"), ordering="expected_gain")
    def expected(self, rec: Recommendation) -> str:
        return signed(rec.expected_gain)

    @admin.display(description=gettext_lazy("measured"), ordering="measured_gain")
    def measured(self, rec: Recommendation) -> str:
        return signed(rec.measured_gain)


def _versus(row: Compared) -> SafeString | str:
    return "" if row.after_ms is None else charts.versus(row.before_ms, row.after_ms, "ms", _("A call"))


def _won(rows: Sequence[Compared]) -> SafeString | str:
    times = won(rows)
    return "" if times is None else charts.versus(*times, "ms", _("A call, all queries together"))


def _history(rec: Recommendation) -> list[dict[str, Any]]:
    """The row's states, each with when, by whom and why."""
    names = dict(Recommendation.State.choices)
    return [
        entry
        | {
            "label": names.get(entry["state"], entry["state"]),
            "at": charts.moment(datetime.fromisoformat(entry["at"])),
        }
        for entry in rec.history
    ]


def _numbers(rec: Recommendation) -> list[Any]:
    """What was measured beside the queries' times, before and after."""
    before, after = (side.get("numbers", {}) for side in (rec.before, rec.after))
    return facts_of({_("Before"): before, _("After"): after})


# --- alerts --------------------------------------------------------------------------------------------


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


# --- security ------------------------------------------------------------------------------------------


@admin.register(SecurityEvent)
class SecurityEventAdmin(PageAdmin):
    """What was noticed; samples are redacted."""

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
    """Networks that get 403: block one, or unblock some."""

    form = BlockForm
    list_display = ("network", "reason", "created_at", "expires_at", "created_by")
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


@admin.register(Score)
class ScoreAdmin(PageAdmin):
    """The score's history."""

    list_display = ("at", "overall_score", "confidence_share", *AREA_NAMES)
    date_hierarchy = "at"

    @admin.display(description=gettext_lazy("overall"), ordering="overall")
    def overall_score(self, score: Score) -> str:
        return number(score.overall)

    @admin.display(description=gettext_lazy("confidence"))
    def confidence_share(self, score: Score) -> str:
        return number(score.confidence, "ratio")

    def database(self, score: Score) -> str:
        return _area(score, "database")

    def api(self, score: Score) -> str:
        return _area(score, "api")

    def cache(self, score: Score) -> str:
        return _area(score, "cache")

    def monitoring(self, score: Score) -> str:
        return _area(score, "monitoring")

    def security(self, score: Score) -> str:
        return _area(score, "security")


def _area(score: Score, name: str) -> str:
    return number(score.areas.get(name, {}).get("score"))
