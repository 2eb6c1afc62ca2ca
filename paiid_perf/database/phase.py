"""The database phase, readable aloud: look → judge → propose → settle → keep up → look again → score."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import psycopg
from django.db import connections
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.contracts import Phase, PhaseContext, PhaseResult, Proposal
from paiid_perf.database import advice, retention_changes, view_changes, views
from paiid_perf.database.advisor import advise
from paiid_perf.database.facts import bloat as bloat_facts
from paiid_perf.database.facts import evidence as evidence_facts
from paiid_perf.database.facts import health as health_facts
from paiid_perf.database.facts import insights as insight_facts
from paiid_perf.database.facts import retention as retention_facts
from paiid_perf.database.facts import statistics as statistics_facts
from paiid_perf.database.facts import views as view_facts
from paiid_perf.database.facts import workload as workload_facts
from paiid_perf.database.health_types import Health
from paiid_perf.database.rules import aggregates, insights, scoring, statistics, storage, tuning
from paiid_perf.database.rules import health as health_rules
from paiid_perf.database.rules import pool as pool_rules
from paiid_perf.database.rules import retention as retention_rules
from paiid_perf.database.rules.health import vacuum
from paiid_perf.database.session import Session, connect, is_postgresql
from paiid_perf.database.types import Finding, RetentionRule
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.models import Recommendation
from paiid_perf.registry import registry

logger = logging.getLogger("paiid_perf")


@dataclass(slots=True)
class Gathered:
    """What one pass found: the facts, what follows from them, and what could not be said and why."""

    health: Health
    findings: list[Finding] = field(default_factory=list)
    changes: list[Proposal] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    workload: dict[str, Any] = field(default_factory=dict)


def run(ctx: PhaseContext) -> PhaseResult:
    """Look at the database of ``settings.DATABASE``, propose, and carry out what policy allows.

    Raises:
        psycopg.OperationalError: the server does not answer; the runner marks the phase failed.
    """
    if not is_postgresql(ctx.settings.DATABASE):
        return _without_postgresql(ctx)
    gathered = _look(ctx)
    ctx.propose([*gathered.changes, *advice.proposals(gathered.findings, gathered.changes)])
    settled = {} if gathered.health.server.in_recovery else dict(ctx.settle(advice.AREA))
    upkeep = _keep_up(ctx, gathered)
    return _result(ctx, gathered, settled, upkeep)


def _without_postgresql(ctx: PhaseContext) -> PhaseResult:
    """Retention is Django's own delete() and works anywhere; all else reads PostgreSQL's catalogues."""
    vendor = connections[ctx.settings.DATABASE].vendor
    found = _retention(ctx, None)
    ctx.propose(found.changes)
    settled = dict(ctx.settle(advice.AREA)) if found.changes else {}
    reason = _(
        "%(vendor)s: the database phase reads PostgreSQL's statistics; only retention rules apply here."
    )
    details = {"settled": settled, "refused": found.refused}
    return PhaseResult("skipped", reason % {"vendor": vendor}, details=details)


# --- look ----------------------------------------------------------------------------------------------


def _look(ctx: PhaseContext) -> Gathered:
    chosen = ctx.settings
    ctx.progress(0.0, _("reading the server's health"))
    with connect(chosen.DATABASE, statement=chosen.STATEMENT_TIMEOUT, lock=chosen.LOCK_TIMEOUT) as session:
        evidence_facts.remember(session, ctx.now)
        health = health_facts.read(session, chosen.DATABASE)
        health = replace(health, evidence=evidence_facts.read(session, chosen))
        gathered = Gathered(health, _findings(ctx, health), missing=health.missing())
        if health.server.in_recovery:
            gathered.missing["actions"] = _("this server is a standby: point DATABASE at the primary to act.")
            return gathered
        gathered.findings = _measured(session, gathered)
        ctx.progress(0.2, _("looking at the declared views"))
        gathered.changes += _views(ctx, session)
        ctx.progress(0.3, _("counting what is old"))
        found = _retention(ctx, session)
        gathered.changes += found.changes
        gathered.findings += found.findings
        gathered.refused += found.refused
        ctx.progress(0.35, _("reading the plans of the heaviest queries"))
        _insights(ctx, session, gathered)
    ctx.progress(0.4, _("advising indexes"))
    _indexes(ctx, gathered)
    return gathered


def _measured(session: Session, gathered: Gathered) -> list[Finding]:
    """The findings, those of bloat measured where pgstattuple is there and lets us."""
    if "pgstattuple" not in gathered.health.server.extensions:
        return gathered.findings
    checked = [_bloat_measured(session, finding) for finding in gathered.findings]
    return [finding for finding in checked if finding is not None]


def _bloat_measured(session: Session, finding: Finding) -> Finding | None:
    wasted = bloat_facts.wasted(session, finding.check, finding.subject)
    return finding if wasted is None else vacuum.measured_bloat(finding, wasted)


def _findings(ctx: PhaseContext, health: Health) -> list[Finding]:
    found = [
        *health_rules.judge(health, ctx.now),
        *storage.advise(health, ctx.now),
        *tuning.advise(health, ctx.now),
        *pool_rules.advise(health.pool),
    ]
    return advice.applicable(found, ctx.settings.POLICY)


def _insights(ctx: PhaseContext, session: Session, gathered: Gathered) -> None:
    """What the plans say. A quick run reads none: some are made by running a statement."""
    if ctx.quick:
        return
    try:
        heavy = insight_facts.heavy(session, gathered.health.statements.rows)
        studied = insight_facts.study(session, heavy)
        gathered.findings += insights.judge(studied)
        gathered.findings += aggregates.advise(_aggregates(ctx, session, studied))
        gathered.findings += _statistics(session, heavy)
    except psycopg.Error as error:
        if session.is_broken:
            raise
        gathered.missing["plans"] = health_facts.explain(error, gathered.health.server.role, "plans")


def _aggregates(
    ctx: PhaseContext, session: Session, studied: Sequence[insights.Studied]
) -> Iterator[tuple[insights.Studied, aggregates.Aggregate, Sequence[aggregates.Column]]]:
    for one in filter(aggregates.worth_a_view, studied):
        view = aggregates.view_of(one.text)
        columns = view_facts.columns(session, view.sql, ctx.settings.DATABASE) if view is not None else []
        if view is not None and columns:
            yield one, view, columns


def _statistics(session: Session, heavy: insight_facts.Heavy) -> list[Finding]:
    known = statistics_facts.known(session)
    pairs = statistics.pairs(heavy.parsed(), known, heavy.catalog)
    return [
        finding
        for pair in pairs
        for finding in statistics.advise(
            pair, statistics_facts.probe(session, pair.table.schema, pair.table.name, pair.columns)
        )
    ]


def _views(ctx: PhaseContext, session: Session) -> list[Proposal]:
    return [
        view_changes.proposal(
            view, state, decision, view_facts.columns(session, view.sql, ctx.settings.DATABASE)
        )
        for view, state, decision in views.look(session, ctx.now)
        if decision.action in {"create", "redefine"}
    ]


@dataclass(slots=True)
class Ageing:
    """What the retention rules come to."""

    changes: list[Proposal] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)


def _retention(ctx: PhaseContext, session: Session | None) -> Ageing:
    """What each rule would delete; a rule that cannot be followed says why and leaves the others alone."""
    found = Ageing()
    for rule in registry.all(RetentionRule):
        try:
            goal = retention_facts.target(rule, ctx.settings.DATABASE)
            fact = retention_facts.survey(session, goal, retention_rules.cutoff(rule, ctx.now))
        except (ConfigurationError, psycopg.Error) as error:
            if session is not None and session.is_broken:
                raise
            found.refused.append({"change": f"retention {rule.name}", "because": str(error).strip()})
            continue
        if session is not None:
            found.findings += retention_rules.advise_partitions(rule, fact, goal.table)
        if reason := retention_rules.refused_because(fact):
            found.refused.append({"change": f"retention {rule.name}", "because": reason})
        else:
            found.changes.append(retention_changes.proposal(rule, fact, ctx.now))
    return found


def _indexes(ctx: PhaseContext, gathered: Gathered) -> None:
    """The advisor's word. A quick run builds none, so it does not ask."""
    if ctx.quick:
        return
    try:
        evidence = gathered.health.evidence
        given = advise(ctx.settings, now=ctx.now, alias=ctx.settings.DATABASE, evidence=evidence)
    except psycopg.Error as error:
        logger.warning("no index advice: %s", error)
        role = gathered.health.server.role
        gathered.missing["index advice"] = health_facts.explain(error, role, "statements")
        return
    rested, refused = _rested(ctx, given.proposals)
    gathered.changes += rested
    gathered.refused += refused
    gathered.refused += [{"change": one.candidate, "because": one.because} for one in given.refused]
    gathered.workload = dict(given.workload)
    if given.notes:
        gathered.missing["index advice"] = " ".join(given.notes)


def _rested(ctx: PhaseContext, proposals: Sequence[Proposal]) -> tuple[list[Proposal], list[dict[str, Any]]]:
    """The proposals for tables that no index of was created or dropped by us within INDEX_REST; the others, why not."""
    lately = Recommendation.objects.filter(
        kind__in=("index_create", "index_drop"), applied_at__gt=ctx.now - ctx.settings.INDEX_REST
    )
    touched = {
        _table_of(payload): at
        for payload, at in lately.order_by("applied_at").values_list("payload", "applied_at")
    }
    because = _("the table's indexes were changed at %(at)s; it rests for INDEX_REST before another")
    refused = [
        {"change": p.key, "because": because % {"at": f"{touched[_table_of(p.payload)]:%Y-%m-%d %H:%M}"}}
        for p in proposals
        if _table_of(p.payload) in touched
    ]
    return [p for p in proposals if _table_of(p.payload) not in touched], refused


def _table_of(payload: Mapping[str, Any]) -> tuple[str, str]:
    return payload["schema"], payload["table"]


# --- act and say ---------------------------------------------------------------------------------------


def _keep_up(ctx: PhaseContext, gathered: Gathered) -> list[views.Upkeep]:
    if gathered.health.server.in_recovery:
        return []
    ctx.progress(0.9, _("refreshing views"))
    return views.refresh_due(ctx.settings, ctx.now, dry_run=ctx.dry_run, out_of_time=ctx.out_of_time)


def _result(
    ctx: PhaseContext, gathered: Gathered, settled: dict[str, Any], upkeep: list[views.Upkeep]
) -> PhaseResult:
    health = _of_late(_look_again(ctx, gathered.health, settled))
    scored = scoring.scored(health, _pending_indexes())
    details = {
        "overview": advice.overview(gathered.health),
        "findings": advice.shown(gathered.findings),
        "missing": gathered.missing,
        "refused": gathered.refused[:200],
        "workload": gathered.workload,
        "settled": settled,
        "views": [asdict(one) for one in upkeep],
    }
    ctx.progress(1.0, _("done"))
    return PhaseResult("succeeded", _summary(gathered, settled, upkeep), advice.checks(scored), details)


def _look_again(ctx: PhaseContext, health: Health, settled: dict[str, Any]) -> Health:
    """The facts after what was done, so that the score speaks of the present."""
    if not settled:
        return health
    chosen = ctx.settings
    with connect(chosen.DATABASE, statement=chosen.STATEMENT_TIMEOUT, lock=chosen.LOCK_TIMEOUT) as session:
        return health_facts.read(session, chosen.DATABASE)


def _of_late(health: Health) -> Health:
    """The health with its statements as they ran since indexes last changed: a score must be able to rise."""
    before, _taken = workload_facts.last_snapshot()
    if before is None:
        return health
    baseline = {int(queryid): (s.calls, s.total_ms) for queryid, s in before.statements.items()}
    rows = tuple(scoring.since(health.statements.rows, baseline))
    return replace(health, statements=replace(health.statements, rows=rows))


def _pending_indexes() -> int:
    waiting = (Recommendation.State.PROPOSED, Recommendation.State.APPROVED)
    return Recommendation.objects.filter(kind="index_create", state__in=waiting).count()


def _summary(gathered: Gathered, settled: dict[str, Any], upkeep: Sequence[views.Upkeep]) -> str:
    refreshed = sum(one.action == "refreshed" for one in upkeep)
    parts = [
        _("%(n)d findings") % {"n": len(gathered.findings)},
        _("%(n)d changes proposed") % {"n": len(gathered.changes)},
        *(f"{count} {state}" for state, count in settled.items() if count),
        *([_("%(n)d views refreshed") % {"n": refreshed}] if refreshed else []),
        *([_("%(n)d panels incomplete") % {"n": len(gathered.missing)}] if gathered.missing else []),
    ]
    if not any(settled.values()) and not refreshed:
        parts.append(_("nothing to do"))
    return ", ".join(parts)


PHASE = Phase("database", gettext_lazy("Database"), 10, run)
