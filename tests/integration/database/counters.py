"""How a session hands its counters over, which differs by the server's version."""

from __future__ import annotations

from django.db import connection

#: PostgreSQL has MERGE, and statistics in shared memory, from here on.
V15 = 150000


def hand_over() -> str:
    """The statement after which the next look sees what the session counted. Before 15, a process collects them, and
    is told at the end of a transaction, twice a second at most."""
    return "SELECT pg_stat_force_next_flush()" if connection.pg_version >= V15 else "SELECT pg_sleep(0.6)"
