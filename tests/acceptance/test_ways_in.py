"""The ways in to the runner, on real processes: the command, the JSON API, a Celery worker, beat.

Who may do what through the JSON API, and what a caller that errs is told, is in test_http.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.stage import Answer, Stage, ask, stage_on, wait_for

if TYPE_CHECKING:
    from project.embedded import Servers
    from project.trading.site import Process

pytestmark = pytest.mark.timeout(400)
TOKEN = "a token of this test"
BASE = "/api/optimization"
PHASES = ["database", "api", "cache", "monitoring", "security"]
#: What Celery's worker knows and what beat would send it.
KNOWN_AND_SENT = """
import json
from project.celery import app
app.loader.import_default_modules()
print(json.dumps([sorted(app.tasks), sorted(entry["task"] for entry in app.conf.beat_schedule.values())]))
"""


@pytest.fixture(scope="module")
def stage(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    rights = {hashlib.sha256(TOKEN.encode()).hexdigest(): ["run", "view"]}
    tokens = {"PAIID_PERF_API_TOKENS": json.dumps(rights)}
    with stage_on(servers, "acceptance_ways_in", 8, tmp_path_factory.mktemp("site"), **tokens) as stage:
        yield stage


@pytest.fixture(scope="module")
def port(stage: Stage) -> Iterator[int]:
    with stage.serving() as port:
        yield port


@pytest.fixture(scope="module")
def worker(stage: Stage) -> Iterator[Process]:
    with stage.working() as worker:
        yield worker


def post(port: int, path: str, body: dict[str, Any] | None = None) -> Answer:
    sent = json.dumps(body) if body is not None else None
    return ask(port, f"{BASE}/{path}", method="POST", body=sent, Authorization=f"Bearer {TOKEN}")


def get(port: int, path: str) -> Answer:
    return ask(port, path, Authorization=f"Bearer {TOKEN}")


def outline(run: dict[str, Any]) -> tuple[Any, ...]:
    """What every way in must come to."""
    phases = [(phase["name"], phase["status"]) for phase in run["phases"]]
    return run["status"], run["error"], run["progress"], phases, bool(run["score"]["overall"])


GOOD = ("succeeded", "", 1.0, [(name, "succeeded") for name in PHASES], True)


def test_by_command(stage: Stage) -> None:
    done = stage.perf("run", "--full", "--json")

    assert done.returncode == 0, done
    run = json.loads(done.stdout)
    assert (run["kind"], run["trigger"], *outline(run)) == ("full", "command", *GOOD)


def test_by_a_request_that_waits(port: int) -> None:
    answer = post(port, "run-full?wait=1", {"dry_run": True})

    assert answer.status == 200, answer
    assert (answer.json["trigger"], answer.json["dry_run"], *outline(answer.json)) == ("api", True, *GOOD)


def test_by_a_request_that_a_worker_carries_out(port: int, worker: Process) -> None:
    taken = post(port, "run-full")
    assert taken.status == 202, taken

    def its_end() -> dict[str, Any] | None:
        worker.check()
        run: dict[str, Any] = get(port, taken.headers["Location"]).json
        assert 0 <= run["progress"] <= 1
        return run if run["finished_at"] else None

    run = wait_for("the run's end", its_end, 90)

    asked = (taken.json["run"], "full", "api")
    assert (run["id"], run["kind"], run["trigger"], *outline(run)) == (*asked, *GOOD)


def test_every_way_leaves_a_run_that_the_status_tells(stage: Stage, port: int) -> None:
    stage.perf("run", "--quick")

    told = get(port, f"{BASE}/status").json

    assert told["running"] is None
    assert (told["last_run"]["kind"], told["last_run"]["id"]) == ("quick", stage.runs()[-1][0])


def test_a_worker_knows_every_task_that_beat_sends(stage: Stage) -> None:
    done = stage.run("-c", KNOWN_AND_SENT)

    known, sent = json.loads(done.stdout)
    assert {"paiid_perf.run_full", "paiid_perf.run_quick", "paiid_perf.collect"} <= set(sent) <= set(known)


def test_what_beat_sends_runs(stage: Stage, port: int, worker: Process) -> None:
    """The schedule is by the clock: the hourly task is handed to the worker by hand."""
    before = len(stage.runs())
    sent = stage.run("-m", "celery", "-A", "project", "call", "paiid_perf.run_quick")
    assert sent.returncode == 0, sent

    def its_end() -> bool:
        worker.check()
        runs = stage.runs()
        return len(runs) > before and runs[-1][1] not in {"queued", "running"}

    wait_for("the run's end", its_end, 60)

    last = get(port, f"{BASE}/status").json["last_run"]
    assert (last["kind"], last["trigger"], last["status"]) == ("quick", "beat", "succeeded")
