"""A schema to plant trouble in, and a phase context on the real ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import psycopg
import pytest
from django.db import connection as django_connection
from django.utils import timezone

from paiid_perf.conf import Settings, get_settings
from paiid_perf.contracts import ChangeContext
from paiid_perf.database.session import Session, connect
from paiid_perf.optimization import ledger
from tests.integration.database.counters import hand_over

SCHEMA = "planted"


def raw_connection() -> psycopg.Connection[Any]:
    """A connection of the test's own, as another client of the server would have one."""
    return psycopg.connect(
        **django_connection.get_connection_params() | {"autocommit": True, "application_name": "planter"}
    )


@pytest.fixture
def plant(transactional_db: None) -> Iterator[Callable[..., list[Any]]]:
    """Run SQL in the schema ``planted``, which is gone after the test; the counters are up to date when it returns."""
    with raw_connection() as planter:
        planter.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
        planter.execute(f"SET search_path = {SCHEMA}, public")

        def run(*statements: str) -> list[Any]:
            found: list[Any] = []
            for statement in statements:
                cursor = planter.execute(statement)  # type: ignore[arg-type]
                found = cursor.fetchall() if cursor.description else []
                planter.execute(hand_over())  # type: ignore[call-overload]
            return found

        yield run
        planter.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


@pytest.fixture
def another(transactional_db: None) -> Iterator[Callable[[], psycopg.Connection[Any]]]:
    """Opens further connections; they are all closed at the end."""
    opened: list[psycopg.Connection[Any]] = []

    def open_one() -> psycopg.Connection[Any]:
        opened.append(raw_connection())
        opened[-1].execute(f"SET search_path = {SCHEMA}, public")
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def session(transactional_db: None) -> Iterator[Session]:
    chosen = get_settings()
    with connect("default", statement=chosen.STATEMENT_TIMEOUT, lock=chosen.LOCK_TIMEOUT) as opened:
        yield opened


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Ask again until the answer is true, for 10 seconds at the most: other processes need a moment."""

    def wait(ask: Callable[[], Any]) -> Any:
        pause = threading.Event()
        for _attempt in range(1_000):
            if found := ask():
                return found
            pause.wait(0.01)
        raise AssertionError("it never came true")

    return wait


@dataclass
class Context:
    """A PhaseContext on the real ledger, without a run around it."""

    settings: Settings = field(default_factory=get_settings)
    now: datetime = field(default_factory=timezone.now)
    quick: bool = False
    dry_run: bool = False
    apply: bool = False
    steps: list[tuple[float, str]] = field(default_factory=list)

    def progress(self, fraction: float, step: str) -> None:
        self.steps.append((fraction, step))

    def propose(self, proposals: Any) -> list[int]:
        return ledger.propose(proposals, now=self.now, settings=self.settings)

    def settle(self, area: str) -> dict[str, int]:
        terms = ledger.Terms(self.settings, self.dry_run, self.quick, self.apply)
        return ledger.settle(
            area,
            terms,
            lambda: self.now,
            tally=ledger.Tally(),
            progress=self.progress,
            out_of_time=self.out_of_time,
        )

    def out_of_time(self) -> bool:
        return False


@pytest.fixture
def change() -> Callable[..., ChangeContext]:
    """A ChangeContext at a given moment, with some settings changed."""

    def make(now: datetime | None = None, **settings: Any) -> ChangeContext:
        return ChangeContext(replace(get_settings(), **settings), now or timezone.now())

    return make
