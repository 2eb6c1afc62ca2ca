"""Every effective setting."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from paiid_perf import conf
from paiid_perf.admin import effective
from paiid_perf.admin.base import VIEW, require
from paiid_perf.admin.pages.base import ConsoleAdmin, Page


def view(page: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    require(request, VIEW)
    rows = effective.effective()
    return page.shown(request, "settings", _("Settings"), rows=rows, setting=conf.SETTING)


PAGES = (Page("settings/", "paiid_perf_settings", view),)
