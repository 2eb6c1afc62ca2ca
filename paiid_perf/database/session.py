"""A connection of the domain's own to the host's database: bounded waits, never the host's transaction.

It bypasses Django's pool and query wrappers, so nothing that is set or run here reaches a request. Time-outs are
``SET LOCAL``: behind PgBouncer in transaction mode a session setting would end up on somebody else's statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
from django.db import connections
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row, dict_row
from psycopg.types.json import JsonbLoader, JsonLoader

#: Told to the server, so that people and the advisor can tell our statements from the host's.
APPLICATION_NAME = "paiid_perf"

Statement = str | sql.SQL | sql.Composed
Params = Sequence[Any] | Mapping[str, Any] | None
R = TypeVar("R")

_LIMITS = (
    "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true), "
    "set_config('transaction_read_only', %s, true)"
)


class Session:
    """Reads and acts over one autocommit connection. Raises psycopg.Error as it comes."""

    def __init__(
        self, alias: str, connection: psycopg.Connection[Any], statement: timedelta, lock: timedelta
    ) -> None:
        self.alias = alias
        self._connection = connection
        self._statement = statement
        self._lock = lock

    def rows(
        self, statement: Statement, params: Params = None, timeout: timedelta | None = None
    ) -> list[Any]:
        """The rows as dicts, read in a read-only transaction under the time-outs."""
        with self._limited(timeout or self._statement, read_only=True), self._cursor(dict_row) as cursor:
            found: list[Any] = cursor.execute(statement, params).fetchall()
            return found

    def rows_of(self, kind: type[R], statement: Statement, params: Params = None) -> list[R]:
        """The rows as instances of a dataclass whose fields are the columns."""
        with self._limited(self._statement, read_only=True), self._cursor(class_row(kind)) as cursor:
            found: list[R] = cursor.execute(statement, params).fetchall()
            return found

    @contextmanager
    def writing(self, timeout: timedelta | None = None) -> Iterator[psycopg.Connection[Any]]:
        """A transaction that may write, under the time-outs; commits at the end of the block."""
        with self._limited(timeout or self._statement, read_only=False):
            yield self._connection

    @contextmanager
    def reading(self, timeout: timedelta | None = None) -> Iterator[psycopg.Connection[Any]]:
        """One read-only transaction for several looks; each ``rows`` inside it is a savepoint of its own."""
        with self._limited(timeout or self._statement, read_only=True):
            yield self._connection

    def outside_transaction(
        self, statement: Statement, timeout: timedelta, lock: timedelta | None = None
    ) -> None:
        """Run what cannot run in a transaction (VACUUM), under a statement (and a lock) time-out.

        Behind PgBouncer the time-out is left out: it would outlive us on a shared server connection.
        """
        if self.behind_pgbouncer:
            self._connection.execute(statement)
            return
        try:
            self._connection.execute("SELECT set_config('statement_timeout', %s, false)", [_ms(timeout)])
            if lock is not None:
                self._connection.execute("SELECT set_config('lock_timeout', %s, false)", [_ms(lock)])
            self._connection.execute(statement)
        finally:
            if not self.is_broken:
                self._connection.execute("RESET statement_timeout")
                self._connection.execute("RESET lock_timeout")

    def cancel(self) -> None:
        """Ask the server to stop what another thread runs here; that thread gets ``QueryCanceled``."""
        self._connection.cancel_safe(timeout=self._lock.total_seconds())

    @contextmanager
    def beside(self) -> Iterator[Session]:
        """Another session like this one, for a look at what this one is busy with.

        Raises:
            psycopg.OperationalError: there is no connection to be had.
        """
        with connect(self.alias, statement=self._statement, lock=self._lock) as other:
            yield other

    @property
    def is_broken(self) -> bool:
        """Whether the server went away: nothing more can be asked."""
        return self._connection.closed

    @property
    def behind_pgbouncer(self) -> bool:
        """Whether somebody else answers for the server: PgBouncer tells clients a backend PID of its own."""
        row = self.rows("SELECT pg_backend_pid() AS pid")[0]
        return bool(row["pid"] != self._connection.info.backend_pid)

    @contextmanager
    def _limited(self, statement: timedelta, *, read_only: bool) -> Iterator[None]:
        nested = self._connection.info.transaction_status != TransactionStatus.IDLE
        with self._connection.transaction():
            if nested:
                # SET LOCAL would outlive the savepoint: the transaction around this one has set its own.
                yield
                return
            limits = [_ms(statement), _ms(min(self._lock, statement)), "on" if read_only else "off"]
            self._connection.execute(_LIMITS, limits)
            yield

    def _cursor(self, factory: Any) -> Any:
        return self._connection.cursor(row_factory=factory)


def _ms(limit: timedelta) -> str:
    return str(max(1, round(limit.total_seconds() * 1000)))


def trusted(text: str) -> sql.SQL:
    """SQL that the host's code or its ORM wrote, as it stands. Never what a request brought."""
    return sql.SQL(text)


def is_postgresql(alias: str) -> bool:
    """Whether that database is PostgreSQL (also under a wrapper such as PostGIS or django-prometheus)."""
    return connections[alias].vendor == "postgresql"


@contextmanager
def connect(alias: str, *, statement: timedelta, lock: timedelta) -> Iterator[Session]:
    """Open a Session on the database ``alias`` for the length of a block.

    Raises:
        psycopg.OperationalError: the server does not answer.
    """
    wrapper: Any = connections[alias]
    params = wrapper.get_connection_params() | {"autocommit": True, "application_name": APPLICATION_NAME}
    role = wrapper.settings_dict["OPTIONS"].get("assume_role")
    with psycopg.connect(**params) as connection:
        # Django has JSON come as text for its own decoders.
        connection.adapters.register_loader("json", JsonLoader)
        connection.adapters.register_loader("jsonb", JsonbLoader)
        if role:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        yield Session(alias, connection, statement, lock)
