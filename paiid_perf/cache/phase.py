"""The cache phase: read the server and the counters, advise, set what policy allows, warm, score.

Warming is idempotent and has nothing to undo, so it is done here under the policy ``cache_warm`` (``auto``), not as
a change in the ledger. Where the cache is not Redis, there is no server to read; the rest works.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.cache import footprint, nodes, rules
from paiid_perf.cache.actions import forbidden
from paiid_perf.cache.facts import read_facts
from paiid_perf.cache.types import (
    CacheFacts,
    CacheStrategy,
    ConfigAdvice,
    Mark,
    StrategyAdvice,
    WarmReport,
)
from paiid_perf.cache.warming import warm
from paiid_perf.contracts import ADVICE, Check, Phase, PhaseContext, PhaseResult, Proposal
from paiid_perf.lifetimes import advice as lifetimes
from paiid_perf.registry import registry

AREA = "cache"


def run(ctx: PhaseContext) -> PhaseResult:
    """Facts → advice → (by policy) settings and warming → facts again → marks."""
    ctx.progress(0.0, _("reading the cache"))
    facts = read_facts(ctx.now)
    ctx.propose(_proposals(facts))
    declared = {strategy.name: strategy for strategy in registry.all(CacheStrategy)}
    reuse = lifetimes.read(declared)
    ctx.propose(lifetimes.proposals(AREA, declared, reuse))
    ctx.progress(0.3, _("settings"))
    settled = dict(ctx.settle(AREA))
    warmed = _warm(ctx)
    if any(settled.values()) or any(report.warmed for report in warmed):
        facts = read_facts(ctx.now)
    details = _details(facts, warmed, settled) | {"reuse": [asdict(one) for one in reuse]}
    return PhaseResult("succeeded", _summary(facts, warmed), _checks(facts), details)


def _proposals(facts: CacheFacts) -> Iterator[Proposal]:
    for config in rules.config_advice(facts):
        yield _config_proposal(config, facts.config_writable)
    strategies = registry.all(CacheStrategy)
    for advice in (*rules.strategy_advice(facts, strategies), *footprint.advice(facts.footprint)):
        yield _strategy_proposal(advice)


def _config_proposal(advice: ConfigAdvice, writable: bool) -> Proposal:
    command = f"CONFIG SET {advice.setting} {advice.value}"
    applicable = advice.applicable and writable
    how = f"{command}\nCONFIG REWRITE" if writable else forbidden(advice.setting, advice.value)
    return Proposal(
        area=AREA,
        kind="cache_config" if applicable else ADVICE,
        key=f"{advice.setting}={advice.value}",
        title=_("Set %(setting)s to %(value)s") % {"setting": advice.setting, "value": advice.value},
        why=advice.why,
        evidence=dict(advice.evidence),
        cost=_(
            "Takes effect at once; CONFIG REWRITE, or the server's configuration file, keeps it over a restart."
        ),
        risk=advice.risk,
        how=how,
        undo=f"CONFIG SET {advice.setting} {advice.previous}",
        payload={"setting": advice.setting, "value": advice.value, "previous": advice.previous},
    )


def _strategy_proposal(advice: StrategyAdvice) -> Proposal:
    return Proposal(
        area=AREA,
        kind=ADVICE,
        key=f"strategy {advice.strategy}: {advice.title}",
        title=advice.title,
        why=advice.why,
        evidence=dict(advice.evidence),
        how=advice.how,
    )


# --- warming --------------------------------------------------------------------------------------------


def _warm(ctx: PhaseContext) -> tuple[WarmReport, ...]:
    policy = ctx.policy("cache_warm")
    if policy == "off" or not ctx.settings.VALUE_CACHE:
        return ()
    only_look = ctx.dry_run or ctx.settings.KILL_SWITCH or policy != "auto"
    return warm(
        budget=ctx.settings.CACHE_WARM_BUDGET,
        dry_run=only_look,
        progress=lambda fraction, name: ctx.progress(0.4 + 0.5 * fraction, _("warming %s") % name),
    )


# --- the result -----------------------------------------------------------------------------------------


def _checks(facts: CacheFacts) -> tuple[Check, ...]:
    return tuple(_check(mark) for mark in rules.marks(facts))


def _check(mark: Mark) -> Check:
    return Check(
        AREA,
        mark.name,
        str(mark.label),
        mark.value,
        mark.target,
        mark.worst,
        mark.weight,
        mark.unit,
        str(mark.hint),
    )


def _summary(facts: CacheFacts, warmed: Sequence[WarmReport]) -> str:
    return "; ".join(part for part in (_state(facts), _warm_summary(warmed)) if part)


def _state(facts: CacheFacts) -> str:
    if facts.unreachable:
        return _("%(backend)s does not answer (%(error)s)") % {
            "backend": facts.backend,
            "error": facts.unreachable,
        }
    ratio = rules.hit_ratio(facts.use)
    hits = _("no hit ratio yet") if ratio is None else _("%(ratio).0f %% hits") % {"ratio": ratio * 100}
    if facts.server is None:
        return _("%(backend)s (no server to read), %(hits)s") % {"backend": facts.backend, "hits": hits}
    return _("%(megabytes).1f MB in %(keys)d keys, %(policy)s, %(hits)s") % {
        "megabytes": facts.server.used_bytes / rules.MEGABYTE,
        "keys": facts.server.keys,
        "policy": facts.server.policy,
        "hits": hits,
    }


def _warm_summary(reports: Iterable[WarmReport]) -> str:
    reports = tuple(reports)
    if not reports:
        return ""
    names = ("warmed", "fresh", "left", "failed")
    return _("%(warmed)d values warmed, %(fresh)d were fresh, %(left)d left, %(failed)d failed") % {
        name: sum(getattr(report, name) for report in reports) for name in names
    }


def _details(facts: CacheFacts, warmed: Sequence[WarmReport], settled: dict[str, Any]) -> dict[str, Any]:
    return {
        "backend": facts.backend,
        "unreachable": facts.unreachable,
        "server": asdict(facts.server) if facts.server else None,
        "nodes": nodes.table() if facts.server else [],
        "config_writable": facts.config_writable,
        "strategies": [asdict(use) | {"ratio": use.ratio} for use in facts.use],
        "footprint": [asdict(part) for part in facts.footprint],
        "memory": {
            "sampled_keys": len(facts.sample),
            "of_keys": facts.sampled_of,
            "groups": [asdict(group) for group in rules.groups(facts.sample)],
            "patterns": [asdict(group) for group in rules.patterns(facts.sample)],
            "largest": [asdict(key) for key in rules.largest(facts.sample)],
        },
        "worth": [{"key": key, "saved_ms_per_kb": saved} for key, saved in facts.worth],
        "warming": [asdict(report) for report in warmed],
        "changes": settled,
    }


PHASE = Phase(AREA, gettext_lazy("Cache"), 30, run)
