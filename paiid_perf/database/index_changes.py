"""How an index is created or dropped, measured, judged and undone: the ChangeHandlers of ``index_create``/``_drop``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any

from django.utils.translation import gettext as _

from paiid_perf.conf import Settings
from paiid_perf.contracts import ChangeContext, ChangeHandler, Json, Measurement, QueryMeasure, Verdict
from paiid_perf.database.actions import indexes as actions
from paiid_perf.database.facts import catalog as catalog_facts
from paiid_perf.database.facts import machine, plans, workload
from paiid_perf.database.index_types import Statement
from paiid_perf.database.rules.indexes import room
from paiid_perf.database.rules.indexes.judge import CONTROL, OTHERS, TRIAL, WATCHED, WRITES, judge
from paiid_perf.database.rules.indexes.names import quoted
from paiid_perf.database.rules.indexes.window import merged
from paiid_perf.database.session import Session, connect
from paiid_perf.exceptions import ActionRefused

#: What a trial has measured so far: most statements keep their plans, whatever is built.
_tried: ContextVar[plans.Runs | None] = ContextVar("paiid_perf_tried", default=None)


@contextmanager
def trial() -> Iterator[None]:
    """Changes that are measured within it, one after the other, remember what was run with which plan."""
    token = _tried.set({})
    try:
        yield
    finally:
        _tried.reset(token)


@contextmanager
def _session(payload: Json, ctx: ChangeContext) -> Iterator[Session]:
    chosen = ctx.settings
    with connect(payload["alias"], statement=chosen.STATEMENT_TIMEOUT, lock=chosen.LOCK_TIMEOUT) as session:
        yield session


# --- create ------------------------------------------------------------------------------------------------


def create(payload: Json, ctx: ChangeContext) -> Json:
    """Build the index; returns its name, bytes and definition.

    Raises:
        ActionFailed: it could not be built; nothing of it is left.
        ActionRefused: the table is gone, not ours, or being indexed; or the disk has no room for it.
    """
    name = payload["name"]
    build = actions.Build(payload["schema"], payload["table"], name, payload["body"])
    limits = actions.Limits(
        ctx.settings.DDL_TIMEOUT,
        ctx.settings.LOCK_TIMEOUT,
        tell=lambda fraction, step: ctx.progress(fraction, f"{name}: {step}"),
    )
    ctx.progress(0.0, _("building %(name)s") % {"name": name})
    with _session(payload, ctx) as session:
        if refusal := room.refused_because(machine.disk(session), int(payload.get("bytes", 0))):
            raise ActionRefused(_("%(name)s is not built: %(why)s") % {"name": name, "why": refusal})
        built = actions.create(session, build, limits)
        if payload.get("analyze"):
            actions.analyze(session, payload["schema"], payload["table"], ctx.settings.DDL_TIMEOUT)
        workload.remember(session, payload["table"], ctx.now)
    ctx.progress(1.0, _("built %(name)s") % payload)
    return {"name": payload["name"], "bytes": built.bytes, "definition": built.definition}


def uncreate(payload: Json, ctx: ChangeContext) -> None:
    """Drop the index again, if it is there.

    Raises:
        ActionFailed: somebody holds the table; the index is still there.
    """
    with _session(payload, ctx) as session:
        _drop(session, payload, ctx)


def clean_up_create(payload: Json, ctx: ChangeContext) -> None:
    """Drop what a failed or killed build left invalid; a valid index stays (the next run measures it)."""
    with _session(payload, ctx) as session:
        actions.clean_up(
            session,
            payload["schema"],
            payload["table"],
            payload["name"],
            timeout=ctx.settings.DDL_TIMEOUT,
            lock=ctx.settings.LOCK_TIMEOUT,
        )


def _drop(session: Session, payload: Json, ctx: ChangeContext) -> None:
    actions.drop(
        session,
        schema=payload["schema"],
        name=payload["name"],
        timeout=ctx.settings.DDL_TIMEOUT,
        lock=ctx.settings.LOCK_TIMEOUT,
    )
    workload.remember(session, payload["table"], ctx.now)


# --- drop --------------------------------------------------------------------------------------------------


def drop(payload: Json, ctx: ChangeContext) -> Json:
    """Drop the index; returns the definition that undoes it.

    Raises:
        ActionFailed: somebody holds the table; the index is still there.
        ActionRefused: the index that should serve in its place is not there (any more).
    """
    with _session(payload, ctx) as session:
        cover = payload.get("covered_by")
        if cover and not _is_valid(session, payload["schema"], cover):
            raise ActionRefused(
                _("%(cover)s, which should serve in its place, is not there: %(name)s stays.")
                % {"cover": cover, "name": payload["name"]}
            )
        found = actions.state(session, payload["schema"], payload["name"])
        _drop(session, payload, ctx)
    return {
        "name": payload["name"],
        "definition": payload["definition"],
        "bytes": found.bytes if found else 0,
    }


def _is_valid(session: Session, schema: str, name: str) -> bool:
    found = actions.state(session, schema, name)
    return found is not None and found.valid


def undrop(payload: Json, ctx: ChangeContext) -> None:
    """Build the index again as it was, under its own name.

    Raises:
        ActionFailed, ActionRefused: as for ``create``.
    """
    create(payload, ctx)


# --- measure -----------------------------------------------------------------------------------------------


def measure(payload: Json, ctx: ChangeContext) -> Measurement:
    """The affected statements (and, under ``watched:`` keys, their neighbours and the table's writes) as they run now.

    ``replay``: run again with sampled or representative constants, read-only; writes in a transaction that is rolled
    back, on tables without triggers. ``trial``: the same, every statement counts, and so it does with other constants.
    ``window``: the running counters.
    """
    replayed = ctx.settings.VERIFY == "replay" or bool(payload.get("trial"))
    statements = _statements(payload, counted=not replayed)
    with _session(payload, ctx) as session:
        numbers = _numbers(session, payload)
        if not statements:
            return Measurement("none", (), numbers)
        if replayed:
            method = TRIAL if payload.get("trial") else "replay"
            return Measurement(method, tuple(_replayed(session, statements, payload, ctx)), numbers)
        return Measurement("window", tuple(_counted(session, statements)), numbers)


def _statements(payload: Json, *, counted: bool) -> dict[str, Statement]:
    """Key → statement; the key of a neighbour says that it is only watched.

    Queries of other tables stand for the load of the machine where running counters are compared.
    """
    affected = {q["queryid"]: q for q in payload.get("queries", ())}
    watched = {WATCHED + q["queryid"]: q for q in payload.get("watched", ())}
    writes = {WRITES + q["queryid"]: q for q in payload.get("writes", ()) if q["queryid"] not in affected}
    control = {CONTROL + q["queryid"]: q for q in payload.get("control", ())} if counted else {}
    return {
        key: Statement(q["queryid"], q["text"], q["calls"], q["calls"] * q["mean_ms"], q.get("rows", 0.0))
        for key, q in (affected | watched | writes | control).items()
    }


def _numbers(session: Session, payload: Json) -> dict[str, float]:
    rows = session.rows(
        "SELECT coalesce(sum(idx_scan), 0)::float AS scans, "
        "coalesce(sum(pg_relation_size(indexrelid)), 0)::float AS bytes "
        "FROM pg_stat_user_indexes WHERE schemaname = %s AND indexrelname = %s",
        [payload["schema"], payload["name"]],
    )
    return dict(rows[0]) | _updates(session, payload)


def _updates(session: Session, payload: Json) -> dict[str, float]:
    """The table's updates and how many of them were HOT, its partitions' with them."""
    rows = session.rows(
        "SELECT coalesce(sum(n_tup_upd), 0)::float AS updates, coalesce(sum(n_tup_hot_upd), 0)::float AS hot "
        "FROM pg_stat_user_tables WHERE relid IN (SELECT relid FROM pg_partition_tree(to_regclass(%s)) "
        "UNION SELECT to_regclass(%s))",
        [_regclass(payload)] * 2,
    )
    return dict(rows[0])


def _regclass(payload: Json) -> str:
    return f"{quoted(payload['schema'])}.{quoted(payload['table'])}"


def _may_be_written(session: Session, payload: Json) -> bool:
    """Whether statements that write may be run again and rolled back: no trigger of the host's own sees them."""
    found = session.rows(
        "SELECT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal "
        "AND tgenabled <> 'D') AS fires",
        [_regclass(payload)],
    )
    return not found[0]["fires"]


def _counted(session: Session, statements: Mapping[str, Statement]) -> Iterator[QueryMeasure]:
    counters = workload.counters(session)
    for key, wanted in statements.items():
        found = counters.statements.get(wanted.queryid) if counters else None
        if found is not None and found.calls:
            yield QueryMeasure(
                key, wanted.text, found.calls, found.mean_ms, found.blocks_per_call, found.stddev_ms
            )


def _replayed(
    session: Session, statements: Mapping[str, Statement], payload: Json, ctx: ChangeContext
) -> Iterator[QueryMeasure]:
    catalog = catalog_facts.read(session, [s.text for s in statements.values()])
    samples = workload.sampled()
    may_write = _may_be_written(session, payload)
    writers = {q["queryid"] for q in payload.get("writes", ())}
    for number, (key, statement) in enumerate(statements.items()):
        ctx.progress(number / len(statements), _("measuring for %(name)s") % payload)
        with_samples = merged([statement], samples)[0]
        writes = may_write and statement.queryid in writers
        measured = partial(
            plans.measure,
            session,
            text=statement.text,
            calls=statement.calls,
            timeout=_at_most(statement, ctx.settings),
            writes=writes,
            known=_tried.get(),
        )
        variants = list(plans.variants_of(session, with_samples, catalog, writes=writes))
        others = list(plans.others_of(session, with_samples, catalog)) if payload.get("trial") else []
        found = (
            measured(key=key, variants=variants),
            measured(key=f"{OTHERS}{statement.queryid}", variants=others),
        )
        yield from (measure for measure in found if measure is not None)


#: A run may take so many times as long as the statement's calls do, and a second in any case.
MOST_TIMES, A_SECOND = 10.0, timedelta(seconds=1)


def _at_most(statement: Statement, settings: Settings) -> timedelta:
    """How long one run of a statement may take."""
    if statement.mean_ms <= 0:
        return settings.STATEMENT_TIMEOUT
    usual = timedelta(milliseconds=statement.mean_ms * MOST_TIMES)
    return min(settings.STATEMENT_TIMEOUT, max(A_SECOND, usual))


# --- judge -------------------------------------------------------------------------------------------------


def judge_create(before: Measurement, after: Measurement, settings: Settings) -> Verdict:
    return judge(before, after, min_gain=settings.MIN_GAIN, max_regression=settings.MAX_REGRESSION)


def judge_drop(before: Measurement, after: Measurement, settings: Settings) -> Verdict:
    return judge(
        before, after, min_gain=settings.MIN_GAIN, max_regression=settings.MAX_REGRESSION, created=False
    )


def nothing_to_clean(payload: Json, ctx: ChangeContext) -> None:
    """A DROP INDEX CONCURRENTLY that was killed leaves the index invalid: drop it for good."""
    with _session(payload, ctx) as session:
        actions.remove_invalid(
            session,
            payload["schema"],
            payload["name"],
            timeout=ctx.settings.DDL_TIMEOUT,
            lock=ctx.settings.LOCK_TIMEOUT,
        )


INDEX_HANDLERS: tuple[ChangeHandler, ...] = (
    ChangeHandler("index_create", create, uncreate, measure, judge_create, clean_up_create),
    ChangeHandler("index_drop", drop, undrop, measure, judge_drop, nothing_to_clean),
)


def payload_query(queryid: str, text: str, calls: float, mean_ms: float, rows: float) -> dict[str, Any]:
    """One statement as a payload carries it (JSON types only)."""
    return {"queryid": queryid, "text": text, "calls": calls, "mean_ms": mean_ms, "rows": rows}
