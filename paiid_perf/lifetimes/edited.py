"""Times to live that were set by a run, in force over the declared ones in every process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from paiid_perf import edits
from paiid_perf.registry import registry

S = TypeVar("S", bound=Any)


@dataclass(frozen=True, slots=True)
class EditedTtl:
    """Another time to live of the strategy with that subject."""

    name: str
    """The subject."""
    ttl: timedelta


_made: dict[str, tuple[Any, EditedTtl, Any]] = {}


def with_edited_ttl(strategy: S, subject: str) -> S:
    """The strategy with the time to live that was set for it; itself where none was."""
    edited = registry.find(EditedTtl, subject)
    if edited is None:
        return strategy
    known = _made.get(subject)
    if known is None or known[0] is not strategy or known[1] is not edited:
        known = _made[subject] = strategy, edited, replace(strategy, ttl=edited.ttl)
    made: S = known[2]
    return made


def take_over() -> None:
    """Read the table, and put what it says in force in this process."""
    from paiid_perf.models import StrategyTtl  # the thread that asks is named before the apps are loaded

    rows = StrategyTtl.objects.order_by("subject").values_list("subject", "seconds")
    edited = tuple(EditedTtl(subject, timedelta(seconds=seconds)) for subject, seconds in rows)
    if edited != registry.all(EditedTtl):
        registry.swap(EditedTtl, *edited)


def connect() -> None:
    """Follow the table."""
    from paiid_perf.models import StrategyTtl

    edits.follow(StrategyTtl, take_over)
