"""Keep or revert: the same normalised queries before and after, by time and by blocks.

Welch's t-test (B. L. Welch, Biometrika 34, 1947) tells a slower query from a noisy one; blocks per call do not drift
with the machine and decide where times alone do not. The normal distribution stands for Student's from ten calls on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from paiid_perf.contracts import Measurement, QueryMeasure, Verdict

#: A query under this share of the affected time is not of weight.
WEIGHT = 0.01
#: How sure a regression must be: one-sided.
CONFIDENCE = 0.01
#: Differences under this many ms a call are the clock's, not the plan's.
NOISE_MS = 0.05
#: A gain that no busy moment of the machine explains.
BEYOND_NOISE = 0.5
#: Blocks per call within this fraction of each other are the same plan's.
SAME_BLOCKS = 0.02
#: A window with fewer calls than this says nothing yet.
ENOUGH_CALLS = 20


@dataclass(frozen=True, slots=True)
class Compared:
    """One query's two measures, in the same window length."""

    before: QueryMeasure
    after: QueryMeasure

    @property
    def weight(self) -> float:
        return max(self.after.calls, 1.0) * self.before.mean_ms

    @property
    def slower(self) -> float:
        """Fraction by which a call takes longer."""
        return self.after.mean_ms / self.before.mean_ms - 1.0 if self.before.mean_ms > 0 else 0.0

    def at_the_load_before(self, load: float) -> Compared:
        """The same with the later times as they would have been under the earlier load."""
        after = self.after
        spread = None if after.stddev_ms is None else after.stddev_ms / load
        return replace(self, after=replace(after, mean_ms=after.mean_ms / load, stddev_ms=spread))

    @property
    def more_blocks(self) -> float | None:
        if self.before.blocks is None or self.after.blocks is None:
            return None
        return (self.after.blocks + 1.0) / (self.before.blocks + 1.0) - 1.0


def judge(
    before: Measurement, after: Measurement, *, min_gain: float, max_regression: float, created: bool = True
) -> Verdict:
    """Whether a change is kept. ``created``: an index was added (else one was dropped, which only must not harm).

    The gain is ``1 - after / before`` of the affected queries' time, weighted by calls.
    """
    found = _pairs(before, after)
    load = _load([p for p in found if p.before.key.startswith(CONTROL)])
    pairs = [p.at_the_load_before(load) for p in found if not p.before.key.startswith(CONTROL)]
    if not pairs:
        return _nothing_to_compare(before, created)
    if after.method == "window" and sum(p.after.calls for p in pairs) < ENOUGH_CALLS:
        return Verdict(None, _("fewer than %(calls)d calls since it was made") % {"calls": ENOUGH_CALLS})
    affected = [p for p in pairs if not p.before.key.startswith((WATCHED, WRITES))]
    gain = _gain(affected or pairs)
    worst = _regression(pairs, max_regression, after.method)
    numbers = _numbers(affected or pairs, gain) + _said_of(load)
    if worst is not None:
        said = _("%(query)s is %(percent).0f%% slower") % {
            "query": _named(worst),
            "percent": worst.slower * 100,
        }
        return Verdict(False, f"{said}; {numbers}", gain)
    lost = hot_lost(before, after) if created else ""
    if lost:
        return Verdict(False, f"{lost}; {numbers}", gain)
    if not created:
        return Verdict(
            True, _("nothing got slower beyond noise without it") + f"; {_times(affected or pairs)}"
        )
    if after.numbers.get("scans", 1.0) <= before.numbers.get("scans", 0.0) and after.method == "window":
        return Verdict(False, _("no query used it") + f"; {numbers}", gain)
    if gain < BEYOND_NOISE and _same_blocks(affected):
        said = _("its queries read as many blocks as before: no plan uses it")
        return Verdict(False, f"{said}; {numbers}", gain)
    if gain < min_gain and not _fewer_blocks(affected, min_gain):
        said = _("it gained less than %(percent).0f%%") % {"percent": min_gain * 100}
        return Verdict(False, f"{said}; {numbers}", gain)
    return Verdict(True, numbers, gain)


#: Key prefix of queries that the change should not affect: looked at for regressions only.
WATCHED = "watched:"
#: Key prefix of statements that write to the table, which each index makes dearer.
WRITES = WATCHED + "writes:"
#: Key prefix of queries run again with constants that do not stand for their calls.
OTHERS = WATCHED + "others:"
#: Writes run again and rolled back differ this much by themselves: their pages fill up with dead rows.
WRITE_NOISE = 0.25
#: Updates that say something of the share of HOT ones, and by how much that may fall (it falls to 0 where an updated
#: column is indexed).
ENOUGH_UPDATES, HOT_FALL = 100, 0.10
#: Key prefix of queries on other tables: what became slower there became so by the machine's load, not by the change.
CONTROL = "control:"
#: From so many of them on, and so many calls of each, they tell the load; it is believed up to twofold.
ENOUGH_CONTROLS, MOST_LOAD = 3, 2.0
#: Under this much, the load is the same.
SAME_LOAD = 0.05


def _nothing_to_compare(before: Measurement, created: bool) -> Verdict:
    if created and before.method != "none":
        return Verdict(None, _("none of its queries has run since"))
    if created:
        return Verdict(False, _("there is no query to prove it with"))
    return Verdict(True, _("no query of the workload used it"))


def _pairs(before: Measurement, after: Measurement) -> list[Compared]:
    afters = {q.key: q for q in after.queries}
    pairs = [Compared(q, afters[q.key]) for q in before.queries if q.key in afters]
    if after.method == "window":
        pairs = [Compared(p.before, since(p.before, p.after)) for p in pairs]
    return [p for p in pairs if p.after.calls > 0]


def _load(controls: list[Compared]) -> float:
    """How many times as long everything takes now, by the median of queries that the change cannot touch.

    1.0 where too few ran, and where their blocks changed: then their data did.
    """
    known = [
        p.after.mean_ms / p.before.mean_ms
        for p in controls
        if p.before.mean_ms > 0 and p.after.calls >= ENOUGH_CALLS and _reads_the_same(p)
    ]
    if len(known) < ENOUGH_CONTROLS:
        return 1.0
    load = min(MOST_LOAD, max(1.0 / MOST_LOAD, median(known)))
    return load if abs(load - 1.0) > SAME_LOAD else 1.0


def _reads_the_same(pair: Compared) -> bool:
    return pair.more_blocks is None or abs(pair.more_blocks) <= SAME_BLOCKS


def _said_of(load: float) -> str:
    """What a reader of the numbers must know of the load; empty where it was the same."""
    if load == 1.0:
        return ""
    slower = _("other tables' queries ran %(percent).0f%% slower meanwhile, which is allowed for")
    faster = _("other tables' queries ran %(percent).0f%% faster meanwhile, which is allowed for")
    return "; " + (slower if load > 1.0 else faster) % {"percent": abs(load - 1.0) * 100}


def since(before: QueryMeasure, after: QueryMeasure) -> QueryMeasure:
    """The measure of the calls between two readings of running counters."""
    calls = after.calls - before.calls
    if calls <= 0:
        return after if calls < 0 else replace(after, calls=0.0)
    blocks = None
    if before.blocks is not None and after.blocks is not None:
        blocks = max(0.0, (after.blocks * after.calls - before.blocks * before.calls) / calls)
    mean = max(0.0, (after.mean_ms * after.calls - before.mean_ms * before.calls) / calls)
    return replace(after, calls=calls, mean_ms=mean, blocks=blocks)


def _gain(pairs: list[Compared]) -> float:
    before = sum(max(p.after.calls, 1.0) * p.before.mean_ms for p in pairs)
    after = sum(max(p.after.calls, 1.0) * p.after.mean_ms for p in pairs)
    return 1.0 - after / before if before > 0 else 0.0


def _fewer_blocks(pairs: list[Compared], min_gain: float) -> bool:
    """Times too short to tell apart, yet clearly fewer blocks: the machine was busy, not the plan worse."""
    known = [p for p in pairs if p.more_blocks is not None]
    if not known or _gain(pairs) < -min_gain:
        return False
    before = sum(p.after.calls * (p.before.blocks or 0.0) for p in known)
    after = sum(p.after.calls * (p.after.blocks or 0.0) for p in known)
    return before > 0 and 1.0 - after / before >= max(0.5, min_gain)


def _same_blocks(pairs: list[Compared]) -> bool:
    """Whether every affected query reads what it read before: a plan that uses another index does not, so what
    looks like a gain is the machine's."""
    changes = [p.more_blocks for p in pairs]
    return bool(changes) and all(change is not None and abs(change) <= SAME_BLOCKS for change in changes)


def _regression(pairs: list[Compared], limit: float, method: str) -> Compared | None:
    """The worst query of weight that got slower beyond noise; None where there is none.

    In a trial each query is of weight.
    """
    least = 0.0 if method == TRIAL else WEIGHT * sum(p.weight for p in pairs)
    slower = [p for p in pairs if p.weight >= least and _is_slower(p, _limit(p, limit, method), method)]
    return max(slower, key=lambda p: p.slower, default=None)


#: The method of a replay that decides: every statement of the table counts, and this share of a regression is one, as
#: nobody knows the constants of tomorrow, and the next index may add its own.
TRIAL, STRICTER = "trial", 0.5


def _limit(pair: Compared, limit: float, method: str) -> float:
    limit *= STRICTER if method == TRIAL else 1.0
    return max(limit, WRITE_NOISE) if pair.before.key.startswith(WRITES) and method != "window" else limit


def hot_lost(before: Measurement, after: Measurement) -> str:
    """What became of HOT updates since; empty where nothing fell, or too few updates ran to tell.

    ``updates`` and ``hot`` are the table's running counters.
    """
    b, a = before.numbers, after.numbers
    old, new = b.get("updates", 0.0), a.get("updates", 0.0) - b.get("updates", 0.0)
    if min(old, new) < ENOUGH_UPDATES:
        return ""
    was, now = b.get("hot", 0.0) / old, (a.get("hot", 0.0) - b.get("hot", 0.0)) / new
    if was - now <= HOT_FALL:
        return ""
    return _("%(was).0f%% of the updates were HOT, %(now).0f%% since") % {"was": was * 100, "now": now * 100}


def _is_slower(pair: Compared, limit: float, method: str) -> bool:
    if pair.slower <= limit or pair.after.mean_ms - pair.before.mean_ms < NOISE_MS:
        return False
    more = pair.more_blocks
    if more is not None and more <= SAME_BLOCKS:
        # As many blocks as before and more time: the machine. A few runs on a busy one say nothing else; a window's
        # many calls do, where it is far beyond what a machine does.
        return (
            method == "window" and pair.slower > max(1.0, 5 * limit) and probability_same(pair) < CONFIDENCE
        )
    return probability_same(pair) < CONFIDENCE


def probability_same(pair: Compared) -> float:
    """One-sided p that "after" is not slower, by Welch's t with a normal tail. 0 where no spread is known."""
    b, a = pair.before, pair.after
    if b.stddev_ms is None or a.stddev_ms is None or min(b.calls, a.calls) < 2:
        return 0.0
    variance = b.stddev_ms**2 / b.calls + a.stddev_ms**2 / a.calls
    if variance <= 0:
        return 0.0 if a.mean_ms > b.mean_ms else 1.0
    return 0.5 * math.erfc((a.mean_ms - b.mean_ms) / math.sqrt(2.0 * variance))


def _named(pair: Compared) -> str:
    text = " ".join(pair.before.text.split())
    return f"“{text[:80]}”"


def _numbers(pairs: list[Compared], gain: float) -> str:
    return _("%(times)s (%(percent)+.0f%% gained)") % {"times": _times(pairs), "percent": gain * 100}


def _times(pairs: list[Compared]) -> str:
    before = sum(max(p.after.calls, 1.0) * p.before.mean_ms for p in pairs)
    after = sum(max(p.after.calls, 1.0) * p.after.mean_ms for p in pairs)
    calls = sum(max(p.after.calls, 1.0) for p in pairs)
    said = ngettext(
        "%(before).3f → %(after).3f ms a call over %(count)d query",
        "%(before).3f → %(after).3f ms a call over %(count)d queries",
        len(pairs),
    )
    return said % {"before": before / calls, "after": after / calls, "count": len(pairs)}
