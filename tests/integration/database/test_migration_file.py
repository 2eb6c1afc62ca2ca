"""The migration that ``perf advise`` prints, in a project of its own: no drift, and what is there is kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

DATABASE = f"adopting_{os.getpid()}"
MODELS = """
from django.db import models


class Order(models.Model):
    customer = models.IntegerField()
    name = models.TextField()
    total = models.IntegerField()
    at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True)

    class Meta:
        indexes = []
"""
#: The project's settings and command line in one. It takes several commands, a comma between them.
MANAGE = """
import itertools, sys
from django.conf import settings
from django.core.management import execute_from_command_line
settings.configure(
    INSTALLED_APPS=["paiid_perf", "django.contrib.auth", "django.contrib.contenttypes", "shop"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **%r}},
    USE_TZ=True,
)
for is_comma, words in itertools.groupby(sys.argv[1:], ",".__eq__):
    print("\\0", end="") if is_comma else execute_from_command_line(["manage.py", *words])
"""
ROWS = """
INSERT INTO shop_order (customer, name, total, at, paid_at)
SELECT i % 2000, 'name ' || i, i % 10000, timestamptz '2025-01-01' + i * interval '1 min',
       CASE WHEN i % 40 > 0 THEN timestamptz '2025-06-01' END
  FROM generate_series(1, 40000) i
"""
QUERIES = (
    "SELECT * FROM shop_order WHERE customer = 7 ORDER BY at DESC LIMIT 5",
    "SELECT id FROM shop_order WHERE UPPER(name) = UPPER('name 9')",
    "SELECT id FROM shop_order WHERE paid_at IS NULL AND total > 9990",
)


@contextmanager
def client(database: str) -> Iterator[psycopg.Connection[Any]]:
    base = connection.get_connection_params()
    kept = {k: base[k] for k in ("host", "port", "user", "password") if k in base}
    with psycopg.connect(**kept | {"dbname": database}, autocommit=True) as opened:
        yield opened


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    """A project with one app, an empty database, and nothing migrated."""
    (tmp_path / "shop" / "migrations").mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "migrations" / "__init__.py").touch()
    (tmp_path / "shop" / "models.py").write_text(MODELS)
    told = {key: connection.settings_dict[key] for key in ("HOST", "PORT", "USER", "PASSWORD") if key} | {
        "NAME": DATABASE
    }
    (tmp_path / "manage.py").write_text(MANAGE % told)
    with client(connection.settings_dict["NAME"]) as host:
        host.execute(f"CREATE DATABASE {DATABASE}")  # type: ignore[call-overload]
        yield tmp_path
        host.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")  # type: ignore[call-overload]


def manage(project: Path, *commands: str) -> list[str]:
    """What each of the commands printed."""
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("DJANGO_", "DATABASE_", "REDIS_"))
    }
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "manage.py", *" , ".join(commands).split()],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout.split("\0")


def written(project: Path, told: str) -> None:
    """Do by hand what the output asks for: the files, and the lines in the model's Meta."""
    *files, meta = re.split(r"^# (?=shop/|add to Meta)", told, flags=re.MULTILINE)[1:]
    for file in files:
        name, _, text = file.partition("\n")
        (project / name).write_text(text)
    imports, indexes = "\n".join(line.removeprefix("# ") for line in meta.splitlines()[1:]).split(
        "indexes = "
    )
    models = (project / "shop" / "models.py").read_text()
    (project / "shop" / "models.py").write_text(
        imports + models.replace("indexes = []", f"indexes = {indexes}")
    )


def indexes(db: psycopg.Connection[Any]) -> dict[str, int]:
    rows = db.execute(
        "SELECT c.relname, c.oid::int FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = 'shop_order'::regclass AND i.indisvalid AND NOT i.indisprimary"
    )
    return dict(rows.fetchall())


def test_it_leaves_nothing_to_make_adopts_what_is_there_and_can_be_undone(shop: Path) -> None:
    manage(shop, "makemigrations shop", "migrate shop")
    with client(DATABASE) as db:
        db.execute("CREATE EXTENSION pg_stat_statements")
        db.execute(ROWS)
        db.execute("VACUUM ANALYZE")
        for query in QUERIES * 6:
            db.execute(query)
        told, script = manage(shop, "perf advise --format migration", "perf advise --format sql")
        for statement in script.splitlines():
            db.execute(statement)  # type: ignore[call-overload]
        built = indexes(db)
        assert len(built) >= 2, told

        written(shop, told)
        manage(shop, "makemigrations --check --dry-run shop", "migrate shop")
        assert indexes(db) == built

        manage(shop, "migrate shop 0001", "migrate shop")
        assert indexes(db).keys() == built.keys()
        assert not set(indexes(db).values()) & set(built.values())
