"""How the database has grown, from the history of its size."""

from __future__ import annotations

from django.db import DatabaseError

from paiid_perf.database.health_types import Disk, Growth
from paiid_perf.models import Metric

#: The gauge that monitoring keeps.
NAME = "db.bytes"


def read(alias: str, disk: Disk | None) -> Growth | None:
    """The first and last size on record; None where there are not two, or no table for them."""
    rows = Metric.objects.filter(name=NAME, subject=alias, resolution=Metric.Resolution.HOUR, count__gt=0)
    try:
        first, last = rows.order_by("at").first(), rows.order_by("-at").first()
    except DatabaseError:
        return None
    if first is None or last is None or first.at == last.at:
        return None
    days = (last.at - first.at).total_seconds() / 86_400
    return Growth(first.total / first.count, last.total / last.count, days, disk.free if disk else None)
