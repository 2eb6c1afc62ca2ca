"""Trading objects for the tests."""

from __future__ import annotations

import factory
from django.contrib.auth import get_user_model
from django.utils import timezone

from project.trading import models


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = get_user_model()

    username = factory.Sequence("user{}".format)


class InstrumentFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.Instrument

    symbol = factory.Sequence("T{:03d}".format)
    name = factory.Faker("company")
    sector = "technology"


class TickFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.PriceTick

    instrument = factory.SubFactory(InstrumentFactory)
    at = factory.LazyFunction(timezone.now)
    price = 10
    volume = 100


class PortfolioFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.Portfolio

    owner = factory.SubFactory(UserFactory)
    name = "Main"
    cash = 1000


class PositionFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.Position

    portfolio = factory.SubFactory(PortfolioFactory)
    instrument = factory.SubFactory(InstrumentFactory)
    quantity = 2
    average_cost = 8


class OrderFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.Order

    portfolio = factory.SubFactory(PortfolioFactory)
    instrument = factory.SubFactory(InstrumentFactory)
    side = "buy"
    quantity = 1
    limit_price = 10


class InsightFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.AIInsight

    portfolio = factory.SubFactory(PortfolioFactory)
    kind = "risk"
    confidence = 0.9
    text = "Too much of one sector."


class NewsFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.NewsItem

    instrument = factory.SubFactory(InstrumentFactory)
    headline = factory.Sequence("Headline {}".format)
    body = "…"


class WatchFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = models.WatchListItem

    user = factory.SubFactory(UserFactory)
    instrument = factory.SubFactory(InstrumentFactory)
