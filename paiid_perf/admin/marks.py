"""When something was changed, for every chart: by the app (the ledger), or by a deployment."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext as _

from paiid_perf.admin.charts import Mark
from paiid_perf.models import Mark as Row
from paiid_perf.models import Recommendation

#: The newest ones that charts show, of each source.
SHOWN = 100


def marks(start: datetime, end: datetime) -> list[Mark]:
    """What was changed in [start, end): the app's own changes by their title and state, the rest by its kind."""
    return [*_changes(start, end), *_rest(start, end)]


def _changes(start: datetime, end: datetime) -> list[Mark]:
    rows = Recommendation.objects.filter(applied_at__gte=start, applied_at__lt=end).order_by("-applied_at")
    found = rows.values_list("applied_at", "title", "state")[:SHOWN]
    return [
        Mark(at, f"{title} ({Recommendation.State(state).label})")
        for at, title, state in found
        if at is not None
    ]


def _rest(start: datetime, end: datetime) -> list[Mark]:
    """What had no words only told the app where it begins."""
    rows = Row.objects.filter(at__gte=start, at__lt=end).exclude(label="")
    found = rows.values_list("at", "kind", "label")[:SHOWN]
    return [
        Mark(at, _("%(kind)s: %(label)s") % {"kind": Row.Kind(kind).label, "label": label})
        for at, kind, label in found
    ]
