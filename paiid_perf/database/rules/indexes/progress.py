"""How far CREATE INDEX CONCURRENTLY is, from a row of pg_stat_progress_create_index."""

from __future__ import annotations

from dataclasses import dataclass

#: Phase as the server names it → the share of a build that is done at its start and at its end. The order is the
#: manual's (27.4.4); the shares are what a B-tree over a few gigabytes took, and only move a bar.
PHASES: dict[str, tuple[float, float]] = {
    "initializing": (0.0, 0.01),
    "waiting for writers before build": (0.01, 0.02),
    "building index: initializing": (0.02, 0.02),
    "building index: scanning table": (0.02, 0.40),
    "building index: sorting live tuples": (0.40, 0.50),
    "building index: loading tuples in tree": (0.50, 0.65),
    "building index": (0.02, 0.65),
    "waiting for writers before validation": (0.65, 0.66),
    "index validation: scanning index": (0.66, 0.74),
    "index validation: sorting tuples": (0.74, 0.78),
    "index validation: scanning table": (0.78, 0.97),
    "waiting for old snapshots": (0.97, 1.0),
}


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a build. Counts are of the present phase; a total of 0 says that the phase has none."""

    phase: str
    blocks_done: int = 0
    blocks_total: int = 0
    tuples_done: int = 0
    tuples_total: int = 0
    lockers_done: int = 0
    lockers_total: int = 0


def done(progress: Progress) -> float:
    """The share of the whole build that is done (0–1); a phase that nobody listed counts as half way."""
    start, end = PHASES.get(progress.phase, (0.5, 0.5))
    counted = (
        (progress.blocks_done, progress.blocks_total),
        (progress.tuples_done, progress.tuples_total),
        (progress.lockers_done, progress.lockers_total),
    )
    share = next((part / total for part, total in counted if total > 0), 0.0)
    return start + (end - start) * min(1.0, share)


def step(progress: Progress) -> str:
    """What the server does now, and for how many transactions it waits."""
    waiting = progress.lockers_total - progress.lockers_done
    return f"{progress.phase} ({waiting} to go)" if waiting > 0 else progress.phase
