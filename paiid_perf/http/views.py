"""The JSON API: triggers and read-outs, all on the same runner as the command and the admin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.apps import apps
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from paiid_perf.exceptions import ActionRefused, AlreadyRunning
from paiid_perf.http import auth, schema
from paiid_perf.http.schema import BadInput
from paiid_perf.models import Alert, OptimizationRun, Recommendation, Score
from paiid_perf.monitoring import export
from paiid_perf.optimization import health as site_health
from paiid_perf.optimization import reports, runner

Handler = Callable[..., HttpResponse]
DOWNLOAD = {"Content-Disposition": 'attachment; filename="metrics.csv"'}
#: verdict → (status, message)
REFUSALS: Mapping[str, tuple[int, str]] = {
    "anonymous": (401, "sign in as staff, or send a bearer token."),
    "forbidden": (403, "this needs the permission {permission}."),
    "csrf": (403, "the CSRF token is missing or wrong; send it as X-CSRFToken."),
}


def endpoint(right: str, *methods: str) -> Callable[[Handler], Handler]:
    """A view that answers these methods to callers with that right, and everyone else by a clear error."""

    allowed = (*methods, "HEAD") if "GET" in methods else methods

    def decorate(handler: Handler) -> Handler:
        @csrf_exempt  # auth.may() asks Django's check itself: a token needs none
        @transaction.non_atomic_requests  # a worker must find the run's row
        @never_cache
        @wraps(handler)
        def view(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            if request.method not in allowed:
                return _error(405, f"use {' or '.join(methods)}.", headers={"Allow": ", ".join(allowed)})
            verdict = auth.may(request, right)
            if verdict != "yes":
                return _refuse(verdict, right)
            try:
                return handler(request, **kwargs)
            except BadInput as error:
                return _error(400, str(error), field=error.field)

        return view

    return decorate


def _refuse(verdict: str, right: str) -> HttpResponse:
    status, message = REFUSALS[verdict]
    headers = {"WWW-Authenticate": 'Bearer realm="paiid_perf"'} if status == 401 else {}
    return _error(status, message.format(permission=auth.PERMISSIONS[right]), headers=headers)


def _error(
    status: int, message: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> HttpResponse:
    return JsonResponse({"error": message, **more}, status=status, headers=dict(headers or {}))


# --- triggers ------------------------------------------------------------------------------------------


@endpoint("run", "POST")
def run_full(request: HttpRequest) -> HttpResponse:
    return _trigger(request, "full")


@endpoint("run", "POST")
def run_quick(request: HttpRequest) -> HttpResponse:
    return _trigger(request, "quick")


def _trigger(request: HttpRequest, kind: str) -> HttpResponse:
    """202 with the run's address once a worker has it; with ``?wait=1`` 200 and the run, ended."""
    options = schema.run_options(request)
    user = request.user if request.user.is_authenticated else None
    try:
        run = runner.request(kind, "api", user, dry_run=options["dry_run"])
        if request.GET.get("wait") == "1":
            _write_down(run)
            return JsonResponse(site_health.describe(runner.execute(run.pk)))
    except AlreadyRunning as error:
        return _error(409, str(error), run=error.run_id)
    except ActionRefused as error:
        return _error(409, str(error))
    url = reverse("paiid_perf:run", kwargs={"pk": run.pk})
    if not runner.enqueue(run):
        return _error(503, "no Celery broker takes the run; start one, or call again with ?wait=1.")
    _write_down(run)
    return JsonResponse({"run": run.pk, "url": url}, status=202, headers={"Location": url})


def _write_down(run: OptimizationRun) -> None:
    """Who started a run stands in the admin's log, as of one that was started there; a token is nobody's."""
    if run.user_id is None or not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import CHANGE, LogEntry
    from django.contrib.contenttypes.models import ContentType

    LogEntry.objects.create(
        user_id=run.user_id,
        content_type=ContentType.objects.get_for_model(OptimizationRun),
        object_id=str(run.pk),
        object_repr=str(run)[:200],
        action_flag=CHANGE,
        change_message=f"started ({run.kind}) by the JSON API",
    )


# --- read-outs -----------------------------------------------------------------------------------------


@endpoint("view", "GET")
def status(request: HttpRequest) -> HttpResponse:
    return JsonResponse(site_health.status())


@endpoint("view", "GET")
def run(request: HttpRequest, pk: int) -> HttpResponse:
    found = OptimizationRun.objects.filter(pk=pk).first()
    return JsonResponse(site_health.describe(found)) if found else _error(404, f"there is no run #{pk}.")


@csrf_exempt
@never_cache
def health(request: HttpRequest) -> HttpResponse:
    """Anonymous callers learn ok, degraded or down; those who may see the console also learn why."""
    if request.method not in ("GET", "HEAD"):
        return _error(405, "use GET.", headers={"Allow": "GET, HEAD"})
    found = site_health.health()
    told = found.to_json() if _may_see_more(request) else {"status": found.status}
    return JsonResponse(told, status=503 if found.status == "down" else 200)


def _may_see_more(request: HttpRequest) -> bool:
    """Looks at a session only where the caller sent something to look up: the anonymous answer stays cheap."""
    sent = request.headers.get("Authorization") or request.headers.get("Cookie")
    try:
        return bool(sent) and auth.may(request, "view") == "yes"
    except DatabaseError:
        # Sessions and users live where nothing answers now; a token would have been known without.
        return False


@endpoint("view", "GET")
def metrics(request: HttpRequest) -> HttpResponse:
    return JsonResponse(reports.metrics(timezone.now(), schema.window(request)))


@endpoint("view", "GET")
def prometheus(request: HttpRequest) -> HttpResponse:
    """The merged metrics of all processes, as Prometheus reads them: in the format that it asks for."""
    text, kind = export.negotiated(request.headers.get("Accept", ""), timezone.now())
    return HttpResponse(text, content_type=kind, headers={"Vary": "Accept"})


@endpoint("view", "GET")
def metrics_csv(request: HttpRequest) -> HttpResponse:
    """One series over a window, for a spreadsheet: ``?name=api.latency_ms&window=24h``."""
    now, name = timezone.now(), request.GET.get("name", "api.latency_ms")
    text = export.table(name, now - schema.window(request), now)
    return HttpResponse(text, content_type="text/csv; charset=utf-8", headers=DOWNLOAD)


@endpoint("view", "GET")
def alerts(request: HttpRequest) -> HttpResponse:
    wanted = schema.choice(request, "status", [*Alert.Status.values])
    rows = Alert.objects.select_related("rule")
    rows = rows.filter(status=wanted) if wanted else rows.exclude(status=Alert.Status.RESOLVED)
    return _listing(request, "alerts", rows, schema.alert)


@endpoint("view", "GET")
def recommendations(request: HttpRequest) -> HttpResponse:
    rows = Recommendation.objects.all()
    for name, known in (("state", Recommendation.State.values), ("area", list(reports.AREAS))):
        if value := schema.choice(request, name, [*known]):
            rows = rows.filter(**{name: value})
    return _listing(request, "recommendations", rows, schema.recommendation)


def _listing(
    request: HttpRequest, name: str, rows: Any, tell: Callable[[Any], dict[str, Any]]
) -> HttpResponse:
    offset, limit = schema.page(request)
    found = [tell(row) for row in rows[offset : offset + limit]]
    return JsonResponse({name: found, "count": rows.count(), "offset": offset, "limit": limit})


@endpoint("view", "GET")
def score(request: HttpRequest) -> HttpResponse:
    newest = Score.objects.first()
    if newest is None:
        return JsonResponse({"overall": None, "confidence": 0.0, "areas": {}, "at": None})
    at = newest.at.isoformat()
    return JsonResponse(
        {"overall": newest.overall, "confidence": newest.confidence, "areas": newest.areas, "at": at}
    )


@endpoint("view", "GET")
def report(request: HttpRequest) -> HttpResponse:
    return JsonResponse(reports.report(timezone.now(), schema.window(request)))
