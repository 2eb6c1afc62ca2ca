"""Connections, and who keeps whom waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from django.utils.translation import gettext as _

from paiid_perf.database.health_types import Health, SessionFact
from paiid_perf.database.rules.health.common import quoted, ratio
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding, Severity


def connections(health: Health, now: datetime) -> Iterator[Finding]:
    if health.pool is None or not health.pool.max_connections:
        return
    share = connection_share(health) or 0.0
    if share >= limit("connections"):
        states: dict[str, int] = defaultdict(int)
        for session in health.sessions.rows:
            states[f"{session.state or '?'} {session.application or session.role or '?'}"] += 1
        yield Finding(
            "connections",
            health.server.database,
            "critical" if share >= limit("connections_critical") else "warning",
            _("%(percent).0f %% of the connections are taken") % {"percent": share * 100},
            ", ".join(
                f"{count} × {state}" for state, count in sorted(states.items(), key=lambda s: -s[1])[:8]
            ),
            how=_("Pool the connections (see the pool's advice) before raising max_connections."),
            source=source("connections"),
            numbers={"in_use": health.pool.in_use, "max_connections": health.pool.max_connections},
        )


def connection_share(health: Health) -> float | None:
    """Connections in use over those that ordinary roles may open, 0–1."""
    if health.pool is None:
        return None
    return ratio(health.pool.in_use, health.pool.max_connections - health.pool.reserved)


def long_running(health: Health, now: datetime) -> Iterator[Finding]:
    for session in health.sessions.rows:
        if (session.query_seconds or 0) >= limit("long_running_s"):
            yield _session_finding(
                "long_running",
                session,
                "warning",
                _("A query has run for %(seconds).0f s") % {"seconds": session.query_seconds},
                f"SELECT pg_cancel_backend({session.pid});",
                "long_running_s",
            )


def idle_in_transaction(health: Health, now: datetime) -> Iterator[Finding]:
    for session in health.sessions.rows:
        idle = session.state_seconds or 0
        if (session.state or "").startswith("idle in transaction") and idle >= limit("idle_in_transaction_s"):
            yield _session_finding(
                "idle_in_transaction",
                session,
                "critical" if idle >= limit("idle_in_transaction_critical_s") else "warning",
                _("A transaction has been idle for %(seconds).0f s") % {"seconds": idle},
                f"SELECT pg_terminate_backend({session.pid});\n"
                f"ALTER ROLE {quoted(session.role or '…')} SET idle_in_transaction_session_timeout = '60s';",
                "idle_in_transaction_s",
            )


def blocked(health: Health, now: datetime) -> Iterator[Finding]:
    by_pid = {session.pid: session for session in health.sessions.rows}
    for session in health.sessions.rows:
        if session.blocked_by and (session.query_seconds or 0) >= limit("blocked_s"):
            root = blocking_root(session, by_pid)
            yield Finding(
                "blocked",
                str(session.pid),
                "critical",
                _("A query has waited %(seconds).0f s for a lock that connection %(pid)d holds")
                % {"seconds": session.query_seconds, "pid": root},
                _("Waits: %(waiter)s. Holds: %(holder)s")
                % {"waiter": _who(session), "holder": _who(by_pid[root]) if root in by_pid else root},
                how=f"SELECT pg_terminate_backend({root});",
                source=source("blocked_s"),
                numbers={"pid": session.pid, "blocked_by": list(session.blocked_by), "root": root},
            )


def blocking_root(session: SessionFact, by_pid: dict[int, SessionFact]) -> int:
    """The process at the head of the queue that this one waits in (a prepared transaction has pid 0)."""
    seen = {session.pid}
    pid = session.blocked_by[0]
    while pid in by_pid and by_pid[pid].blocked_by and pid not in seen:
        seen.add(pid)
        pid = by_pid[pid].blocked_by[0]
    return pid


def blocking_tree(sessions: Iterable[SessionFact]) -> list[str]:
    """Who waits for whom, a line for each, indented under whom it waits for; the roots wait for nobody known."""
    by_pid = {session.pid: session for session in sessions}
    below: dict[int, list[int]] = defaultdict(list)
    for session in by_pid.values():
        for pid in session.blocked_by:
            below[pid].append(session.pid)
    roots = [pid for pid in below if pid not in by_pid or not by_pid[pid].blocked_by]
    return [line for pid in sorted(roots) for line in _branch(pid, by_pid, below, ())]


def _branch(
    pid: int, by_pid: dict[int, SessionFact], below: dict[int, list[int]], above: tuple[int, ...]
) -> Iterator[str]:
    who = _who(by_pid[pid]) if pid in by_pid else _("a prepared or hidden transaction")
    yield "  " * len(above) + f"{pid} {who}"
    for child in below.get(pid, ()):
        if child not in above and child != pid:
            yield from _branch(child, by_pid, below, (*above, pid))


def prepared(health: Health, now: datetime) -> Iterator[Finding]:
    for transaction in health.prepared.rows:
        if transaction.seconds >= limit("prepared_s"):
            gid = transaction.gid.replace("'", "''")
            yield Finding(
                "prepared",
                transaction.gid,
                "critical",
                _("A prepared transaction has been waiting for %(seconds).0f s")
                % {"seconds": transaction.seconds},
                _("It survives restarts, holds its locks, and keeps vacuum from working."),
                how=f"ROLLBACK PREPARED '{gid}';  -- or COMMIT PREPARED, as its coordinator says",
                source=source("prepared_s"),
            )


def _session_finding(
    check: str, session: SessionFact, severity: Severity, title: str, how: str, threshold: str
) -> Finding:
    numbers = {"pid": session.pid, "state": session.state, "wait": session.wait}
    return Finding(
        check,
        str(session.pid),
        severity,
        title,
        _who(session),
        how,
        source=source(threshold),
        numbers=numbers,
    )


def _who(session: SessionFact) -> str:
    return f"{session.role or '?'} {session.application} {session.source}: {session.query}"


def vacuum_held_back(health: Health, now: datetime) -> Iterator[Finding]:
    for session in health.sessions.rows:
        if session.xmin_age is not None and session.xmin_age >= limit("xmin_age"):
            yield Finding(
                "xmin_horizon",
                str(session.pid),
                "warning",
                _("Connection %(pid)d keeps vacuum from removing rows") % {"pid": session.pid},
                _("Its snapshot is %(age)d transactions old: %(who)s")
                % {"age": session.xmin_age, "who": _who(session)},
                how=f"SELECT pg_terminate_backend({session.pid});",
                source=source("xmin_age"),
                numbers={"xmin_age": session.xmin_age},
            )
