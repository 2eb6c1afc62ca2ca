"""The trading platform's API, below ``/api/``."""

from django.urls import path

from project.trading import views

app_name = "trading"
urlpatterns = [
    path("login/", views.sign_in, name="login"),
    path("portfolios/<int:pk>/", views.portfolio_summary, name="portfolio"),
    path("portfolios/<int:pk>/positions/", views.positions, name="positions"),
    path("portfolios/<int:pk>/orders/", views.order_history, name="orders"),
    path("portfolios/<int:pk>/insights/", views.ai_insights, name="insights"),
    path("orders/", views.place_order, name="place-order"),
    path("market-data/movers/", views.top_movers, name="movers"),
    path("market-data/<str:symbol>/", views.market_data, name="market-data"),
    path("news/<str:symbol>/", views.news, name="news"),
    path("watch-list/", views.watch_list, name="watch-list"),
]
