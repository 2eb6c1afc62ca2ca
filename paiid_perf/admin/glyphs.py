"""Small drawings that say one thing: a dial, bars, a sparkline. As SVG without script or style, like the charts."""

from __future__ import annotations

import math
from collections.abc import Iterable

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from paiid_perf.admin.figures import number

RADIUS = 54
CIRCUMFERENCE = 2 * math.pi * RADIUS
#: from this score on → its grade, best first
GRADES = ((80.0, "good"), (50.0, "fair"), (0.0, "poor"))


def grade(score: float | None) -> str:
    """``good`` from 80, ``fair`` from 50, else ``poor``; ``unknown`` without data."""
    if score is None:
        return "unknown"
    return next((name for least, name in GRADES if score >= least), "poor")


def dial(score: float | None, label: str) -> SafeString:
    """A ring that is as full as the score, with the number in it."""
    filled = CIRCUMFERENCE * min(max(score or 0.0, 0.0), 100.0) / 100
    shown = "–" if score is None else f"{score:.0f}"
    spoken_score = _("insufficient data") if score is None else _("%(score)s of 100") % {"score": shown}
    return format_html(
        '<svg class="perf-dial perf-{0}" viewBox="0 0 132 132" role="img" aria-label="{1}: {2}">'
        '<circle class="perf-dial-track" cx="66" cy="66" r="{3}"/>{4}'
        '<text class="perf-dial-number" x="66" y="{5}">{6}</text>'
        '<text class="perf-dial-of" x="66" y="94">{7}</text></svg>',
        grade(score),
        label,
        spoken_score,
        RADIUS,
        _arc(filled),
        76,
        shown,
        _("of 100"),
    )


def _arc(filled: float) -> SafeString:
    if filled <= 0:
        return mark_safe("")
    return format_html(
        '<circle class="perf-dial-value" cx="66" cy="66" r="{}" stroke-dasharray="{} {}" '
        'transform="rotate(-90 66 66)"/>',
        RADIUS,
        round(filled, 1),
        round(CIRCUMFERENCE, 1),
    )


def meter(score: float | None) -> SafeString:
    """A bar as long as the score; the number stands beside it, so it says nothing of its own."""
    return format_html(
        '<svg class="perf-meter" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="perf-meter-track" width="100" height="8"/>'
        '<rect class="perf-meter-value" width="{}" height="8"/></svg>',
        round(min(max(score or 0.0, 0.0), 100.0), 1),
    )


def bar(fraction: float, label: str) -> SafeString:
    """A progress bar that needs no style attribute."""
    percent = round(100 * min(max(fraction, 0.0), 1.0))
    return format_html(
        '<progress class="perf-progress" max="100" value="{0}" aria-label="{1}">{0} %</progress>',
        percent,
        label,
    )


def versus(before: float, after: float, unit: str, label: str) -> SafeString:
    """Two bars under one another, before and after, on one scale."""
    longest = max(before, after) or 1.0
    rows = (
        (kind, y, round(max(200 * value / longest, 1.0), 1), y + 9.5, number(value, unit))
        for kind, y, value in (("before", 1, before), ("after", 16, after))
    )
    bars = format_html_join(
        "",
        '<rect class="perf-{0}" x="0" y="{1}" width="{2}" height="12" rx="2"/>'
        '<text class="perf-tick" x="206" y="{3}">{4}</text>',
        rows,
    )
    words = _("%(label)s: %(before)s before, %(after)s after") % {
        "label": label,
        "before": number(before, unit),
        "after": number(after, unit),
    }
    return format_html(
        '<svg class="perf-versus" viewBox="0 0 270 30" role="img" aria-label="{}">{}</svg>', words, bars
    )


def sparkline(values: Iterable[float], label: str, top: float | None = None) -> SafeString:
    """A small line without axes; nothing for fewer than two values."""
    found = list(values)
    if len(found) < 2:
        return mark_safe("")
    highest = top or max(found) or 1.0
    points = " ".join(
        f"{round(100 * n / (len(found) - 1), 1)},{round(24 - 22 * value / highest, 1)}"
        for n, value in enumerate(found)
    )
    return format_html(
        '<svg class="perf-spark" viewBox="0 0 100 26" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<polyline points="{}"/></svg>',
        label,
        points,
    )
