"""The gauge of attacks under way, as monitoring's recorders read it: (name, read) pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from django.utils import timezone

from paiid_perf.security import actions, facts
from paiid_perf.security.campaigns import KINDS, SUSPICIOUS, WINDOW

CAMPAIGNS = "security.campaigns"


def campaigns() -> Iterator[tuple[str, float]]:
    """How many campaigns of each kind are under way, and suspicious addresses (0 where none: an alert resolves)."""
    counts = Counter(campaign.kind for campaign in actions.note_campaigns(timezone.now()))
    for kind in KINDS:
        yield kind, float(counts[kind])  # type: ignore[index]
    yield SUSPICIOUS, float(facts.told(SUSPICIOUS, timezone.now() - WINDOW))


RECORDERS: tuple[tuple[str, Callable[[], Iterator[tuple[str, float]]]], ...] = ((CAMPAIGNS, campaigns),)
