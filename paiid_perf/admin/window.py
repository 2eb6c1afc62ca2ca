"""The stretch of time that a page shows, and charts over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from paiid_perf.admin import console, marks
from paiid_perf.admin.charts import WIDTH, Chart, Line, Mark
from paiid_perf.admin.console import DEFAULT_WINDOW
from paiid_perf.monitoring import queries
from paiid_perf.optimization.reports import LONGEST, span_of


@dataclass(frozen=True)
class Window:
    """The stretch of time that a page shows."""

    name: str
    start: datetime
    end: datetime

    @cached_property
    def marks(self) -> list[Mark]:
        """What was changed in it, for every chart of the page."""
        return marks.marks(self.start, self.end)

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()

    @property
    def resolution(self) -> int:
        """Seconds between two points of its charts."""
        return queries.resolution_for(self.start, self.end)

    def chart(
        self,
        title: str,
        lines: Sequence[Line],
        unit: str = "",
        top: float | None = None,
        empty: str = "",
        width: int = WIDTH,
    ) -> Chart:
        """A chart over the window, with marks where something was changed."""
        return Chart(title, lines, self.start, self.end, unit, top, self.resolution, self.marks, empty, width)

    def mean(self, series: str, subject: str, label: str = "") -> Line:
        """The mean of a series of one subject over the window."""
        return console.means(label or _("mean"), queries.points(series, self.start, self.end, subject))


def window_of(request: HttpRequest, default: str = DEFAULT_WINDOW) -> Window:
    """The window that the address names (``6h``, ``14d`` …), ending now."""
    name = named(request, default)
    now = timezone.now()
    return Window(name, now - (span_of(name) or LONGEST), now)


def named(request: HttpRequest, default: str = DEFAULT_WINDOW) -> str:
    """The window's name in the address, the default for what is none."""
    name = request.GET.get("window", default)
    return default if span_of(name) is None else name
