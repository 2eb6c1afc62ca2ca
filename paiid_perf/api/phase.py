"""The api phase: store what was recorded, read it, advise, score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.api import actions, facts, rules
from paiid_perf.api.types import Advice, EndpointFacts, Mark, ResponseStrategy
from paiid_perf.contracts import ADVICE, Check, Phase, PhaseContext, PhaseResult, Proposal
from paiid_perf.lifetimes import advice as lifetimes
from paiid_perf.lifetimes.reuse import Reuse
from paiid_perf.registry import registry

AREA = "api"
#: Endpoints shown on the run's page.
SHOWN = 50


def run(ctx: PhaseContext) -> PhaseResult:
    """Facts → rules → recommendations, and the area's scored facts."""
    ctx.progress(0.0, _("storing what was recorded"))
    actions.store_recorded()
    ctx.progress(0.4, _("reading the endpoints"))
    endpoints = facts.read_endpoints(ctx.now)
    ctx.progress(0.8, _("advising"))
    ctx.propose([_proposal(advice) for advice in rules.advise(endpoints)])
    declared = {strategy.subject: strategy for strategy in registry.all(ResponseStrategy)}
    reuse = lifetimes.read(declared)
    ctx.propose(lifetimes.proposals(AREA, declared, reuse))
    settled = dict(ctx.settle(AREA))
    checks = tuple(_check(mark) for mark in rules.marks(endpoints))
    return PhaseResult("succeeded", _summary(endpoints), checks, _details(endpoints, settled, reuse))


def _proposal(advice: Advice) -> Proposal:
    return Proposal(
        area=AREA,
        kind=ADVICE,
        key=advice.key,
        title=advice.title,
        why=advice.why,
        evidence=dict(advice.evidence),
        expected_gain=advice.expected_gain,
        how=advice.how,
    )


def _check(mark: Mark) -> Check:
    return Check(
        AREA, mark.name, mark.label, mark.value, mark.target, mark.worst, mark.weight, mark.unit, mark.hint
    )


def _summary(endpoints: Sequence[EndpointFacts]) -> str:
    requests = sum(e.requests for e in endpoints)
    if not requests:
        return _("No request was recorded in the last hour: insufficient data.")
    missed = sum(e.p95_ms > e.objective_ms for e in endpoints if e.requests >= rules.ENOUGH)
    return _(
        "%(requests)d requests to %(endpoints)d endpoints in the last hour; %(missed)d miss their objective."
    ) % {
        "requests": requests,
        "endpoints": len(endpoints),
        "missed": missed,
    }


def _details(
    endpoints: Iterable[EndpointFacts], settled: dict[str, Any], reuse: Iterable[Reuse]
) -> dict[str, Any]:
    busiest = sorted(endpoints, key=lambda e: -e.requests * e.mean_ms)[:SHOWN]
    return {
        "endpoints": [_row(e) for e in busiest],
        "settled": settled,
        "reuse": [asdict(one) for one in reuse],
    }


def _row(facts: EndpointFacts) -> dict[str, Any]:
    return {
        "endpoint": facts.endpoint,
        "requests": facts.requests,
        "errors": facts.errors,
        "p50_ms": round(facts.p50_ms, 2),
        "p95_ms": round(facts.p95_ms, 2),
        "queries": round(facts.queries_per_request, 1),
        "db_ms": round(facts.db_ms_per_request, 2),
        "hits": facts.hits,
        "misses": facts.misses,
        "repeats": [repeat.line for repeat in facts.repeats],
    }


PHASE = Phase("api", gettext_lazy("API responses"), 20, run)
