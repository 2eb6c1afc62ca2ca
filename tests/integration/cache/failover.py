"""A cache under load while its servers die or move: who reads must see neither an error nor what is old."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from paiid_perf import invalidation, wire
from paiid_perf.cache import get_or_compute
from paiid_perf.stores import redis_gate


def until(is_so: Callable[[], bool]) -> None:
    """Bounded by what a loaded machine may take, not by what is expected."""
    ends, pause = time.monotonic() + 30, threading.Event()
    while not is_so():
        assert time.monotonic() < ends
        pause.wait(0.02)


#: What the response cache asks with.
SCRIPT = wire.Script("return 'up'")


def answers() -> bool:
    return redis_gate.over(lambda pool: bool(wire.call(pool, SCRIPT, [], []) == b"up"), False)


class Load:
    """Threads that read one value while another changes what it is computed from."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.row = self.committed = 0
        self.failures: list[BaseException] = []
        self.stale = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in self._works()]

    def _works(self) -> list[Callable[[], None]]:
        return [self._read, self._read, self._write]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            while not self._stop.wait(0.002):
                work()
        except BaseException as error:
            self.failures.append(error)

    def _read(self) -> None:
        before = self.committed
        self.stale += get_or_compute("value", lambda: self.row, tags=[self.tag]) < before

    def _write(self) -> None:
        # As a transaction does: the row is there first, then the tag is bumped, then the caller goes on.
        self.row += 1
        invalidation.bump([self.tag])
        self.committed = self.row
