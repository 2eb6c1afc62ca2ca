"""Single-flight within a process: of many threads or tasks that miss the same value, one computes it.

Followers are handed the stored bytes, never the leader's object: nobody can change what another one holds.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from typing import NewType

#: What a leader leaves: the bytes of the value, or None if every follower has to compute for itself.
Flight = Future[bytes | None]
FlightKey = NewType("FlightKey", tuple[str, int])


class Flights:
    """The computations under way in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[FlightKey, Flight] = {}

    def join(self, key: FlightKey) -> tuple[Flight, bool]:
        """The flight of ``key``, and whether the caller leads it (and then has to ``land`` it)."""
        with self._lock:
            flight = self._under_way.get(key)
            if flight is not None:
                return flight, False
            flight = self._under_way[key] = Future()
            # A follower that is cancelled must not cancel the flight of all.
            flight.set_running_or_notify_cancel()
            return flight, True

    def land(self, key: FlightKey, left: bytes | None = None, error: Exception | None = None) -> None:
        """End the flight: hand the followers the bytes, nothing, or the error that the leader got."""
        with self._lock:
            flight = self._under_way.pop(key, None)
        if flight is None:
            return
        if error is not None:
            flight.set_exception(error)
        else:
            flight.set_result(left)

    def __len__(self) -> int:
        return len(self._under_way)

    def forget(self) -> None:
        """Start afresh (in a forked child, whose leaders are the parent's threads)."""
        self._lock = threading.Lock()
        self._under_way = {}


flights = Flights()
os.register_at_fork(after_in_child=flights.forget)
