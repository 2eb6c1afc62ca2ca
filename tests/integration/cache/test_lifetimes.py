"""A time to live as traffic would have it: proposed, set in every process, kept or taken back by the real hit ratio."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from paiid_perf import cache
from paiid_perf.api.endpoints import endpoints
from paiid_perf.api.types import EndpointClass, ResponseStrategy
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.conf import get_settings
from paiid_perf.contracts import ADVICE, ChangeContext
from paiid_perf.lifetimes import advice
from paiid_perf.lifetimes.changes import HANDLERS
from paiid_perf.lifetimes.edited import EditedTtl
from paiid_perf.models import Metric, Recommendation, StrategyTtl
from paiid_perf.optimization import ledger
from paiid_perf.registry import registry
from paiid_perf.telemetry import looks
from paiid_perf.telemetry.looks import Look

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUOTES = ResponseStrategy("quotes", ttl=timedelta(seconds=15), depends_on=["auth.User"])
VALUES = CacheStrategy("values", ttl=timedelta(seconds=15))
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def declared(redis_cache: Any) -> Iterator[None]:
    with registry.temporarily(QUOTES, VALUES, EndpointClass("quotes", match="/quotes/", cache="quotes")):
        looks.forget()
        yield
        looks.forget()
        registry.swap(EditedTtl)


def seen(subject: str, ttl: float = 15.0, keys: int = 20) -> Iterator[Look]:
    """Half an hour in which each key is asked for every half a minute or so."""
    chance = Random(7)
    for key in range(keys):
        at = made = -ttl
        while at < 1_800:
            hit = at - made < ttl
            made = made if hit else at
            yield Look(subject, key * looks.ONE_OF, NOW.timestamp() - 1_800 + at, hit)
            at += chance.expovariate(1 / 25)


def noted(subject: str) -> None:
    looks._waiting.extend(sorted(seen(subject), key=lambda look: look.at))
    looks.flush()


def counted(hits: int, misses: int, at: datetime) -> None:
    minute, each = at.replace(second=0, microsecond=0), Metric.Resolution.MINUTE
    for name, count in (("cache.hits", hits), ("cache.misses", misses)):
        Metric.objects.create(
            name=name,
            subject="response:quotes",
            at=minute,
            count=count,
            total=count,
            resolution=each,
        )


def proposed(policy: Any = None) -> Recommendation:
    known = {"response:quotes": QUOTES, "values": VALUES}
    found = advice.proposals("api", known, advice.read(known))
    ids = ledger.propose(found, now=NOW, settings=get_settings())
    return Recommendation.objects.get(pk=ids[0])


def applied(user: Any) -> Recommendation:
    noted("response:quotes")
    counted(450, 550, NOW - timedelta(minutes=10))
    return ledger.apply(proposed(), user, NOW)


def judged(rec: Recommendation, hits: int, misses: int) -> Recommendation:
    later = NOW + timedelta(hours=2)
    counted(hits, misses, later - timedelta(minutes=30))
    ledger.settle_due(later)
    rec.refresh_from_db()
    return rec


def ttl_of_answers() -> float:
    strategy = endpoints.of_template("quotes/").strategy
    assert strategy
    return strategy.ttl.total_seconds()


def test_what_events_bound_is_proposed_and_the_rest_is_advice() -> None:
    noted("response:quotes")
    noted("values")
    known = {"response:quotes": QUOTES, "values": VALUES}

    bounded, unbounded = advice.proposals("api", known, advice.read(known))

    assert (bounded.kind, unbounded.kind) == ("cache_ttl", ADVICE)
    assert bounded.title == "Keep response:quotes for 8 minutes instead of 15 seconds"
    assert bounded.evidence["hit_ratio"] < 0.5
    assert bounded.evidence["expected_hit_ratio"] > 0.7
    assert "invalidated at once" in bounded.why
    assert bounded.risk == "medium"
    assert "depends_on" in unbounded.why


def test_it_is_kept_where_it_pays(admin_user: Any) -> None:
    rec = applied(admin_user)
    assert rec.state == "verifying"
    assert ttl_of_answers() == 480

    judged(rec, 800, 200)

    assert rec.state == "kept"
    assert rec.measured_gain == pytest.approx(1 - 0.2 / 0.55)
    assert "45.0%" in rec.outcome
    assert ttl_of_answers() == 480
    ledger.revert(rec, admin_user, NOW)
    assert ttl_of_answers() == 15
    assert not StrategyTtl.objects.exists()


def test_it_is_taken_back_where_it_does_not(admin_user: Any) -> None:
    rec = judged(applied(admin_user), 460, 540)
    assert rec.state == "reverted"
    assert ttl_of_answers() == 15


def test_too_few_look_ups_decide_nothing(admin_user: Any) -> None:
    rec = judged(applied(admin_user), 60, 40)
    assert rec.state == "verifying"
    assert ttl_of_answers() == 480


def test_what_a_killed_run_left_is_put_right(admin_user: Any) -> None:
    rec = applied(admin_user)
    Recommendation.objects.filter(pk=rec.pk).update(state="applying")

    assert ledger.recover(ChangeContext(get_settings(), NOW)) == 1
    assert ttl_of_answers() == 15


def test_a_second_change_goes_back_to_the_first(admin_user: Any) -> None:
    first = judged(applied(admin_user), 800, 200)
    StrategyTtl.objects.update(seconds=60)
    second, context = first.payload | {"seconds": 240.0, "previous": 60.0}, ChangeContext(get_settings(), NOW)
    [handler] = HANDLERS
    handler.apply(second, context)
    assert ttl_of_answers() == 240
    assert handler.revert
    handler.revert(second, context)
    assert ttl_of_answers() == 60


def test_values_live_by_it_too() -> None:
    StrategyTtl.objects.create(subject="values", seconds=600, changed_at=NOW)
    cache.set("a", 1, strategy="values")
    [key] = [key for key in looks.redis_gate.patient().keys("*") if b"values" in key]
    assert 500 < looks.redis_gate.patient().ttl(key) <= 600


def test_look_ups_are_followed_by_key_and_never_more_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "KEPT", 50)
    for number in range(2_000):
        looks.saw("values", f"key {number}", number % 2 == 0)
    looks.flush()
    found = looks.read()
    assert 0 < len(found) <= 50
    # The list is full and reaches back no hour: half as many keys are followed from now on.
    assert looks._one_of == 2 * looks.ONE_OF
    assert all(look.key % looks._one_of == 0 for look in found)


def test_what_the_cache_does_is_seen() -> None:
    for number in range(400):
        cache.get_or_compute(f"key {number}", lambda: 1, strategy="values")
        cache.get_or_compute(f"key {number}", lambda: 1, strategy="values")
    looks.flush()
    found = [look for look in looks.read() if look.subject == "values"]
    assert 10 <= len(found) // 2 <= 45
    assert sum(look.hit for look in found) * 2 == len(found)
