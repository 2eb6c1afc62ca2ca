"""The machines' gauges."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.admin import gauges
from paiid_perf.admin.base import VIEW, require
from paiid_perf.admin.gauges import Gauge
from paiid_perf.admin.pages.base import ConsoleAdmin, Page
from paiid_perf.admin.window import window_of

GAUGES = (
    Gauge(gettext_lazy("CPU"), "system.cpu_percent", "%", 100.0),
    Gauge(gettext_lazy("Memory"), "system.memory_percent", "%", 100.0),
    Gauge(gettext_lazy("Disk"), "system.disk_percent", "%", 100.0),
    Gauge(gettext_lazy("Load (1 min)"), "system.load1"),
    Gauge(gettext_lazy("Network"), "system.net_bytes", "bytes"),
    Gauge(gettext_lazy("Celery tasks that wait"), "celery.queue_depth"),
)


def view(page: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    require(request, VIEW)
    window = window_of(request)
    drawn = gauges.drawn(GAUGES, window)
    return page.shown(request, "system", _("System"), window=window, charts=drawn)


PAGES = (Page("system/", "paiid_perf_system", view),)
