"""Rates as settings write them, and who is to be banned."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

from django.utils.translation import gettext as _

from paiid_perf.security.detection import KINDS
from paiid_perf.security.networks import caller
from paiid_perf.security.types import Ban, EventCount, Rate, Response

# --- rates -------------------------------------------------------------------------------------------

_RATE = re.compile(r"\s*(\d+)\s*/\s*(\d*)\s*([smhd])\s*\Z")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_rate(text: str) -> Rate:
    """``5/5m`` → 5 in 300 seconds (``n/[k](s|m|h|d)``); ValueError names a text that is none."""
    match = _RATE.match(text)
    if match is None or int(match[1]) < 1 or match[2] == "0":
        raise ValueError(f"{text!r} is no rate: write 5/5m, 3/h or 60/m.")
    return Rate(int(match[1]), int(match[2] or 1) * _UNITS[match[3]])


# --- bans --------------------------------------------------------------------------------------------

#: What an event adds to its address' score, by kind, else by severity. A person who mistypes a password stays far
#: below a ban; a second blocked injection passes it.
WEIGHTS: dict[str, int] = {
    **{f"input_{kind}": 50 for kind in KINDS},
    "login_failed": 5,
    "login_locked": 5,
    "info": 0,
    "low": 2,
    "medium": 5,
    "high": 25,
    "critical": 100,
}
#: The ladder of OWASP AppSensor (log → notify → delay → log out → ban): the share of the score that leads to each
#: rung, the harshest first. Everything is logged.
LADDER: tuple[tuple[Response, float], ...] = (("ban", 1.0), ("log_out", 0.8), ("delay", 0.6), ("notify", 0.4))


def responses(events: Iterable[EventCount], score: int, ban_for: timedelta) -> list[Ban]:
    """What is to be done about each network by its weighted events (IPv6 by /64), with the reason."""
    sums: dict[str, int] = {}
    causes: dict[str, set[str]] = {}
    for event in events:
        weight = WEIGHTS.get(event.kind, WEIGHTS[event.severity]) * event.count
        network = caller(event.address)
        sums[network] = sums.get(network, 0) + weight
        if weight:
            causes.setdefault(network, set()).add(event.kind)
    return [
        Ban(
            network,
            ban_for,
            _("score %(sum)d: %(kinds)s") % {"sum": total, "kinds": ", ".join(sorted(causes[network]))},
            response,
        )
        for network, total in sums.items()
        if (response := _rung(total / score))
    ]


def _rung(share: float) -> Response | None:
    return next((response for response, least in LADDER if share >= least), None)
