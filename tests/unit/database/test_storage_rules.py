"""Storage parameters of tables, settings of roles and of the server: what is advised, and how it is put back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from paiid_perf.conf import Settings
from paiid_perf.contracts import ADVICE, Measurement
from paiid_perf.database import advice, setting_changes
from paiid_perf.database.health_types import Machine
from paiid_perf.database.rules import storage, tuning
from paiid_perf.database.types import Finding
from tests.unit.database import build
from tests.unit.database.build import MB, NOW

UPDATED = {"updates": 10_000, "hot_updates": 4_000}


def advised(**table: Any) -> list[Finding]:
    return list(storage.advise(build.health(tables=[build.table(**table)]), NOW))


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ({}, []),
        ({"autovacuum": False}, [{"autovacuum_enabled": None}]),
        ({"updates": 10_000, "hot_updates": 6_000}, []),
        (UPDATED, [{"fillfactor": "90"}]),
        (UPDATED | {"moved_updates": 5_000}, [{"fillfactor": "90"}]),
        (UPDATED | {"fillfactor": 85}, []),
        (UPDATED | {"fillfactor": 85, "moved_updates": 10}, [{}]),
        (UPDATED | {"moved_updates": 10}, [{}]),
        ({"live": 5_000_000, "rows_estimated": 5e6, "vacuum_at": 1_000_050.0}, []),
        (
            {
                "live": 5_000_000,
                "rows_estimated": 5e6,
                "vacuum_at": 1_000_050.0,
                "updates": 2_000_000,
                "hot_updates": 2_000_000,
            },
            [{"autovacuum_vacuum_scale_factor": "0.01"}],
        ),
    ],
)
def test_table(table: dict[str, Any], options: list[dict[str, Any]]) -> None:
    assert [f.change.get("options", {}) for f in advised(**table)] == options


def test_what_we_do_not_own_is_advice_only() -> None:
    (found,) = advised(**UPDATED, owned=False)

    assert not found.change
    assert found.how == 'ALTER TABLE "public"."orders" SET (fillfactor = 90);'


def test_options_are_put_back_as_they_were() -> None:
    (found,) = advised(**UPDATED, options={"fillfactor": "95"}, fillfactor=95)

    assert found.undo == 'ALTER TABLE "public"."orders" SET (fillfactor = 95);'
    (found,) = advised(**UPDATED)
    assert found.undo == 'ALTER TABLE "public"."orders" RESET (fillfactor);'


# --- settings --------------------------------------------------------------------------------------------

SUPERUSER = build.server(superuser=True, role="o'hara")


@pytest.mark.parametrize(
    ("setting", "server", "said", "undone"),
    [
        (
            build.setting("jit", "on"),
            SUPERUSER,
            "ALTER SYSTEM SET jit = 'off'",
            "ALTER SYSTEM RESET jit",
        ),
        (
            build.setting("jit", "on", by_alter_system=True),
            SUPERUSER,
            "ALTER SYSTEM SET jit = 'off'",
            "ALTER SYSTEM SET jit = 'on'",
        ),
        (
            build.setting("jit", "on", context="user"),
            build.server(),
            "ALTER ROLE \"app\" SET jit = 'off'",
            'ALTER ROLE "app" RESET jit',
        ),
        (
            build.setting("jit", "on", context="user", source="user"),
            build.server(managed_by="rds"),
            "ALTER ROLE \"app\" SET jit = 'off'",
            "ALTER ROLE \"app\" SET jit = 'on'",
        ),
        (build.setting("jit", "on"), build.server(), "", ""),
        (build.setting("jit", "on"), build.server(superuser=True, managed_by="rds"), "", ""),
        (build.setting("jit", "on", source="command line"), SUPERUSER, "", ""),
    ],
)
def test_where_a_setting_is_changed(setting: Any, server: Any, said: str, undone: str) -> None:
    change = tuning.change_of(setting, "off", server)

    assert bool(change) == bool(said)
    if change:
        assert tuning.statement(change) == said
        assert tuning.statement(tuning.undone(change)) == undone


def test_sizes_are_put_back_in_a_unit_that_set_takes() -> None:
    buffers = build.setting("shared_buffers", "16384", "8kB", "postmaster", by_alter_system=True)

    assert tuning.change_of(buffers, "4GB", SUPERUSER)["previous"] == "131072kB"


def test_a_list_is_quoted_item_by_item() -> None:
    loaded = build.setting("shared_preload_libraries", "auto_explain", context="postmaster")
    change = tuning.change_of(loaded, "auto_explain,pg_stat_statements", SUPERUSER)

    assert tuning.statement(change).endswith("= 'auto_explain', 'pg_stat_statements'")


def test_memory_for_sorts_goes_to_the_role_that_sorts() -> None:
    spilling = build.database(temp_bytes=9_000 * 1024 * MB, stats_reset=NOW - timedelta(days=1))
    health = build.health(
        server=build.server(superuser=True),
        settings=[
            build.setting("work_mem", "4096", "kB", "user"),
            build.setting("max_connections", "100", context="postmaster"),
        ],
        database=[spilling],
        machine=Machine(memory=16 * 1024 * MB),
    )
    (found,) = [f for f in tuning.advise(health, NOW) if f.subject == "work_mem"]

    assert found.change["role"] == "app"


@pytest.mark.parametrize(
    ("named", "kind"), [({"*": "auto"}, ADVICE), ({"setting": "approve"}, "setting"), ({}, ADVICE)]
)
def test_the_server_is_changed_only_where_the_policy_names_it(named: dict[str, str], kind: str) -> None:
    health = build.health(server=SUPERUSER, settings=[build.setting("fsync", "off")])
    (proposal,) = advice.proposals(advice.applicable(tuning.advise(health, NOW), named))

    assert proposal.kind == kind
    assert "kind" not in proposal.payload
    assert bool(proposal.payload) == (kind == "setting")


# --- judging ---------------------------------------------------------------------------------------------


def counted(updates: float, hot: float, method: str = "window") -> Measurement:
    return Measurement(method, (), {"updates": updates, "hot_updates": hot, "dead": 0})


@pytest.mark.parametrize(
    ("after", "keep"),
    [
        (counted(10_500, 4_400), None),
        (counted(20_000, 13_000), True),
        (counted(20_000, 7_800), True),
        (counted(20_000, 6_000), False),
        (counted(10_000, 4_000, "none"), True),
    ],
)
def test_room_is_taken_back_where_it_did_not_help(after: Measurement, keep: bool | None) -> None:
    assert setting_changes.judge_options(counted(10_000, 4_000), after, Settings()).keep is keep


def test_a_value_that_the_server_did_not_take_is_not_kept() -> None:
    assert setting_changes.judge_setting(
        Measurement("none"), Measurement("none", (), {"written": 1.0}), Settings()
    ).keep
    assert not setting_changes.judge_setting(Measurement("none"), Measurement("none"), Settings()).keep


def test_a_role_assumed_after_login_says_nothing_for_the_one_that_logged_in() -> None:
    setting = build.setting("jit", "on", "", context="user")
    assumed = build.server(login="web", role="app")
    assert tuning.change_of(setting, "off", assumed) == {}
    mighty = build.server(login="web", role="app", superuser=True, managed_by="rds")
    assert tuning.change_of(setting, "off", mighty)["role"] == "web"
