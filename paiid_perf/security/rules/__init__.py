"""PURE: what the site's defences are worth, what would improve them, who is to be banned, what is vulnerable."""

from paiid_perf.security.rules.advice import EVENTS_WORST, checks, departures, policies, proposals
from paiid_perf.security.rules.advisories import vulnerable
from paiid_perf.security.rules.dangers import dangers
from paiid_perf.security.rules.limits import LADDER, WEIGHTS, parse_rate, responses
from paiid_perf.security.rules.measures import AREA, MEASURES, password_profile, unsupported

__all__ = [
    "AREA",
    "EVENTS_WORST",
    "LADDER",
    "MEASURES",
    "WEIGHTS",
    "checks",
    "dangers",
    "departures",
    "parse_rate",
    "password_profile",
    "policies",
    "proposals",
    "responses",
    "unsupported",
    "vulnerable",
]
