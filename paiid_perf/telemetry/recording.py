"""Counts everything, in the process, and hands it over once every few seconds.

A request appends one tuple to a buffer (atomic in CPython, no lock); folding it into histograms happens later, in
the flusher's thread, or in the request that finds the buffer full. So memory is bounded by the buffer, the
number of series and the minutes that wait for a sink; what had to be let go is counted in ``telemetry.dropped``.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import partial
from math import isfinite

from paiid_perf.conf import get_settings
from paiid_perf.telemetry import sinks
from paiid_perf.telemetry.histogram import bucket_of
from paiid_perf.telemetry.process import Self
from paiid_perf.telemetry.rows import Cell, Series

logger = logging.getLogger("paiid_perf")

#: Events after which the next caller folds the buffer itself instead of waiting for the flusher.
BUFFER = 4_096
#: Series of each name that a process keeps apart; the rest of the name is one series, OTHER.
SERIES_CAP = 5_000
#: Series-minutes that may wait for a sink that does not answer; beyond, the oldest go and are counted.
WAITING_CAP = 20_000
OTHER = "<other>"
UNMATCHED = "<unmatched>"
#: ``Metric.subject`` holds no more.
SUBJECT_LENGTH = 255

COUNT, OBSERVE, GAUGE = range(3)


#: One finished request: when, ``GET route/template/``, its status, ms, queries, ms in the database, bytes. A plain
#: tuple: a named one takes twice as long to make, in every request.
RequestSeen = tuple[float, str, int, float, int, float, int]


class Recorder:
    """The process' recorder. ``clock`` gives epoch seconds; ``sink`` takes what was gathered."""

    def __init__(self, sink: sinks.Sink = sinks.deliver, clock: Callable[[], float] = time.time) -> None:
        self._sink = sink
        self._clock = clock
        self._beside: dict[str, Callable[[], None]] = {}
        self._start_over()
        self._thread: threading.Thread | None = None

    def _start_over(self) -> None:
        self._requests: deque[RequestSeen] = deque()
        self._events: deque[tuple[float, int, str, str, float]] = deque()
        self._cells: dict[Series, Cell] = {}
        self._known: defaultdict[str, set[str]] = defaultdict(set)
        self._fold_lock = threading.Lock()
        self._flush_lock = threading.Lock()
        self._start_lock = threading.Lock()
        self._wake = threading.Event()
        self._thread = None

    # --- hot ---------------------------------------------------------------------------------------

    def request(
        self, endpoint: str, status: int, ms: float, queries: int = 0, db_ms: float = 0.0, size: int = 0
    ) -> None:
        """Record a finished request (times in ms, ``size`` in bytes)."""
        self._requests.append((self._clock(), endpoint, status, ms, queries, db_ms, size))
        if self._thread is None or len(self._requests) >= BUFFER:
            self._tend()

    def count(self, name: str, subject: str = "", n: int = 1) -> None:
        """Add ``n`` to a counter."""
        self._add(COUNT, name, subject, n)

    def observe(self, name: str, subject: str, value: float) -> None:
        """Add ``value`` to a histogram."""
        self._add(OBSERVE, name, subject, value)

    def gauge(self, name: str, subject: str, value: float) -> None:
        """Note a gauge's value; a minute's value is the mean of what was noted."""
        self._add(GAUGE, name, subject, value)

    def _add(self, kind: int, name: str, subject: str, value: float) -> None:
        self._events.append((self._clock(), kind, name, subject, value))
        if self._thread is None or len(self._events) >= BUFFER:
            self._tend()

    def _tend(self) -> None:
        self._ensure_thread()
        if max(len(self._requests), len(self._events)) >= BUFFER:
            self.fold()

    # --- folding -----------------------------------------------------------------------------------

    def fold(self) -> None:
        """Move what is buffered into the cells."""
        with self._fold_lock:
            self._fold_requests()
            for _ in range(len(self._events)):
                at, kind, name, subject, value = self._events.popleft()
                try:
                    self._fold_event(at, kind, name, subject, value)
                except (TypeError, ValueError, OverflowError):
                    # A host's NaN, infinity or text must not end the thread, nor reach the request that folds.
                    self._fold_event(at, COUNT, "telemetry.dropped", sinks.UNSOUND, 1)

    def _fold_requests(self) -> None:
        # Sorted only, one by one; what there is to add up is added up for all of an endpoint at once.
        seen: defaultdict[tuple[int, str, int], list[RequestSeen]] = defaultdict(list)
        take = self._requests.popleft
        for _ in range(len(self._requests)):
            request = take()
            seen[int(request[0]) // 60, request[1], request[2] // 100].append(request)
        for (minute, endpoint, status), requests in seen.items():
            self._fold_answers(minute * 60, endpoint, status, requests)

    def _fold_answers(self, minute: int, endpoint: str, status: int, requests: list[RequestSeen]) -> None:
        _at, _endpoint, _status, ms, queries, db_ms, size = zip(*requests, strict=True)
        seen, buckets = len(requests), Counter(map(bucket_of, ms))
        self._cell(minute, "api.latency_ms", f"{endpoint} {status}xx").add(seen, sum(ms), buckets)
        for name, totals in (("api.queries", queries), ("api.db_ms", db_ms), ("api.bytes", size)):
            self._cell(minute, name, endpoint).add(seen, sum(totals), {})

    def _fold_event(self, at: float, kind: int, name: str, subject: str, value: float) -> None:
        if not isfinite(value):
            raise ValueError("neither NaN nor infinity is a measurement")
        cell = self._cell(int(at) // 60 * 60, name, subject)
        if kind == COUNT:
            cell.count += int(value)
            cell.total += value
        elif kind == OBSERVE:
            _observe(cell, value)
        else:
            cell.count += 1
            cell.total += value

    def _cell(self, minute: int, name: str, subject: str) -> Cell:
        try:
            return self._cells[minute, name, subject]  # type: ignore[index]
        except KeyError:
            series = Series(minute, name, self._admitted(name, subject))
            return self._cells.setdefault(series, Cell())

    def _admitted(self, name: str, subject: str) -> str:
        subject, known = subject[:SUBJECT_LENGTH], self._known[name]
        if subject not in known:
            if len(known) >= SERIES_CAP:
                return OTHER
            known.add(subject)
        return subject

    # --- handing over --------------------------------------------------------------------------------

    def flush(self) -> bool:
        """Hand over what was gathered; False when no sink took it (it waits, bounded). Never raises."""
        with self._flush_lock:
            self.fold()
            with self._fold_lock:
                cells, self._cells = self._cells, {}
            if not cells:
                return True
            try:
                left = self._sink(cells)
            except Exception:
                logger.exception("Metrics could not be handed over; they wait.")
                left = cells
            self._take_back(left)
            return not left

    def _take_back(self, cells: dict[Series, Cell]) -> None:
        with self._fold_lock:
            for series, cell in cells.items():
                self._cells.setdefault(series, Cell()).merge(cell)
            surplus = len(self._cells) - WAITING_CAP
            if surplus > 0:
                self._drop(sorted(self._cells)[:surplus])

    def _drop(self, oldest: list[Series]) -> None:
        lost = sum(self._cells.pop(series).count for series in oldest)
        cell = self._cell(int(self._clock()) // 60 * 60, "telemetry.dropped", "")
        cell.count += lost
        cell.total += lost

    def _ensure_thread(self) -> None:
        if self._thread is not None or get_settings().FLUSH_INTERVAL.total_seconds() <= 0:
            return
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="perf-flusher", daemon=True)
                self._thread.start()
                _flush_when_celery_stops(self)

    def beside(self, name: str, work: Callable[[], None]) -> None:
        """Let the flusher's thread do ``work`` when it starts and with every flush, in each process that records."""
        self._beside[name] = work

    def _work(self) -> None:
        process = Self()
        self._work_beside()
        while not self._wake.wait(get_settings().FLUSH_INTERVAL.total_seconds()):
            _guarded("what this process uses", partial(process.note, self))
            self.flush()
            self._work_beside()

    def _work_beside(self) -> None:
        for name, work in self._beside.items():
            _guarded(name, work)
        sinks.after_thread_flush()


def _guarded(name: str, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        logger.exception("The flusher could not see to %s.", name)


def _observe(cell: Cell, value: float) -> None:
    cell.count += 1
    cell.total += value
    bucket = bucket_of(value)
    cell.buckets[bucket] = cell.buckets.get(bucket, 0) + 1


def _flush_when_celery_stops(recorder: Recorder) -> None:
    """Celery's pool processes leave without ``atexit``; they send this signal instead."""
    if "celery" in sys.modules:
        from celery.signals import worker_process_shutdown

        worker_process_shutdown.connect(
            lambda **_: recorder.flush(), weak=False, dispatch_uid="paiid_perf.telemetry"
        )


recorder = Recorder()
atexit.register(recorder.flush)
# The child starts empty: what the parent had gathered is the parent's to hand over.
os.register_at_fork(after_in_child=recorder._start_over)
