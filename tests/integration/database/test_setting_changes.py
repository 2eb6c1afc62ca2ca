"""Settings of the server, of a role and of a table: made, judged and put back on a real server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paiid_perf.conf import get_settings
from paiid_perf.contracts import Proposal
from paiid_perf.database.facts import health as facts
from paiid_perf.database.rules import storage, tuning
from paiid_perf.models import Recommendation
from paiid_perf.optimization import ledger
from tests.integration.database.conftest import Context

#: A setting that no other test minds, under any role.
NAME = "deadlock_timeout"


def a_setting(**changes: Any) -> dict[str, Any]:
    return {"name": NAME, "value": "2s", "previous": None, "role": "", "takes": "reload"} | changes


def carried_out(kind: str, payload: Any) -> Recommendation:
    context = Context(settings=replace(get_settings(), POLICY={kind: "auto"}, VERIFY="replay"))
    (pk,) = context.propose([Proposal("database", kind, "test", "test", "test", payload=payload)])
    context.settle("database")
    return Recommendation.objects.get(pk=pk)


def written(session: Any, payload: Any) -> Any:
    from paiid_perf.database import setting_changes

    return setting_changes._written(session, payload)


@pytest.fixture
def role(session: Any) -> str:
    return str(session.rows("SELECT current_user::text AS name")[0]["name"])


@pytest.mark.parametrize("of_role", [False, True])
def test_a_setting_is_written_and_put_back(session: Any, role: str, of_role: bool) -> None:
    payload = a_setting(role=role if of_role else "")
    rec = carried_out("setting", payload)

    assert (rec.state, written(session, payload)) == ("kept", "2s")
    ledger.revert(rec, None)
    assert written(session, payload) is None


def test_what_was_written_before_comes_back(session: Any, role: str) -> None:
    first = carried_out("setting", a_setting(role=role))
    second = a_setting(role=role, value="3s", previous="2s")
    ledger.revert(carried_out("setting", second), None)

    assert written(session, second) == "2s"
    ledger.revert(first, None)
    assert written(session, second) is None


def test_what_somebody_has_changed_since_stays(session: Any, role: str) -> None:
    rec = carried_out("setting", a_setting(role=role))
    with session.writing() as connection:
        connection.execute(f"ALTER ROLE \"{role}\" SET {NAME} = '4s'")
    ledger.revert(rec, None)

    assert written(session, a_setting(role=role)) == "4s"
    with session.writing() as connection:
        connection.execute(f'ALTER ROLE "{role}" RESET {NAME}')


def test_a_value_that_the_server_refuses_fails_and_leaves_nothing(session: Any) -> None:
    payload = a_setting(value="a moment")
    rec = carried_out("setting", payload)

    assert rec.state == "failed"
    assert written(session, payload) is None


def test_the_facts_know_where_a_value_comes_from(session: Any) -> None:
    server = facts.read(session, "default")
    settings = {s.name: s for s in server.settings.rows}

    assert not settings[NAME].by_alter_system
    assert tuning.change_of(settings["work_mem"], "8MB", server.server)["name"] == "work_mem"


def test_a_table_gets_room_and_loses_it_again(plant: Any, session: Any) -> None:
    plant(
        "CREATE TABLE t (id int PRIMARY KEY, n int, pad text)",
        "INSERT INTO t SELECT i, 0, repeat('x', 100) FROM generate_series(1, 12000) i",
        "ANALYZE t",
        # Each page is full: hardly any update finds room beside its row.
        "UPDATE t SET n = n + 1",
    )
    table = next(t for t in facts.read(session, "default").tables.rows if t.label == "planted.t")
    (found,) = list(storage.lost_hot_updates(table))
    payload = {k: v for k, v in found.change.items() if k != "kind"}
    options = "SELECT reloptions FROM pg_class WHERE oid = 'planted.t'::regclass"

    rec = carried_out("table_setting", payload)

    assert rec.state == "kept"
    assert plant(options)[0][0] == ["fillfactor=90"]
    ledger.revert(rec, None)
    assert plant(options)[0][0] is None


def test_a_table_that_is_gone_closes_the_change(plant: Any) -> None:
    payload = {
        "schema": "planted",
        "table": "t",
        "options": {"fillfactor": "90"},
        "previous": {"fillfactor": None},
    }

    assert carried_out("table_setting", payload).state == "superseded"
