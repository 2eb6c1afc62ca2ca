"""Trading sites for the acceptance tests: each module has a database of its own on the session's servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from tests.acceptance.stage import Stage

if TYPE_CHECKING:
    from project.embedded import Servers

MakeStage = Callable[..., Stage]


@pytest.fixture(scope="session")
def make_stage(servers: Servers, tmp_path_factory: Any) -> Iterator[MakeStage]:
    """``make_stage(name, redis_database, **environment)``: a loaded site, nothing optimized yet."""
    names: list[str] = []

    def create(name: str) -> str:
        names.append(name)
        return database(servers.database_url, name)

    def directory(name: str) -> Path:
        return Path(tmp_path_factory.mktemp(name))

    def make(name: str, redis_database: int, **environment: str) -> Stage:
        redis_url = f"{servers.redis_url.rstrip('/').removesuffix('/0')}/{redis_database}"
        stage = Stage(create(name), redis_url, directory(name), more=environment)
        stage.prepare()
        return stage

    yield make
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        for name in names:
            connection.execute(drop(name))


def database(server_url: str, name: str) -> str:
    """A new, empty database; its URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(drop(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


def drop(name: str) -> sql.Composed:
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
