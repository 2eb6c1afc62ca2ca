"""How extended statistics are made by the ledger, and proven by the planner's own row counts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from django.utils.translation import gettext as _

from paiid_perf.conf import Settings
from paiid_perf.contracts import ChangeContext, ChangeHandler, Json, Measurement, Verdict
from paiid_perf.database.facts import statistics as facts
from paiid_perf.database.rules import statistics as rules
from paiid_perf.database.session import Session, connect, trusted


@contextmanager
def _session(context: ChangeContext) -> Iterator[Session]:
    chosen = context.settings
    with connect(chosen.DATABASE, statement=chosen.STATEMENT_TIMEOUT, lock=chosen.LOCK_TIMEOUT) as session:
        yield session


def apply(value: Json, context: ChangeContext) -> Json:
    """CREATE STATISTICS and ANALYZE of the two columns, in one transaction."""
    with _session(context) as session, session.writing(context.settings.DDL_TIMEOUT) as connection:
        connection.execute(trusted(rules.create(value)))
        connection.execute(trusted(rules.analyze(value)))
    return {"name": value["name"]}


def revert(value: Json, context: ChangeContext) -> None:
    """DROP STATISTICS; the next plan is made without them."""
    with _session(context) as session, session.writing() as connection:
        connection.execute(trusted(rules.drop(value)))


def clean_up(value: Json, context: ChangeContext) -> None:
    """Creation is one transaction: a killed one has left nothing behind."""


def measure(value: Json, context: ChangeContext) -> Measurement:
    """By what factor the planner's row counts are wrong now."""
    with _session(context) as session:
        probes = facts.probe(session, value["schema"], value["table"], value["columns"])
    return Measurement("none", (), {"error": rules.error(probes), "probes": float(len(probes))})


def judge(before: Measurement, after: Measurement, settings: Settings) -> Verdict:
    """Kept if the error, on the scale of orders of magnitude, fell by MIN_GAIN. Pure."""
    was, now = before.numbers.get("error", 1.0), after.numbers.get("error", 1.0)
    if not after.numbers.get("probes") or was <= 1.0:
        return Verdict(False, _("it could not be measured"))
    gain = 1 - math.log(now) / math.log(was)
    said = _("row counts are wrong by a factor of %(now).2f, before by %(was).2f") % {"now": now, "was": was}
    return Verdict(gain >= settings.MIN_GAIN, said, gain)


HANDLER = ChangeHandler("statistics", apply, revert, measure, judge, clean_up)
