"""Counters of two moments subtracted: the workload in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from paiid_perf.database.index_types import Statement
from paiid_perf.database.rules.indexes.texts import shape


@dataclass(frozen=True, slots=True)
class Counters:
    """pg_stat_statements at one moment."""

    statements: Mapping[str, Statement]
    reset: datetime | None = None
    evicted: int = 0
    """``dealloc``: how many times the least used entries were dropped."""
    hidden: int = 0
    """Statements of other roles, whose text the present role may not see."""


@dataclass(frozen=True, slots=True)
class Window:
    statements: Mapping[str, Statement]
    is_delta: bool
    notes: tuple[str, ...] = ()


def subtract(now: Counters, before: Counters | None) -> Window:
    """What ran since an earlier reading; everything since the reset where there is no earlier one, or a reset between.

    The earlier reading holds only the statements whose tables were changed since the counters began: theirs count
    from the change on, the others' from the beginning. A statement whose counters fell (evicted and seen again)
    counts with what it has now.
    """
    notes = _notes(now)
    if before is None or before.reset != now.reset:
        return Window(now.statements, False, notes)
    delta = {q: _difference(s, before.statements.get(q)) for q, s in now.statements.items()}
    return Window({q: s for q, s in delta.items() if s.calls > 0}, True, notes)


def _notes(now: Counters) -> tuple[str, ...]:
    notes = []
    if now.evicted:
        notes.append(f"pg_stat_statements dropped entries {now.evicted} times: raise pg_stat_statements.max")
    if now.hidden:
        notes.append(f"{now.hidden} statements of other roles are hidden: GRANT pg_read_all_stats")
    return tuple(notes)


def _difference(now: Statement, before: Statement | None) -> Statement:
    if before is None or now.calls < before.calls or now.total_ms < before.total_ms:
        return now
    return replace(
        now,
        calls=now.calls - before.calls,
        total_ms=now.total_ms - before.total_ms,
        rows=max(0.0, now.rows - before.rows),
        blocks=max(0.0, now.blocks - before.blocks),
    )


def merged(
    statements: Iterable[Statement], samples: Sequence[tuple[str, tuple[str, ...]]] = ()
) -> tuple[Statement, ...]:
    """One statement per shape (comments and list lengths aside), heaviest first, with its sampled constants."""
    by_shape: dict[str, Statement] = {}
    for statement in statements:
        key = shape(statement.text)[0]
        found = by_shape.get(key)
        by_shape[key] = statement if found is None else _added(found, statement)
    for key, constants in samples:
        known = by_shape.get(key)
        if known is not None and len(constants) == len(shape(known.text)[1]):
            by_shape[key] = replace(known, samples=(*known.samples, constants))
    return tuple(sorted(by_shape.values(), key=lambda s: (-s.total_ms, s.queryid)))


def _added(a: Statement, b: Statement) -> Statement:
    heavier = a if (a.total_ms, a.queryid) >= (b.total_ms, b.queryid) else b
    return replace(
        heavier,
        calls=a.calls + b.calls,
        total_ms=a.total_ms + b.total_ms,
        rows=a.rows + b.rows,
        blocks=a.blocks + b.blocks,
        samples=(*heavier.samples, *_fitting(heavier, b if heavier is a else a)),
    )


def _fitting(heavier: Statement, other: Statement) -> tuple[tuple[str, ...], ...]:
    """The samples of another spelling that fit this one's parameters (their lists may have other lengths)."""
    lengths = {len(s) for s in heavier.samples}
    return tuple(s for s in other.samples if len(s) in lengths)
