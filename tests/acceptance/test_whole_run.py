"""A full optimization run on the trading site: what it changes, that a second one changes nothing, and that one
run at a time is at work."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.stage import Answer, Stage, ask, ended, stage_on, wait_for

if TYPE_CHECKING:
    from project.embedded import Servers

pytestmark = pytest.mark.timeout(400)
TOKEN = "a token of this test"
PHASES = ["database", "api", "cache", "monitoring", "security"]


@dataclass(frozen=True)
class Run:
    """A run that has ended: what the command said; the site's belongings and the ledger before and after."""

    said: subprocess.CompletedProcess[str]
    before: dict[str, Any]
    after: dict[str, Any]
    ledger_before: list[tuple[str, str, str]]
    ledger_after: list[tuple[str, str, str]]
    outcomes: tuple[tuple[str, str, str], ...] = ()
    """(state, key, outcome) of every change"""


@dataclass(frozen=True)
class Refusals:
    """What others were told who wanted a run while the first was at work."""

    command: subprocess.CompletedProcess[str]
    http: Answer
    runs: list[tuple[int, str, str]]


@pytest.fixture(scope="module")
def stage(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    rights = {hashlib.sha256(TOKEN.encode()).hexdigest(): ["run", "view"]}
    directory = tmp_path_factory.mktemp("site")
    tokens = {"PAIID_PERF_API_TOKENS": json.dumps(rights)}
    with stage_on(servers, "acceptance_whole_run", 7, directory, **tokens) as stage:
        stage.use()
        yield stage


@pytest.fixture(scope="module")
def dry(stage: Stage) -> Run:
    before, ledger = stage.belongings(), stage.changes()
    said = stage.perf("run", "--full", "--dry-run")
    return Run(said, before, stage.belongings(), ledger, stage.changes())


@pytest.fixture(scope="module")
def first_and_refusals(stage: Stage, dry: Run) -> tuple[Run, Refusals]:
    """The first run, held up at its first index while others want one."""
    before, ledger = stage.belongings(), stage.changes()
    with stage.serving() as port, stage.holding_up_builds():
        running = stage.start_perf("run", "--full", "--json")
        wait_for("an index under construction", stage.builds)
        trigger = "/api/optimization/run-full"
        http = ask(port, trigger, method="POST", Authorization=f"Bearer {TOKEN}")
        refusals = Refusals(stage.perf("run", "--full"), http, stage.runs())
    said = ended(running)
    outcomes = stage.rows("SELECT state, key, outcome FROM paiid_perf_recommendation WHERE kind <> 'advice'")
    return Run(said, before, stage.belongings(), ledger, stage.changes(), tuple(outcomes)), refusals


@pytest.fixture(scope="module")
def first(first_and_refusals: tuple[Run, Refusals]) -> Run:
    return first_and_refusals[0]


@pytest.fixture(scope="module")
def refusals(first_and_refusals: tuple[Run, Refusals]) -> Refusals:
    return first_and_refusals[1]


@pytest.fixture(scope="module")
def second(stage: Stage, first: Run) -> Run:
    before, ledger = stage.belongings(), stage.changes()
    said = stage.perf("run", "--full")
    return Run(said, before, stage.belongings(), ledger, stage.changes())


def test_a_dry_run_changes_nothing(dry: Run) -> None:
    assert dry.said.returncode == 0, dry.said
    assert dry.after == dry.before


def test_a_dry_run_tells_what_there_would_be_to_do(dry: Run) -> None:
    assert {kind for kind, _, _ in dry.ledger_after} >= {"index_create", "materialized_view", "retention"}
    assert {state for _, _, state in dry.ledger_after} == {"proposed"}


def test_a_full_run_succeeds_in_every_phase(first: Run) -> None:
    assert first.said.returncode == 0, first.said
    run = json.loads(first.said.stdout)
    assert (run["status"], run["error"]) == ("succeeded", "")
    assert [(phase["name"], phase["status"]) for phase in run["phases"]] == [
        (name, "succeeded") for name in PHASES
    ]
    assert 0 < run["score"]["overall"] <= 100


def test_a_full_run_keeps_what_pays(first: Run) -> None:
    kept = {kind for kind, _, state in first.ledger_after if state == "kept"}
    changes = json.loads(first.said.stdout)["changes"]

    assert {"index_create", "materialized_view", "retention"} <= kept
    assert changes["kept"] == sum(state == "kept" for _, _, state in first.ledger_after)
    assert changes["applied"] == changes["kept"] + changes["reverted"]


def test_what_it_kept_is_there(first: Run) -> None:
    built = {name for name, _ in first.after["indexes"]} - {name for name, _ in first.before["indexes"]}
    views = [name for name, _ in first.after["views"]]
    old, left = (snapshot["rows"]["trading_pricetick"] for snapshot in (first.before, first.after))

    assert [name for name in built if name.startswith("pf_")]
    assert views == ["trading_daily_prices", "trading_order_statistics", "trading_portfolio_value"]
    assert 0 < left < old


def test_nothing_of_it_is_half_done(stage: Stage, first: Run) -> None:
    assert stage.invalid_indexes() == []
    # Superseded: an index that was to go because of a better one stays, as that one was taken back.
    ended = ("kept", "reverted", "proposed", "superseded")
    assert [why for why in first.outcomes if why[0] not in ended] == []
    assert all(why for state, _key, why in first.outcomes if state == "superseded")


def test_a_second_full_run_changes_nothing_and_says_so(second: Run) -> None:
    assert second.said.returncode == 0, second.said
    news = set(second.ledger_after) - set(second.ledger_before)
    assert "nothing to change" in second.said.stdout, (news, second.said.stdout)
    assert second.after == second.before
    assert second.ledger_after == second.ledger_before


def test_a_command_is_told_that_a_run_is_at_work(refusals: Refusals) -> None:
    (number, status, _error) = refusals.runs[-1]

    assert refusals.command.returncode == 3, refusals.command
    assert f"already running: #{number}, since 2" in refusals.command.stderr
    assert status == "running"


def test_a_caller_is_told_that_a_run_is_at_work(refusals: Refusals) -> None:
    (number, *_rest) = refusals.runs[-1]

    assert (refusals.http.status, refusals.http.json["run"]) == (409, number)
    assert f"already running: #{number}, since 2" in refusals.http.json["error"]


def test_whoever_was_refused_left_nothing(refusals: Refusals) -> None:
    assert [status for _, status, _ in refusals.runs] == ["succeeded", "running"]
