"""Template tags of the console."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString

from paiid_perf.admin import charts
from paiid_perf.admin.overview import gather
from paiid_perf.optimization.reports import WINDOWS

register = template.Library()


@register.inclusion_tag("paiid_perf/parts/overview.html", takes_context=True)
def perf_overview(context: dict[str, Any]) -> dict[str, Any]:
    """The overview, for who may see the console."""
    request = context["request"]
    window = request.GET.get("window", "1h")
    shown = request.user.has_perm("paiid_perf.view_console")
    return {
        "request": request,
        "csrf_token": context.get("csrf_token"),
        "may_run": request.user.has_perm("paiid_perf.run_optimization"),
        "overview": gather(timezone.now(), window if window in WINDOWS else "1h") if shown else None,
    }


@register.simple_tag
def perf_bar(fraction: float, label: str) -> SafeString:
    """A progress bar."""
    return charts.bar(fraction, label)


@register.filter
def perf_percent(value: float | None) -> str:
    """0.42 → 42 %; a dash for None."""
    return "–" if value is None else f"{100 * value:.0f} %"


@register.filter
def perf_ms(value: float | None) -> str:
    """Milliseconds with sensible digits."""
    return "–" if value is None else charts.number(value, "ms")
