"""Template tags of the console."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from paiid_perf.admin import figures, glyphs, money, navigation, zone
from paiid_perf.admin.base import ACKNOWLEDGE, RUN, VIEW, pill
from paiid_perf.admin.console import Overview, gather
from paiid_perf.admin.window import named
from paiid_perf.models import Recommendation

register = template.Library()
STYLES = Path(__file__).resolve().parents[1] / "static" / "paiid_perf" / "console.css"


@register.inclusion_tag("paiid_perf/parts/overview.html", takes_context=True)
def perf_overview(context: dict[str, Any]) -> dict[str, Any]:
    """The overview, for who may see the console."""
    request = context["request"]
    with zone.reading(request):
        overview = gather(timezone.now(), named(request)) if request.user.has_perm(VIEW) else None
    return {
        "request": request,
        "csrf_token": context.get("csrf_token"),
        "may_run": request.user.has_perm(RUN),
        "may_acknowledge": request.user.has_perm(ACKNOWLEDGE),
        "overview": overview,
    }


@register.inclusion_tag("paiid_perf/parts/tabs.html", takes_context=True)
def perf_tabs(context: dict[str, Any]) -> dict[str, Any]:
    """The pages of the console; the one that the request lies under is marked."""
    request = context["request"]
    if not request.user.has_perm(VIEW):
        return {"tabs": []}
    site = getattr(request, "current_app", None) or request.resolver_match.namespace
    found = navigation.tabs(request, site)
    pages = next((tab.pages for tab in found if tab.current), ())
    return {"tabs": found, "pages": pages, "zone": zone.asked_for(request)}


@register.simple_tag(takes_context=True)
def perf_zone(context: dict[str, Any]) -> str:
    """The name of the zone that the page tells its times in."""
    return str(zone.zone_of(context["request"]))


@register.simple_tag
def perf_report(window: str) -> Overview:
    """The overview's facts, for a report that stands alone."""
    return gather(timezone.now(), window)


@register.simple_tag
def perf_styles() -> SafeString:
    """Our style sheet's text: a report is one file."""
    return mark_safe(STYLES.read_text())  # noqa: S308 - our own file


@register.simple_tag
def perf_bar(fraction: float) -> SafeString:
    """A progress bar."""
    return glyphs.bar(fraction, _("Progress"))


@register.filter
def perf_ago(at: datetime | None) -> str:
    """How long ago, in one unit: ``3 minutes ago``; a dash for None."""
    if at is None:
        return "–"
    if timezone.now() - at < timedelta(minutes=1):
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(at, depth=1)}


@register.filter
def perf_pill(kind: str, text: object) -> SafeString:
    """A state as a small label: ``{{ run.status|perf_pill:run.get_status_display }}``."""
    return pill(kind, text)


@register.filter
def perf_ratio(value: float | None) -> str:
    """0.42 → 42 %; a dash for None."""
    return figures.number(value, "ratio")


@register.filter
def perf_signed(value: float | None) -> str:
    """A gain of 0.7 → −70 %."""
    return figures.signed(value)


@register.filter
def perf_ms(value: float | None) -> str:
    """Milliseconds with sensible digits and unit."""
    return figures.number(value, "ms")


@register.filter
def perf_count(value: float | None) -> str:
    """A count with its thousands apart."""
    return figures.number(value)


@register.filter
def perf_bytes(value: float | None) -> str:
    """A size in the unit that fits it."""
    return figures.number(value, "bytes")


@register.filter
def perf_duration(value: float | None) -> str:
    """Seconds as people say them."""
    return figures.duration(value)


@register.filter
def perf_saved(rec: Recommendation) -> str:
    """``saves 0.12 USD a day``, or nothing."""
    return money.saved(rec)
