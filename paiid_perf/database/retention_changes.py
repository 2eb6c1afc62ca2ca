"""How a retention rule is carried out by the ledger: rows counted, deleted, counted again. There is no undo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.utils.translation import gettext as _

from paiid_perf.conf import Settings
from paiid_perf.contracts import ChangeContext, ChangeHandler, Json, Measurement, Proposal, Verdict
from paiid_perf.database.actions import retention as actions
from paiid_perf.database.facts import retention as facts
from paiid_perf.database.rules.retention import cutoff
from paiid_perf.database.session import Session, connect, is_postgresql
from paiid_perf.database.types import RetentionFact, RetentionRule

KIND = "retention"


def payload(rule: RetentionRule) -> Json:
    """All that the handler needs, so that the row alone is enough after a crash."""
    return {
        "model": rule.model,
        "field": rule.field,
        "older_than_seconds": rule.older_than.total_seconds(),
        "batch_size": rule.batch_size,
    }


def from_payload(value: Json) -> RetentionRule:
    """The rule that a payload was made of."""
    older_than = timedelta(seconds=value["older_than_seconds"])
    return RetentionRule(value["model"], older_than, value["field"], value["batch_size"])


def proposal(rule: RetentionRule, fact: RetentionFact, now: datetime) -> Proposal:
    """The deletion of what is due as a change that can be approved; what it would delete is counted, not guessed."""
    count = _("at least %(n)d") % {"n": fact.due} if fact.capped else str(fact.due)
    names = {"count": count, "model": rule.model, "days": rule.older_than.days, "field": rule.field}
    return Proposal(
        area="database",
        kind=KIND,
        key=f"{rule.model} {rule.field} {rule.older_than}",
        title=_("Delete %(count)s rows of %(model)s older than %(days)d days") % names,
        why=_("The declared retention rule: %(field)s before %(cutoff)s. Deleted in batches, %(reason)s.")
        % (names | {"cutoff": f"{cutoff(rule, now):%Y-%m-%d %H:%M}", "reason": fact.reason}),
        evidence={
            "due": fact.due,
            "at_least": fact.capped,
            "rows": fact.total,
            "bytes": fact.bytes,
            "oldest": fact.oldest.isoformat() if fact.oldest else None,
            "index": fact.index,
            "method": fact.method,
            "partitions": list(fact.partitions),
        },
        risk="medium",
        how="".join(f"DETACH PARTITION {name} CONCURRENTLY; DROP TABLE {name};\n" for name in fact.partitions)
        + f"{rule.model}.objects.filter({rule.field}__lt={cutoff(rule, now)!r}).delete()  "
        f"# in batches of {rule.batch_size}",
        payload=payload(rule),
    )


@contextmanager
def session_for(settings: Settings) -> Iterator[Session | None]:
    """A session on PostgreSQL, None on any other database."""
    alias = settings.DATABASE
    if not is_postgresql(alias):
        yield None
        return
    with connect(alias, statement=settings.STATEMENT_TIMEOUT, lock=settings.LOCK_TIMEOUT) as session:
        yield session


def apply(value: Json, context: ChangeContext) -> Json:
    """Delete in batches within RETENTION_MAX_ROWS and RETENTION_TIME; returns rows, batches, seconds and why it
    stopped."""
    rule, settings = from_payload(value), context.settings
    goal = facts.target(rule, settings.DATABASE)
    before = cutoff(rule, context.now)
    budget = actions.Budget(
        settings.RETENTION_MAX_ROWS, settings.RETENTION_TIME.total_seconds(), settings.STATEMENT_TIMEOUT
    )
    with session_for(settings) as session:
        fact = facts.survey(session, goal, before)
        dropped = _drop_partitions(session, goal, before, fact, settings)
        report = actions.delete(
            session,
            goal,
            before,
            method=fact.method,
            batch=rule.batch_size,
            budget=budget,
            progress=lambda rows: context.progress(min(1.0, rows / max(1, fact.due)), rule.model),
        )
    result: dict[str, Any] = report.to_json() | {"method": fact.method} | dropped
    return result | {"vacuum": _tidy(goal, settings)} if report.rows else result


def _drop_partitions(
    session: Session | None, goal: facts.Target, before: datetime, fact: RetentionFact, settings: Settings
) -> dict[str, Any]:
    if session is None or not fact.partitions:
        return {}
    done = actions.drop_partitions(session, goal, before, settings.DDL_TIMEOUT, settings.LOCK_TIMEOUT)
    return {
        "partitions_dropped": done.partitions,
        "rows_in_partitions": done.rows,
        "partitions_refused": done.refused,
    }


def _tidy(goal: facts.Target, settings: Settings) -> str:
    """VACUUM is a courtesy: autovacuum comes anyway, so a refusal is noted and no more.

    In a session of its own: that of the deletes has told the server what it deleted once it is closed.
    """
    with session_for(settings) as session:
        if session is None:
            return ""
        try:
            actions.tidy(session, goal, settings.DDL_TIMEOUT)
        except psycopg.Error as error:
            if session.is_broken:
                raise
            return str(error).strip().splitlines()[0]
    return "done"


def measure(value: Json, context: ChangeContext) -> Measurement:
    """How many rows are due (counted up to a limit). Nothing is timed: a deletion is kept as it is."""
    rule = from_payload(value)
    goal = facts.target(rule, context.settings.DATABASE)
    with session_for(context.settings) as session:
        fact = facts.survey(session, goal, cutoff(rule, context.now))
    return Measurement("none", (), {"rows_due": float(fact.due), "rows": float(fact.total)})


def judge(before: Measurement, after: Measurement, settings: Settings) -> Verdict:
    """Always kept: rows do not come back. Says how many are left for the next run. Pure."""
    left = int(after.numbers.get("rows_due", 0))
    due = int(before.numbers.get("rows_due", 0))
    said = _("%(due)d rows were due, %(left)d are left for the next run") % {"due": due, "left": left}
    return Verdict(True, said)


def clean_up(value: Json, context: ChangeContext) -> None:
    """Each batch is a transaction: a killed run has left nothing half done."""


HANDLER = ChangeHandler(KIND, apply, None, measure, judge, clean_up)
