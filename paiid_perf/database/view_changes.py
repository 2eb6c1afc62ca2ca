"""How a materialized view is made, measured, judged and undone by the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from django.utils.translation import gettext as _

from paiid_perf.conf import Settings
from paiid_perf.contracts import (
    ChangeContext,
    ChangeHandler,
    Json,
    Measurement,
    Proposal,
    QueryMeasure,
    Verdict,
)
from paiid_perf.database.actions import views as actions
from paiid_perf.database.facts import views as facts
from paiid_perf.database.rules.aggregates import Column, model
from paiid_perf.database.rules.health.common import quoted
from paiid_perf.database.rules.views import cleaned, digest, index_name
from paiid_perf.database.session import Session, connect
from paiid_perf.database.types import MaterializedView, ViewDecision, ViewState

KIND = "materialized_view"
#: unit → its seconds, the largest first
UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


def payload(view: MaterializedView) -> Json:
    """All that the handler needs, so that the row alone is enough after a crash."""
    return {
        "name": view.name,
        "sql": view.sql,
        "unique": list(view.unique),
        "refresh_seconds": view.refresh_every.total_seconds(),
        "depends_on": list(view.depends_on),
    }


def from_payload(value: Json) -> MaterializedView:
    """The declaration that a payload was made of."""
    every = timedelta(seconds=value["refresh_seconds"])
    return MaterializedView(value["name"], value["sql"], value["unique"], every, value["depends_on"])


def proposal(
    view: MaterializedView, state: ViewState, decision: ViewDecision, columns: Sequence[Column] = ()
) -> Proposal:
    """The creation or redefinition of a declared view as a change with an undo; ``columns`` give the model to read
    it by."""
    index = index_name(view)
    keys = ", ".join(quoted(column) for column in view.unique)
    name = quoted(*view.name.split("."))
    create = f"CREATE MATERIALIZED VIEW {name} AS\n{cleaned(view.sql)};\n" + (
        f"CREATE UNIQUE INDEX {quoted(index)} ON {name} ({keys});"
    )
    drop = f"DROP MATERIALIZED VIEW {name};"
    return Proposal(
        area="database",
        kind=KIND,
        key=f"{view.name} {digest(view)}",
        title=_("Materialized view %(name)s") % {"name": view.name},
        why=_("%(reason)s. Its reads then cost a scan of the result in place of the whole query.")
        % {"reason": decision.reason[:1].upper() + decision.reason[1:]},
        evidence={
            "bytes": state.bytes,
            "refresh_every_seconds": view.refresh_every.total_seconds(),
            "model": model(view.name, list(view.unique), columns) if columns else "",
        },
        cost=_("Disk for the result, and a refresh every %(every)s when its tables have changed.")
        % {"every": in_units(view.refresh_every)},
        how=(drop + "\n" if decision.action == "redefine" else "") + create,
        undo=drop,
        migration=_migration(view, create, drop),
        payload=payload(view),
    )


def in_units(span: timedelta) -> str:
    """A time in the units that people use: ``5 min``, ``1 h 30 min``. Pure."""
    rest, parts = round(span.total_seconds()), []
    for unit, seconds in UNITS.items():
        count, rest = divmod(rest, seconds)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts) or "0 s"


def _migration(view: MaterializedView, create: str, drop: str) -> str:
    """IF NOT EXISTS: where a run has made the view already, the migration adopts it."""
    create = create.replace("CREATE MATERIALIZED VIEW ", "CREATE MATERIALIZED VIEW IF NOT EXISTS ", 1)
    create = create.replace("\nCREATE UNIQUE INDEX ", "\nCREATE UNIQUE INDEX IF NOT EXISTS ")
    return (
        "from django.db import migrations\n\n\n"
        "class Migration(migrations.Migration):\n"
        f'    """Materialized view {view.name}."""\n\n'
        "    dependencies = []  # the app's latest migration\n\n"
        f"    operations = [migrations.RunSQL({create!r}, {drop!r})]\n"
    )


@contextmanager
def _session(context: ChangeContext) -> Iterator[Session]:
    chosen = context.settings
    with connect(chosen.DATABASE, statement=chosen.STATEMENT_TIMEOUT, lock=chosen.LOCK_TIMEOUT) as session:
        yield session


def apply(value: Json, context: ChangeContext) -> Json:
    """Create, fill and index the view in one transaction; one of this definition that is there stays."""
    view = from_payload(value)
    with _session(context) as session:
        if not _in_place(facts.state(session, view), view):
            actions.create(session, view, context.settings.DDL_TIMEOUT, context.now)
        after = facts.state(session, view)
    return {"bytes": after.bytes, "refresh_seconds": after.refresh_seconds}


def revert(value: Json, context: ChangeContext) -> None:
    """Drop the view, if it is ours."""
    with _session(context) as session:
        actions.drop(session, value["name"], context.settings.DDL_TIMEOUT)


def clean_up(value: Json, context: ChangeContext) -> None:
    """Creation is one transaction: a killed one has left nothing behind."""


def measure(value: Json, context: ChangeContext) -> Measurement:
    """The cost of the view's SQL while there is no view, of reading the view once there is."""
    view = from_payload(value)
    timeout = context.settings.STATEMENT_TIMEOUT
    with _session(context) as session:
        state = facts.state(session, view)
        in_place = _in_place(state, view)
        read = facts.cost_of_reading if in_place else facts.cost_of_sql
        cost = read(session, view.name if in_place else view.sql, timeout)
    query = QueryMeasure(view.name, cleaned(view.sql)[:2000], 1, cost.milliseconds, cost.blocks)
    numbers = {"bytes": float(state.bytes), "refresh_ms": (state.refresh_seconds or 0.0) * 1000}
    return Measurement("replay", (query,), numbers | {"timed_out": float(cost.timed_out)})


def _in_place(state: ViewState, view: MaterializedView) -> bool:
    return state.exists and (not state.ours or state.digest == digest(view))


def judge(before: Measurement, after: Measurement, settings: Settings) -> Verdict:
    """Kept if reading the view costs less than its SQL by MIN_GAIN. Pure."""
    if not before.queries or not after.queries:
        return Verdict(False, _("it could not be measured"))
    was, now = before.queries[0].mean_ms, after.queries[0].mean_ms
    gain = 1 - now / was if was else 0.0
    numbers = {
        "was": was,
        "now": now,
        "refresh": after.numbers.get("refresh_ms", 0.0),
        "least": (before.numbers.get("timed_out") and _("at least ")) or "",
    }
    said = (
        _("reading it takes %(now).2f ms, its SQL %(least)s%(was).2f ms; a refresh %(refresh).0f ms")
        % numbers
    )
    return Verdict(gain >= settings.MIN_GAIN, said, gain)


HANDLER = ChangeHandler(KIND, apply, revert, measure, judge, clean_up)
