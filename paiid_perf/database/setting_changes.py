"""How settings of the server, of our role and of single tables are changed by the ledger, and put back.

The value that was there before is in the payload. Undoing leaves alone what somebody has changed since.
Nothing here restarts a server: a setting that needs it waits for the next restart, and the verdict says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.utils.translation import gettext as _
from psycopg import sql

from paiid_perf.conf import Settings
from paiid_perf.contracts import ChangeContext, ChangeHandler, Json, Measurement, Verdict
from paiid_perf.database.rules import storage, tuning
from paiid_perf.database.rules.thresholds import limit
from paiid_perf.database.session import Session, connect, trusted
from paiid_perf.exceptions import ActionRefused

# What ALTER SYSTEM wrote is read from its file: the running value may wait for a restart.
_SYSTEM = """
SELECT setting AS value FROM pg_file_settings
WHERE name = %(name)s AND sourcefile LIKE '%%postgresql.auto.conf' ORDER BY seqno DESC LIMIT 1
"""
_ROLE = """
SELECT option_value AS value FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole,
       pg_options_to_table(s.setconfig)
WHERE s.setdatabase = 0 AND r.rolname = %(role)s AND option_name = %(name)s
"""
_OPTIONS = """
SELECT coalesce((SELECT jsonb_object_agg(option_name, option_value) FROM pg_options_to_table(c.reloptions)), '{}')
       AS options,
       coalesce(s.n_tup_upd, 0) AS updates, coalesce(s.n_tup_hot_upd, 0) AS hot_updates,
       coalesce(s.n_dead_tup, 0) AS dead
FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.oid = to_regclass(%(table)s)
"""


@contextmanager
def _session(context: ChangeContext) -> Iterator[Session]:
    chosen = context.settings
    with connect(chosen.DATABASE, statement=chosen.STATEMENT_TIMEOUT, lock=chosen.LOCK_TIMEOUT) as session:
        yield session


def nothing_to_clean(value: Json, context: ChangeContext) -> None:
    """Each statement takes or does not: nothing is left half done."""


# --- the server and our role -------------------------------------------------------------------------------


def set_setting(value: Json, context: ChangeContext) -> Json:
    """Write the setting and have the server read it again; returns the value now written."""
    with _session(context) as session:
        _alter(session, value, context)
        return {"value": _written(session, value), "takes": value["takes"]}


def put_back(value: Json, context: ChangeContext) -> None:
    """Write what there was before, unless somebody has written something else since."""
    with _session(context) as session:
        if _written(session, value) == value["value"]:
            _alter(session, tuning.undone(value), context)


def _alter(session: Session, value: Json, context: ChangeContext) -> None:
    text = trusted(tuning.statement(value))
    if value["role"]:
        with session.writing() as connection:
            connection.execute(text)
        return
    session.outside_transaction(text, context.settings.STATEMENT_TIMEOUT)
    session.rows("SELECT pg_reload_conf() AS reloaded")


def _written(session: Session, value: Json) -> str | None:
    query = _ROLE if value["role"] else _SYSTEM
    found = session.rows(query, {"name": value["name"], "role": value["role"]})
    return str(found[0]["value"]) if found else None


def measure_setting(value: Json, context: ChangeContext) -> Measurement:
    """Whether the value stands where we wrote it. What it does to queries shows in the score over days."""
    with _session(context) as session:
        stands = _stands(_written(session, value), value["value"])
    restart = value["takes"] == "restart"
    return Measurement("none", (), {"written": float(stands), "restart": float(restart)})


def _stands(written: str | None, wanted: str | None) -> bool:
    bare = [
        None if v is None else v.replace("'", "").replace('"', "").replace(" ", "") for v in (written, wanted)
    ]
    return bare[0] == bare[1]


def judge_setting(before: Measurement, after: Measurement, settings: Settings) -> Verdict:
    """Kept if the server took it. Pure."""
    if not after.numbers.get("written"):
        return Verdict(False, _("the server did not take the value"))
    if after.numbers.get("restart"):
        return Verdict(True, _("written; it takes effect at the next restart, which is yours to choose"))
    return Verdict(True, _("written, and in effect (for a role: in the connections opened from now on)"))


# --- one table ---------------------------------------------------------------------------------------------


def set_options(value: Json, context: ChangeContext) -> Json:
    """ALTER TABLE … SET under LOCK_TIMEOUT; returns the table's options now."""
    with _session(context) as session:
        _require(session, value)
        _alter_table(session, value)
        return {"options": _facts(session, value)["options"]}


def reset_options(value: Json, context: ChangeContext) -> None:
    """Put back what there was, for each option that still says what we wrote."""
    with _session(context) as session:
        now = _facts(session, value).get("options", {})
        ours = {name for name, wanted in value["options"].items() if now.get(name) == wanted}
        previous = {name: old for name, old in value["previous"].items() if name in ours}
        _alter_table(session, {**value, "options": previous})


def _require(session: Session, value: Json) -> None:
    if not _facts(session, value):
        raise ActionRefused(_("the table %(table)s is gone") % {"table": value["table"]})


def _alter_table(session: Session, value: Json) -> None:
    with session.writing() as connection:
        for text in storage.statements(value):
            connection.execute(trusted(text))


def _facts(session: Session, value: Json) -> Mapping[str, Any]:
    name = sql.Identifier(value["schema"], value["table"]).as_string(None)
    found = session.rows(_OPTIONS, {"table": name})
    return dict(found[0]) if found else {}


def measure_options(value: Json, context: ChangeContext) -> Measurement:
    """The table's counters of updates: two of them subtracted say how many were heap-only in between."""
    with _session(context) as session:
        facts = _facts(session, value)
    numbers = {name: float(facts.get(name, 0)) for name in ("updates", "hot_updates", "dead")}
    return Measurement("window" if "fillfactor" in value["options"] else "none", (), numbers)


def judge_options(before: Measurement, after: Measurement, settings: Settings) -> Verdict:
    """Undone if a smaller share of the updates is heap-only than before; else kept. Pure."""
    updates = after.numbers["updates"] - before.numbers["updates"]
    if after.method == "none" or settings.VERIFY == "replay":
        return Verdict(True, _("set; it shows as the table is written and vacuumed"))
    if updates < limit("hot_window_updates"):
        return Verdict(None, _("%(n)d updates are too few to say") % {"n": updates})
    was = before.numbers["hot_updates"] / max(1.0, before.numbers["updates"])
    now = (after.numbers["hot_updates"] - before.numbers["hot_updates"]) / updates
    said = _("%(now).0f %% of %(n)d updates were heap-only, before %(was).0f %%") % {
        "now": now * 100,
        "was": was * 100,
        "n": updates,
    }
    return Verdict(now >= was * (1 - settings.MAX_REGRESSION), said, now - was)


HANDLERS: tuple[ChangeHandler, ...] = (
    ChangeHandler("setting", set_setting, put_back, measure_setting, judge_setting, nothing_to_clean),
    ChangeHandler(
        "table_setting", set_options, reset_options, measure_options, judge_options, nothing_to_clean
    ),
)
