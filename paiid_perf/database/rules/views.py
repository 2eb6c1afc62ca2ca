"""What is to be done with each declared materialized view, in which order, and whether it earned its keep."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from paiid_perf.database.types import MaterializedView, ViewDecision, ViewState

#: What a source is called whose changes cannot be counted (a foreign table, say).
UNCOUNTED = "?"
#: A view whose refresh takes over this share of its cadence is refreshed less often …
_BUSY_SHARE = 0.5
#: … so that refreshing takes at most one part in this many of the time.
_STRETCH = 4

_CLOCK = re.compile(
    r"\b(now\s*\(|current_date|current_time|current_timestamp|localtime|localtimestamp|clock_timestamp"
    r"|statement_timestamp|transaction_timestamp|age\s*\(\s*[^,()]+\)|random\s*\()",
    re.IGNORECASE,
)


def digest(view: MaterializedView) -> str:
    """What tells two definitions of a view apart: its SQL apart from white space, and its unique columns."""
    text = "\0".join((" ".join(cleaned(view.sql).split()), *view.unique))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cleaned(sql: str) -> str:
    """The SELECT without the semicolon at its end."""
    return sql.strip().rstrip(";").rstrip()


def index_name(view: MaterializedView) -> str:
    """Of the unique index that ``REFRESH … CONCURRENTLY`` needs."""
    return f"{view.name.rpartition('.')[2][:58]}_uniq"


def reads_clock(sql: str) -> bool:
    """Whether the rows change as time passes, though no table does."""
    return _CLOCK.search(sql) is not None


def ordered(views: Sequence[MaterializedView]) -> list[MaterializedView]:
    """The views, each after those that its SQL names; in the order of declaration where none does."""
    done: list[MaterializedView] = []
    waiting = list(views)
    while waiting:
        ready = [v for v in waiting if not any(_names(v, other) for other in waiting if other is not v)]
        # Views cannot really form a ring, names in strings and comments can: then the declared order holds.
        batch = ready or waiting[:1]
        done += batch
        waiting = [v for v in waiting if v not in batch]
    return done


def _names(view: MaterializedView, other: MaterializedView) -> bool:
    bare = other.name.rpartition(".")[2]
    return re.search(rf"(?<!\w){re.escape(bare)}(?!\w)", view.sql) is not None


def changed(state: ViewState) -> list[str]:
    """The sources that changed since the last refresh, or of which nobody can say."""
    return [
        name
        for name, counted in state.sources.items()
        if counted == UNCOUNTED or state.seen.get(name) != counted
    ]


def decide(view: MaterializedView, state: ViewState, now: datetime) -> ViewDecision:
    """What to do with one view now, and why."""
    if not state.exists:
        return ViewDecision("create", _("it is declared and not there"))
    if state.ours and state.digest != digest(view):
        return ViewDecision("redefine", _("its declaration has changed"))
    if not state.populated:
        return ViewDecision("refresh", _("it has never been filled"))
    if not state.unique_index:
        return ViewDecision("refuse", _("it has no unique index: a refresh would lock its readers out"))
    if state.refreshed_at is None:
        return ViewDecision("refresh", _("nobody knows how old it is"))
    return _by_cadence(view, state, now, state.refreshed_at)


def _by_cadence(view: MaterializedView, state: ViewState, now: datetime, last: datetime) -> ViewDecision:
    due = last + cadence(view, state)
    if now < due:
        return ViewDecision("wait", _("not due before %(due)s") % {"due": f"{due:%Y-%m-%d %H:%M:%S}"})
    if state.time_dependent:
        return ViewDecision("refresh", _("due, and its SQL reads the clock"))
    if (sources := changed(state)) and not pays(state) and now < last + view.refresh_every * _STRETCH:
        return ViewDecision(
            "wait", _("due, and changed, but it was hardly read since: %(why)s") % {"why": worth(state)}
        )
    if sources:
        return ViewDecision("refresh", _("due, and changed: %(sources)s") % {"sources": ", ".join(sources)})
    return ViewDecision("wait", _("due, but none of its tables has changed"))


def pays(state: ViewState) -> bool:
    """Whether the reads since the last refresh saved more time than a refresh takes; so where nobody can say.

    A refresh that does not pay is put off to _STRETCH times the declared cadence, never for good: whoever reads the
    view then gets rows no older than that.
    """
    saved = saved_seconds(state)
    return saved is None or saved >= (state.refresh_seconds or 0.0)


def saved_seconds(state: ViewState) -> float | None:
    """Seconds that reading the view in place of its SQL has saved since the last refresh; None: not known."""
    if state.reads is None or state.seen_reads is None or state.sql_seconds is None:
        return None
    # Counters that began anew count from zero.
    reads = state.reads - state.seen_reads if state.reads >= state.seen_reads else state.reads
    return reads * max(0.0, state.sql_seconds - (state.read_seconds or 0.0))


def worth(state: ViewState) -> str:
    """What a refresh costs and what the last one saved, in words."""
    return _("%(saved).2f s saved, a refresh takes %(cost).2f s") % {
        "saved": saved_seconds(state) or 0.0,
        "cost": state.refresh_seconds or 0.0,
    }


def cadence(view: MaterializedView, state: ViewState) -> timedelta:
    """How long a refresh lasts for: as declared, longer where refreshing would take most of the time."""
    cost = state.refresh_seconds or 0.0
    if cost <= view.refresh_every.total_seconds() * _BUSY_SHARE:
        return view.refresh_every
    return max(view.refresh_every, timedelta(seconds=cost * _STRETCH))
