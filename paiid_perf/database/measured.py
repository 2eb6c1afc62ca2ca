"""Plans that a worker measures at a person's word, kept for a while for whoever looks at the query's page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from django.core.cache import caches

from paiid_perf.conf import Settings
from paiid_perf.database import statements
from paiid_perf.database.statements import Node, Plan

#: How long a measured plan is shown.
SHOWN_FOR = timedelta(hours=1)
#: How long one that was asked for is waited for: then no worker took it.
AWAITED = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of the measuring of a query; ``plan`` and ``at`` where it has been done."""

    status: Literal["none", "measuring", "measured"] = "none"
    plan: Plan | None = None
    at: datetime | None = None

    @property
    def is_there(self) -> bool:
        """Whether it could be measured; ``plan.because`` says why not."""
        return self.plan is not None and self.plan.root is not None


def look(settings: Settings, queryid: str) -> Measured:
    """What was measured last, or whether somebody waits for it."""
    found: Mapping[str, Any] | None = caches[settings.CACHE].get(_key(settings, queryid))
    if not found:
        return Measured()
    if "plan" not in found:
        return Measured("measuring")
    return Measured("measured", _read(found["plan"]), datetime.fromtimestamp(found["at"], UTC))


def begin(settings: Settings, queryid: str) -> None:
    """Note that a worker is asked for it."""
    caches[settings.CACHE].set(_key(settings, queryid), {"asked": True}, AWAITED.total_seconds())


def forget(settings: Settings, queryid: str) -> None:
    """What was measured, or that it is waited for."""
    caches[settings.CACHE].delete(_key(settings, queryid))


def measure(settings: Settings, queryid: str, now: datetime) -> Plan:
    """Measure the plan of a counted statement by a sampled run of it (``statements.plan``), and keep what came out."""
    text = statements.texts(settings, [queryid]).get(queryid)
    plan = Plan(because=GONE) if text is None else statements.plan(settings, text, measure=True)
    kept = {"plan": asdict(plan), "at": now.timestamp()}
    caches[settings.CACHE].set(_key(settings, queryid), kept, SHOWN_FOR.total_seconds())
    return plan


GONE = "The server counts it no longer."


def _key(settings: Settings, queryid: str) -> str:
    return f"{settings.KEY_PREFIX}:measured:{queryid}"


def _read(found: Mapping[str, Any]) -> Plan:
    root = found["root"]
    return Plan(_node(root) if root else None, found["indexes"], found["because"])


def _node(found: Mapping[str, Any]) -> Node:
    return Node(**{**found, "children": [_node(child) for child in found["children"]]})
