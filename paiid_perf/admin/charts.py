"""Charts as SVG, drawn on the server: no script, no style attribute, so they live under ``default-src 'self'``.

Colours and strokes are classes of the style sheet; every chart has a title, axes with units, values on hover
(``<title>``) and the same figures as a table for who does not see it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import localtime

WIDTH, HEIGHT = 520, 170
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 24
TICKS = 4
#: A gap of more than this many usual steps breaks a line: nothing was measured there.
GAP = 3.5


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: points of (when, value)."""

    label: str
    points: Sequence[tuple[datetime, float]]


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps times and values to the drawing."""

    start: datetime
    end: datetime
    top: float

    def x(self, at: datetime) -> float:
        span = (self.end - self.start).total_seconds() or 1.0
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - self.start).total_seconds() / span

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value, self.top) / self.top


def nice_ceiling(value: float) -> float:
    """The smallest of 1, 2, 2.5, 5 × 10ⁿ that is at least ``value``; 1 where that is not positive or finite."""
    if not (value > 0 and math.isfinite(value)):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    steps = (power * step for step in (1, 2, 2.5, 5, 10))
    return next((step for step in steps if step >= value * (1 - 1e-9)), 10 * power)


def number(value: float, unit: str = "") -> str:
    """A value with sensible digits: ``1.24 s``, ``340 ms``, ``71 %`` (of a ratio), ``1,200 /s``."""
    if unit == "ratio":
        return f"{100 * value:.0f} %"
    if unit == "ms" and value >= 1000:
        value, unit = value / 1000, "s"
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def line_chart(
    title: str,
    lines: Sequence[Line],
    start: datetime,
    end: datetime,
    unit: str = "",
    top: float | None = None,
) -> SafeString:
    """A chart of one or more lines over [start, end]; "no data" where there are no points."""
    values = [value for line in lines for _, value in line.points]
    if not values:
        return format_html(
            '<figure class="perf-chart"><figcaption>{}</figcaption><p class="perf-empty">{}</p></figure>',
            title,
            "No data in this window.",
        )
    scale = Scale(start, end, top or nice_ceiling(max(values)))
    return format_html(
        '<figure class="perf-chart"><figcaption>{} {}</figcaption>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>{}</figure>',
        title,
        _legend(lines),
        WIDTH,
        HEIGHT,
        _spoken(title, lines, unit),
        _value_axis(scale, unit),
        _time_axis(scale),
        format_html_join("", "{}", ((_line(n, line, scale, unit),) for n, line in enumerate(lines))),
        _table(lines, unit),
    )


def _legend(lines: Sequence[Line]) -> SafeString:
    if len(lines) < 2:
        return mark_safe("")
    keys = ((n, line.label) for n, line in enumerate(lines))
    return format_html_join(" ", '<span class="perf-key perf-key-{}">{}</span>', keys)


def _spoken(title: str, lines: Sequence[Line], unit: str) -> str:
    newest = (f"{line.label} {number(line.points[-1][1], unit)}" for line in lines if line.points)
    return f"{title}: {', '.join(newest)}"


def _value_axis(scale: Scale, unit: str) -> SafeString:
    values = [scale.top * n / TICKS for n in range(TICKS + 1)]
    rows = ((LEFT, WIDTH - RIGHT, round(scale.y(v), 1), number(v, unit)) for v in values)
    mark = (
        '<line class="perf-grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>'
        '<text class="perf-tick perf-tick-value" x="46" y="{2}" dy="3">{3}</text>'
    )
    return format_html_join("", mark, rows)


def _time_axis(scale: Scale) -> SafeString:
    span = scale.end - scale.start
    form = "%H:%M" if span.total_seconds() <= 86_400 else "%d %b"
    moments = [scale.start + span * n / TICKS for n in range(TICKS + 1)]
    anchors = ("start", *["middle"] * (TICKS - 1), "end")
    rows = (
        (anchor, round(scale.x(at), 1), HEIGHT - 8, localtime(at).strftime(form))
        for anchor, at in zip(anchors, moments, strict=True)
    )
    return format_html_join("", '<text class="perf-tick" text-anchor="{}" x="{}" y="{}">{}</text>', rows)


def _line(place: int, line: Line, scale: Scale, unit: str) -> SafeString:
    path = format_html('<path class="perf-line perf-line-{}" d="{}"/>', place, _path(line.points, scale))
    dots = (
        (place, round(scale.x(at), 1), round(scale.y(value), 1), _hover(line.label, at, value, unit))
        for at, value in line.points
    )
    mark = '<circle class="perf-dot perf-dot-{}" cx="{}" cy="{}" r="3"><title>{}</title></circle>'
    return format_html("{}{}", path, format_html_join("", mark, dots))


def _hover(label: str, at: datetime, value: float, unit: str) -> str:
    return f"{localtime(at):%d %b %H:%M} {label}: {number(value, unit)}"


def _path(points: Sequence[tuple[datetime, float]], scale: Scale) -> str:
    steps = sorted((b[0] - a[0]).total_seconds() for a, b in pairwise(points))
    usual = steps[len(steps) // 2] if steps else 0.0
    parts: list[str] = []
    previous: datetime | None = None
    for at, value in points:
        joined = previous is not None and (at - previous).total_seconds() <= GAP * usual
        parts.append(f"{'L' if joined else 'M'}{scale.x(at):.1f} {scale.y(value):.1f}")
        previous = at
    return "".join(parts)


def _table(lines: Sequence[Line], unit: str) -> SafeString:
    """The newest values, for who does not see the drawing."""
    rows = (
        (f"{localtime(at):%Y-%m-%d %H:%M}", line.label, number(v, unit))
        for line in lines
        for at, v in line.points[-10:]
    )
    return format_html(
        '<details class="perf-figures"><summary>{}</summary><table>{}</table></details>',
        "Figures",
        format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", rows),
    )


# --- dial ----------------------------------------------------------------------------------------------

RADIUS = 54
CIRCUMFERENCE = 2 * math.pi * RADIUS


def grade(score: float | None) -> str:
    """``good`` from 80, ``fair`` from 50, else ``poor``; ``unknown`` without data."""
    if score is None:
        return "unknown"
    return "good" if score >= 80 else "fair" if score >= 50 else "poor"


def dial(score: float | None, label: str, size: int = 132) -> SafeString:
    """A ring that is as full as the score, with the number in it."""
    filled = CIRCUMFERENCE * (score or 0.0) / 100
    shown = "–" if score is None else f"{score:.0f}"
    ring = '<circle class="perf-dial-{}" cx="66" cy="66" r="{}" stroke-dasharray="{} 999" transform="rotate(-90 66 66)"/>'
    return format_html(
        '<svg class="perf-dial perf-{0}" viewBox="0 0 132 132" width="{1}" height="{1}" role="img" '
        'aria-label="{2}: {3}">{4}{5}<text class="perf-dial-number" x="66" y="79" text-anchor="middle">{3}</text></svg>',
        grade(score),
        size,
        label,
        shown,
        format_html(ring, "track", RADIUS, 999),
        format_html(ring, "value", RADIUS, round(filled, 1)),
    )


def bar(fraction: float, label: str) -> SafeString:
    """A progress bar that needs no style attribute."""
    percent = round(100 * min(max(fraction, 0.0), 1.0))
    return format_html(
        '<progress class="perf-progress" max="100" value="{}" aria-label="{}">{} %</progress>',
        percent,
        label,
        percent,
    )


def sparkline(values: Iterable[float]) -> SafeString:
    """A small line without axes."""
    found = list(values)
    if len(found) < 2:
        return mark_safe("")
    top = max(found) or 1.0
    points = " ".join(
        f"{100 * n / (len(found) - 1):.1f},{24 - 22 * v / top:.1f}" for n, v in enumerate(found)
    )
    return format_html(
        '<svg class="perf-spark" viewBox="0 0 100 26" aria-hidden="true"><polyline points="{}"/></svg>',
        points,
    )
