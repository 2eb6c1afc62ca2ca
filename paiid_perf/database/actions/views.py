"""Create, refresh and drop materialized views. Each is one transaction: killed half way, nothing has happened."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection, sql

from paiid_perf.database.facts import views as facts
from paiid_perf.database.rules.views import cleaned, digest, index_name
from paiid_perf.database.session import Session, trusted
from paiid_perf.database.types import MaterializedView, ViewState


@dataclass(frozen=True, slots=True)
class Refreshed:
    """One refresh: how long it took, or that another process was at it."""

    seconds: float
    done: bool = True


def create(session: Session, view: MaterializedView, timeout: timedelta, now: datetime) -> float:
    """Make and fill the view with its unique index, in place of one of ours of that name; returns seconds.

    Raises:
        psycopg.errors.UniqueViolation: the declared columns are not unique.
    """
    name = facts.identifier(view.name)
    began = time.perf_counter()
    with session.writing(timeout) as connection:
        if facts.state(session, view).ours:
            connection.execute(sql.SQL("DROP MATERIALIZED VIEW {}").format(name))
        body = trusted(cleaned(view.sql))
        connection.execute(sql.SQL("CREATE MATERIALIZED VIEW {} AS {}").format(name, body))
        connection.execute(_unique_index(view))
        connection.execute(sql.SQL("ANALYZE {}").format(name))
        seconds = time.perf_counter() - began
        sources = dict(facts.state(session, view).sources)
        note = {"ours": True, "digest": digest(view), "seen": sources, "sql_seconds": round(seconds, 4)}
        note["reads"] = facts.reads(session, view)
        _remember(connection, view.name, "", note | _times(now, seconds))
    return seconds


def _unique_index(view: MaterializedView) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, view.unique))
    index = sql.Identifier(index_name(view))
    return sql.SQL("CREATE UNIQUE INDEX {} ON {} ({})").format(index, facts.identifier(view.name), columns)


def refresh(
    session: Session, view: MaterializedView, state: ViewState, timeout: timedelta, now: datetime
) -> Refreshed:
    """Fill the view again, without locking readers out where it was filled before."""
    name = facts.identifier(view.name)
    human = facts.comment(session, view.name)
    how = "CONCURRENTLY " if state.populated else ""
    began = time.perf_counter()
    with session.writing(timeout) as connection:
        if not _alone(connection, view.name):
            return Refreshed(0.0, done=False)
        # Read first: what is written meanwhile is counted as a change later, never missed.
        sources = dict(facts.state(session, view).sources)
        connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}{}").format(trusted(how), name))
        seconds = time.perf_counter() - began
        note = {"ours": state.ours, "digest": state.digest, "seen": sources}
        note |= {"sql_seconds": state.sql_seconds, "reads": facts.reads(session, view)}
        _remember(connection, view.name, human, note | _times(now, seconds))
    return Refreshed(seconds)


def _alone(connection: Connection[Any], name: str) -> bool:
    row = connection.execute(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"paiid_perf {name}"]
    )
    return bool(row.fetchone()[0])  # type: ignore[index]


def _times(now: datetime, seconds: float) -> dict[str, Any]:
    return {"refreshed_at": now.isoformat(), "refresh_seconds": round(seconds, 4)}


def _remember(connection: Connection[Any], name: str, human: str, note: dict[str, Any]) -> None:
    text = f"{human}\n\n{facts.MARK}{json.dumps(note)}".lstrip()
    statement = sql.SQL("COMMENT ON MATERIALIZED VIEW {} IS {}").format(
        facts.identifier(name), sql.Literal(text)
    )
    connection.execute(statement)


def drop(session: Session, name: str, timeout: timedelta) -> None:
    """Drop a view of ours; one that we did not create, or that is not there, stays as it is."""
    known = facts.state(session, MaterializedView(name, "", ()))
    if known.ours:
        with session.writing(timeout) as connection:
            connection.execute(sql.SQL("DROP MATERIALIZED VIEW IF EXISTS {}").format(facts.identifier(name)))
