"""``perf advise`` on a database in which nothing of ours was ever migrated, as a role that may only read."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection, connections

from paiid_perf.telemetry import samples

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[3]
BARE, READER = f"bare_{os.getpid()}", f"reader_{os.getpid()}"
TABLES = """
CREATE EXTENSION pg_stat_statements;
CREATE TABLE plain (id bigserial PRIMARY KEY, who int, at timestamptz, note text);
INSERT INTO plain (who, at, note) SELECT i % 2000, timestamptz '2025-01-01' + i * interval '1 min', repeat('x', 60)
  FROM generate_series(1, 30000) i;
CREATE SCHEMA "Sales";
CREATE TABLE "Sales"."Order  Lines" ("Id" serial PRIMARY KEY, "Customer; Id" int, "note" text);
INSERT INTO "Sales"."Order  Lines" ("Customer; Id", "note") SELECT i % 3000, md5(i::text)
  FROM generate_series(1, 30000) i;
CREATE TABLE parted (id bigint, kind int, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES FROM ('2025-01-01') TO ('2025-07-01');
CREATE TABLE "Sales".parted_b PARTITION OF parted FOR VALUES FROM ('2025-07-01') TO ('2026-01-01');
INSERT INTO parted SELECT i, i % 2000, date '2025-01-01' + i % 360 FROM generate_series(1, 40000) i;
CREATE VIEW recent AS SELECT id, note AS remark FROM plain WHERE at > '2025-01-01';
CREATE MATERIALIZED VIEW totals AS SELECT id, who, md5(note || id) AS mark FROM plain;
"""
QUERIES = (
    "SELECT * FROM plain WHERE who = 7 ORDER BY at DESC LIMIT 5",
    'SELECT "note" FROM "Sales"."Order  Lines" WHERE "Customer; Id" = 7',
    "SELECT * FROM parted WHERE kind = 7",
    "SELECT who FROM totals WHERE mark = md5('7')",
    "SELECT count(*) FROM recent r JOIN totals t ON t.id = r.id WHERE t.who = 9",
)


@contextmanager
def client(database: str, **params: Any) -> Iterator[psycopg.Connection[Any]]:
    base = connection.get_connection_params()
    kept = {k: base[k] for k in ("host", "port", "user", "password") if k in base}
    with psycopg.connect(**kept | {"dbname": database} | params, autocommit=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def bare(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """A database of somebody else's, with a workload behind it; yields the URL of a role that may only read it."""
    with django_db_blocker.unblock(), client(connection.settings_dict["NAME"]) as host:
        host.execute(f"CREATE DATABASE {BARE}")  # type: ignore[call-overload]
        host.execute(f"CREATE ROLE {READER} LOGIN PASSWORD 'reads'; GRANT pg_read_all_data TO {READER}")  # type: ignore[call-overload]
        try:
            with client(BARE) as db:
                db.execute(TABLES)
                db.execute("VACUUM ANALYZE")
                for query in QUERIES * 6:
                    db.execute(query)
            params = connection.get_connection_params()
            where = f"{params.get('host', '127.0.0.1')}:{params.get('port', 5432)}"
            yield f"postgresql://{READER}:reads@{where}/{BARE}"
        finally:
            host.execute(f"DROP DATABASE {BARE} WITH (FORCE)")  # type: ignore[call-overload]
            host.execute(f"DROP ROLE {READER}")  # type: ignore[call-overload]


@pytest.fixture
def elsewhere(bare: str) -> Iterator[str]:
    """The bare database as an alias of this project, and its name."""
    reader = {"NAME": BARE, "USER": READER, "PASSWORD": "reads"}
    connections.settings["elsewhere"] = {**connections.settings["default"], **reader}
    yield "elsewhere"
    connections["elsewhere"].close()
    del connections["elsewhere"], connections.settings["elsewhere"]


@pytest.fixture
def all_texts(bare: str) -> Iterator[None]:
    """The reader may see the statements of other roles."""
    with client(BARE) as db:
        db.execute(f"GRANT pg_read_all_stats TO {READER}")  # type: ignore[call-overload]
        yield
        db.execute(f"REVOKE pg_read_all_stats FROM {READER}")  # type: ignore[call-overload]


def advise(*arguments: str) -> str:
    out = io.StringIO()
    call_command("perf", "advise", *arguments, stdout=out)
    return out.getvalue()


def json_of(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(advise(*arguments, "--format", "json"))
    return found


def test_the_command_as_a_person_types_it_prints_statements_that_run(bare: str, all_texts: None) -> None:
    environment = {
        **os.environ,
        "DATABASE_URL": bare,
        "REDIS_URL": "",
        "DJANGO_SETTINGS_MODULE": django_settings.SETTINGS_MODULE,
    }
    said = subprocess.run(
        [sys.executable, "manage.py", "perf", "advise", "--format", "sql", "--fail-on-recommendations"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.returncode == 1, said.stderr
    lines = said.stdout.splitlines()
    assert all(line.startswith(("CREATE INDEX ", "ALTER INDEX ")) and line.endswith(";") for line in lines)
    tables = {t for t in ('"plain"', '"Order  Lines"', '"parted"', '"totals"') if any(t in s for s in lines)}
    assert len(tables) == 4, lines
    with client(BARE) as db:
        for line in lines:
            db.execute(line)  # type: ignore[call-overload]
        invalid = db.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid").fetchall()
        made = db.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relname LIKE 'pf\\_%' AND NOT relispartition"
        ).fetchall()
        db.execute(f"DROP INDEX {', '.join(name for (name,) in made)}")  # type: ignore[call-overload]
    assert invalid == []
    assert len(made) >= 4


def test_every_format_is_printed_and_nothing_is_written(elsewhere: str, all_texts: None) -> None:
    texts = {form: advise("--database", elsewhere, "--format", form) for form in ("text", "migration", "sql")}
    found = json_of("--database", elsewhere)
    assert len(found["recommendations"]) >= 4
    for recommendation in found["recommendations"]:
        assert recommendation["statement"].splitlines()[0] in texts["text"]
        assert recommendation["statement"].splitlines()[0] in texts["migration"]
        assert recommendation["queries"]
        assert recommendation["size_bytes"] > 0
        assert recommendation["reasons"]
    assert [r for r in found["refused"] if r["because"]]
    assert found["workload"]["source"] == "pg_stat_statements"
    with client(BARE) as db:
        ours = db.execute("SELECT relname FROM pg_class WHERE relname ~ '^(pf_|paiid_perf)'").fetchall()
    assert ours == []


def test_statements_of_other_roles_that_may_not_be_seen_are_told(elsewhere: str) -> None:
    found = json_of("--database", elsewhere)
    assert found["recommendations"] == []
    assert any("pg_read_all_stats" in note for note in found["notes"])


def test_a_workload_may_come_from_a_file(elsewhere: str, tmp_path: Path) -> None:
    file = tmp_path / "app.sql"
    file.write_text(
        f"-- calls=900 mean_ms=4\n{QUERIES[0]};\n{QUERIES[1]} /* calls=700 */;\n"
        "-- a comment; with a mark\nVACUUM plain;\n"
    )
    found = json_of("--database", elsewhere, "--workload", str(file))
    assert found["workload"]["source"] == "file"
    assert found["workload"]["left_out"] == {"utility statement": 1}
    keys = [r["key"] for r in found["recommendations"]]
    assert any(k.startswith("public.plain (who") for k in keys), found
    assert any(k.startswith("Sales.Order  Lines (Customer; Id") for k in keys), found
    calls = {q["calls"] for r in found["recommendations"] for q in r["queries"]}
    assert calls == {900, 700}


def test_a_workload_may_come_from_standard_input(elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("-- calls=1000\n" + QUERIES[0]))
    found = json_of("--database", elsewhere, "--workload", "-")
    assert [r["table"] for r in found["recommendations"]] == ["public.plain"]


def test_without_pg_stat_statements_what_the_app_sampled_is_the_workload(
    elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paiid_perf.database.facts.workload.counters", lambda session: None)
    seen = [samples.Sample("SELECT * FROM plain WHERE who = %s AND note <> 'a%%'", (n,)) for n in range(5)]
    monkeypatch.setattr(samples, "read", lambda: seen)
    found = json_of("--database", elsewhere)
    assert found["workload"]["source"] == "samples"
    assert found["workload"]["calls"] == 5
    assert [r["table"] for r in found["recommendations"]] == ["public.plain"]
    assert "shared_preload_libraries" in found["notes"][0]


def test_nothing_to_do_is_no_failure(elsewhere: str) -> None:
    assert advise("--database", elsewhere, "--format", "sql", "--fail-on-recommendations") == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--database", "nowhere"), "there is no database 'nowhere'"),
        (("--database", "lite"), "'lite' is SQLite"),
        (("--workload", "/no/such/file.sql"), "cannot be read"),
        (("--workload", os.devnull), "no statement"),
        (("--storage-budget-mb", "0"), "not more than 0"),
        (("--storage-budget-mb", "much"), "invalid"),
        (("--max-width", "0"), "not more than 0"),
        (("--time-limit", "-1"), "not more than 0"),
        (("--time-limit", "nan"), "not more than 0"),
    ],
)
def test_what_cannot_be_meant_is_told(arguments: tuple[str, ...], said: str) -> None:
    connections.settings["lite"] = {**connections.settings["default"], "ENGINE": "django.db.backends.sqlite3"}
    try:
        with pytest.raises(CommandError, match=said) as error:
            advise(*arguments)
        assert error.value.returncode in {1, 2}
    finally:
        del connections.settings["lite"]
