"""The page at the site's root: what this is and where to look."""

from __future__ import annotations

from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.generic import TemplateView


class Endpoint(NamedTuple):
    """One line of the page's table."""

    request: str
    answer: str | Promise


ENDPOINTS = (
    Endpoint("POST /api/login/", _("a session, for a user name and a password")),
    Endpoint("GET /api/portfolios/<id>/", _("a portfolio with every position at its latest price")),
    Endpoint("GET /api/portfolios/<id>/positions/", _("what it holds, and what that cost")),
    Endpoint(
        "GET /api/portfolios/<id>/orders/", _("its orders, newest first; ?status= ?symbol= ?since= ?page=")
    ),
    Endpoint("GET /api/portfolios/<id>/insights/", _("what the analysis said about it")),
    Endpoint("POST /api/orders/", _("a new order")),
    Endpoint("GET /api/instruments/", _("everything that is traded")),
    Endpoint("GET /api/market-data/<symbol>/", _("latest price, the day's range, the newest ticks")),
    Endpoint("GET /api/market-data/movers/", _("the ten that moved most in two days")),
    Endpoint("GET /api/news/<symbol>/", _("headlines about one instrument")),
    Endpoint("GET /api/watch-list/", _("the instruments that the user watches")),
)

landing = TemplateView.as_view(template_name="landing.html", extra_context={"endpoints": ENDPOINTS})
