"""The trading platform's API, below ``/api/``."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from project.trading import views


class SymbolConverter(StringConverter):
    """An instrument's symbol."""

    regex = "[A-Z0-9.]{1,12}"


register_converter(SymbolConverter, "symbol")
app_name = "trading"
urlpatterns = [
    path("login/", views.sign_in, name="login"),
    path("portfolios/<int:pk>/", views.portfolio_summary, name="portfolio"),
    path("portfolios/<int:pk>/positions/", views.positions, name="positions"),
    path("portfolios/<int:pk>/orders/", views.order_history, name="orders"),
    path("portfolios/<int:pk>/insights/", views.ai_insights, name="insights"),
    path("orders/", views.place_order, name="place-order"),
    path("instruments/", views.instruments, name="instruments"),
    path("market-data/movers/", views.top_movers, name="movers"),
    path("market-data/<symbol:symbol>/", views.market_data, name="market-data"),
    path("news/<symbol:symbol>/", views.news, name="news"),
    path("watch-list/", views.watch_list, name="watch-list"),
]
