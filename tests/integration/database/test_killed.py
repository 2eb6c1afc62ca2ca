"""kill -9 at every change of state: whatever a process leaves, the next run brings to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.utils import timezone

from paiid_perf.conf import Settings, get_settings
from paiid_perf.contracts import ChangeContext
from paiid_perf.database.advisor import advise
from paiid_perf.models import Recommendation
from paiid_perf.optimization import ledger
from tests.integration.database.conftest import SCHEMA

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[3]
QUERY = f"SELECT * FROM {SCHEMA}.orders WHERE customer_id = 7 ORDER BY at DESC LIMIT 5"
TABLE = (
    "CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, at timestamptz, note text)",
    "INSERT INTO orders (customer_id, at, note) SELECT i % 2000, timestamptz '2025-01-01' + i * interval '1 min', "
    "repeat('x', 60) FROM generate_series(1, 30000) i",
)
PARTED = (
    "CREATE TABLE orders (id bigint, customer_id int, at timestamptz NOT NULL, note text) PARTITION BY RANGE (at)",
    "CREATE TABLE orders_a PARTITION OF orders FOR VALUES FROM ('2025-01-01') TO ('2025-01-10')",
    "CREATE TABLE orders_b PARTITION OF orders FOR VALUES FROM ('2025-01-10') TO ('2025-02-01')",
    TABLE[1].replace("(customer_id, at, note) SELECT", "SELECT i,"),
)

#: What the process does that is killed: it carries a change out, and dies at the place that it is told.
DOOMED = """
import os, signal, sys, threading
from dataclasses import replace
import django
django.setup()
from django.db import connection
from django.utils import timezone
from paiid_perf.conf import get_settings
from paiid_perf.contracts import ChangeContext
from paiid_perf.database.actions import indexes as actions
from paiid_perf.models import Recommendation
from paiid_perf.optimization import ledger

place, pk, gain = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def then_die(work):
    def both(*args, **kwargs):
        work(*args, **kwargs)
        die()
    return both

def die_while_building():
    pause = threading.Event()
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indexrelid::regclass::text ~ 'pf_'")
            if cursor.fetchone()[0]:
                die()
            pause.wait(0.01)

if place == "building":
    threading.Thread(target=die_while_building, daemon=True).start()
elif place == "measured":
    actions.create = die
elif place == "built":
    actions.create = then_die(actions.create)
elif place == "one part built":
    actions._persist = then_die(actions._persist)
elif place == "verifying":
    ledger._judge = die
elif place == "reverting":
    actions.drop = then_die(actions.drop)
settings = replace(get_settings(), VERIFY="replay", MIN_GAIN=gain)
ledger.carry_out(Recommendation.objects.get(pk=pk), ChangeContext(settings, timezone.now()), ledger.Tally())
"""


def killed(place: str, rec: Recommendation, settings: Settings) -> None:
    """Carry the change out in another process, which dies at that place."""
    params = connection.get_connection_params()
    who = f"{quote(str(params.get('user', '')))}:{quote(str(params.get('password') or ''))}"
    url = f"postgresql://{who}@{params['host']}:{params['port']}/{connection.settings_dict['NAME']}"
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "REDIS_URL": "",
        "DJANGO_SETTINGS_MODULE": django_settings.SETTINGS_MODULE,
    }
    died = subprocess.run(
        [sys.executable, "-c", DOOMED, place, str(rec.pk), str(settings.MIN_GAIN)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr


@pytest.fixture
def proposed(plant: Callable[..., list[Any]]) -> Callable[..., Recommendation]:
    def propose(*tables: str) -> Recommendation:
        plant(*tables, "VACUUM ANALYZE orders", "SELECT pg_stat_statements_reset()", *[QUERY] * 6)
        found = [p for p in advise(chosen(), now=timezone.now(), candidates=()).proposals if SCHEMA in p.key]
        (pk,) = ledger.propose(found, now=timezone.now(), settings=chosen())
        return Recommendation.objects.get(pk=pk)

    return propose


def chosen(gain: float = 0.1) -> Settings:
    return replace(get_settings(), VERIFY="replay", MIN_GAIN=gain)


def next_run(settings: Settings) -> None:
    """What the runner does with the ledger."""
    now = timezone.now()
    ledger.recover(ChangeContext(settings, now))
    terms = ledger.Terms(settings, apply=True)
    ledger.settle(
        "database",
        terms,
        timezone.now,
        tally=ledger.Tally(),
        progress=lambda fraction, step: None,
        out_of_time=lambda: False,
    )


def indexes(plant: Callable[..., list[Any]]) -> list[tuple[str, bool]]:
    """Ours on the planted tables, and whether they are valid."""
    return plant(
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        f"WHERE c.relnamespace = '{SCHEMA}'::regnamespace AND c.relname LIKE 'pf\\_%' ORDER BY 1"
    )


@contextmanager
def held(another: Callable[[], Any]) -> Iterator[None]:
    """Somebody writes to the table and does not commit: a build waits for that."""
    other = another()
    with other.transaction():
        other.execute("LOCK TABLE orders IN ROW EXCLUSIVE MODE")
        yield


@pytest.mark.parametrize("place", ["measured", "built", "verifying"])
def test_killed_before_it_was_judged(
    place: str, proposed: Callable[..., Recommendation], plant: Callable[..., list[Any]]
) -> None:
    rec = proposed(*TABLE)
    killed(place, rec, chosen())
    rec.refresh_from_db()
    assert rec.state == ("verifying" if place == "verifying" else "applying")
    next_run(chosen())
    rec.refresh_from_db()
    assert (rec.state, indexes(plant)) == ("kept", [(rec.payload["name"], True)]), rec.outcome


def test_killed_while_taking_it_back(
    proposed: Callable[..., Recommendation], plant: Callable[..., list[Any]]
) -> None:
    rec = proposed(*TABLE)
    killed("reverting", rec, chosen(2.0))
    rec.refresh_from_db()
    assert (rec.state, indexes(plant)) == ("verifying", [])
    next_run(chosen(2.0))
    rec.refresh_from_db()
    assert (rec.state, indexes(plant)) == ("reverted", [])


def test_killed_while_building_and_the_server_gave_up(
    proposed: Callable[..., Recommendation],
    plant: Callable[..., list[Any]],
    another: Callable[[], Any],
    until: Callable[[Callable[[], Any]], Any],
) -> None:
    rec = proposed(*TABLE)
    with held(another):
        killed("building", rec, chosen())
        ours = "FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND application_name = 'paiid_perf'"
        plant(f"SELECT pg_terminate_backend(pid) {ours}")
        until(lambda: plant(f"SELECT count(*) {ours}") == [(0,)])
        assert indexes(plant) == [(rec.payload["name"], False)]
    next_run(chosen())
    rec.refresh_from_db()
    assert (rec.state, indexes(plant)) == ("kept", [(rec.payload["name"], True)]), rec.outcome


def test_killed_while_building_and_the_server_goes_on(
    proposed: Callable[..., Recommendation],
    plant: Callable[..., list[Any]],
    another: Callable[[], Any],
    until: Callable[[Callable[[], Any]], Any],
) -> None:
    rec = proposed(*TABLE)
    with held(another):
        killed("building", rec, chosen())
        ledger.recover(ChangeContext(chosen(), timezone.now()))
        assert indexes(plant) == [(rec.payload["name"], False)], "it is still being built"
    until(lambda: indexes(plant) == [(rec.payload["name"], True)])
    until(
        lambda: (
            plant("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1885763633")
            == [(0,)]
        )
    )
    next_run(chosen())
    rec.refresh_from_db()
    assert (rec.state, indexes(plant)) == ("kept", [(rec.payload["name"], True)]), rec.outcome


def test_killed_between_two_partitions(
    proposed: Callable[..., Recommendation], plant: Callable[..., list[Any]]
) -> None:
    rec = proposed(*PARTED)
    killed("one part built", rec, chosen())
    name = rec.payload["name"]
    assert indexes(plant) == [(name, False), (f"{name}_orders_a", True)]
    ledger.recover(ChangeContext(chosen(), timezone.now()))
    assert indexes(plant) == [], "no part is left behind"
    next_run(chosen())
    rec.refresh_from_db()
    assert (rec.state, {valid for _, valid in indexes(plant)}) == ("kept", {True}), rec.outcome
