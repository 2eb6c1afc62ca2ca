"""What the security domain talks about: policies, events, decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["info", "low", "medium", "high", "critical"]


@dataclass(frozen=True, slots=True)
class InspectionPolicy:
    """How the input of some endpoints is inspected; the longest ``match`` (path prefix) wins."""

    name: str
    match: str = ""
    mode: Literal["off", "report", "block"] = "report"
    exempt_fields: Sequence[str] = field(default_factory=tuple)
