"""Which keys matter most, in constant memory: frequency × cost ÷ size. Pure.

Space-saving in batches (Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in data
streams", ICDT 2005): a key that comes new into a full sketch starts at the count of those that were let go, so that
no count is ever too low, and each says by how much it may be too high.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: What a compute is taken to cost at the least, in ms: the envelope's clock counts whole ones.
LEAST_MS = 0.5


@dataclass(slots=True)
class Tally:
    """One key. ``error`` is how much of ``count`` may be other keys'."""

    count: int = 0
    error: int = 0
    cost_ms: float = 0.0
    size: int = 0

    @property
    def sure(self) -> int:
        """Looks that were this key's for certain."""
        return self.count - self.error

    @property
    def worth(self) -> float:
        """Milliseconds of computing that the cache saves with it per kB; 0 while its size is not known."""
        return self.sure * max(self.cost_ms, LEAST_MS) / self.size * 1024 if self.size else 0.0


class Sketch:
    """The busiest ``capacity`` keys (up to twice as many between two prunings)."""

    def __init__(self, capacity: int = 1_024) -> None:
        self._capacity = capacity
        self._floor = 0
        self._tallies: dict[str, Tally] = {}

    def add(self, key: str, cost_ms: float = 0.0, size: int = 0) -> None:
        """Count one look at the key; a known cost (ms) and size (bytes) replace what was known."""
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= 2 * self._capacity:
                self._prune()
            tally = self._tallies[key] = Tally(self._floor, self._floor)
        tally.count += 1
        if size:
            tally.cost_ms, tally.size = cost_ms, size

    def _prune(self) -> None:
        ranked = sorted(self._tallies.items(), key=lambda item: item[1].count, reverse=True)
        self._tallies = dict(ranked[: self._capacity])
        self._floor = ranked[self._capacity][1].count

    def __len__(self) -> int:
        return len(self._tallies)

    def top(self, most: int) -> Iterator[tuple[str, Tally]]:
        """The keys that are worth most, the best first; those worth nothing are left out."""
        ranked = sorted(self._tallies.items(), key=lambda item: item[1].worth, reverse=True)
        return ((key, tally) for key, tally in ranked[:most] if tally.worth > 0)
