"""A stage for acceptance tests: the trading site with a database of its own, its commands and its traffic.

Everything here is real: PostgreSQL, Valkey, gunicorn, Celery, and ``manage.py`` in processes of its own. Each wait
has a deadline.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from redis import Redis

from project.embedded import ROOT, Servers, free_port
from project.trading import loader, site, traffic

T = TypeVar("T")

#: Large enough that an index pays, small enough to be loaded in a second.
SCALE = 0.02
POLICIES = {
    "PAIID_PERF_POLICY": "auto",
    "PAIID_PERF_VERIFY": "replay",
    "PAIID_PERF_QUERY_SAMPLE_RATE": "0.2",
    "PAIID_PERF_PERFORMANCE_HEADERS": "all",
}
COMMAND_SECONDS = 110

#: Migrate, load, make accounts: what the demo does first. Tells the sessions of its users.
PREPARE = """
import io, json, sys
from pathlib import Path
import django
django.setup()
from project.trading.demo import Demo, Options
demo = Demo(Options(float(sys.argv[1]), 1, Path(sys.argv[2]), 0, sys.stderr))
demo.prepare()
print(json.dumps(demo.sessions))
"""


@dataclass
class Stage:
    """A trading site on a database."""

    database_url: str
    redis_url: str
    directory: Path
    sessions: dict[int, str] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What the site's processes are told."""
        servers = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        settings = {"DJANGO_SETTINGS_MODULE": "project.settings", "PAIID_PERF_VAR": str(self.directory)}
        return {**os.environ, **POLICIES, **settings, **servers, **self.more}

    def prepare(self) -> None:
        """Migrate and load."""
        self.directory.mkdir(parents=True, exist_ok=True)
        done = self.run("-c", PREPARE, str(SCALE), str(self.directory))
        assert done.returncode == 0, done.stderr
        self.sessions = {int(user): session for user, session in json.loads(done.stdout).items()}

    # --- commands ------------------------------------------------------------------------------------

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A Python process of the site."""
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        """End what a test that failed has left at work."""
        for process in self.started:
            if process.returncode is None:
                process.kill()
                process.communicate()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same, ended (TimeoutExpired where it hangs)."""
        return ended(self.start(*words))

    def perf(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``manage.py perf …``."""
        return self.run("manage.py", "perf", *words)

    def start_perf(self, *words: str) -> subprocess.Popen[str]:
        """``manage.py perf …``, at work."""
        return self.start("manage.py", "perf", *words)

    # --- the database, past Django --------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Autocommit, so that it holds up no ``CONCURRENTLY``."""
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as connection:
            yield connection

    def rows(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """What the database says."""
        with self.connection() as connection:
            return connection.execute(statement, params or None).fetchall()  # type: ignore[arg-type]

    def runs(self) -> list[tuple[int, str, str]]:
        """Every run: number, status, error."""
        return self.rows("SELECT id, status, error FROM paiid_perf_optimizationrun ORDER BY id")

    def changes(self) -> list[tuple[str, str, str]]:
        """The ledger: kind, key, state."""
        return self.rows(
            "SELECT kind, key, state FROM paiid_perf_recommendation WHERE kind <> 'advice' ORDER BY 1, 2, 3"
        )

    def invalid_indexes(self) -> list[str]:
        """What a killed build leaves."""
        return [name for (name,) in self.rows(INVALID)]

    def builds(self) -> list[int]:
        """The server processes that build an index now."""
        return [pid for (pid,) in self.rows(BUILDS)]

    def belongings(self) -> dict[str, Any]:
        """What a run could change: the indexes, the materialized views, the number of rows of each host table."""
        tables = [name for (name,) in self.rows(HOST_TABLES)]
        return {
            "indexes": self.rows("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"),
            "views": self.rows("SELECT matviewname, definition FROM pg_matviews ORDER BY 1"),
            "rows": {name: self._count(name) for name in tables},
        }

    def drop_index(self, name: str) -> None:
        with self.connection() as connection:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))

    def _count(self, table: str) -> int:
        with self.connection() as connection:
            count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            row = connection.execute(count).fetchone()
        assert row is not None
        return int(row[0])

    @contextmanager
    def holding_up_builds(self) -> Iterator[None]:
        """A writing transaction on the busiest tables that stays open: index builds wait for it."""
        with psycopg.connect(self.database_url, connect_timeout=5) as connection:
            connection.execute("LOCK TABLE trading_pricetick, trading_order IN ROW EXCLUSIVE MODE")
            yield
            with suppress(psycopg.OperationalError):  # the server may have been killed meanwhile
                connection.rollback()

    # --- serving --------------------------------------------------------------------------------------

    @contextmanager
    def serving(self, *, act: bool = True, workers: int = 1) -> Iterator[int]:
        """gunicorn with the site; yields its port."""
        port = free_port()
        web = self._as_ours(site.web(self.directory, port, act=act, workers=workers))
        web.start()
        try:
            site.wait_until_serving(web, f"http://127.0.0.1:{port}/api/optimization/health")
            yield port
        finally:
            web.stop()

    @contextmanager
    def working(self) -> Iterator[site.Process]:
        """A Celery worker with beat."""
        worker = self._as_ours(site.worker(self.directory, act=True))
        worker.start()
        try:
            yield worker
        finally:
            worker.stop()

    def _as_ours(self, process: site.Process) -> site.Process:
        act = process.environment["PAIID_PERF_ACT"]
        return replace(process, environment={**self.environment, "PAIID_PERF_ACT": act})

    def use(self, requests: int = 300) -> None:
        """Let people use the site for a while, as it was written: a workload to advise on."""
        with self.serving(act=False) as port:
            planned = traffic.plan(1, loader.Size.of(SCALE), requests)
            outcome = traffic.send(planned, port, self.sessions)
        assert outcome.errors == 0


@contextmanager
def stage_on(
    servers: Servers, name: str, redis_database: int, directory: Path, **environment: str
) -> Iterator[Stage]:
    """A loaded site on servers that others use, too; its database is dropped at the end of the block."""
    url = urlunsplit(urlsplit(servers.database_url)._replace(path=f"/{name}"))
    redis_url = f"{servers.redis_url.rstrip('/').removesuffix('/0')}/{redis_database}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        database = sql.Identifier(name)
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database)
        connection.execute(drop)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
        try:
            with Redis.from_url(redis_url) as client:
                client.flushdb()
            stage = Stage(url, redis_url, directory, more=environment)
            with closing(stage):
                stage.prepare()
                yield stage
        finally:
            connection.execute(drop)


INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
BUILDS = "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database()"
HOST_TABLES = """
SELECT tablename FROM pg_tables
 WHERE schemaname = 'public' AND (tablename LIKE 'trading%' OR tablename LIKE 'auth%') ORDER BY 1
"""


def ended(
    process: subprocess.Popen[str], seconds: float = COMMAND_SECONDS
) -> subprocess.CompletedProcess[str]:
    """What the process said, once it has ended; it is killed where it does not in time."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 90) -> T:
    """The first answer of ``look`` that is true; it looks ever less often, so that nobody is limited for asking."""
    deadline = time.monotonic() + seconds
    pause, rest = threading.Event(), 0.02
    while time.monotonic() < deadline:
        if found := look():
            return found
        pause.wait(rest)
        rest = min(0.3, 1.2 * rest)
    raise AssertionError(f"{what}: not within {seconds:g} s")


# --- HTTP ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of one answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    port: int,
    path: str,
    *,
    method: str = "GET",
    body: str | None = None,
    timeout: float = 100,
    **headers: str,
) -> Answer:
    """One request on a connection of its own; ``User_Agent="x"`` is the header ``User-Agent``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


class Crowd:
    """People who use the site without a break, in the background, until the block ends."""

    def __init__(self, port: int, sessions: dict[int, str], seed: int = 2) -> None:
        self._gone = threading.Event()
        self._drawn = 0
        self._thread = threading.Thread(target=self._visit, args=(port, sessions, seed))
        self.outcome = traffic.Outcome()

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._gone.set()
        self._thread.join()

    def wait_for(self, requests: int, seconds: float = 30) -> None:
        """Until so many more requests have been sent."""
        wanted = self._drawn + requests
        wait_for(f"{requests} more requests", lambda: self._drawn >= wanted, seconds)

    def _visit(self, port: int, sessions: dict[int, str], seed: int) -> None:
        endless = traffic.requests(seed, loader.Size.of(SCALE))
        drawn = itertools.takewhile(lambda _: not self._gone.is_set(), endless)
        self.outcome = traffic.send(drawn, port, sessions, report=self._count)  # type: ignore[arg-type]

    def _count(self, requests: int) -> None:
        self._drawn += requests
