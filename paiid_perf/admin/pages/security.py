"""Security at a glance: events over time, who they came from, who is kept out, and who is logged in."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _

from paiid_perf.admin import charts, threats
from paiid_perf.admin.base import BAN, END_SESSION, VIEW, Page, PageAdmin, post_only, require
from paiid_perf.admin.window import window_of
from paiid_perf.models import BlockedAddress, UserSession
from paiid_perf.security import blocks


def view(page: PageAdmin, request: HttpRequest) -> HttpResponse:
    require(request, VIEW)
    window = window_of(request, "24h")
    empty = _("Nothing was noticed in this window. Detection looks at what requests send.")
    drawn = threats.chart(window, _("Events"), empty)
    live = UserSession.objects.filter(ends_at__gt=timezone.now())
    return page.shown(
        request,
        "security",
        _("Security"),
        window=window,
        chart=charts.line_chart(drawn),
        kinds=threats.kinds(window),
        offenders=threats.offenders(window),
        blocked=threats.blocked()[: threats.SHOWN],
        blocked_count=threats.blocked().count(),
        sessions=live.count() if request.user.has_perm(END_SESSION) else None,
        own_sessions=live.filter(user=request.user).count(),  # type: ignore[misc]
        may_ban=request.user.has_perm(BAN),
    )


@post_only
def unblock(page: PageAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Let a network in again."""
    require(request, BAN)
    row = get_object_or_404(BlockedAddress, pk=pk)
    page.log_deletions(request, BlockedAddress.objects.filter(pk=pk))
    blocks.unban(row.network)
    told = _("%(network)s is let in again; other processes know within seconds.") % {"network": row.network}
    page.message_user(request, told, messages.SUCCESS)
    return HttpResponseRedirect(page.address("paiid_perf_security"))


PAGES = (
    Page("overview/", "paiid_perf_security", view),
    Page("unblock/<int:pk>/", "paiid_perf_unblock", unblock),
)
