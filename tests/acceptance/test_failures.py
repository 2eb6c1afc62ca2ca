"""Servers and processes killed at work: people who use the site notice no more than what it cannot answer, every
run ends with its reason, and the next one puts right what is half done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from project.embedded import Postgres, Valkey, start_postgres, start_valkey
from project.trading.loader import FIRST_USER
from tests.acceptance.stage import Answer, Crowd, Stage, ask, ended, wait_for

pytestmark = pytest.mark.timeout(400)

#: Kept for an hour, the same for everybody.
KEPT = "/api/instruments/"
#: 60 a minute for each user.
LIMITED = "/api/portfolios/1/insights/"
OWN = "/api/portfolios/1/"
HEALTH = "/api/optimization/health"
STATIC = "/static/paiid_perf/console.css"
#: ``manage.py`` in a process that waits less long for its database than people would.
IMPATIENT = """
import sys
import django
from django.core.management import execute_from_command_line
django.setup()
from paiid_perf.optimization import runner
runner.DATABASE_PATIENCE_SECONDS = 2.0
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""
#: As if the last run were long ago (INDEX_REST).
THEIR_TABLES_HAVE_RESTED = """
UPDATE paiid_perf_recommendation SET applied_at = applied_at - interval '1 day'
 WHERE applied_at IS NOT NULL RETURNING id
"""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = start_postgres(tmp_path_factory.mktemp("postgres"), options={"fsync": "off"})
    yield server
    server.stop()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = start_valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stage(postgres: Postgres, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with closing(Stage(postgres.url, valkey.url, tmp_path_factory.mktemp("site"))) as stage:
        stage.prepare()
        stage.use()
        yield stage


@pytest.fixture(scope="module")
def port(stage: Stage) -> Iterator[int]:
    with stage.serving() as port:
        yield port


def signed_in(stage: Stage, port: int, path: str) -> Answer:
    """Asked by the first trader."""
    return ask(port, path, Cookie=f"sessionid={stage.sessions[FIRST_USER + 1]}")


def is_kept(answer: Answer) -> bool:
    return answer.status == 200 and answer.headers.get("X-Cache") == "HIT"


# --- Valkey ----------------------------------------------------------------------------------------------


def test_nobody_sees_an_error_while_valkey_is_away_and_what_it_did_comes_back(
    stage: Stage, port: int, valkey: Valkey
) -> None:
    with Crowd(port, stage.sessions) as crowd:
        wait_for("an answer from the cache", lambda: is_kept(ask(port, KEPT)))
        crowd.wait_for(50)

        valkey.kill()
        crowd.wait_for(100)
        away, health = ask(port, KEPT), ask(port, HEALTH)

        valkey.start()
        crowd.wait_for(50)
        wait_for("an answer from the cache", lambda: is_kept(ask(port, KEPT)))
        wait_for("a limit", lambda: signed_in(stage, port, LIMITED).status == 429)
        wait_for("good health", lambda: ask(port, HEALTH).json == {"status": "ok"})

    assert (away.status, away.headers.get("X-Cache"), away.headers.get("RateLimit")) == (200, None, None)
    assert (health.status, health.json) == (200, {"status": "degraded"})
    assert crowd.outcome.errors == 0
    assert crowd.outcome.requests >= 200
    assert crowd.outcome.writes


def test_a_run_without_valkey_ends(stage: Stage, valkey: Valkey) -> None:
    valkey.kill()
    try:
        done = stage.perf("run", "--quick")
    finally:
        valkey.start()

    number, status, error = stage.runs()[-1]
    assert f"Run #{number} {status}" in done.stdout
    assert (done.returncode, status) == (0, "succeeded"), error


# --- PostgreSQL ------------------------------------------------------------------------------------------


def test_postgres_killed_under_a_run_and_started_again(stage: Stage, port: int, postgres: Postgres) -> None:
    assert ask(port, KEPT).status == ask(port, KEPT).status == 200
    with stage.holding_up_builds():
        running = stage.start_perf("run", "--full")
        wait_for("an index under construction", stage.builds)
        postgres.kill()
    kept = [ask(port, KEPT), signed_in(stage, port, KEPT)]
    static, health, own = ask(port, STATIC), ask(port, HEALTH), signed_in(stage, port, OWN)
    postgres.start()
    done = ended(running, 60)

    assert [is_kept(answer) for answer in kept] == [True, True]
    assert (static.status, own.status) == (200, 500)
    assert (health.status, health.json) == (503, {"status": "down"})
    number, status, error = stage.runs()[-1]
    assert (done.returncode, status) == (1, "partial")
    assert f"Run #{number} partial" in done.stdout
    assert error.startswith("database: OperationalError: ")


def test_the_site_is_back_as_soon_as_postgres_is(stage: Stage, port: int) -> None:
    with Crowd(port, stage.sessions, seed=3) as crowd:
        crowd.wait_for(100)

    assert crowd.outcome.errors == 0
    assert ask(port, HEALTH).status == 200  # degraded, maybe: the errors have used up the budget


def test_postgres_killed_under_a_run_for_good(stage: Stage, postgres: Postgres) -> None:
    """The next run finds it, and the half-built index of the one before."""
    assert stage.invalid_indexes()
    before = len(stage.runs())
    running = stage.start("-c", IMPATIENT, "perf", "run", "--full")
    wait_for("the run", lambda: [run for run in stage.runs()[before:] if run[1] == "running"])
    postgres.kill()
    done = ended(running, 60)
    postgres.start()

    assert done.returncode == 1, done
    assert "CommandError: the database does not answer: " in done.stderr
    the_next_run_puts_it_right(stage, before)


# --- the run itself --------------------------------------------------------------------------------------


def test_a_run_killed_half_way(stage: Stage) -> None:
    """Here: while it builds an index, which stays invalid."""
    for (index,) in stage.rows("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'pf\\_%%'"):
        stage.drop_index(index)
    stage.rows(THEIR_TABLES_HAVE_RESTED)
    stage.use(150)
    before = len(stage.runs())
    with stage.holding_up_builds():
        running = stage.start_perf("run", "--full")
        wait_for("an index under construction", stage.builds)
        running.kill()
        assert ended(running).returncode < 0
        wait_for("the end of its build", lambda: not stage.builds())
    assert stage.invalid_indexes()

    the_next_run_puts_it_right(stage, before)


def the_next_run_puts_it_right(stage: Stage, before: int) -> None:
    assert [status for _, status, _ in stage.runs()[before:]] == ["running"]

    done = stage.perf("run", "--full")

    assert done.returncode == 0, done
    (_, dead, reason), (_, status, _) = stage.runs()[before:]
    assert (dead, reason, status) == ("interrupted", "its process died", "succeeded")
    assert stage.invalid_indexes() == []
    assert "applying" not in {state for _, _, state in stage.changes()}
