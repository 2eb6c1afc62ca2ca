"""The first level: answers that this process gave before, ready to be given again.

The store says in the same round trip, by a stamp, whether the answer is still the one on the shelf; then neither its
bytes travel nor are its headers built anew. What is on the shelf is never given without that word, so a worker can no
more serve an old answer from here than from the store.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

#: Answers on the shelf, and the bytes that one of them may have: 16 MB in all at the most.
PLACES = 256
LONGEST = 65_536


class Placed(NamedTuple):
    """An answer with its stamp, and the headers that it goes out with (plain, encoded)."""

    stamp: str
    answer: Any


class Shelf:
    """Answers by key. When it is full, the one that has been there longest goes."""

    def __init__(self) -> None:
        self._places: dict[str, Placed] = {}

    def stamp_of(self, key: str) -> str:
        """The stamp of what stands there; "" for nothing."""
        placed = self._places.get(key)
        return placed.stamp if placed else ""

    def take(self, key: str, stamp: str) -> Any:
        """The answer, if it is the one that is meant; else None."""
        placed = self._places.get(key)
        return placed.answer if placed and placed.stamp == stamp else None

    def put(self, key: str, stamp: str, answer: Any, size: int) -> None:
        """Place an answer that the store has given."""
        if size > LONGEST:
            return
        if len(self._places) >= PLACES and key not in self._places:
            self._places.pop(next(iter(self._places)), None)
        self._places[key] = Placed(stamp, answer)

    def clear(self) -> None:
        """Forget all."""
        self._places.clear()


shelf = Shelf()
os.register_at_fork(after_in_child=shelf.clear)
