"""What every check says its findings with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from paiid_perf.database.health_types import Health
from paiid_perf.database.types import Finding

XID_SPACE = 2**31
Rule = Callable[[Health, datetime], Iterable[Finding]]


def quoted(*names: str) -> str:
    """An SQL identifier, each part quoted."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None of nothing."""
    return part / whole if whole else None
