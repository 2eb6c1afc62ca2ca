"""Trading sites for the acceptance tests (each module has a database of its own on the session's servers), people of
every kind, and rows for them to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.test import Client
from django.utils import timezone
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


# --- people and rows ------------------------------------------------------------------------------------

#: role → the permissions of a member of the staff
STAFF = {
    "staff": (),
    "viewer": ("view_console",),
    "operator": ("view_console", "run_optimization"),
    "approver": ("view_console", "approve_recommendation"),
    "applier": ("view_console", "approve_recommendation", "apply_recommendation"),
    "watch": ("view_console", "acknowledge_alert", "ban_address"),
}


@pytest.fixture
def person(db):
    """Make somebody with exactly these permissions of ours."""

    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Permission

    def make(name, *permissions, is_staff=True, **more):
        user = get_user_model().objects.create_user(name, is_staff=is_staff, **more)
        found = Permission.objects.filter(content_type__app_label="paiid_perf", codename__in=permissions)
        assert len(found) == len(permissions)
        user.user_permissions.set(found)
        return user

    return make


@pytest.fixture
def client_of(person):
    """A browser signed in in that role; CSRF is enforced as in production."""

    def make(role, **options):
        client = Client(enforce_csrf_checks=True, **options)
        client.cookies["csrftoken"] = "a" * 32
        if role == "anonymous":
            return client
        if role == "superuser":
            client.force_login(person(role, is_superuser=True))
        elif role == "customer":
            client.force_login(person(role, "view_console", "run_optimization", is_staff=False))
        else:
            client.force_login(person(role, *STAFF[role]))
        return client

    return make


@pytest.fixture
def post():
    """POST with the CSRF token that the browser has."""

    def send(client, path, data=None, **more):
        return client.post(path, data or {}, headers={"X-CSRFToken": "a" * 32}, **more)

    return send


@pytest.fixture
def broker(monkeypatch):
    """A Celery broker that takes everything; yields what it was handed."""
    taken = []
    monkeypatch.setattr(
        "paiid_perf.optimization.runner._send", lambda task, *args: taken.append((task, *args)) or True
    )
    return taken


@pytest.fixture
def no_broker(monkeypatch):
    monkeypatch.setattr("paiid_perf.optimization.runner._send", lambda task, *args: False)


def a_recommendation(number=1, **values):
    from paiid_perf.models import Recommendation

    now = timezone.now()
    defaults = {
        "area": "database",
        "kind": "index_create",
        "key": f"public.t (c{number})",
        "fingerprint": f"{number:064d}",
        "title": f"Index public.t (c{number})",
        "why": "Two statements spend 69 ms.",
        "evidence": {"calls": 12, "queries": [{"query": "SELECT 1", "mean_ms": 3.5}]},
        "expected_gain": 0.5,
        "how": f'CREATE INDEX CONCURRENTLY "i{number}" ON "t" ("c{number}")',
        "undo": f'DROP INDEX CONCURRENTLY "i{number}"',
        "migration": "class Migration(migrations.Migration):\n    atomic = False",
        "created_at": now,
        "confirmed_at": now,
        "history": [{"state": "proposed", "at": now.isoformat(), "by": "run", "reason": ""}],
    }
    return Recommendation.objects.create(**defaults | values)


@pytest.fixture
def rec(db):
    """One proposal."""
    return a_recommendation()


@pytest.fixture
def make_rec(db):
    return a_recommendation


@pytest.fixture
def an_alert(db):
    from paiid_perf.models import Alert, AlertRule

    now = timezone.now()
    rule = AlertRule.objects.create(name="slow", metric="api_p95_ms", comparison="above", threshold=500)
    return Alert.objects.create(
        rule=rule,
        severity="critical",
        message="p95 is 900 ms",
        opened_at=now - timedelta(minutes=9),
        seen_at=now,
    )


@pytest.fixture
def a_score(db):
    from paiid_perf.models import Score

    lost = {
        "name": "hits",
        "label": "Cache hit ratio",
        "value": 40.0,
        "target": 95.0,
        "unit": "%",
        "points": 30.0,
        "reason": "",
        "hint": "Warm it.",
    }
    areas = {
        name: {"score": 70.0, "confidence": 1.0, "deductions": [lost]}
        for name in ("database", "api", "cache", "monitoring", "security")
    }
    return Score.objects.create(at=timezone.now(), overall=70.0, confidence=0.9, areas=areas)


@pytest.fixture
def a_run(db):
    from paiid_perf.models import OptimizationRun, PhaseRun

    now = timezone.now()
    run = OptimizationRun.objects.create(
        kind="full",
        status="succeeded",
        trigger="admin",
        created_at=now,
        started_at=now,
        finished_at=now + timedelta(seconds=3),
        progress=1.0,
        step="1 applied, 1 kept",
        changes={"applied": 1, "kept": 1},
    )
    details = {"refused": [{"change": "a (b)", "because": "no statement gets cheaper"}]}
    PhaseRun.objects.create(
        run=run, name="database", position=0, status="succeeded", summary="fine", details=details
    )
    return run
