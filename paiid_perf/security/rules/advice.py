"""What follows from the measures: checks with points, advice with its evidence, and the score of each policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.utils.translation import gettext as _

from paiid_perf.contracts import ADVICE, Check, Proposal
from paiid_perf.security.rules.measures import (
    AREA,
    COOKIES,
    MEASURES,
    POLICIES,
    Measure,
    password_profile,
    unsupported,
)
from paiid_perf.security.types import Deduction, Policy, PolicyScore, SecurityFacts, Vulnerable

#: Serious events of one day from which on this check gives no points.
EVENTS_WORST = 100


def checks(facts: SecurityFacts) -> tuple[Check, ...]:
    """Every measure as a scored check, and the last day's serious events."""
    scored = tuple(
        Check(AREA, m.name, str(m.label), m.read(facts), 1.0, 0.0, m.weight, "", _hint(m, facts))
        for m in MEASURES
    )
    serious = sum(facts.events.get(severity, 0) for severity in ("high", "critical"))
    hint = _("Look at the events, block their addresses, and fix what they aim at.")
    label = _("Serious events in the last day")
    return (*scored, Check(AREA, "events", label, float(serious), 0.0, EVENTS_WORST, 4, "", hint))


def proposals(facts: SecurityFacts) -> list[Proposal]:
    """One piece of advice per measure that is not fully in place; settings are for people to change."""
    settings = [
        _advice(measure, value, facts)
        for measure in MEASURES
        if (value := measure.read(facts)) is not None and value < 1
    ]
    return [
        *(_use_parameters(line) for line in facts.built_statements),
        *(_update(found) for found in facts.vulnerable or ()),
        *settings,
    ]


def policies(facts: SecurityFacts) -> tuple[PolicyScore, ...]:
    """The score of each policy, 0–100, with what was deducted from it; None where nothing can be said."""
    return tuple(_policy(policy, [m for m in MEASURES if m.policy == policy], facts) for policy in POLICIES)


def _policy(policy: Policy, measures: Sequence[Measure], facts: SecurityFacts) -> PolicyScore:
    known = [(measure, value) for measure in measures if (value := measure.read(facts)) is not None]
    weight = sum(measure.weight for measure, _value in known)
    if not weight:
        return PolicyScore(policy, None, ())
    lost = [
        Deduction(measure.name, str(measure.label), round(100 * measure.weight * (1 - value) / weight, 1))
        for measure, value in known
        if value < 1
    ]
    return PolicyScore(policy, round(100 - sum(one.points for one in lost), 1), tuple(lost))


def _update(found: Vulnerable) -> Proposal:
    """One piece of advice for one distribution, with the version that mends all that is known of it."""
    fixed = found.fixed
    title = _("Update %(name)s %(installed)s to %(fixed)s") if fixed else _("Replace %(name)s %(installed)s")
    names = {"name": found.name, "installed": found.installed, "fixed": fixed}
    return Proposal(
        area=AREA,
        kind=ADVICE,
        key=f"security.vulnerable.{found.name}"[:200],
        title=title % names,
        why=_("Known vulnerabilities: %(ids)s.") % {"ids": ", ".join(found.ids)}
        + f" {found.summary}".rstrip(),
        evidence={"ids": list(found.ids), "severity": found.severity, **names},
        risk="medium",
        how=f'pip install "{found.name}>={fixed}"' if fixed else _("No version without them is known."),
        undo=f'pip install "{found.name}=={found.installed}"',
    )


def _use_parameters(line: str) -> Proposal:
    return Proposal(
        area=AREA,
        kind=ADVICE,
        key=f"security.sql_built.{line}"[:200],
        title=_("Pass values as parameters: %(line)s") % {"line": line},
        why=_("A request value changed the tokens of a statement that this line sends (ASVS 1.2.4)."),
        evidence={"line": line},
        risk="low",
        how='cursor.execute("SELECT … WHERE name = %s", [name])',
        undo=_("Take the change to the code back."),
    )


def _advice(measure: Measure, value: float, facts: SecurityFacts) -> Proposal:
    reference = f" ({measure.reference})" if measure.reference else ""
    return Proposal(
        area=AREA,
        kind=ADVICE,
        key=f"security.{measure.name}",
        title=_("Security: %(label)s") % {"label": measure.label},
        why=_hint(measure, facts) + reference,
        evidence={
            "in_place": round(value, 2),
            "weight": measure.weight,
            "found": list(_evidence(measure.name, facts)),
        },
        risk="high" if measure.name in {"transport", "headers"} else "low",
        how=measure.how,
        undo=_("Take the lines out of the settings again."),
    )


def _hint(measure: Measure, facts: SecurityFacts) -> str:
    found = _evidence(measure.name, facts)
    if not found:
        return str(measure.hint)
    told = _("Found: %(what)s.") % {"what": "; ".join(found)}
    return f"{measure.hint} {told}"


#: Which ``check --deploy`` results belong to which measure.
_IDS: dict[str, tuple[str, ...]] = {
    "secrets": ("security.W009", "security.W018", "security.W020"),
    "transport": ("security.W004", "security.W005", "security.W008", "security.W021"),
    "cookies": tuple(id_ for ids in COOKIES.values() for id_ in ids),
    "headers": (
        "security.W001",
        "security.W002",
        "security.W003",
        "security.W006",
        "security.W019",
        "security.W022",
    ),
}


def _evidence(name: str, facts: SecurityFacts) -> Sequence[str]:
    """What exactly was found, for a person to check."""
    if name in _IDS:
        return [message.id for message in facts.deploy if message.id in _IDS[name]]
    return _OTHER_EVIDENCE[name](facts) if name in _OTHER_EVIDENCE else ()


#: What OWASP ASVS 5 asks to be possible: the longest password at least.
LONGEST = 64


def departures(composition: bool, expiry: bool, longest: int | None) -> list[str]:
    """The clauses of OWASP ASVS 5 that a password policy departs from (``longest`` None: any length is taken)."""
    clauses = (
        (composition, "ASVS 6.2.5 (no composition rules)"),
        (expiry, "ASVS 6.2.10 (no expiry)"),
        (longest is not None and longest < LONGEST, "ASVS 6.2.9 (64 characters allowed)"),
    )
    return [clause for departs, clause in clauses if departs]


_OTHER_EVIDENCE: dict[str, Callable[[SecurityFacts], list[str]]] = {
    "passwords": lambda facts: [
        password_profile(facts.validators, facts.minimum_length),
        *(
            _("departs from %(clause)s") % {"clause": clause}
            for clause in departures(
                "FiveCriteriaValidator" in facts.validators, facts.password_expiry, facts.longest_password
            )
        ),
        *sorted(facts.validators),
    ],
    "hashing": lambda facts: [facts.hasher, *facts.weak_hashers],
    "inspection": lambda facts: [f"INSPECTION={facts.inspection}"],
    "admin_address": lambda facts: [facts.admin_path] if facts.admin_path else [],
    "vulnerabilities": lambda facts: [str(found) for found in facts.vulnerable or ()],
    "dangerous_settings": lambda facts: [f"{danger.setting}: {danger.why}" for danger in facts.dangers],
    "event_chain": lambda facts: (
        [] if facts.chain.broken_at is None else [f"#{facts.chain.broken_at}: {facts.chain.why}"]
    ),
    "supported_versions": lambda facts: [f"{v.product} {v.installed}" for v in unsupported(facts)],
    "exposure": lambda facts: [
        *(["CORS_ALLOW_ALL_ORIGINS"] if facts.cors_open else []),
        *(["TRUSTED_PROXIES"] if facts.trusts_everyone else []),
        *facts.debug_packages,
    ],
}
