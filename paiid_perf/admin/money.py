"""Money as people read it, in the currency of the settings."""

from __future__ import annotations

from django.utils.translation import gettext as _

from paiid_perf.conf import get_settings
from paiid_perf.models import Recommendation
from paiid_perf.monitoring.rules.cost import saving


def money(amount: float) -> str:
    """``12.34 USD``; of what is small, more places."""
    places = 2 if abs(amount) >= 0.1 else 4
    return f"{amount:,.{places}f} {get_settings().CURRENCY}"


def saved(rec: Recommendation) -> str:
    """What a recommendation saves or costs a day; empty where its bytes or the price are not known."""
    amount = saving(rec.kind, rec.evidence, get_settings().UNIT_PRICES)
    if amount is None:
        return ""
    told = _("saves %(money)s a day") if amount >= 0 else _("costs %(money)s a day")
    return told % {"money": money(abs(amount))}
