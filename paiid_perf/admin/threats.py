"""Security events of a window, added up by the database: over time, by kind, by the address they came from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, router
from django.db.models import Count, DateTimeField, F, Func, Max, Q, QuerySet, Sum, Value
from django.db.models.functions import TruncHour, TruncMinute
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from paiid_perf.admin.charts import WIDE, Chart, Line
from paiid_perf.admin.window import Window
from paiid_perf.models import BlockedAddress, SecurityEvent
from paiid_perf.monitoring.queries import Epoch, moment

#: label of a chart's line → the severities that it counts
BANDS: Mapping[str | Promise, tuple[str, ...]] = {
    gettext_lazy("high and critical"): ("high", "critical"),
    gettext_lazy("medium"): ("medium",),
    gettext_lazy("low and info"): ("low", "info"),
}
BAND_OF = {severity: place for place, band in enumerate(BANDS.values()) for severity in band}
GRAVE = Q(severity__in=("high", "critical"))
#: Rows of each list.
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of event over the window."""

    name: str
    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class Offender:
    """An address that events came from."""

    address: str
    count: int
    grave: int
    """Of high or critical severity."""
    kinds: int
    last: datetime
    is_blocked: bool


def events(window: Window) -> QuerySet[SecurityEvent]:
    """The window's events."""
    return SecurityEvent.objects.filter(at__gte=window.start, at__lt=window.end).order_by()


def over_time(window: Window) -> list[Line]:
    """A line for each band of severity; a stretch without events is zero."""
    found: Any = events(window).values_list(_moment_of(window), "severity")
    rows: defaultdict[datetime, list[int]] = defaultdict(lambda: [0] * len(BANDS))
    for at, severity, count in found.annotate(n=Sum("count")):
        rows[moment(at) if isinstance(at, int) else at][BAND_OF[severity]] += count
    moments = _moments(window) if rows else []
    nothing = [0] * len(BANDS)
    return [
        Line(
            str(label),
            [(at, float(rows.get(at, nothing)[place])) for at in moments],
            sum(bands[place] for bands in rows.values()),
        )
        for place, label in enumerate(BANDS)
    ]


def _moment_of(window: Window) -> Func | TruncMinute | TruncHour:
    """The moment on the chart that an event belongs to. PostgreSQL's date_bin takes half of date_trunc's time."""
    if connections[router.db_for_read(SecurityEvent)].vendor == "postgresql":
        step, first = Value(timedelta(seconds=window.resolution)), Value(_first(window))
        return Epoch(Func(step, F("at"), first, function="DATE_BIN", output_field=DateTimeField()))
    return TruncMinute("at") if window.resolution < 3_600 else TruncHour("at")


def _first(window: Window) -> datetime:
    local = timezone.localtime(window.start)
    return local.replace(minute=0 if window.resolution >= 3_600 else local.minute, second=0, microsecond=0)


def _moments(window: Window) -> Sequence[datetime]:
    step, first = timedelta(seconds=window.resolution), _first(window)
    return [first + step * n for n in range(int((window.end - first) / step) + 1)]


def kinds(window: Window) -> list[Kind]:
    """The kinds of the window's events, the most frequent first."""
    found = events(window).values_list("kind").annotate(n=Sum("count"), last=Max("at"))
    return [Kind(*row) for row in found.order_by("-n")[:SHOWN]]


def offenders(window: Window) -> list[Offender]:
    """The addresses that most events came from, those with grave ones first."""
    grouped: Any = (
        events(window)
        .exclude(address=None)
        .values("address")
        .annotate(
            n=Sum("count"),
            grave=Sum("count", filter=GRAVE, default=0),
            last=Max("at"),
        )
    )
    rows = list(grouped.order_by("-grave", "-n")[:SHOWN])
    shown = [row["address"] for row in rows]
    # Of those that are shown only: telling kinds apart takes the server longer than all the rest.
    of_shown = events(window).filter(address__in=shown).values_list("address")
    kinds = dict(of_shown.annotate(Count("kind", distinct=True)))
    kept_out = set(blocked().filter(network__in=shown).values_list("network", flat=True))
    return [
        Offender(at, row["n"], row["grave"], kinds[at], row["last"], at in kept_out)
        for at, row in zip(shown, rows, strict=True)
    ]


def blocked() -> QuerySet[BlockedAddress]:
    """The blocks that hold now, the newest first."""
    holds = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return BlockedAddress.objects.filter(holds).select_related("created_by")


def chart(window: Window, title: str, empty: str) -> Chart:
    """The events over time."""
    return window.chart(title, over_time(window), empty=empty, width=WIDE)
