"""Figures as people read them: sensible digits, and a unit that fits the size. Pure."""

from __future__ import annotations

import math

from django.utils.formats import number_format
from django.utils.translation import gettext as _

#: unit → (from this value on, divisor, unit shown), largest first; the last one serves what is smaller.
UNITS: dict[str, tuple[tuple[float, float, str], ...]] = {
    "ms": ((60_000, 60_000, "min"), (1_000, 1_000, "s"), (0.1, 1, "ms"), (0, 0.001, "µs")),
    "s": ((86_400, 86_400, "d"), (3_600, 3_600, "h"), (60, 60, "min"), (1, 1, "s"), (0, 0.001, "ms")),
    # as pg_size_pretty writes them
    "bytes": (
        (2**40, 2**40, "TB"),
        (2**30, 2**30, "GB"),
        (2**20, 2**20, "MB"),
        (2**10, 2**10, "kB"),
        (0, 1, "B"),
    ),
    "ratio": ((0, 0.01, "%"),),
}
#: The unit that the end of a name stands for.
SUFFIXES = {"_ms": "ms", "_seconds": "s", "_bytes": "bytes", "_percent": "%", "_ratio": "ratio"}


def magnitude(value: float, unit: str) -> tuple[float, str]:
    """What to divide by, and the unit to show, for values about as large as this one."""
    steps = UNITS.get(unit, ())
    size = abs(value)
    if size == 0 and unit in ("ms", "s", "bytes"):
        return 1.0, {"ms": "ms", "s": "s", "bytes": "B"}[unit]
    return next(((divisor, shown) for least, divisor, shown in steps if size >= least), (1.0, unit))


def number(value: float | None, unit: str = "", *, like: float | None = None) -> str:
    """A value with its unit: ``1.24 s``, ``340 ms``, ``71 %`` (of a ratio), ``1,200 /s``; a dash for None.

    ``like`` picks the unit by another value: the ticks of an axis share one.
    """
    if value is None or not math.isfinite(value):
        return "–"
    divisor, shown = magnitude(value if like is None else like, unit)
    significant = 2 if shown == "%" else 3
    return f"{_digits(value / divisor, significant)} {shown}".rstrip()


def signed(fraction: float | None) -> str:
    """A gain as people say it: ``−70 %`` for 0.7 of the time gone, ``+5 %`` for a loss, ``±0 %``."""
    if fraction is None:
        return "–"
    # What is nearly all gone is not all gone.
    percent = 99 if 0.985 < fraction < 1 else round(100 * fraction)
    if percent == 0:
        return "±0 %"
    return f"−{percent} %" if percent > 0 else f"+{-percent} %"


def unit_of(name: str) -> str:
    """The unit that a name ends with: ``p95_ms`` → ms, ``size_bytes`` → bytes; "" where it says none."""
    named = (unit for suffix, unit in SUFFIXES.items() if f"_{name}".endswith(suffix))
    return next(named, "")


def label_of(name: str) -> str:
    """A name as a heading: ``times_per_request`` → Times per request. The unit goes to the value."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)), "")
    words = name.removesuffix(suffix).replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def duration(seconds: float | None) -> str:
    """How long something took: ``0.3 s``, ``12 s``, ``3 min 20 s``; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{_digits(round(seconds, 2))} s"
    return _("%(minutes)d min %(seconds)d s") % {"minutes": seconds // 60, "seconds": seconds % 60}


def _digits(value: float, significant: int = 3) -> str:
    """Three significant digits, without zeros at the end; thousands are told in full."""
    places = 0
    if value:
        places = max(0, significant - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, min(places, 6))
    places = next(
        (n for n in range(min(places, 6)) if math.isclose(rounded, round(rounded, n))), min(places, 6)
    )
    return str(number_format(rounded, places, force_grouping=True))
