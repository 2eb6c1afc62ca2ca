"""Who is logged in where: everybody sees and ends their own sessions, others' with a permission of its own."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import truncatechars
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from paiid_perf.admin.base import END_SESSION, PageAdmin, first_of, pill
from paiid_perf.models import UserSession
from paiid_perf.security import sessions

#: Characters of a browser's name that the list shows.
SHORT = 48


@admin.register(UserSession)
class UserSessionAdmin(PageAdmin):
    """Sessions that live. Their keys are never shown: who has one is logged in."""

    list_display = ("owner", "address", "browser", "began_at", "seen_at", "ends_at")
    list_display_links = None
    list_select_related = ("user",)
    ordering = ("-seen_at",)
    actions = ("end_selected",)
    empty = gettext_lazy("No session is known. Who logs in while PerfMiddleware is there is seen here.")

    def get_queryset(self, request: HttpRequest) -> Any:
        here = Q(key=request.session.session_key or "")
        live = super().get_queryset(request).filter(ends_at__gt=timezone.now()).annotate(is_here=here)
        return live if request.user.has_perm(END_SESSION) else live.filter(user_id=request.user.pk)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponseRedirect(self.address_of_list())  # a session has no page: its key is on it

    def history_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponseRedirect(self.address_of_list())

    @admin.action(description=gettext_lazy("End these sessions"), permissions=["view"])
    def end_selected(self, request: HttpRequest, queryset: QuerySet[UserSession]) -> HttpResponse | None:
        """First a page that says who is logged out; then they are. The queryset holds what the person may end."""
        rows, more = first_of(queryset)
        if "confirmed" not in request.POST:
            return self._confirm(request, rows, more)
        for row in rows:
            self.log_change(request, row, f"ended a session of {row.user}")
            sessions.end_session(request.user, row)
        told = ngettext("%(count)d session ended.", "%(count)d sessions ended.", len(rows))
        self.message_user(request, told % {"count": len(rows)}, messages.SUCCESS)
        return None

    def _confirm(self, request: HttpRequest, rows: list[UserSession], more: int) -> HttpResponse:
        return self.page(
            request,
            "paiid_perf/end_sessions.html",
            _("End these sessions?"),
            rows=rows,
            more=more,
            back=self.address_of_list(),
            checkbox=ACTION_CHECKBOX_NAME,
        )

    @admin.display(description=gettext_lazy("user"), ordering="user")
    def owner(self, row: UserSession) -> SafeString:
        here = pill("open", _("this one")) if row.is_here else ""  # type: ignore[attr-defined]
        return format_html("{} {}", row.user, here)

    @admin.display(description=gettext_lazy("user agent"))
    def browser(self, row: UserSession) -> SafeString:
        return format_html('<span title="{}">{}</span>', row.agent, truncatechars(row.agent, SHORT) or "–")

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return (f"user__{get_user_model().USERNAME_FIELD}", "address")
