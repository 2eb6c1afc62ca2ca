"""How many connections the site should hold, and through what: Django's pool, PgBouncer, or neither yet."""

from __future__ import annotations

import math
from collections.abc import Iterator

from django.utils.translation import gettext as _

from paiid_perf.database.health_types import PoolFact
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding


def advise(pool: PoolFact | None) -> Iterator[Finding]:
    """What is wrong with the way to the database; nothing where it could not be read."""
    if pool is None:
        return
    yield from _bouncer(pool) if pool.pgbouncer else _no_bouncer(pool)
    if pool.max_connections > limit("max_connections"):
        yield Finding(
            "pool",
            "max_connections",
            "info",
            _("max_connections is %(count)d") % {"count": pool.max_connections},
            _(
                "Every one may take work_mem, and every snapshot looks at them all: a pool serves more people."
            ),
            how=_("Put a pool in front (the app's or PgBouncer), then lower it: needs a restart."),
            source=source("max_connections"),
        )


def processes_that_fit(pool: PoolFact, size: int) -> int:
    """Worker processes whose pools of ``size`` the server can take, a fifth left for people and deploys."""
    usable = (pool.max_connections - pool.reserved) * limit("connections")
    return int(usable // size) if size else 0


def _no_bouncer(pool: PoolFact) -> Iterator[Finding]:
    if pool.max_size is None:
        yield _install(pool)
        return
    if (pool.queued or 0.0) > limit("pool_queued"):
        yield _short(pool)
    elif pool.max_size > limit("pool_max") or (pool.min_size or 0) < limit("pool_min"):
        yield _resize(pool)
    if processes_that_fit(pool, pool.max_size) < 1:
        yield Finding(
            "pool",
            "too large",
            "critical",
            _("One process's pool of %(size)d may take every connection") % {"size": pool.max_size},
            _("The server gives %(max)d, of which %(reserved)d are reserved.")
            % {"max": pool.max_connections, "reserved": pool.reserved},
            how=_options(pool, int(limit("pool_min")), int(limit("pool_max"))),
            source=source("connections"),
        )


def wanted_size(pool: PoolFact) -> int:
    """Connections for one process: twice what was busy on average (bursts), half more than a pool that was short;
    from pool_min to pool_max."""
    busy = 2 * (pool.busy or 0.0)
    short = 1.5 * (pool.max_size or 0) if (pool.queued or 0.0) > limit("pool_queued") else 0.0
    return int(min(limit("pool_max"), max(limit("pool_min"), math.ceil(max(busy, short)))))


def _short(pool: PoolFact) -> Finding:
    size = wanted_size(pool)
    grows = size > (pool.max_size or 0)
    return Finding(
        "pool",
        "waits",
        "warning",
        _("%(percent).0f %% of requests wait for a connection, %(ms).1f ms on average")
        % {"percent": (pool.queued or 0.0) * 100, "ms": pool.waited_ms or 0.0},
        _("The pool of %(size)d is too small for this process' threads.") % {"size": pool.max_size}
        if grows
        else _("The pool is as large as pays: faster statements, or more processes, shorten the queue."),
        how=_options(pool, min(pool.min_size or 0, size), size)
        if grows
        else _("See the slow queries; a connection is given back when its request ends."),
        undo=_options(pool, pool.min_size or 0, pool.max_size or 0) if grows else "",
        source=source("pool_queued"),
        numbers={"queued": pool.queued, "waited_ms": pool.waited_ms, "busy": pool.busy},
    )


def _install(pool: PoolFact) -> Finding:
    low, high = int(limit("pool_min")), int(limit("pool_max"))
    before = "None" if pool.persistent_seconds is None else f"{pool.persistent_seconds:g}"
    return Finding(
        "pool",
        "none",
        "warning",
        _("Requests open a connection each: use psycopg's pool of %(low)d to %(high)d")
        % {"low": low, "high": high}
        if pool.persistent_seconds == 0
        else _("Use psycopg's pool of %(low)d to %(high)d in place of persistent connections")
        % {"low": low, "high": high},
        _(
            "A new connection forks a server process and costs milliseconds; a persistent one is kept for every "
            "thread. At %(high)d a process, %(fit)d worker processes fit into max_connections = %(max)d. "
            "Each process has a pool of its own."
        )
        % {"high": high, "fit": processes_that_fit(pool, high), "max": pool.max_connections},
        how=_options(pool, low, high),
        undo=f'DATABASES["{pool.alias}"]["OPTIONS"].pop("pool")\n'
        f'DATABASES["{pool.alias}"]["CONN_MAX_AGE"] = {before}',
        source="Django, Databases: Connection pool; " + source("pool_max"),
        numbers={
            "max_connections": pool.max_connections,
            "in_use": pool.in_use,
            "transactions_per_connection": pool.transactions_per_connection,
            "busy": pool.busy,
        },
    )


def _resize(pool: PoolFact) -> Finding:
    return Finding(
        "pool",
        "size",
        "info",
        _("The pool is %(low)s to %(high)s; 5 to 20 serves most sites")
        % {"low": pool.min_size, "high": pool.max_size},
        _("Under 5, a burst waits for connections to open; over 20, requests queue in the server instead."),
        how=_options(pool, int(limit("pool_min")), int(limit("pool_max"))),
        undo=_options(pool, pool.min_size or 0, pool.max_size or 0),
        source=source("pool_max"),
        numbers={"min_size": pool.min_size, "max_size": pool.max_size},
    )


def _bouncer(pool: PoolFact) -> Iterator[Finding]:
    if pool.max_size is not None:
        yield Finding(
            "pool",
            "two pools",
            "info",
            _("PgBouncer and the app's pool queue one behind the other"),
            _("The server's own process id differs from the one told to clients: PgBouncer is in between."),
            how=f'DATABASES["{pool.alias}"]["OPTIONS"].pop("pool")',
            undo=_options(pool, pool.min_size or 0, pool.max_size),
            source="Django, Databases: Transaction pooling and server-side cursors",
        )
    if pool.server_side_cursors:
        yield Finding(
            "pool",
            "server-side cursors",
            "warning",
            _("Server-side cursors break behind PgBouncer in transaction mode"),
            _("QuerySet.iterator() would read from a cursor on another server connection."),
            how=f'DATABASES["{pool.alias}"]["DISABLE_SERVER_SIDE_CURSORS"] = True',
            undo=f'DATABASES["{pool.alias}"]["DISABLE_SERVER_SIDE_CURSORS"] = False',
            source="Django, Databases: Transaction pooling and server-side cursors",
        )


def _options(pool: PoolFact, low: int, high: int) -> str:
    return (
        f'DATABASES["{pool.alias}"]["CONN_MAX_AGE"] = 0  # the pool keeps them open\n'
        f'DATABASES["{pool.alias}"]["OPTIONS"]["pool"] = {{"min_size": {low}, "max_size": {high}, "timeout": 10}}'
    )
