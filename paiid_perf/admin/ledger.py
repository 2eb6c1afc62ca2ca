"""The ledger: what is proposed, what was done about it, and what that brought. Nothing here works long: a worker
makes what takes time, and the row's page shows what becomes of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from paiid_perf.admin import aftermath, charts, glyphs
from paiid_perf.admin.base import APPLY, APPROVE, VIEW, PageAdmin, first_of, pill, require
from paiid_perf.admin.console import AREA_NAMES
from paiid_perf.admin.evidence import Compared, compared, facts_of, won
from paiid_perf.admin.figures import signed
from paiid_perf.admin.labels import heading
from paiid_perf.admin.moves import BY_HAND, MOVES, QUEUED, Move, offered
from paiid_perf.conf import get_settings
from paiid_perf.contracts import ADVICE
from paiid_perf.exceptions import ActionRefused, PerfError
from paiid_perf.models import Recommendation
from paiid_perf.optimization import ledger

#: States that a worker will end.
MOVING = (Recommendation.State.APPLYING, Recommendation.State.APPROVED)


class GainFilter(admin.SimpleListFilter):
    """By what a change brought, or as long as nobody measured it, by what it should."""

    title = gettext_lazy("gain")
    parameter_name = "gain"
    #: the address's word → (from, below), as a share of the time that is gone
    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {
        "half": (0.5, math.inf),
        "tenth": (0.1, 0.5),
        "less": (0.0, 0.1),
        "loss": (-math.inf, 0.0),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("half", _("half the time or more")),
            ("tenth", _("a tenth to a half")),
            ("less", _("less than a tenth")),
            ("loss", _("slower")),
            ("none", _("not known")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Recommendation]) -> QuerySet[Recommendation]:
        gained = queryset.alias(gain=Coalesce("measured_gain", "expected_gain"))
        if self.value() == "none":
            return gained.filter(gain__isnull=True)
        if self.value() not in self.BOUNDS:
            return queryset
        least, below = self.BOUNDS[str(self.value())]
        return gained.filter(gain__gte=least, gain__lt=below)


class NamedFilter(admin.AllValuesFieldListFilter):
    """By the values that there are, each as the reader's language calls it."""

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            value = str(choice["display"])
            yield {**choice, "display": AREA_NAMES.get(value) or heading(value)}


@admin.register(Recommendation)
class RecommendationAdmin(PageAdmin):
    """The ledger: what is proposed, what was done about it, and what that brought."""

    list_display = (
        "title",
        "area_label",
        "state_label",
        "expected",
        "measured",
        "risk_label",
        "confirmed_at",
    )
    list_filter = ("state", ("area", NamedFilter), GainFilter, ("kind", NamedFilter), ("risk", NamedFilter))
    search_fields = ("title", "key", "how")
    empty = gettext_lazy(
        "Nothing was recommended yet. Press “Run quick optimization” on the overview, or run manage.py perf run."
    )
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
            risk=self.risk_label(rec),
            measured=signed(rec.measured_gain),
            evidence=facts_of(rec.evidence),
            compared=[(row, _versus(row), signed(row.gain)) for row in rows],
            won=_won(rows),
            numbers=_numbers(rec),
            charts=aftermath.drawn(rec),
            history=_history(rec),
        )

    def _bulk(
        self, request: HttpRequest, name: str, queryset: QuerySet[Recommendation]
    ) -> HttpResponse | None:
        """First a page that says what will happen; then it happens to each row whose state allows it."""
        move, rows, more = MOVES[name], *first_of(queryset)
        if "confirmed" not in request.POST:
            return self._confirm(request, move, rows, self.address_of_list(), bulk=True, more=more)
        told = Counter(self._done(request, rec, move) for rec in rows if offered(rec, move))
        for words, count in told.items():
            if words:
                title = ngettext("%(count)d recommendation", "%(count)d recommendations", count)
                self.message_user(request, f"{title % {'count': count}}: {words}", messages.SUCCESS)
        return None

    def _confirm(
        self,
        request: HttpRequest,
        move: Move,
        rows: Sequence[Recommendation],
        back: str,
        bulk: bool = False,
        more: int = 0,
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
            more=more,
            checkbox=ACTION_CHECKBOX_NAME,
        )

    def _act(self, request: HttpRequest, rec: Recommendation, move: Move) -> None:
        if told := self._done(request, rec, move):
            self.message_user(request, f"{rec.title}: {told}", messages.SUCCESS)

    def _done(self, request: HttpRequest, rec: Recommendation, move: Move) -> str:
        """Do it and write down who did; what to tell, or nothing where it was refused: why is told already."""
        try:
            told = self._make(request, rec, move)
        except PerfError as error:
            self.message_user(request, f"{rec.title}: {error}", messages.ERROR)
            return ""
        self.log_change(request, rec, f"{move.name}: {request.POST.get('reason', '')}".removesuffix(": "))
        return told

    def _make(self, request: HttpRequest, rec: Recommendation, move: Move) -> str:
        """Do it, or have a worker do it; returns what to tell. What is to be applied is approved first, so that a
        run which is at work takes it along."""
        if move.name in BY_HAND:
            more = {"reason": request.POST.get("reason", "")[:300]} if move.name == "dismiss" else {}
            moved = BY_HAND[move.name](rec, request.user, **more)
            return _("now %(state)s.") % {"state": moved.get_state_display()}
        if not offered(rec, move):
            words = {"state": rec.get_state_display(), "kind": rec.kind}
            raise ActionRefused(
                _("a change of the kind %(kind)s that is %(state)s does not lead there.") % words
            )
        if move.name == "apply":
            ledger.refuse_while_off(get_settings())  # a worker would only refuse it where nobody looks
            if rec.state == Recommendation.State.PROPOSED:
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

    @admin.display(description=gettext_lazy("risk"), ordering="risk")
    def risk_label(self, rec: Recommendation) -> str:
        return _(rec.risk) if rec.risk else "–"

    @admin.display(description=gettext_lazy("expected"), ordering="expected_gain")
    def expected(self, rec: Recommendation) -> str:
        return signed(rec.expected_gain)

    @admin.display(description=gettext_lazy("measured"), ordering="measured_gain")
    def measured(self, rec: Recommendation) -> str:
        return signed(rec.measured_gain)


def _versus(row: Compared) -> SafeString | str:
    return "" if row.after_ms is None else glyphs.versus(row.before_ms, row.after_ms, "ms", _("A call"))


def _won(rows: Sequence[Compared]) -> SafeString | str:
    times = won(rows)
    return "" if times is None else glyphs.versus(*times, "ms", _("A call, all queries together"))


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
