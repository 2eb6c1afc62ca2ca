"""Metrics on their way into the table: through Redis or straight, each batch once."""

from __future__ import annotations

import math
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from paiid_perf import telemetry
from paiid_perf.models import Metric, MetricBatch
from paiid_perf.telemetry import samples, sinks
from paiid_perf.telemetry.recording import Recorder
from paiid_perf.telemetry.rows import Cell, Series
from paiid_perf.telemetry.sinks import Courier

pytestmark = pytest.mark.django_db


def cells(n: int = 1, minute: int = 1_800_000_000) -> dict[Series, Cell]:
    return {Series(minute, "api.latency_ms", "GET a/ 2xx"): Cell(n, 1.5 * n, {10: n})}


def stored() -> dict[tuple[str, str], tuple[int, float, dict[str, int]]]:
    return {(m.name, m.subject): (m.count, m.total, m.buckets) for m in Metric.objects.all()}


@pytest.fixture(params=["valkey", "table"])
def store(request: pytest.FixtureRequest) -> str:
    if request.param == "valkey":
        request.getfixturevalue("redis_cache")
    return str(request.param)


def drain() -> int:
    done = 0
    for batch_id, rows in telemetry.drain():
        done += telemetry.store(batch_id, rows)
        telemetry.acknowledge(batch_id)
    return done


def test_processes_add_up(store: str) -> None:
    for courier in (Courier(), Courier()):
        assert courier.deliver(cells(3)) == {}
        assert courier.deliver(cells(4)) == {}
    drain()
    assert stored() == {("api.latency_ms", "GET a/ 2xx"): (14, 21.0, {"10": 14})}


def test_a_batch_counts_once_however_often_it_is_sent(store: str) -> None:
    batch = sinks.Batch("b", cells(3))
    for _ in range(3):
        sinks._send(batch)
    drain()
    assert stored()[("api.latency_ms", "GET a/ 2xx")][0] == 3


@pytest.mark.parametrize(
    ("series", "total", "found"),
    [
        (("test.gauge", "a"), math.nan, ("telemetry.dropped", "unsound")),
        (("test.gauge", "a"), -math.inf, ("telemetry.dropped", "unsound")),
        (("test.gauge", "a"), 1e16, ("telemetry.dropped", "unsound")),
        (("test.gauge", "a\x1fb\x00"), 1.0, ("test.gauge", "a?b?")),
        (("test.gauge", "a\udc80"), 1.0, ("test.gauge", "a?")),
        (("test." + 60 * "x", "a"), 1.0, ("test." + 55 * "x", "a")),
    ],
)
def test_what_no_store_holds_keeps_nothing_else_from_it(
    store: str, series: tuple[str, str], total: float, found: tuple[str, str]
) -> None:
    courier = Courier()
    assert courier.deliver({Series(1_800_000_000, *series): Cell(1, total)} | cells(3)) == {}
    assert courier.waiting() == 0
    drain()
    assert {key: seen[0] for key, seen in stored().items()} == {found: 1, ("api.latency_ms", "GET a/ 2xx"): 3}


def test_an_answer_that_is_lost_is_asked_for_again(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    send, fails = sinks._send, [True]

    def lossy(batch: sinks.Batch) -> None:
        send(batch)
        if fails.pop():
            raise RedisConnectionError("the answer got lost")

    courier = Courier()
    with monkeypatch.context() as patch:
        patch.setattr(sinks, "_send", lossy)
        courier.deliver(cells(3))
    assert courier.waiting() == 3
    assert courier.deliver(cells(4)) == {}
    drain()
    assert stored()[("api.latency_ms", "GET a/ 2xx")][0] == 7


def test_a_drained_batch_is_stored_once(redis_cache: Any) -> None:
    Courier().deliver(cells(3))
    [(batch_id, rows)] = telemetry.drain()
    assert telemetry.store(batch_id, rows)
    # Killed before it could say so: the next one gets it again.
    [(again, rows)] = telemetry.drain()
    assert again == batch_id
    assert not telemetry.store(again, rows)
    telemetry.acknowledge(again)
    assert list(telemetry.drain()) == []
    assert stored()[("api.latency_ms", "GET a/ 2xx")][0] == 3
    assert MetricBatch.objects.count() == 1


def test_what_comes_during_a_drain_is_another_batch(redis_cache: Any) -> None:
    courier = Courier()
    courier.deliver(cells(3))
    for batch_id, rows in telemetry.drain():
        courier.deliver(cells(5))
        telemetry.store(batch_id, rows)
        telemetry.acknowledge(batch_id)
    assert drain() == 1
    assert stored()[("api.latency_ms", "GET a/ 2xx")][0] == 8


def test_many_series_go_in_several_calls(redis_cache: Any) -> None:
    many = {Series(60 * (n % 3), "n", f"s{n}"): Cell(1, n / 1000, {}) for n in range(3_000)}
    Courier().deliver(many)
    drain()
    assert Metric.objects.count() == 3_000
    assert Metric.objects.get(subject="s1234").total == 1.234


def test_samples_pass_through_redis(redis_cache: Any) -> None:
    samples.forget()
    samples.record('SELECT * FROM "a" WHERE b = %s', (5,))
    samples.flush()
    assert samples.read() == [samples.Sample('SELECT * FROM "a" WHERE b = %s', (5,))]
    assert 0 < redis_cache.ttl("perf:samples") <= 3600


def test_away_and_back(redis_cache: Any, settings: Any) -> None:
    recorder = Recorder(Courier().deliver)
    recorder._thread = object()  # type: ignore[assignment]
    here = settings.CACHES
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    }
    for _ in range(3):
        recorder.count("n")
        recorder.flush()
    settings.CACHES = here
    recorder.flush()
    recorder.flush()
    assert drain() == 1 or Metric.objects.exists()
    assert sum(m.count for m in Metric.objects.filter(name="n")) == 3
