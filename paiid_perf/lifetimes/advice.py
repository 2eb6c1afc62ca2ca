"""Other times to live, proposed to the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Protocol

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from paiid_perf.contracts import ADVICE, Proposal
from paiid_perf.lifetimes.edited import with_edited_ttl
from paiid_perf.lifetimes.reuse import Reuse, better, reuse
from paiid_perf.telemetry import looks

KIND = "cache_ttl"


class Strategy(Protocol):
    """A response's or a value's."""

    @property
    def ttl(self) -> timedelta | None: ...


def read(declared: Mapping[str, Strategy]) -> list[Reuse]:
    """What was seen of each strategy (subject → as it is declared); those that are kept until invalidated left out."""
    seen: defaultdict[str, list[looks.Look]] = defaultdict(list)
    for look in looks.read():
        seen[look.subject].append(look)
    found = []
    for subject, strategy in declared.items():
        ttl = with_edited_ttl(strategy, subject).ttl
        if ttl is not None:
            found.append(reuse(subject, seen[subject], ttl.total_seconds()))
    return found


def proposals(area: str, declared: Mapping[str, Strategy], found: list[Reuse]) -> Iterator[Proposal]:
    """A change for each strategy that another time would serve better; advice where no event bounds what is stale."""
    for one in found:
        chosen = better(one)
        if chosen is not None:
            yield _proposal(area, one, declared[one.subject], *chosen)


def _proposal(area: str, found: Reuse, strategy: Strategy, ttl: float, ratio: float) -> Proposal:
    words = {"subject": found.subject, "ttl": _seconds(ttl), "now": _seconds(found.ttl)}
    bounded = is_bounded(strategy)
    assert strategy.ttl is not None
    return Proposal(
        area=area,
        kind=KIND if bounded else ADVICE,
        key=f"ttl of {found.subject}",
        title=_("Keep %(subject)s for %(ttl)s instead of %(now)s") % words,
        why=_why(found, ttl, ratio, bounded),
        evidence=_evidence(found, ratio),
        expected_gain=round(1 - (1 - ratio) / (1 - found.ratio), 3),
        risk="medium",
        cost=_("What is kept longer takes memory for longer: at most %(times).0f times as many keys.")
        % {"times": ttl / found.ttl},
        how=f"ttl=timedelta(seconds={ttl:g})",
        undo=f"ttl=timedelta(seconds={found.ttl:g})",
        payload={
            "subject": found.subject,
            "seconds": ttl,
            "previous": found.ttl,
            "declared": strategy.ttl.total_seconds(),
        },
    )


def is_bounded(strategy: Any) -> bool:
    """Whether events make its answers old, so that a longer time makes none of them staler."""
    return bool(strategy.depends_on or getattr(strategy, "depends_on_rows", ()))


def _why(found: Reuse, ttl: float, ratio: float, bounded: bool) -> str:
    lifted = _("%(ttl)s would lift hits from %(now).0f %% to %(then).0f %%, going by %(looks)d look-ups.") % {
        "ttl": _seconds(ttl),
        "now": found.ratio * 100,
        "then": ratio * 100,
        "looks": found.looks,
    }
    stale = (
        _("What depends_on names is invalidated at once; whatever else it shows gets older.")
        if bounded
        else _("No event makes it old before its time: decide how stale it may be, or declare depends_on.")
    )
    return f"{lifted} {stale}"


def _evidence(found: Reuse, ratio: float) -> dict[str, Any]:
    return {
        "hit_ratio": round(found.ratio, 3),
        "expected_hit_ratio": round(ratio, 3),
        "looks_sampled": found.looks,
        "keys_sampled": found.keys,
        "asked_for_once": found.once,
        "invalidated_or_evicted": found.lost,
        "watched_seconds": round(found.span),
        "by_seconds": {f"{ttl:g}": round(expected, 3) for ttl, expected in found.expected},
    }


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return ngettext("%(n)g second", "%(n)g seconds", round(seconds) or 1) % {"n": round(seconds, 1)}
    minutes = seconds / 60
    return ngettext("%(n)g minute", "%(n)g minutes", round(minutes) or 1) % {"n": round(minutes, 1)}
