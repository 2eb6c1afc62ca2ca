"""Money a day from unit prices a month. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from paiid_perf.monitoring.types import Expense, Use

#: A month's price for a day: a year has 365 days and 12 months.
DAYS = 365 / 12
GB = 2**30
#: resource → (the price that it goes by, how much of it is one unit of that price)
UNITS: Mapping[str, tuple[str, float]] = {
    "storage": ("storage_gb", GB),
    "index_waste": ("storage_gb", GB),
    "cache": ("cache_gb", GB),
    "workers": ("worker", 1.0),
}
PRICES = frozenset(price for price, _ in UNITS.values())
#: kind of change → the sign that its bytes have for the storage bill
FREED: Mapping[str, int] = {"index_drop": 1, "index_create": -1, "materialized_view": -1, "retention": 1}


def expenses(uses: Iterable[Use], prices: Mapping[str, float]) -> list[Expense]:
    """What each resource costs a day; those without a price are left out."""
    return [
        Expense(use, use.amount / unit * prices[price] / DAYS)
        for use in uses
        for price, unit in (UNITS[use.resource],)
        if price in prices
    ]


def saving(kind: str, evidence: Mapping[str, Any], prices: Mapping[str, float]) -> float | None:
    """Money a day that a recommendation frees, less than 0 where it costs; None where its bytes or the price are not
    known.
    """
    if "storage_gb" not in prices:
        return None
    freed = evidence.get("wasted_bytes")
    if freed is None and kind in FREED and (size := evidence.get("bytes")) is not None:
        freed = FREED[kind] * size
    return None if freed is None else float(freed) / GB * prices["storage_gb"] / DAYS
