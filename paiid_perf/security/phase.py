"""The security phase: events written → facts → score and advice → old rows pruned."""

from __future__ import annotations

from dataclasses import asdict

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.contracts import Phase, PhaseContext, PhaseResult
from paiid_perf.security import actions, facts, rules


def run(ctx: PhaseContext) -> PhaseResult:
    """Score the defences and advise; it changes no setting, so there is nothing to settle."""
    ctx.progress(0.1, _("writing security events"))
    pruned: dict[str, int] = {}
    if not ctx.dry_run:
        actions.flush_events()
        pruned = actions.prune(ctx.settings, ctx.now)
    ctx.progress(0.4, _("reading settings and deployment checks"))
    found = facts.read(ctx.settings, ctx.now)
    ctx.progress(0.8, _("judging"))
    advice = rules.proposals(found)
    ctx.propose(advice)
    ctx.settle(rules.AREA)
    return PhaseResult(
        "succeeded",
        _("%(advice)d pieces of advice, %(deploy)d results of check --deploy, %(blocked)d blocked networks")
        % {"advice": len(advice), "deploy": len(found.deploy), "blocked": found.blocked},
        rules.checks(found),
        {
            "deploy": [{"id": m.id, "message": m.message, "hint": m.hint} for m in found.deploy],
            "events_last_day": dict(found.events),
            "password_profile": rules.password_profile(found.validators, found.minimum_length),
            "policies": [asdict(policy) for policy in rules.policies(found)],
            "vulnerable": [asdict(one) for one in found.vulnerable or ()],
            "event_chain": asdict(found.chain),
            "versions": {v.product: v.installed for v in found.versions},
            "pruned": pruned,
        },
    )


PHASE = Phase("security", gettext_lazy("Security"), 50, run)
