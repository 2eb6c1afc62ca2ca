"""JSON views of the trading platform."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm
from django.core.paginator import Paginator
from django.forms import BaseForm
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from paiid_perf import declarations as perf
from project.trading import services
from project.trading.forms import OrderFilter, OrderForm
from project.trading.models import Instrument, NewsItem, Order, Portfolio, WatchListItem

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


def takes_json(view: View) -> View:
    """Hands the body over as a dict. Other content types are refused: a foreign page's form cannot send this one."""

    @csrf_exempt
    @require_POST
    @wraps(view)
    def checked(request: HttpRequest) -> JsonResponse:
        if request.content_type != "application/json":
            return JsonResponse({"error": "send application/json"}, status=415)
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return JsonResponse({"error": "the body must be one JSON object"}, status=400)
        return view(request, body)

    return checked


@takes_json
def sign_in(request: HttpRequest, body: dict[str, Any]) -> JsonResponse:
    form = AuthenticationForm(request, data=body)
    if not form.is_valid():
        return JsonResponse({"error": "wrong user name or password"}, status=401)
    login(request, form.get_user())
    return JsonResponse({"user": form.get_user().get_username()})


@require_GET
@signed_in
def portfolio_summary(request: HttpRequest, pk: int) -> JsonResponse:
    portfolio = _portfolio(request, pk)
    perf.depends_on(*services.held_instruments(portfolio))
    valuation = services.valuation(portfolio)
    return JsonResponse(
        {
            "id": portfolio.pk,
            "name": portfolio.name,
            "cash": portfolio.cash,
            "total": portfolio.cash + valuation["value"],
            **valuation,
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
    wanted = OrderFilter(request.GET)
    if not wanted.is_valid():
        return _refused(wanted)
    portfolio = _portfolio(request, pk)
    perf.depends_on(portfolio)
    orders = portfolio.orders.select_related("instrument").order_by("-created_at")
    page = Paginator(orders.filter(**wanted.lookups()), PAGE).get_page(request.GET.get("page"))
    return JsonResponse(
        {
            "count": page.paginator.count,
            "pages": page.paginator.num_pages,
            "page": page.number,
            "orders": [_order(order) for order in page],
        }
    )


@signed_in
@takes_json
def place_order(request: HttpRequest, body: dict[str, Any]) -> JsonResponse:
    form = OrderForm(request.user, body)
    if not form.is_valid():
        return _refused(form)
    order = form.save()
    # Who has placed an order looks at the list next.
    perf.renew(request, reverse("trading:orders", args=[order.portfolio_id]))
    return JsonResponse(_order(order), status=201)


@require_GET
def market_data(request: HttpRequest, symbol: str) -> JsonResponse:
    instrument = get_object_or_404(Instrument, symbol=symbol)
    perf.depends_on(instrument)
    return JsonResponse(services.market(instrument))


@require_GET
def instruments(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"instruments": services.instruments()})


@require_GET
def top_movers(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"movers": services.movers()})


@require_GET
@signed_in
def watch_list(request: HttpRequest) -> JsonResponse:
    items = list(
        WatchListItem.objects.filter(user=request.user).select_related("instrument").order_by("position")
    )
    perf.depends_on(*(item.instrument for item in items))
    return JsonResponse(
        {
            "watch_list": [
                {"symbol": item.instrument.symbol, "price": services.latest_price(item.instrument)}
                for item in items
            ]
        }
    )


@require_GET
@signed_in
def ai_insights(request: HttpRequest, pk: int) -> JsonResponse:
    return JsonResponse({"insights": services.insights(_portfolio(request, pk))})


@require_GET
def news(request: HttpRequest, symbol: str) -> JsonResponse:
    items = NewsItem.objects.filter(instrument__symbol=symbol).order_by("-published_at")[:10]
    return JsonResponse(
        {"news": [{"headline": i.headline, "body": i.body, "at": i.published_at} for i in items]}
    )


def _portfolio(request: HttpRequest, pk: int) -> Portfolio:
    return get_object_or_404(Portfolio, pk=pk, owner=request.user)


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


def _refused(form: BaseForm) -> JsonResponse:
    return JsonResponse({"errors": form.errors.get_json_data()}, status=400)
