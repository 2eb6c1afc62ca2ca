"""Everything is counted, memory is bounded, and what is let go is counted too."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.telemetry.histogram import percentile
from paiid_perf.telemetry.recording import OTHER, Recorder
from paiid_perf.telemetry.rows import Cell, Series

#: As it is before a test's fixtures take it away.
START_THREAD = Recorder._ensure_thread
module = sys.modules[Recorder.__module__]


class Clock:
    def __init__(self) -> None:
        self.now = 120.0

    def __call__(self) -> float:
        return self.now


class Sink:
    """Takes cells, or does not."""

    def __init__(self) -> None:
        self.taken: dict[Series, Cell] = {}
        self.refuses = False
        self.raises = False

    def __call__(self, cells: dict[Series, Cell]) -> dict[Series, Cell]:
        if self.raises:
            raise ConnectionError("away")
        if self.refuses:
            return cells
        for series, cell in cells.items():
            self.taken.setdefault(series, Cell()).merge(cell)
        return {}

    def count(self, name: str) -> int:
        return sum(cell.count for series, cell in self.taken.items() if series.name == name)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(sink: Sink, clock: Clock) -> Recorder:
    return Recorder(sink, clock)


def test_a_request_is_four_series(recorder: Recorder, sink: Sink) -> None:
    recorder.request("GET a/", 204, 12.5, queries=3, db_ms=4.5, size=100)
    recorder.flush()
    assert {(s.name, s.subject): (c.count, c.total) for s, c in sink.taken.items()} == {
        ("api.latency_ms", "GET a/ 2xx"): (1, 12.5),
        ("api.queries", "GET a/"): (1, 3),
        ("api.db_ms", "GET a/"): (1, 4.5),
        ("api.bytes", "GET a/"): (1, 100),
    }


def test_minutes_are_kept_apart(recorder: Recorder, sink: Sink, clock: Clock) -> None:
    recorder.count("n")
    clock.now = 179.9
    recorder.count("n")
    clock.now = 180.0
    recorder.count("n", n=5)
    recorder.flush()
    assert {s.minute: c.count for s, c in sink.taken.items()} == {120: 2, 180: 5}


def test_threads_lose_nothing(recorder: Recorder, sink: Sink) -> None:
    def work(number: int) -> None:
        for n in range(2_000):
            recorder.request(f"GET {number % 3}/", 200, n / 10)
            if n % 700 == 0:
                recorder.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    recorder.flush()
    assert sink.count("api.latency_ms") == 16_000
    assert sum(sum(c.buckets.values()) for s, c in sink.taken.items() if s.name == "api.latency_ms") == 16_000


@given(
    values=st.lists(st.floats(0.01, 10_000), min_size=1, max_size=200), q=st.sampled_from([0.5, 0.95, 0.99])
)
def test_percentiles_are_within_two_percent(values: list[float], q: float) -> None:
    sink = Sink()
    recorder = Recorder(sink, Clock())
    recorder._thread = object()  # type: ignore[assignment]
    for value in values:
        recorder.observe("ms", "", value)
    recorder.flush()
    [cell] = sink.taken.values()
    rank = sorted(values)[max(0, -(-int(q * 100) * len(values) // 100) - 1)]
    answer = percentile(cell.buckets, q)
    assert answer is not None
    assert abs(answer - rank) <= 0.02 * rank


def test_a_scan_of_a_million_names_is_one_series(
    recorder: Recorder, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SERIES_CAP", 10)
    for number in range(500):
        recorder.count("n", str(number))
    recorder.flush()
    assert len(sink.taken) == 11
    assert sink.taken[Series(120, "n", OTHER)].count == 490


def test_long_subjects_fit_the_table(recorder: Recorder, sink: Sink) -> None:
    for _ in range(2):
        recorder.count("n", "x" * 1000)
    recorder.flush()
    [(series, cell)] = sink.taken.items()
    assert (len(series.subject), cell.count) == (255, 2)


@pytest.mark.parametrize("how", ["refuses", "raises"])
def test_a_sink_that_is_away_is_waited_for(recorder: Recorder, sink: Sink, how: str) -> None:
    setattr(sink, how, True)
    recorder.count("n")
    assert not recorder.flush()
    recorder.count("n")
    setattr(sink, how, False)
    assert recorder.flush()
    assert sink.count("n") == 2


def test_what_waits_is_bounded_and_the_rest_counted(
    recorder: Recorder, sink: Sink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_CAP", 10)
    sink.refuses = True
    for minute in range(30):
        clock.now = 60.0 * minute
        recorder.count("n", n=3)
        recorder.flush()
    sink.refuses = False
    recorder.flush()
    assert sink.count("telemetry.dropped") > 0
    assert sink.count("n") + sink.count("telemetry.dropped") >= 90
    assert max(s.minute for s in sink.taken if s.name == "n") == 29 * 60


def test_a_full_buffer_is_folded_by_who_finds_it_full(recorder: Recorder) -> None:
    for _ in range(module.BUFFER + 5):
        recorder.request("GET a/", 200, 1.0)
    assert len(recorder._requests) < module.BUFFER


def test_a_forked_child_starts_empty(recorder: Recorder, sink: Sink) -> None:
    recorder.count("n")
    recorder._start_over()
    recorder.flush()
    assert sink.taken == {}


def test_the_thread_flushes(sink: Sink, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "_ensure_thread", START_THREAD)
    settings.PAIID_PERF = {"FLUSH_INTERVAL": timedelta(milliseconds=5)}
    recorder = Recorder(sink)
    recorder.count("n")
    thread = recorder._thread
    assert thread is not None
    assert thread.daemon
    for _ in range(500):
        if sink.count("n"):
            break
        thread.join(0.01)
    recorder._wake.set()
    thread.join(5)
    assert sink.count("n") == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "seven", None])
def test_what_is_no_number_is_dropped_alone(value: Any) -> None:
    handed: dict[Any, Any] = {}

    def take(cells: Any) -> Any:
        handed.update(cells)
        return {}

    recorder = Recorder(take, clock=lambda: 60.0)
    for record in (recorder.count, recorder.observe, recorder.gauge):
        record("shop.sold", "a", value)
    recorder.count("shop.sold", "b", 2)

    assert recorder.flush()
    assert {(name, subject): cell.total for (_, name, subject), cell in handed.items()} == {
        ("telemetry.dropped", "unsound"): 3,
        ("shop.sold", "b"): 2,
    }
