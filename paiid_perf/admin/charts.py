"""Charts as SVG, drawn on the server by pure functions.

There is no script and no style attribute in them, so they live under ``default-src 'self'``: colours and strokes are
classes of the style sheet. Every chart has a title, axes with units, its values on hover, marks where something was
changed, and the same figures as a table for who does not see it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from html import escape
from itertools import pairwise

from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import localtime
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from paiid_perf.admin.figures import magnitude, number

WIDTH, HEIGHT = 420, 168
#: A chart that has a row to itself: its words would grow with it otherwise.
WIDE = 860
LEFT, RIGHT, TOP, BOTTOM = 50, 8, 12, 22
#: Gaps between the horizontal lines, about.
VALUE_STEPS = 4
TIME_TICKS = 6
#: What is smaller is drawn as zero.
NOTHING = 1e-9
#: More points than this are told in groups: no chart needs more values on hover than it has pixels to point at.
SLOTS = 60
#: Marks closer than this many pixels are one.
MARK_WIDTH = 7
#: Marks that are told where several are drawn as one; beside the values there is less room.
MARKS_TOLD, MARKS_BESIDE = 8, 3
#: A line is broken where more than this many buckets of its resolution are missing.
GAP = 3.5

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_TIME_STEPS = (
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 4, 6, 12)),
    *(n * _DAY for n in (1, 2, 5, 7, 14, 30, 90, 365)),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: points of (when, value), oldest first, and the one value that stands for the whole window."""

    label: str
    points: Sequence[tuple[datetime, float]]
    whole: float | None = None


Points = Sequence[tuple[datetime, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was changed at a moment."""

    at: datetime
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What one chart shows. ``resolution`` is the usual distance of two points, in seconds."""

    title: str
    lines: Sequence[Line]
    start: datetime
    end: datetime
    unit: str = ""
    top: float | None = None
    """Where the value axis ends; None: as high as the values need."""
    resolution: int = 60
    marks: Sequence[Mark] = ()
    empty: str = ""
    """What to do where there is nothing to show."""
    width: int = WIDTH


@dataclass(frozen=True, slots=True)
class Slot:
    """What a reader points at: one moment with each line's value (None where it has none)."""

    at: datetime
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A slot in words: its moment, its values, each with its unit (a dash for none), and its marks."""

    slot: Slot
    at: str
    values: tuple[str, ...]
    marks: tuple[str, ...] = ()
    """What was changed between the slot before and this one, in few words."""
    all_marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps times and values to the drawing."""

    start: datetime
    end: datetime
    step: float
    top: float
    width: int = WIDTH

    def x(self, at: datetime) -> float:
        """Within the axes: the first bucket of a window may begin a little before it."""
        span = (self.end - self.start).total_seconds() or 1.0
        share = min(max((at - self.start).total_seconds() / span, 0.0), 1.0)
        return round(LEFT + (self.width - LEFT - RIGHT) * share, 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(value, 0.0) / self.top, 1.0), 1)

    def places(self, points: Points) -> list[str]:
        """``x y`` of many points (a page draws ten thousand), as ``x()`` and ``y()`` have them."""
        start, end = self.start.timestamp(), self.end.timestamp()
        right, ground, peak = self.width - RIGHT, HEIGHT - BOTTOM, TOP
        across, up = (right - LEFT) / ((end - start) or 1.0), (ground - peak) / self.top
        xs = [LEFT + (at.timestamp() - start) * across for at, _value in points]
        ys = [ground - value * up for _at, value in points]
        return [
            f"{LEFT if x < LEFT else right if x > right else x:.1f} "
            f"{peak if y < peak else ground if y > ground else y:.1f}"
            for x, y in zip(xs, ys, strict=True)
        ]


# --- rules of the drawing --------------------------------------------------------------------------------


def nice_step(value: float) -> float:
    """The smallest of 1, 2, 2.5, 5 × 10ⁿ that is at least ``value``; 1 where that is nothing or not finite."""
    if not (value > NOTHING and math.isfinite(value)):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 2.5, 5, 10, 20) if power * step >= value * (1 - 1e-9))


def scale_of(chart: Chart) -> Scale:
    """Axes that hold every value, with round numbers on the lines."""
    values = [value for line in chart.lines for _at, value in line.points if math.isfinite(value)]
    highest = chart.top or max(values, default=0.0)
    factor, _unit = magnitude(highest, chart.unit)
    step = nice_step(highest / factor / VALUE_STEPS) * factor
    top = step * max(1, math.ceil(highest / step - 1e-9))
    return Scale(chart.start, chart.end, step, top, chart.width)


def time_ticks(start: datetime, end: datetime) -> list[datetime]:
    """Round local times within [start, end]: at most TIME_TICKS + 1 of them."""
    span = (end - start).total_seconds()
    seconds = next((step for step in _TIME_STEPS if span / step <= TIME_TICKS), _TIME_STEPS[-1])
    step = timedelta(seconds=seconds)
    midnight = localtime(start).replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight + step * math.ceil((start - midnight) / step)
    count = max(0, math.floor((end - first) / step) + 1)
    return [first + step * n for n in range(count)]


def slots_of(chart: Chart) -> list[Slot]:
    """Every moment at which a line has a point; of more than SLOTS, the newest of each group."""
    values: dict[datetime, list[float | None]] = {}
    for place, line in enumerate(chart.lines):
        for at, value in line.points:
            values.setdefault(at, [None] * len(chart.lines))[place] = value
    moments = sorted(values)
    every = math.ceil(len(moments) / SLOTS) or 1
    return [Slot(at, tuple(values[at])) for at in moments[::-1][::every][::-1]]


def clusters(marks: Iterable[Mark], scale: Scale) -> list[tuple[float, list[Mark]]]:
    """Marks within the window by where they are drawn; those that would overlap are told together."""
    found: list[tuple[float, list[Mark]]] = []
    for mark in sorted(marks, key=lambda mark: mark.at):
        if not scale.start <= mark.at <= scale.end:
            continue
        x = scale.x(mark.at)
        if found and x - found[-1][0] < MARK_WIDTH:
            found[-1][1].append(mark)
        else:
            found.append((x, [mark]))
    return found


def path_of(points: Points, scale: Scale, resolution: int) -> str:
    """The ``d`` of a line that is broken where nothing was measured; a lonely point is a dot."""
    return "".join(_stroke(part, scale) for part in _parts(points, GAP * resolution))


def _parts(points: Points, gap: float) -> Iterator[Points]:
    """The points, parted where two are further apart than ``gap`` seconds."""
    longest, begun = timedelta(seconds=gap), 0
    for place, (sooner, later) in enumerate(pairwise(points), start=1):
        if later[0] - sooner[0] > longest:
            yield points[begun:place]
            begun = place
    if points:
        yield points[begun:]


def _stroke(part: Points, scale: Scale) -> str:
    first, *rest = scale.places(part)
    return f"M{first}" + ("".join([f"L{place}" for place in rest]) or "h0")


# --- a chart over time --------------------------------------------------------------------------------------


def line_chart(chart: Chart) -> SafeString:
    """The chart as a ``<figure>``; without points it says what to do next."""
    if not any(line.points for line in chart.lines):
        return format_html(
            '<figure class="perf-chart"><figcaption><span class="perf-chart-title">{}</span></figcaption>'
            '<p class="perf-empty">{}</p></figure>',
            chart.title,
            chart.empty or _("Nothing was measured in this window."),
        )
    scale, slots = scale_of(chart), _all_told(chart)
    return format_html(
        '<figure class="perf-chart"><figcaption><span class="perf-chart-title">{title}</span>{legend}</figcaption>'
        '<div class="perf-plot" data-plot=""><svg viewBox="0 0 {width} {height}" role="img" aria-label="{spoken}">'
        "{values}{times}{lines}{marks}{slots}</svg></div>{table}</figure>",
        title=chart.title,
        legend=_legend(chart),
        width=chart.width,
        height=HEIGHT,
        spoken=spoken(chart),
        values=_value_axis(scale, chart.unit),
        times=_time_axis(scale),
        lines=format_html_join(
            "", "{}", ((_line(chart, n, line, scale),) for n, line in enumerate(chart.lines))
        ),
        marks=format_html_join("", "{}", ((_mark(chart, *group),) for group in clusters(chart.marks, scale))),
        slots=_slots(chart, slots, scale),
        table=_table(chart, slots),
    )


def spoken(chart: Chart) -> str:
    """One sentence for a screen reader: each line's value over the window."""
    told = (f"{line.label} {_whole(line, chart.unit)}" for line in chart.lines if line.points)
    return f"{chart.title}: {', '.join(told)}"


def _whole(line: Line, unit: str) -> str:
    value = line.whole if line.whole is not None or not line.points else line.points[-1][1]
    return number(value, unit)


def _legend(chart: Chart) -> SafeString:
    """Name and value of each line; the only line of a chart is named by its title."""
    alone = len(chart.lines) == 1
    rows = ((n, "" if alone else line.label, _whole(line, chart.unit)) for n, line in enumerate(chart.lines))
    keys = format_html_join(" ", '<span class="perf-key perf-key-{}">{} <strong>{}</strong></span>', rows)
    return format_html('<span class="perf-legend">{}</span>', keys)


def _value_axis(scale: Scale, unit: str) -> SafeString:
    count = round(scale.top / scale.step)
    rows = (
        (LEFT, scale.width - RIGHT, scale.y(n * scale.step), LEFT - 6, _tick(n * scale.step, scale, unit))
        for n in range(count + 1)
    )
    mark = (
        '<line class="perf-grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>'
        '<text class="perf-tick perf-tick-value" x="{3}" y="{2}" dy="3.5">{4}</text>'
    )
    return format_html_join("", mark, rows)


def _tick(value: float, scale: Scale, unit: str) -> str:
    return number(value, unit, like=scale.top)


def _time_axis(scale: Scale) -> SafeString:
    ticks = time_ticks(scale.start, scale.end)
    days = len(ticks) > 1 and (ticks[1] - ticks[0]).total_seconds() >= _DAY
    rows = (
        (scale.x(at), HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4, HEIGHT - 6, f"{localtime(at):%d.%m.}")
        if days
        else (scale.x(at), HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4, HEIGHT - 6, f"{localtime(at):%H:%M}")
        for at in ticks
    )
    mark = (
        '<line class="perf-axis" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<text class="perf-tick perf-tick-time" x="{0}" y="{3}">{4}</text>'
    )
    return format_html_join("", mark, rows)


def _line(chart: Chart, place: int, line: Line, scale: Scale) -> SafeString:
    parts = list(_parts(line.points, GAP * chart.resolution))
    strokes = [_stroke(part, scale) for part in parts]
    mark = '<path class="perf-line perf-line-{}" d="{}"/>'
    drawn = format_html(mark, place, mark_safe("".join(strokes)))  # noqa: S308 - numbers and letters of our own
    return format_html("{}{}", _area(parts, strokes, scale), drawn) if len(chart.lines) == 1 else drawn


def _area(parts: Sequence[Points], strokes: Sequence[str], scale: Scale) -> SafeString:
    """What lies under the only line of a chart."""
    ground = HEIGHT - BOTTOM
    closed = (
        f"{stroke}L{scale.x(part[-1][0])} {ground}L{scale.x(part[0][0])} {ground}Z"
        for part, stroke in zip(parts, strokes, strict=True)
        if len(part) > 1
    )
    mark = '<path class="perf-under" d="{}"/>'
    return format_html(mark, mark_safe("".join(closed)))  # noqa: S308 - numbers and letters of our own


def _mark(chart: Chart, x: float, marks: Sequence[Mark]) -> SafeString:
    return format_html(
        '<g class="perf-mark"><line x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<path d="M{0} {1}l-4 -7h8z"/><title>{3}</title></g>',
        x,
        TOP,
        HEIGHT - BOTTOM,
        "\n".join(_named(chart, marks)),
    )


def _named(chart: Chart, marks: Sequence[Mark], most: int = MARKS_TOLD) -> tuple[str, ...]:
    """Marks in words, oldest first, of many the first ones; with their day where the chart has several."""
    if not marks:
        return ()
    days = chart.end - chart.start > timedelta(days=1)
    named = tuple(
        f"{moment(mark.at) if days else f'{localtime(mark.at):%H:%M}'} {mark.label}" for mark in marks[:most]
    )
    more = len(marks) - most
    if more <= 0:
        return named
    return (*named, ngettext("and %(count)d more", "and %(count)d more", more) % {"count": more})


def _slots(chart: Chart, slots: Sequence[Told], scale: Scale) -> SafeString:
    """A column for each moment: pointing at it tells its values."""
    xs = [scale.x(told.slot.at) for told in slots]
    edges = [LEFT, *((a + b) / 2 for a, b in pairwise(xs)), scale.width - RIGHT]
    drawn = (
        f'<g class="perf-slot"><rect x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/><line x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f"<title>{escape(_words(chart, told))}</title></g>"
        for told, x, (left, right) in zip(slots, xs, pairwise(edges), strict=True)
    )
    return mark_safe("".join(drawn))  # noqa: S308 - numbers of our own, and escaped words


def _all_told(chart: Chart) -> list[Told]:
    """Every slot in words. A mark belongs to the first slot that is not before it: what came of it begins there."""
    slots = slots_of(chart)
    marked = marks_by_slot(chart, [slot.at for slot in slots])
    return [_told(chart, slot, marks) for slot, marks in zip(slots, marked, strict=True)]


def marks_by_slot(chart: Chart, moments: Sequence[datetime]) -> list[list[Mark]]:
    """For each moment the marks of the window since the one before it; the last one has those after it, too."""
    found: list[list[Mark]] = [[] for _moment in moments]
    for mark in sorted(chart.marks, key=lambda mark: mark.at):
        if moments and chart.start <= mark.at <= chart.end:
            found[min(bisect_left(moments, mark.at), len(moments) - 1)].append(mark)
    return found


def _told(chart: Chart, slot: Slot, marks: Sequence[Mark]) -> Told:
    values = tuple(number(value, chart.unit) for value in slot.values)
    return Told(slot, moment(slot.at), values, _named(chart, marks, MARKS_BESIDE), _named(chart, marks))


def _words(chart: Chart, told: Told) -> str:
    values = (
        f"{line.label} {text}"
        for line, value, text in zip(chart.lines, told.slot.values, told.values, strict=True)
        if value is not None
    )
    return "\n".join((told.at, *values, *(f"▼ {mark}" for mark in told.marks)))


def moment(at: datetime) -> str:
    """A moment in the reader's zone and language, to the minute."""
    local = localtime(at)
    return _moment(local, local.utcoffset(), get_language())


@lru_cache(maxsize=2_048)
def _moment(local: datetime, offset: timedelta | None, language: str | None) -> str:
    """The charts of a page share their moments. Two zones' equal moments are told apart by their offset."""
    return date_format(local, "SHORT_DATETIME_FORMAT")


def _table(chart: Chart, slots: Sequence[Told]) -> SafeString:
    """The same figures, newest first, and what was changed."""
    labels, rows = [line.label for line in chart.lines], [(told.at, *told.values) for told in reversed(slots)]
    if any(told.marks for told in slots):
        labels.append(_("Changed"))
        rows = [(*row, "; ".join(told.all_marks)) for row, told in zip(rows, reversed(slots), strict=True)]
    head = format_html_join("", '<th scope="col">{}</th>', ((label,) for label in labels))
    body = "".join(_row(*row) for row in rows)
    return format_html(
        '<details class="perf-figures"><summary>{}</summary><div class="perf-scroll"><table><thead><tr>'
        '<th scope="col">{}</th>{}</tr></thead><tbody>{}</tbody></table></div></details>',
        _("Table"),
        _("Time"),
        head,
        mark_safe(body),  # noqa: S308 - escaped in _row
    )


def _row(at: str, *cells: str) -> str:
    told = "".join([f"<td>{escape(cell)}</td>" for cell in cells])
    return f'<tr><th scope="row">{escape(at)}</th>{told}</tr>'
