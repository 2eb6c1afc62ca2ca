"""Warming learned from traffic: from looks to metrics to values that are there after a flush."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from paiid_perf import cache
from paiid_perf.cache import facts, learning, manager, warming
from paiid_perf.cache.learning import Learner, Recipe, function_of
from paiid_perf.cache.types import CacheStrategy, CacheWarmer
from paiid_perf.models import Metric
from paiid_perf.registry import registry

STRATEGY = CacheStrategy("learnt", ttl=timedelta(minutes=5), early=0, jitter=0)
computed: list[tuple[Any, ...]] = []


def price_of(symbol: str, days: int = 1) -> dict[str, Any]:
    computed.append((symbol, days))
    return {"symbol": symbol, "days": days}


async def news_of(symbol: str) -> str:
    computed.append((symbol,))
    return f"news of {symbol}"


price_of = cache.cached("learnt")(price_of)
news_of = cache.cached("learnt")(news_of)


@pytest.fixture
def learner(monkeypatch: pytest.MonkeyPatch, counts: Any) -> Iterator[Learner]:
    """A learner of this test's own, whose reports go to ``counts``; the functions here count as an app's."""
    mine = Learner()
    monkeypatch.setattr(manager, "learner", mine)
    monkeypatch.setattr(learning, "recorder", counts)
    monkeypatch.setattr(
        learning.apps, "get_containing_app_config", lambda name: name if name == __name__ else None
    )
    computed.clear()
    with registry.temporarily(STRATEGY):
        yield mine


def stored(counts: Any, learner: Learner) -> None:
    """What the recorder and the collector make of a report."""
    learner.report()
    now = timezone.now().replace(second=0, microsecond=0)
    Metric.objects.bulk_create(
        Metric(
            name=name,
            subject=subject,
            at=now,
            resolution=Metric.Resolution.MINUTE,
            count=number,
            total=number,
        )
        for (name, subject), number in counts.counts.items()
        if name in {"cache.worth", "cache.recipe"}
    )


@pytest.mark.django_db
def test_what_was_asked_for_is_there_after_a_flush(redis_cache: Any, learner: Learner, counts: Any) -> None:
    for _ in range(5):
        price_of("AAPL")
    for _ in range(2):
        price_of("MSFT", days=30)
    price_of("RARE")
    stored(counts, learner)
    assert list(facts.recipes(timezone.now())) == [
        Recipe(f"{__name__}:price_of", ["AAPL"], {}),
        Recipe(f"{__name__}:price_of", ["MSFT"], {"days": 30}),
    ]
    assert [key.split(":")[:2] for key, _ in facts.worthiest(timezone.now())] == [["c", "learnt"]] * 2
    redis_cache.flushdb()
    computed.clear()

    (report,) = [one for one in warming.warm() if one.warmer == "learned learnt"]

    assert (report.warmed, report.fresh, report.failed) == (2, 0, 0)
    assert computed == [("AAPL", 1), ("MSFT", 30)]
    assert price_of("AAPL") == {"symbol": "AAPL", "days": 1}
    assert len(computed) == 2
    (again,) = [one for one in warming.warm_due() if one.warmer == "learned learnt"]
    assert (again.warmed, again.fresh) == (0, 2)
    assert not [one for one in warming.warm_due() if one.warmer == "learned learnt"]


@pytest.mark.django_db
def test_async_functions_are_warmed_too(redis_cache: Any, learner: Learner, counts: Any) -> None:
    entry = news_of.warm_entry("AAPL")
    learner.made_by(manager.storage_key("learnt", entry.key), news_of.__wrapped__, ("AAPL",), {})
    learner.looked(manager.storage_key("learnt", entry.key), 5.0, 100)
    stored(counts, learner)
    (report,) = [one for one in warming.warm() if one.warmer == "learned learnt"]
    assert report.warmed == 1
    assert cache.get(entry.key, strategy="learnt") == "news of AAPL"


@pytest.mark.django_db
def test_declared_warmers_run_where_the_metrics_cannot_be_read(
    redis_cache: Any, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> Any:
        raise warming.DatabaseError("away")

    monkeypatch.setattr(warming, "recipes", down)
    declared = CacheWarmer("declared", warm=lambda: [("k", lambda: 1)], strategy="learnt")
    with registry.temporarily(declared):
        (report,) = [one for one in warming.warm() if one.warmer == "declared"]
    assert report.warmed == 1


@pytest.mark.django_db
def test_a_call_that_the_code_no_longer_takes_is_left_out(
    redis_cache: Any, learner: Learner, counts: Any
) -> None:
    for args in (("AAPL", 1, "too many"),):
        learner.made_by("perf:c:learnt:x", price_of.__wrapped__, args, {})
        learner.looked("perf:c:learnt:x", 5.0, 100)
    stored(counts, learner)
    assert not [one for one in warming.warm() if one.warmer == "learned learnt"]


@pytest.mark.parametrize(
    "function",
    [
        "os:system",
        f"{__name__}:computed",
        f"{__name__}:gone",
        f"{__name__}:STRATEGY.name",
        "nowhere.at.all:f",
    ],
)
def test_only_cached_functions_of_installed_apps_are_called(learner: Learner, function: str) -> None:
    assert function_of(Recipe(function, [], {})) is None


def test_arguments_that_are_no_plain_text_have_no_recipe(learner: Learner, counts: Any) -> None:
    for number, args in enumerate([(object(),), ("x" * 300,), (1.5,)]):
        key = f"perf:c:learnt:{number}"
        learner.made_by(key, price_of.__wrapped__, args, {})
        learner.looked(key, 5.0, 100)
    learner.report()
    assert [name for name, _ in counts.counts] == ["cache.worth"] * 3


def test_a_report_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch, counts: Any) -> None:
    monkeypatch.setattr(learning, "recorder", counts)
    now = [0.0]
    learner = Learner(clock=lambda: now[0])
    learner.looked("perf:c:s:k", 5.0, 1024)
    assert not counts.counts
    now[0] = learning.REPORT_EVERY
    learner.looked("perf:c:s:k", 5.0, 1024)
    assert counts.counts == {("cache.worth", "c:s:k"): 10}
    learner.report()
    assert counts.counts == {("cache.worth", "c:s:k"): 10}
