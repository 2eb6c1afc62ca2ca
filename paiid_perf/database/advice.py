"""Findings dressed for the ledger and the score: Finding → Proposal, Scored → Check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from paiid_perf.contracts import ADVICE, Check, Proposal, Risk
from paiid_perf.database.health_types import Health
from paiid_perf.database.rules.health.sessions import blocking_tree
from paiid_perf.database.types import Finding, Scored

AREA = "database"

#: What passes by itself or is different each minute: shown with the run, not kept as a recommendation.
PASSING = frozenset(
    {
        "autovacuum_danger",
        "blocked",
        "connections",
        "idle_in_transaction",
        "long_running",
        "replication_lag",
        "slow_query",
        "xmin_horizon",
    }
)
#: Kinds of change that reach beyond the database's own tables.
SERVER_WIDE = frozenset({"setting"})
#: Remedies that lock, rewrite or need a restart, so that a person should read twice.
_RISKS: dict[str, Risk] = {
    "duplicate_index": "medium",
    "unused_index": "medium",
    "table_bloat": "medium",
    "sequence": "high",
    "integer_key": "high",
    "partition": "high",
    "prepared": "medium",
    "inactive_slot": "medium",
    "setting": "medium",
}


def proposals(findings: Iterable[Finding], taken: Sequence[Proposal] = ()) -> list[Proposal]:
    """Advice for what lasts; left out is an index that another proposal (``taken``) already drops or rebuilds."""
    told = "\n".join(other.how for other in taken)
    return [_proposal(f) for f in findings if f.check not in PASSING and not (f.how and f.how in told)]


def applicable(findings: Iterable[Finding], named: Collection[str]) -> list[Finding]:
    """The findings, of whose changes those of the whole server stay only where the policy names their kind.

    ``POLICY = {"*": "auto"}`` is said with indexes in mind: it must not reach for a server that others share.
    """
    return [
        replace(f, change={}) if f.change.get("kind") in SERVER_WIDE - set(named) else f for f in findings
    ]


def _proposal(finding: Finding) -> Proposal:
    source = {"source": finding.source} if finding.source else {}
    return Proposal(
        area=AREA,
        kind=finding.change.get("kind", ADVICE),
        key=finding.key,
        title=finding.title,
        why=finding.why,
        evidence=dict(finding.numbers) | {"severity": finding.severity} | source,
        risk=_RISKS.get(finding.check, "low"),
        how=finding.how,
        undo=finding.undo,
        payload={name: value for name, value in finding.change.items() if name != "kind"},
    )


def checks(rows: Iterable[Scored]) -> tuple[Check, ...]:
    """The scored facts as the score reads them."""
    return tuple(
        Check(AREA, s.name, s.label, s.value, s.target, s.worst, s.weight, s.unit, s.hint) for s in rows
    )


def shown(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """The findings for the run's page, the gravest first (JSON types only)."""
    order = {"critical": 0, "warning": 1, "info": 2}
    return [
        {
            "check": f.check,
            "subject": f.subject,
            "severity": f.severity,
            "title": f.title,
            "why": f.why,
            "how": f.how,
            "numbers": dict(f.numbers),
        }
        for f in sorted(findings, key=lambda f: order[f.severity])
    ]


def overview(health: Health) -> dict[str, Any]:
    """The figures at the head of the run's page."""
    sessions = health.sessions.rows
    database = health.database.first()
    largest = sorted(health.tables.rows, key=lambda table: -table.bytes)[:10]
    return {
        "version": health.server.version,
        "database_bytes": database.bytes if database else None,
        "connections": dict(Counter(session.state or "?" for session in sessions)),
        "connections_by_source": dict(Counter(f"{s.application or s.role} {s.source}" for s in sessions)),
        "largest_tables": [
            {"table": table.label, "bytes": table.bytes, "rows": table.live} for table in largest
        ],
        "vacuums": [
            {"table": v.table, "phase": v.phase, "done": round(v.done, 3)} for v in health.vacuums.rows
        ],
        "replicas": len(health.replicas.rows),
        "blocking": blocking_tree(sessions),
        "growth_per_day": round(health.growth.per_day) if health.growth else None,
    }
