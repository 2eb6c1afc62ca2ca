"""The trading platform's models: a competent first version, with the indexes that Django makes and no other."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class Instrument(models.Model):
    """What is traded."""

    symbol = models.CharField(max_length=12, unique=True)
    name = models.CharField(max_length=120)
    sector = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.symbol


class PriceTick(models.Model):
    """One price of one instrument at one moment. The big table."""

    instrument = models.ForeignKey(Instrument, models.CASCADE, related_name="ticks")
    at = models.DateTimeField()
    price = models.DecimalField(max_digits=12, decimal_places=4)
    volume = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.price} at {self.at:%Y-%m-%d %H:%M:%S}"


class Portfolio(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="portfolios")
    name = models.CharField(max_length=80)
    cash = models.DecimalField(max_digits=16, decimal_places=2, default=0)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class Position(models.Model):
    """How much of an instrument a portfolio holds, and what it cost."""

    portfolio = models.ForeignKey(Portfolio, models.CASCADE, related_name="positions")
    instrument = models.ForeignKey(Instrument, models.CASCADE, related_name="+")
    quantity = models.DecimalField(max_digits=16, decimal_places=4)
    average_cost = models.DecimalField(max_digits=12, decimal_places=4)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["portfolio", "instrument"], name="one_position_per_instrument"),
        )

    def __str__(self) -> str:
        return f"{self.quantity} × {self.instrument_id}"


class Order(models.Model):
    class Side(models.TextChoices):
        BUY = "buy"
        SELL = "sell"

    class Status(models.TextChoices):
        OPEN = "open"
        FILLED = "filled"
        CANCELLED = "cancelled"

    portfolio = models.ForeignKey(Portfolio, models.CASCADE, related_name="orders")
    instrument = models.ForeignKey(Instrument, models.CASCADE, related_name="+")
    side = models.CharField(max_length=4, choices=Side)
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    quantity = models.DecimalField(max_digits=16, decimal_places=4)
    limit_price = models.DecimalField(max_digits=12, decimal_places=4)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.side} {self.quantity}"


class Trade(models.Model):
    """An order's execution."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="trades")
    price = models.DecimalField(max_digits=12, decimal_places=4)
    quantity = models.DecimalField(max_digits=16, decimal_places=4)
    executed_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.quantity} at {self.price}"


class AIInsight(models.Model):
    """What the analysis service said about a portfolio."""

    portfolio = models.ForeignKey(Portfolio, models.CASCADE, related_name="insights")
    kind = models.CharField(max_length=20)
    confidence = models.FloatField()
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.kind


class NewsItem(models.Model):
    instrument = models.ForeignKey(Instrument, models.CASCADE, related_name="news")
    headline = models.CharField(max_length=200)
    body = models.TextField()
    published_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.headline


class WatchListItem(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="watch_list")
    instrument = models.ForeignKey(Instrument, models.CASCADE, related_name="watched_by")
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["user", "instrument"], name="watch_an_instrument_once"),
        )

    def __str__(self) -> str:
        return f"{self.user_id} watches {self.instrument_id}"
