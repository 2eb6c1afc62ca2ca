"""The selection: which of the candidates pay together, for the whole workload, within the storage budget.

Greedy by benefit per byte over candidates that grow column by column (Extend: Schlosser, Kossmann and Boissier,
ICDE 2019), then removals and swaps until nothing improves (Relaxation: Bruno and Chaudhuri, SIGMOD 2005). Anytime:
past the deadline the best set so far is returned.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from paiid_perf.database.index_types import Candidate, IndexSpec, Pick, QueryEffect, Statement, TableKey
from paiid_perf.database.rules.indexes.candidates import prefix_of

#: No statement may weigh more than this share of the workload: one time-out would spend the whole budget.
MAX_SHARE = 0.25
#: An index that saves less than this share of the workload's time is noise.
MIN_WORKLOAD_SHARE = 0.001
#: One that saves fewer milliseconds than this in all that was counted took longer to build.
MIN_SAVED_MS = 0.5
#: Milliseconds of a call that no index can save (protocol, parsing, planning).
FLOOR_MS = 0.05
#: A statement under this many milliseconds a call counts for its time alone.
LIGHT_MS = 1.0
#: The part of a statement's worth that is how many times as fast it gets; the rest is the time that it saves.
ALIKE = 0.6
#: More than that many times as fast is not believed, or not worth more.
MOST_FASTER = 10_000.0
#: A statement made slower counts this many times as much as one made faster.
LOSS = 3.0
#: See ``Problem.storage``.
BYTES_PRICE = 0.2
#: Shares of the time limit by which each step ends, so that the next has something to work on.
FIRST_LOOK, GREEDY, IMPROVEMENT, REASONS = 0.58, 0.66, 0.72, 0.76
#: What a statement must gain before an index counts as serving it.
MIN_EFFECT = 0.02


class CostSource(Protocol):
    """Says what one execution of a query costs with some indexes added."""

    name: str

    def cost(self, queryid: str, added: frozenset[IndexSpec]) -> float: ...


@dataclass(frozen=True, slots=True)
class Item:
    """A candidate with what it costs to have."""

    candidate: Candidate
    bytes: int
    write_ms: float

    @property
    def spec(self) -> IndexSpec:
        return self.candidate.spec


@dataclass(slots=True)
class Problem:
    """The workload as the selection sees it."""

    statements: Sequence[Statement]
    tables: Mapping[str, frozenset[TableKey]]
    """queryid → tables it reads."""
    source: CostSource
    items: Sequence[Item]
    budget: int
    min_gain: float
    whole_ms: float = 0.0
    """What the workload took in all, where the statements are only its newest part."""
    groups: Sequence[frozenset[IndexSpec]] = ()
    """Sets that help only together: no greedy step would take the first of them."""
    out_of_time: Callable[[float], bool] = lambda share: False
    """Whether that share of the time limit is spent."""
    reasons: int = 100
    """How many refusals are explained; each costs some what-ifs."""
    matters: Callable[[str, IndexSpec], bool] = lambda queryid, spec: True
    """Whether an index on one of its tables could make any difference to a statement."""
    data_bytes: int = 0
    """Bytes of the database, which what an index takes is measured by; 0: storage costs nothing."""
    _weights: dict[str, float] = field(default_factory=dict)
    _alike: float = 0.0
    _by_table: dict[TableKey, list[Statement]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._weights = weights(self.statements)
        heavy = sum(s.mean_ms >= LIGHT_MS for s in self.statements)
        self._alike = sum(self._weights.values()) / heavy if heavy else 0.0
        for statement in self.statements:
            for table in sorted(self.tables[statement.queryid]):
                self._by_table[table].append(statement)

    def weight(self, statement: Statement) -> float:
        return self._weights[statement.queryid]

    def reading(self, table: TableKey) -> Sequence[Statement]:
        return self._by_table[table]

    @property
    def total_ms(self) -> float:
        return max(sum(self._weights.values()), self.whole_ms * MAX_SHARE)

    def saved(self, statement: Statement, chosen: frozenset[IndexSpec]) -> float:
        """What the indexes are worth to one statement, in milliseconds of the window; negative where it gets slower.

        Half of it is time saved, half is how many times as fast the statement gets, every statement alike: by time
        alone, one heavy statement would have all the indexes and a hundred light ones none.
        """
        before = self.source.cost(statement.queryid, frozenset())
        after = self.source.cost(statement.queryid, self.relevant(statement, chosen))
        if before <= 0 or statement.mean_ms <= FLOOR_MS:
            return 0.0
        left = after / before
        faster = -math.log(max(left, FLOOR_MS / statement.mean_ms, 1.0 / MOST_FASTER))
        time = (1.0 - FLOOR_MS / statement.mean_ms) * (1.0 - left)
        worth = self.weight(statement) * time * (1.0 - ALIKE) + self.share(statement) * faster * ALIKE
        return worth if worth >= 0 else LOSS * worth

    def share(self, statement: Statement) -> float:
        """What a statement weighs where all weigh alike (ms)."""
        return self._alike if statement.mean_ms >= LIGHT_MS else 0.0

    def storage(self, size: int) -> float:
        """What bytes are worth in milliseconds of the window: indexes as large as the data must make the typical
        statement BYTES_PRICE e-folds faster."""
        return BYTES_PRICE * self.total_ms * size / max(self.data_bytes, 1) if self.data_bytes else 0.0

    def relevant(self, statement: Statement, chosen: frozenset[IndexSpec]) -> frozenset[IndexSpec]:
        tables = self.tables[statement.queryid]
        matters = self.matters
        return frozenset(s for s in chosen if s.table in tables and matters(statement.queryid, s))


def weights(statements: Sequence[Statement]) -> dict[str, float]:
    """Each statement's time in the window, none above MAX_SHARE of the sum that results (ms)."""
    times = {s.queryid: s.total_ms for s in statements}
    for _ in range(100):
        cap = MAX_SHARE * sum(times.values())
        if not times or max(times.values()) <= cap * 1.001 or len(times) < 1 / MAX_SHARE:
            break
        times = {q: min(t, cap) for q, t in times.items()}
    return times


@dataclass(frozen=True, slots=True)
class Selection:
    picks: tuple[Pick, ...]
    refused: tuple[tuple[Item, str], ...]
    out_of_time: bool


class _Search:
    """The set chosen so far and what it saves."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.chosen: dict[IndexSpec, Item] = {}
        self.late = False

    # --- values ----------------------------------------------------------------------------------------

    @property
    def bytes(self) -> int:
        return sum(i.bytes for i in self.chosen.values())

    def net(self, items: Iterable[Item], tables: Iterable[TableKey]) -> float:
        """What a set saves the statements that read some tables, writes subtracted."""
        chosen = {i.spec: i for i in items}
        specs = frozenset(chosen)
        statements = {s.queryid: s for t in tables for s in self.problem.reading(t)}
        reads = sum(self.problem.saved(s, specs) for s in statements.values())
        return reads - sum(i.write_ms + self.problem.storage(i.bytes) for i in chosen.values())

    def gain(self, added: Sequence[Item], removed: Sequence[Item] = ()) -> float:
        """How much better the set would be with these added and those removed."""
        tables = {i.spec.table for i in (*added, *removed)}
        gone = {i.spec for i in removed}
        after = [i for i in self.chosen.values() if i.spec not in gone] + list(added)
        return self.net(after, tables) - self.net(self.chosen.values(), tables)

    def fits(self, added: int, removed: int = 0) -> bool:
        return self.bytes + added - removed <= self.problem.budget

    def worth(self, gain: float) -> bool:
        return gain >= MIN_WORKLOAD_SHARE * self.problem.total_ms and gain > 0

    # --- steps -----------------------------------------------------------------------------------------

    def grow(self, look: float, until: float) -> bool:
        """Lazy greedy: benefits mostly shrink as the set grows, so a stale value is taken as an upper bound.

        ``look`` and ``until``: the shares of the time limit by which every candidate is looked at, and the set grown.
        Returns whether it has.
        """
        before = len(self.chosen)
        heap = [
            (self._rate(i, self.gain([i])), n, i)
            for n, i in self._table_by_table
            if i.spec not in self.chosen and not self._stop(look)
        ]
        heap.sort(key=lambda h: (-h[0], h[1]))
        fresh: set[int] = {n for _, n, _ in heap}
        while heap and not self._stop(until):
            rate, n, item = heap.pop(0)
            if rate <= 0 or not self.fits(item.bytes):
                continue
            if n not in fresh:
                gain = self.gain([item])
                fresh.add(n)
                self._insert(heap, (self._rate(item, gain), n, item))
                continue
            if self.worth(self.gain([item])):
                self.chosen[item.spec] = item
                fresh = set()
        return len(self.chosen) > before

    @cached_property
    def _table_by_table(self) -> list[tuple[int, Item]]:
        """The candidates with their numbers, those of one table together: what its statements cost is remembered for
        a while. The tables are in the order in which they came."""
        tables = {item.spec.table: n for n, item in reversed(list(enumerate(self.problem.items)))}
        return sorted(enumerate(self.problem.items), key=lambda one: (tables[one[1].spec.table], one[0]))

    def grow_together(self) -> None:
        """Sets of which no member helps alone."""
        known = {i.spec: i for i in self.problem.items}
        for group in self.problem.groups:
            added = [known[s] for s in sorted(group, key=repr) if s not in self.chosen and s in known]
            if self._stop() or not added or not self.fits(sum(i.bytes for i in added)):
                continue
            if self.worth(self.gain(added)):
                self.chosen |= {i.spec: i for i in added}

    def _rate(self, item: Item, gain: float) -> float:
        """Benefit per byte, the size damped: a few kilobytes must not decide between real gains."""
        return gain / math.sqrt(item.bytes + 65536) if self.worth(gain) else 0.0

    @staticmethod
    def _insert(heap: list[tuple[float, int, Item]], entry: tuple[float, int, Item]) -> None:
        at = next((k for k, h in enumerate(heap) if (-h[0], h[1]) > (-entry[0], entry[1])), len(heap))
        heap.insert(at, entry)

    def improve(self) -> None:
        """Removals, swaps on one table and additions until nothing improves: what slowed a statement alone may not
        do so beside what was chosen since."""
        for _ in range(6):
            if not (self._remove() | self._swap() | self.grow(IMPROVEMENT, IMPROVEMENT)) or self._stop():
                return

    def _remove(self) -> bool:
        changed = False
        for item in sorted(self.chosen.values(), key=lambda i: repr(i.spec)):
            if not self.worth(-self.gain([], [item])):
                del self.chosen[item.spec]
                changed = True
        return changed

    def _swap(self) -> bool:
        changed = False
        for item in sorted(self.chosen.values(), key=lambda i: repr(i.spec)):
            if self._stop():
                break
            better = self._best_swap(item) if item.spec in self.chosen else None
            if better is not None:
                for gone in self._absorbed(item, better):
                    del self.chosen[gone.spec]
                self.chosen[better.spec] = better
                changed = True
        return changed

    def _absorbed(self, item: Item, other: Item) -> list[Item]:
        """What goes when one item takes another's place: that one, and whatever the newcomer serves as well."""
        return [i for i in self.chosen.values() if i.spec == item.spec or prefix_of(i.spec, other.spec)]

    def _best_swap(self, item: Item) -> Item | None:
        best, best_gain = None, 0.01 * MIN_WORKLOAD_SHARE * self.problem.total_ms
        for other in self.problem.items:
            if other.spec.table != item.spec.table or other.spec in self.chosen:
                continue
            gone = self._absorbed(item, other)
            if not self.fits(other.bytes, sum(i.bytes for i in gone)) or self._stop():
                continue
            gain = self.gain([other], gone)
            if gain > best_gain:
                best, best_gain = other, gain
        return best

    def merge(self) -> None:
        """One wider index in place of two, where it serves both (a prefix serves nothing that the longer does not)."""
        for item in sorted(self.chosen.values(), key=lambda i: repr(i.spec)):
            for other in sorted(self.chosen.values(), key=lambda i: repr(i.spec)):
                if item.spec != other.spec and item.spec in self.chosen and prefix_of(item.spec, other.spec):
                    del self.chosen[item.spec]

    def _stop(self, share: float = IMPROVEMENT) -> bool:
        stop = self.problem.out_of_time(share)
        self.late = self.late or stop
        return stop


def select(problem: Problem) -> Selection:
    """The set of indexes that saves the workload most within the budget, and why the others are not in it.

    Deterministic, except where the deadline cuts it short. The budget is never exceeded; no pick is a prefix of
    another.
    """
    search = _Search(problem)
    search.grow(FIRST_LOOK, GREEDY)
    search.grow_together()
    search.improve()
    search.merge()
    picks = _confirmed(problem, search)
    chosen = frozenset(p.candidate.spec for p in picks)
    left = [i for i in problem.items if i.spec not in chosen]
    left.sort(key=lambda i: (i.candidate.source != "declared", repr(i.spec)))
    refused = tuple((i, _why_not(i, search)) for i in left[: problem.reasons])
    return Selection(picks, refused, search.late)


def _confirmed(problem: Problem, search: _Search) -> tuple[Pick, ...]:
    """The picks with their account; those that gain their statements less than ``min_gain`` are dropped."""
    while True:
        picks = [_account(item, problem, frozenset(search.chosen)) for item in search.chosen.values()]
        weak = [p for p in picks if _is_weak(p, problem.min_gain)]
        if not weak:
            return tuple(sorted(picks, key=lambda p: (-(p.saved_ms - p.write_ms), repr(p.candidate.spec))))
        weak.sort(key=lambda p: (p.saved_ms, repr(p.candidate.spec)), reverse=True)
        # One of each table at a time: without it the others may be worth more.
        for pick in {p.candidate.spec.table: p for p in weak}.values():
            del search.chosen[pick.candidate.spec]


def _is_weak(pick: Pick, min_gain: float) -> bool:
    return _relative_gain(pick) < min_gain or pick.saved_ms < max(pick.write_ms, MIN_SAVED_MS)


def _relative_gain(pick: Pick) -> float:
    return pick.saved_ms / pick.without_ms if pick.without_ms else 0.0


def _account(item: Item, problem: Problem, chosen: frozenset[IndexSpec]) -> Pick:
    """What one index of the set does: the statements that it serves, compared with the set without it."""
    effects = []
    saved = left = 0.0
    for statement in problem.reading(item.spec.table):
        relevant = problem.relevant(statement, chosen)
        without = problem.source.cost(statement.queryid, relevant - {item.spec})
        having = problem.source.cost(statement.queryid, relevant)
        if without > 0 and 1.0 - having / without >= MIN_EFFECT:
            before = problem.source.cost(statement.queryid, frozenset())
            effects.append(
                QueryEffect(
                    statement.queryid, statement.text, statement.calls, statement.mean_ms, before, having
                )
            )
            saved += statement.total_ms * min(1.0, (without - having) / before if before else 0.0)
            left += statement.total_ms * min(1.0, without / before if before else 0.0)
    effects.sort(key=lambda e: (-e.saved_ms, e.queryid))
    return Pick(item.candidate, item.bytes, saved, item.write_ms, tuple(effects), left)


def _why_not(item: Item, search: _Search) -> str:
    """The first reason that holds, with numbers."""
    problem = search.problem
    if problem.out_of_time(REASONS):
        return "the time limit ended before it was weighed"
    reads = sum(problem.saved(s, frozenset({item.spec})) for s in problem.reading(item.spec.table))
    if reads <= 0:
        return "no statement of the workload gets cheaper with it"
    if reads <= item.write_ms:
        return (
            f"it would save {reads:.0f} ms of reads and cost {item.write_ms:.0f} ms of writes in the same time: "
            "it slows inserts, or updates would no longer be HOT"
        )
    if reads < MIN_WORKLOAD_SHARE * problem.total_ms:
        return f"it would save {reads:.1f} of {problem.total_ms:.0f} ms: not worth an index"
    if not search.fits(item.bytes) and search.worth(search.gain([item])):
        return (
            f"it would pay, and needs {item.bytes / 2**20:.1f} MB: of the storage budget of "
            f"{problem.budget / 2**20:.1f} MB, {search.bytes / 2**20:.1f} go to indexes that pay more"
        )
    if any(spec.table == item.spec.table for spec in search.chosen):
        return "a chosen index on the table serves the same statements as well or better"
    return "its statements would gain too little"
