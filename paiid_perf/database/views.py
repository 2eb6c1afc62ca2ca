"""The upkeep of materialized views: refreshed when due and when what they read has changed.

A run does it after it has settled its changes; beat may call ``refresh_due`` as often as the shortest cadence.
Refreshing is part of a view that was created with leave, so it goes on under every policy but ``off``; a view
that the host made by other means is only refreshed under ``auto``. The kill switch stops both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from django.utils.translation import gettext as _

from paiid_perf.conf import Settings
from paiid_perf.database.actions import views as actions
from paiid_perf.database.facts import views as facts
from paiid_perf.database.rules.views import decide, ordered
from paiid_perf.database.session import Session, connect, is_postgresql
from paiid_perf.database.types import MaterializedView, ViewDecision, ViewState
from paiid_perf.database.view_changes import KIND
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.registry import registry


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done with one view, and why."""

    name: str
    action: str
    """``refreshed``, ``waiting``, ``missing``, ``refused`` or ``failed``"""
    reason: str
    seconds: float | None = None


Look = tuple[MaterializedView, ViewState, ViewDecision]


def look(session: Session, now: datetime) -> list[Look]:
    """Every declared view in dependency order, as it is and what should be done with it."""
    return [_look_at(session, view, now) for view in ordered(registry.all(MaterializedView))]


def _look_at(session: Session, view: MaterializedView, now: datetime) -> Look:
    try:
        state = facts.state(session, view)
    except (psycopg.Error, ConfigurationError) as error:
        if session.is_broken:
            raise
        return view, ViewState(), ViewDecision("refuse", str(error).strip().splitlines()[0])
    decision = decide(view, state, now)
    if decision.action == "refresh" and state.sql_seconds is not None:
        # Asked only then: it reads the text of every statement that was counted.
        state = replace(state, reads=facts.reads(session, view))
        decision = decide(view, state, now)
    return view, state, decision


def refresh_due(
    settings: Settings,
    now: datetime,
    *,
    dry_run: bool = False,
    out_of_time: Callable[[], bool] = lambda: False,
) -> list[Upkeep]:
    """Refresh what is due, sources before what reads them; one that fails leaves the others to go on.

    Returns an entry for each declared view; empty where the database is not PostgreSQL.

    Raises:
        psycopg.OperationalError: the server does not answer.
    """
    alias = settings.DATABASE
    if not is_postgresql(alias):
        return []
    with connect(alias, statement=settings.STATEMENT_TIMEOUT, lock=settings.LOCK_TIMEOUT) as session:
        views = ordered(registry.all(MaterializedView))
        return [
            Upkeep(view.name, "waiting", _("no time left in this run"))
            if out_of_time()
            else _keep_up(session, view, settings, now, dry_run)
            for view in views
        ]


def _keep_up(
    session: Session, view: MaterializedView, settings: Settings, now: datetime, dry_run: bool
) -> Upkeep:
    # Looked at one by one: the refresh of the last may be the change that this one waits for.
    _view, state, decision = _look_at(session, view, now)
    if decision.action != "refresh":
        return Upkeep(view.name, _IDLE[decision.action], decision.reason)
    if refusal := refused_because(state, settings, dry_run):
        return Upkeep(view.name, "waiting", refusal)
    return _refresh(session, view, state, decision, settings, now)


_IDLE = {"create": "missing", "redefine": "missing", "wait": "waiting", "refuse": "refused"}


def refused_because(state: ViewState, settings: Settings, dry_run: bool) -> str:
    """Why a refresh may not be made; empty where it may. Pure."""
    if dry_run:
        return _("a dry run changes nothing")
    if settings.KILL_SWITCH or not settings.ENABLED:
        return _("the kill switch is on")
    policy = settings.policy(KIND)
    if policy == "off" or (policy != "auto" and not state.ours):
        return _("the policy of %(kind)s is %(policy)s") % {"kind": KIND, "policy": policy}
    return ""


def _refresh(
    session: Session,
    view: MaterializedView,
    state: ViewState,
    decision: ViewDecision,
    settings: Settings,
    now: datetime,
) -> Upkeep:
    try:
        done = actions.refresh(session, view, state, settings.DDL_TIMEOUT, now)
    except psycopg.Error as error:
        if session.is_broken:
            raise
        return Upkeep(view.name, "failed", str(error).strip().splitlines()[0])
    if not done.done:
        return Upkeep(view.name, "waiting", _("another process is refreshing it"))
    return Upkeep(view.name, "refreshed", decision.reason, round(done.seconds, 3))


def refreshed(upkeep: list[Upkeep]) -> list[Upkeep]:
    """Those that were refreshed."""
    return [one for one in upkeep if one.action == "refreshed"]


__all__ = ["Upkeep", "look", "refresh_due", "refreshed", "refused_because"]
