"""Whom the counters have just refused, remembered by the process for a moment: a flood of locked attempts costs neither
Redis nor the database anything.
"""

from __future__ import annotations

import time
from collections.abc import Set
from typing import Any

from django.core.signals import setting_changed

#: Seconds for which a refusal is repeated without asking; a lock may last this much longer than its window.
REFUSED_FOR = 1.0
#: Refusals that are remembered at a time.
REFUSALS = 4_096

#: (network,) or (name, network) → the monotonic time until which it is refused.
_until: dict[tuple[str, ...], float] = {}


def is_refused(who: str, where: str) -> bool:
    """Whether the name, or everybody, was refused at that network within the last second."""
    now = time.monotonic()
    return _until.get((who, where), 0.0) > now or _until.get((where,), 0.0) > now


def refuse_for_now(who: str, where: str, full: Set[str]) -> None:
    """Remember what is full; not a crowd at once, which passes, nor counters that could not be read."""
    if len(_until) >= REFUSALS:
        _until.clear()
    until = time.monotonic() + REFUSED_FOR
    if "address" in full:
        _until[(where,)] = until
    elif "pair" in full or "user" in full:
        _until[(who, where)] = until


def forget() -> None:
    """Ask again about everyone: after counters were emptied on purpose, as between two tests."""
    _until.clear()


def _follow_settings(*, setting: str, **_: Any) -> None:
    if setting in {"CACHES", "PAIID_PERF"}:
        forget()


setting_changed.connect(_follow_settings, dispatch_uid="paiid_perf.security.refusals")
