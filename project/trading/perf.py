"""What the trading platform declares to paiid_perf: limits, caching, warming, views, candidates, clean-up.

The index candidates are what a person would guess; the advisor decides which of them pay.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from paiid_perf import declarations as perf

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))

# --- endpoints -------------------------------------------------------------------------------------

perf.register(
    perf.EndpointClass("default", match="/api/", rate="300/m", latency_objective_ms=300),
    perf.EndpointClass(
        "market_data", match="/api/market-data/", rate="600/m", cache="market_data", latency_objective_ms=100
    ),
    perf.EndpointClass(
        "movers", match="/api/market-data/movers/", rate="600/m", cache="movers", latency_objective_ms=100
    ),
    perf.EndpointClass("trading", match="/api/orders/", rate="120/m", latency_objective_ms=250),
    perf.EndpointClass(
        "ai_analysis", match="trading:insights", rate="60/m", cache="analysis", latency_objective_ms=500
    ),
    perf.EndpointClass(
        "portfolio",
        match=("trading:portfolio", "trading:positions", "trading:watch-list"),
        rate="600/m",
        cache="portfolio",
        latency_objective_ms=200,
    ),
    perf.EndpointClass(
        "order_history", match="trading:orders", rate="300/m", cache="orders", latency_objective_ms=250
    ),
    perf.EndpointClass(
        "reference",
        match=("/api/news/", "/api/instruments/"),
        rate="300/m",
        cache="static",
        latency_objective_ms=200,
    ),
)

# --- answers of whole requests ----------------------------------------------------------------------

# The views name the rows that an answer is made of, so that a price, an order or an insight makes old what shows it and
# nothing else. What events keep fresh may be kept for long; a TTL bounds only what changes by the mere passing of time.

perf.register(
    perf.ResponseStrategy(
        "market_data",
        ttl=5 * MINUTE,  # the day that it shows moves on
        shared_with_users=True,
        depends_on_rows=["trading.PriceTick.instrument"],
        query_params=[],
        stale_while_revalidate=15 * SECOND,
    ),
    perf.ResponseStrategy(
        "movers",
        ttl=30 * SECOND,
        shared_with_users=True,
        depends_on=["trading.PriceTick"],
        query_params=[],
        stale_while_revalidate=15 * SECOND,
    ),
    perf.ResponseStrategy(
        "static",
        ttl=HOUR,
        shared_with_users=True,
        depends_on=["trading.NewsItem", "trading.Instrument"],
        query_params=[],
    ),
    perf.ResponseStrategy(
        "portfolio",
        ttl=HOUR,
        scope="user",
        # Not on orders: somebody places one every second, and none of these answers shows it. For the same reason
        # the views do not name the portfolio, which an order makes old.
        depends_on=["trading.Portfolio", "trading.Position", "trading.WatchListItem"],
        depends_on_rows=["trading.PriceTick.instrument"],
    ),
    perf.ResponseStrategy(
        "orders",
        ttl=HOUR,
        scope="user",
        # An order empties its own portfolio's answers and nobody else's.
        depends_on_rows=["trading.Portfolio", "trading.Order.portfolio"],
    ),
    perf.ResponseStrategy("analysis", ttl=HOUR, scope="user", depends_on=["trading.AIInsight"]),
)

# --- values inside requests -------------------------------------------------------------------------

perf.register(
    perf.CacheStrategy("movers", ttl=30 * SECOND, serializer="msgpack", depends_on=["trading.PriceTick"]),
    perf.CacheStrategy(
        "market_data", ttl=15 * SECOND, serializer="msgpack", depends_on=["trading.PriceTick"]
    ),
    perf.CacheStrategy(
        "portfolios",
        ttl=5 * MINUTE,
        serializer="json",
        depends_on=["trading.Portfolio", "trading.Position", "trading.PriceTick"],
    ),
    perf.CacheStrategy(
        "ai_insights", ttl=HOUR, serializer="json", compress_over=256, depends_on=["trading.AIInsight"]
    ),
    perf.CacheStrategy("reference", ttl=DAY, serializer="msgpack", depends_on=["trading.Instrument"]),
)


def busiest_portfolios() -> Iterator[tuple[str, object]]:
    """The portfolios whose owners were here last."""
    from project.trading import services

    for portfolio in services.recently_active_portfolios(limit=100):
        yield services.valuation_key(portfolio), services.valuation_of(portfolio)


def watched_markets() -> Iterator[tuple[str, object]]:
    """The instruments that most people watch."""
    from project.trading import services

    for instrument in services.most_watched_instruments(limit=50):
        yield services.market_key(instrument), services.market_of(instrument)


def fresh_insights() -> Iterator[tuple[str, object]]:
    """The insights of the portfolios whose owners were here last."""
    from project.trading import services

    for portfolio in services.recently_active_portfolios(limit=100):
        yield services.insights_key(portfolio), services.insights_of(portfolio)


perf.register(
    perf.CacheWarmer("portfolios", warm=busiest_portfolios, every=5 * MINUTE),
    perf.CacheWarmer("market_data", warm=watched_markets, every=MINUTE),
    perf.CacheWarmer("ai_insights", warm=fresh_insights, every=30 * MINUTE),
)

# --- the database -----------------------------------------------------------------------------------

perf.register(
    perf.MaterializedView(
        "trading_portfolio_value",
        sql="""
            SELECT p.portfolio_id, sum(p.quantity * latest.price) AS value, count(*) AS positions
            FROM trading_position p
            JOIN (SELECT DISTINCT ON (instrument_id) instrument_id, price
                  FROM trading_pricetick ORDER BY instrument_id, at DESC) latest USING (instrument_id)
            GROUP BY p.portfolio_id
        """,
        unique=["portfolio_id"],
        refresh_every=5 * MINUTE,
        depends_on=["trading.Position", "trading.PriceTick"],
    ),
    perf.MaterializedView(
        "trading_daily_prices",
        sql="""
            SELECT instrument_id, (at AT TIME ZONE 'UTC')::date AS day, min(price) AS low, max(price) AS high,
                   sum(volume) AS volume, count(*) AS ticks
            FROM trading_pricetick GROUP BY 1, 2
        """,
        unique=["instrument_id", "day"],
        refresh_every=15 * MINUTE,
        depends_on=["trading.PriceTick"],
    ),
    perf.MaterializedView(
        "trading_order_statistics",
        sql="""
            SELECT portfolio_id, status, count(*) AS orders, sum(quantity * limit_price) AS turnover,
                   max(created_at) AS latest
            FROM trading_order GROUP BY 1, 2
        """,
        unique=["portfolio_id", "status"],
        refresh_every=15 * MINUTE,
        depends_on=["trading.Order"],
    ),
)

#: Fifteen columns that a person would call critical.
CANDIDATES = {
    "trading.PriceTick": [["instrument", "-at"], ["at"], ["volume"]],
    "trading.Order": [
        ["portfolio", "-created_at"],
        ["status"],
        ["created_at"],
        ["side"],
        ["instrument", "status"],
    ],
    "trading.Trade": [["executed_at"], ["price"]],
    "trading.AIInsight": [["portfolio", "-created_at"], ["confidence"]],
    "trading.NewsItem": [["instrument", "-published_at"]],
    "trading.Portfolio": [["created_at"]],
    "trading.Instrument": [["sector"]],
}
perf.register(
    *(perf.IndexCandidate(model, fields) for model, wanted in CANDIDATES.items() for fields in wanted)
)

perf.register(
    perf.RetentionRule("trading.PriceTick", older_than=95 * DAY, field="at"),
    perf.RetentionRule("trading.AIInsight", older_than=180 * DAY, field="created_at"),
    perf.RetentionRule("trading.NewsItem", older_than=85 * DAY, field="published_at"),
)

perf.replace(
    perf.AlertThreshold("api_p95_ms", above=500, for_=5 * MINUTE, severity="warning", unit="ms"),
)
