"""Runs: start one, watch it, read what it found and decided."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.admin import glyphs
from paiid_perf.admin.base import RUN, VIEW, PageAdmin, counts, pill, post_only, require
from paiid_perf.admin.console import AREA_NAMES, areas_of
from paiid_perf.admin.evidence import facts_of
from paiid_perf.admin.figures import duration, number
from paiid_perf.admin.window import named
from paiid_perf.admin.zone import in_readers_zone
from paiid_perf.exceptions import ActionRefused, AlreadyRunning
from paiid_perf.models import OptimizationRun
from paiid_perf.optimization import reports, runner
from paiid_perf.optimization.health import describe

RUN_ACTIONS = {"start_full": "full", "start_quick": "quick"}
#: A report's format → its media type, and what writes the report of a window.
REPORTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "html": ("text/html", lambda window: render_to_string("paiid_perf/report.html", {"window": window})),
    "md": ("text/markdown", lambda window: reports.text(_facts(window))),
    "json": ("application/json", lambda window: json.dumps(_facts(window), indent=2)),
}
#: Recommendations that a run's page lists.
SHOWN = 100


@admin.register(OptimizationRun)
class OptimizationRunAdmin(PageAdmin):
    """Runs: start one, watch it, read what it found and decided."""

    list_display = ("name", "state", "trigger", "user", "created_at", "took", "changed", "overall")
    list_filter = ("status", "kind", "trigger")
    list_select_related = ("user",)
    empty = gettext_lazy("No run yet. Start one here, with manage.py perf run, or by Celery beat.")
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

    @in_readers_zone
    def report_view(self, request: HttpRequest) -> HttpResponse:
        """The report of a window as one file (``format`` html, md or json), which needs nothing else to be read."""
        require(request, VIEW)
        kind = request.GET.get("format", "html")
        if kind not in REPORTS:
            raise Http404
        window = named(request)
        media, write = REPORTS[kind]
        name = f"performance-{timezone.localdate():%Y-%m-%d}-{window}.{kind}"
        answer = HttpResponse(write(window), content_type=f"{media}; charset=utf-8")
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
            bar=glyphs.bar(run.progress, _("Progress")),
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


def _facts(window: str) -> dict[str, Any]:
    return reports.report(timezone.now(), reports.span_of(window) or reports.LONGEST)


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
