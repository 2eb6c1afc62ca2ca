"""What the pages beside the lists share."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from paiid_perf.admin.base import VIEW, Page, PageAdmin, require
from paiid_perf.models import PhaseRun


class ConsoleAdmin(PageAdmin):
    """Pages beside the lists; the list itself leads to the first of them."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        require(request, VIEW)
        return HttpResponseRedirect(self.address(self.pages[0].name))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False  # no list of its own in the admin's index

    def note(self, request: HttpRequest, words: str) -> None:
        """An act that belongs to no row, in Django's log."""
        LogEntry.objects.create(
            user=request.user,  # type: ignore[misc]
            content_type=ContentType.objects.get_for_model(self.model),
            object_id="",
            object_repr=words[:200],
            action_flag=CHANGE,
            change_message=words,
        )

    def handed_over(
        self, request: HttpRequest, taken: bool, told: str, logged: str, back: str, *of: str
    ) -> HttpResponse:
        """What a worker was asked for, told and written down; where no broker takes it, what to start. Then
        back to the page of that name (``of``: what it is of)."""
        if taken:
            self.note(request, logged)
            self.message_user(request, told, messages.SUCCESS)
        else:
            hint = _("No Celery broker takes it. Start a worker, and set its broker's address.")
            self.message_user(request, hint, messages.ERROR)
        return HttpResponseRedirect(self.address(back, *of))


__all__ = ["ConsoleAdmin", "Page", "last_phase"]


def last_phase(name: str) -> PhaseRun | None:
    """The phase of that name in the newest run that got through it."""
    done = PhaseRun.objects.filter(name=name, finished_at__isnull=False)
    return done.select_related("run").order_by("-run_id").first()
