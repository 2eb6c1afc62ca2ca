"""JSON views of the trading platform. No caching, no hand-made index: that is what the demo begins with."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from functools import wraps
from typing import Any

from django.contrib.auth import authenticate, login
from django.core.paginator import Paginator
from django.db.models import Max, Min
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from project.trading.models import (
    AIInsight,
    Instrument,
    NewsItem,
    Order,
    Portfolio,
    Position,
    PriceTick,
    WatchListItem,
)

PAGE = 25
View = Callable[..., JsonResponse]


def signed_in(view: View) -> View:
    """401 as JSON instead of a redirect to a login page."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> JsonResponse:
        if not request.user.is_authenticated:
            return JsonResponse({"error": "sign in first: POST /api/login/"}, status=401)
        return view(request, *args, **kwargs)

    return checked


@csrf_exempt
@require_POST
def sign_in(request: HttpRequest) -> JsonResponse:
    body = _json(request)
    user = authenticate(request, username=body.get("username"), password=body.get("password"))
    if user is None:
        return JsonResponse({"error": "wrong user name or password"}, status=401)
    login(request, user)
    return JsonResponse({"user": user.get_username()})


@require_GET
@signed_in
def portfolio_summary(request: HttpRequest, pk: int) -> JsonResponse:
    portfolio = _portfolio(request, pk)
    positions = [_valued(position) for position in portfolio.positions.select_related("instrument")]
    value = sum((position["value"] for position in positions), Decimal(0))
    cost = sum((position["cost"] for position in positions), Decimal(0))
    return JsonResponse(
        {
            "id": portfolio.pk,
            "name": portfolio.name,
            "cash": portfolio.cash,
            "value": value,
            "total": value + portfolio.cash,
            "profit": value - cost,
            "open_orders": portfolio.orders.filter(status=Order.Status.OPEN).count(),
            "positions": positions,
        }
    )


@require_GET
@signed_in
def positions(request: HttpRequest, pk: int) -> JsonResponse:
    held = _portfolio(request, pk).positions.all()
    return JsonResponse(
        {
            "positions": [
                {
                    "symbol": position.instrument.symbol,
                    "sector": position.instrument.sector,
                    "quantity": position.quantity,
                    "average_cost": position.average_cost,
                }
                for position in held
            ]
        }
    )


@require_GET
@signed_in
def order_history(request: HttpRequest, pk: int) -> JsonResponse:
    orders = _portfolio(request, pk).orders.select_related("instrument").order_by("-created_at")
    if status := request.GET.get("status"):
        orders = orders.filter(status=status)
    if symbol := request.GET.get("symbol"):
        orders = orders.filter(instrument__symbol=symbol)
    if since := parse_datetime(request.GET.get("since", "")):
        orders = orders.filter(created_at__gte=since)
    page = Paginator(orders, PAGE).get_page(request.GET.get("page"))
    return JsonResponse(
        {
            "count": page.paginator.count,
            "pages": page.paginator.num_pages,
            "page": page.number,
            "orders": [_order(order) for order in page],
        }
    )


@csrf_exempt
@require_POST
@signed_in
def place_order(request: HttpRequest) -> JsonResponse:
    body = _json(request)
    try:
        quantity, limit = Decimal(str(body["quantity"])), Decimal(str(body["limit_price"]))
        side = Order.Side(body["side"])
        symbol, portfolio_id = str(body["symbol"]), int(body["portfolio"])
    except (KeyError, ValueError, InvalidOperation) as error:
        return JsonResponse({"error": f"not an order: {error}"}, status=400)
    order = Order.objects.create(
        portfolio=_portfolio(request, portfolio_id),
        instrument=get_object_or_404(Instrument, symbol=symbol),
        side=side,
        quantity=quantity,
        limit_price=limit,
    )
    return JsonResponse(_order(order), status=201)


@require_GET
def market_data(request: HttpRequest, symbol: str) -> JsonResponse:
    instrument = get_object_or_404(Instrument, symbol=symbol)
    latest = instrument.ticks.order_by("-at")[:50]
    day = instrument.ticks.filter(at__gte=timezone.now() - timedelta(days=1))
    extremes = day.aggregate(low=Min("price"), high=Max("price"))
    return JsonResponse(
        {
            "symbol": instrument.symbol,
            "name": instrument.name,
            "price": latest[0].price if latest else None,
            "day": extremes,
            "ticks": [{"at": tick.at, "price": tick.price, "volume": tick.volume} for tick in latest],
        }
    )


@require_GET
def top_movers(request: HttpRequest) -> JsonResponse:
    recent = PriceTick.objects.filter(at__gte=timezone.now() - timedelta(days=2))
    ranges = recent.values("instrument__symbol").annotate(low=Min("price"), high=Max("price"))
    moves = sorted(ranges, key=lambda row: row["high"] / row["low"], reverse=True)[:10]
    return JsonResponse(
        {
            "movers": [
                {"symbol": row["instrument__symbol"], "low": row["low"], "high": row["high"]} for row in moves
            ]
        }
    )


@require_GET
@signed_in
def watch_list(request: HttpRequest) -> JsonResponse:
    items = WatchListItem.objects.filter(user=request.user).select_related("instrument").order_by("position")
    return JsonResponse(
        {
            "watch_list": [
                {"symbol": item.instrument.symbol, "price": _latest_price(item.instrument)} for item in items
            ]
        }
    )


@require_GET
@signed_in
def ai_insights(request: HttpRequest, pk: int) -> JsonResponse:
    portfolio = _portfolio(request, pk)
    insights = AIInsight.objects.filter(portfolio=portfolio, confidence__gte=0.5).order_by("-created_at")[:10]
    return JsonResponse(
        {
            "insights": [
                {"kind": row.kind, "confidence": row.confidence, "text": row.text, "at": row.created_at}
                for row in insights
            ]
        }
    )


@require_GET
def news(request: HttpRequest, symbol: str) -> JsonResponse:
    items = NewsItem.objects.filter(instrument__symbol=symbol).order_by("-published_at")[:10]
    return JsonResponse(
        {"news": [{"headline": i.headline, "body": i.body, "at": i.published_at} for i in items]}
    )


def _portfolio(request: HttpRequest, pk: int) -> Portfolio:
    return get_object_or_404(Portfolio, pk=pk, owner=request.user)


def _latest_price(instrument: Instrument) -> Decimal | None:
    tick = instrument.ticks.order_by("-at").first()
    return tick and tick.price


def _valued(position: Position) -> dict[str, Any]:
    price = _latest_price(position.instrument) or position.average_cost
    return {
        "symbol": position.instrument.symbol,
        "quantity": position.quantity,
        "price": price,
        "value": (price * position.quantity).quantize(Decimal("0.01")),
        "cost": (position.average_cost * position.quantity).quantize(Decimal("0.01")),
    }


def _order(order: Order) -> dict[str, Any]:
    return {
        "id": order.pk,
        "symbol": order.instrument.symbol,
        "side": order.side,
        "status": order.status,
        "quantity": order.quantity,
        "limit_price": order.limit_price,
        "created_at": order.created_at,
    }


def _json(request: HttpRequest) -> dict[str, Any]:
    try:
        body = json.loads(request.body or b"{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
