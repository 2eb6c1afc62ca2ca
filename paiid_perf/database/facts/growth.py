"""How the database has grown, from the history of its size."""

from __future__ import annotations

from pathlib import Path

import psutil
from django.db import DatabaseError

from paiid_perf.database.types import Growth, Health
from paiid_perf.models import Metric

#: The gauge that monitoring keeps.
NAME = "db.bytes"


def read(alias: str, health: Health) -> Growth | None:
    """The first and last size on record; None where there are not two, or no table for them."""
    rows = Metric.objects.filter(name=NAME, subject=alias, resolution=Metric.Resolution.HOUR, count__gt=0)
    try:
        first, last = rows.order_by("at").first(), rows.order_by("-at").first()
    except DatabaseError:
        return None
    if first is None or last is None or first.at == last.at:
        return None
    days = (last.at - first.at).total_seconds() / 86_400
    return Growth(first.total / first.count, last.total / last.count, days, _free(health))


def _free(health: Health) -> int | None:
    """Bytes free where the data lies, if that is here and we may know."""
    if health.machine.memory is None:
        return None
    where = next((s.value for s in health.settings.rows if s.name == "data_directory"), "")
    if not where or not Path(where).exists():
        return None
    return int(psutil.disk_usage(where).free)
