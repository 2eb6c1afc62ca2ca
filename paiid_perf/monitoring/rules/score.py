"""The score 0–100: overall and by area, every point taken off explained.

A check earns its full weight up to its target, nothing from its worst value on, and linearly between. What was
not measured earns nothing and is listed as "insufficient data": so missing data can lower a score and its
confidence, and never raise it. All areas weigh the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from paiid_perf.contracts import Check
from paiid_perf.monitoring.rules.weights import weight_of

AREAS = ("database", "api", "cache", "monitoring", "security")
#: Values this close to the target (as a fraction of it) count as on it: noise changes nothing.
TOLERANCE = 0.02
INSUFFICIENT = "insufficient data"


@dataclass(frozen=True, slots=True)
class Deduction:
    """Points taken off an area's 100 by one check; ``value`` None where it was not measured."""

    name: str
    label: str
    value: float | None
    target: float
    unit: str
    weight: float
    """Share (0–1) of the area's weight that the check has."""
    points: float
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class AreaScore:
    """``score`` None: nothing of the area was measured. ``confidence`` is the measured share of its weight."""

    score: float | None
    confidence: float
    deductions: tuple[Deduction, ...]


@dataclass(frozen=True, slots=True)
class ScoreCard:
    """The whole: ``overall`` None where nothing at all was measured."""

    overall: float | None
    confidence: float
    areas: dict[str, AreaScore]

    def to_json(self) -> dict[str, Any]:
        """``{"overall", "confidence", "areas": {area: {"score", "confidence", "deductions": [...]}}}``."""
        card = asdict(self)
        for area in card["areas"].values():
            area["deductions"] = list(area["deductions"])
        return card


def score(checks: Iterable[Check]) -> ScoreCard:
    """The score card of these checks. An area that no check speaks of is insufficient data."""
    by_area: dict[str, list[Check]] = {area: [] for area in AREAS}
    for check in checks:
        by_area.setdefault(check.area, []).append(check)
    areas = {name: _area(found) for name, found in by_area.items()}
    measured = [area.score for area in areas.values() if area.score is not None]
    overall = sum(measured) / len(areas) if measured else None
    confidence = sum(area.confidence for area in areas.values()) / len(areas)
    return ScoreCard(_rounded(overall), round(confidence, 3), areas)


def earned(check: Check) -> float:
    """The fraction (0–1) of its weight that a check earns.

    Monotone: a value nearer to ``worst`` never earns more.
    """
    if not _is_measured(check) or check.value is None:
        return 0.0
    sign = 1.0 if check.worst >= check.target else -1.0
    excess = sign * (check.value - check.target) - TOLERANCE * abs(check.target)
    room = abs(check.worst - check.target)
    if excess <= 0:
        return 1.0
    return max(0.0, 1.0 - excess / room) if room else 0.0


def _is_measured(check: Check) -> bool:
    return check.value is not None and math.isfinite(check.value)


def _area(checks: list[Check]) -> AreaScore:
    weight = sum(map(weight_of, checks)) or 1.0  # a host's check may weigh nothing
    known = sum(weight_of(check) for check in checks if _is_measured(check))
    deductions = tuple(d for check in checks if (d := _deduction(check, weight)) is not None)
    ordered = tuple(sorted(deductions, key=lambda deduction: -deduction.points))
    if not known:
        return AreaScore(None, 0.0, ordered)
    gained = sum(weight_of(check) * earned(check) for check in checks)
    return AreaScore(_rounded(100 * gained / weight), round(known / weight, 3), ordered)


def _deduction(check: Check, weight: float) -> Deduction | None:
    share = weight_of(check) / weight
    points = 100 * share * (1 - earned(check))
    if points < 0.05:
        return None
    measured = _is_measured(check)
    reason = "" if measured else INSUFFICIENT
    return Deduction(
        name=check.name,
        label=str(check.label),
        value=check.value if measured else None,
        target=check.target,
        unit=check.unit,
        weight=round(share, 3),
        points=round(points, 1),
        reason=reason,
        hint=str(check.hint),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
