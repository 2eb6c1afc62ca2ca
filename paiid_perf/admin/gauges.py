"""Charts of gauges: a line for each host that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from paiid_perf.admin import charts
from paiid_perf.admin.charts import Chart, Line
from paiid_perf.admin.window import Window
from paiid_perf.monitoring import queries
from paiid_perf.monitoring.types import Sample

#: Hosts that one chart tells apart.
HOSTS = 3


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge's chart: its title, the series, the unit and where the axis ends (None: as the values need)."""

    title: str | Promise
    series: str
    unit: str = ""
    top: float | None = None


def drawn(gauges: Iterable[Gauge], window: Window) -> list[SafeString]:
    """A chart for each gauge."""
    shown = list(gauges)
    found = queries.gauges_of([gauge.series for gauge in shown], window.start, window.end)
    return [charts.line_chart(_chart(gauge, found[gauge.series], window)) for gauge in shown]


def _chart(gauge: Gauge, found: Mapping[str, Sequence[Sample]], window: Window) -> Chart:
    lines = [
        Line(subject or gauge.series, [(s.at, s.value) for s in series], series[-1].value)
        for subject, series in sorted(found.items())[:HOSTS]
    ]
    empty = _("No gauge was read. Start Celery beat with paiid_perf.tasks.beat_schedule().")
    return window.chart(str(gauge.title), lines, gauge.unit, gauge.top, empty)
