"""What the views and the cache warmers compute: the same values under the same keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, Max, Min
from django.utils import timezone

from paiid_perf.cache import get_or_compute
from project.trading.models import AIInsight, Instrument, Portfolio, Position, PriceTick

Value = dict[str, Any]
TICKS_SHOWN = 50
CENT = Decimal("0.01")


# --- markets ---------------------------------------------------------------------------------------


def market(instrument: Instrument) -> Value:
    return get_or_compute(market_key(instrument), market_of(instrument), strategy="market_data")


def market_key(instrument: Instrument) -> str:
    return instrument.symbol


def market_of(instrument: Instrument) -> Callable[[], Value]:
    """Price, the day's range and the newest ticks."""

    def compute() -> Value:
        latest = list(instrument.ticks.order_by("-at")[:TICKS_SHOWN])
        day = instrument.ticks.filter(at__gte=timezone.now() - timedelta(days=1))
        return {
            "symbol": instrument.symbol,
            "name": instrument.name,
            "price": latest[0].price if latest else None,
            "day": day.aggregate(low=Min("price"), high=Max("price")),
            "ticks": [{"at": tick.at, "price": tick.price, "volume": tick.volume} for tick in latest],
        }

    return compute


def movers() -> list[Value]:
    """The ten instruments whose price moved most in two days."""
    return get_or_compute("all", _compute_movers, strategy="movers")


def _compute_movers() -> list[Value]:
    recent = PriceTick.objects.filter(at__gte=timezone.now() - timedelta(days=2))
    ranges = recent.values("instrument__symbol").annotate(low=Min("price"), high=Max("price"))
    moves = sorted(ranges, key=lambda row: row["high"] / row["low"], reverse=True)[:10]
    return [{"symbol": row["instrument__symbol"], "low": row["low"], "high": row["high"]} for row in moves]


def instruments() -> list[Value]:
    """Every instrument, by its symbol."""
    return get_or_compute("all", _compute_instruments, strategy="reference")


def _compute_instruments() -> list[Value]:
    return [dict(row) for row in Instrument.objects.order_by("symbol").values("symbol", "name", "sector")]


def most_watched_instruments(limit: int) -> Iterable[Instrument]:
    watched = Count("watched_by")
    return Instrument.objects.annotate(watchers=watched).order_by("-watchers", "pk")[:limit]


# --- portfolios --------------------------------------------------------------------------------------


def valuation(portfolio: Portfolio) -> Value:
    return get_or_compute(valuation_key(portfolio), valuation_of(portfolio), strategy="portfolios")


def valuation_key(portfolio: Portfolio) -> str:
    return str(portfolio.pk)


def valuation_of(portfolio: Portfolio) -> Callable[[], Value]:
    """Every position at its latest price."""

    def compute() -> Value:
        positions = [_valued(position) for position in portfolio.positions.select_related("instrument")]
        value = sum((position["value"] for position in positions), Decimal(0))
        cost = sum((position["cost"] for position in positions), Decimal(0))
        return {"value": value, "profit": value - cost, "positions": positions}

    return compute


def held_instruments(portfolio: Portfolio) -> list[Instrument]:
    """Whose prices the valuation shows; only their keys are known."""
    return [Instrument(pk=pk) for pk in portfolio.positions.values_list("instrument_id", flat=True)]


def latest_price(instrument: Instrument) -> Decimal | None:
    tick = instrument.ticks.order_by("-at").first()
    return tick.price if tick else None


def recently_active_portfolios(limit: int) -> Iterable[Portfolio]:
    return Portfolio.objects.order_by("-owner__last_login", "pk")[:limit]


def _valued(position: Position) -> Value:
    price = latest_price(position.instrument) or position.average_cost
    return {
        "symbol": position.instrument.symbol,
        "quantity": position.quantity,
        "price": price,
        "value": (price * position.quantity).quantize(CENT),
        "cost": (position.average_cost * position.quantity).quantize(CENT),
    }


# --- insights ----------------------------------------------------------------------------------------


def insights(portfolio: Portfolio) -> list[Value]:
    return get_or_compute(insights_key(portfolio), insights_of(portfolio), strategy="ai_insights")


def insights_key(portfolio: Portfolio) -> str:
    return str(portfolio.pk)


def insights_of(portfolio: Portfolio) -> Callable[[], list[Value]]:
    """The newest ten that the analysis was sure of."""

    def compute() -> list[Value]:
        newest = AIInsight.objects.filter(portfolio=portfolio, confidence__gte=0.5).order_by("-created_at")[
            :10
        ]
        return [
            {"kind": row.kind, "confidence": row.confidence, "text": row.text, "at": row.created_at}
            for row in newest
        ]

    return compute
