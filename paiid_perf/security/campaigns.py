"""PURE: many events that are one attack: guessing, stuffing, scanning, injection.

The thresholds are per ten minutes. A person who mistypes, an office behind one address and a broken link stay below
them; what they are compared with: five tries before a login limit, Django's own 404 noise, OWASP's Automated Threats
(OAT-007 credential cracking, OAT-008 credential stuffing, OAT-014 vulnerability scanning).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, ip_network

from paiid_perf.security import detection
from paiid_perf.security.networks import caller, parse_address
from paiid_perf.security.types import Campaign, Trace

WINDOW = timedelta(minutes=10)
#: Somebody whose events weigh enough to be told of: the first rung of the ladder.
SUSPICIOUS = "suspicious_address"
KINDS = ("brute_force", "credential_stuffing", "scanning", "injection_campaign")
FAILURES = frozenset({"login_failed", "login_locked"})
INJECTIONS = frozenset({*(f"input_{kind}" for kind in detection.KINDS), "sql_built"})
PROBES = frozenset({"probe", "not_found"})
#: Failed logins of one network, with few names, or of one name from anywhere.
GUESSES = 20
#: Different names that one network fails to log in with.
NAMES = 10
#: Different paths that are not there, asked for by one network; a known probe path weighs as much as PROBE_WEIGHT.
PATHS = 30
PROBE_WEIGHT = 6
#: Suspicious inputs of one network.
INPUTS = 10
#: Bits of an IPv4 network that one attacker is taken to have.
IPV4_PREFIX = 24

#: Beginnings of paths that scanners try and no Django site has.
_SOUGHT = """
    /wp- /wordpress /xmlrpc.php /phpmyadmin /pma /myadmin /.env /.git /.svn /.aws /.ssh /.ds_store /.vscode /cgi-bin
    /vendor/phpunit /owa/ /autodiscover /boaform /hnap1 /manager/html /solr/ /actuator /jenkins /server-status
    /_ignition /telescope /config.json /config.php /web.config /id_rsa /backup. /dump.sql /db.sql /etc/passwd
    /console/ /geoserver /struts /druid/ /nacos /remote/login /shell? /cmd? /adminer /administrator/ /joomla
    /drupal /typo3 /magento /level/15/
"""
SOUGHT = tuple(_SOUGHT.split())
_SOUGHT_ENDINGS = (
    ".php",
    ".asp",
    ".aspx",
    ".jsp",
    ".cgi",
    ".env",
    ".bak",
    ".sql",
    ".old",
    ".swp",
    ".pem",
    ".git/config",
)


def is_probe(path: str) -> bool:
    """Whether a path that is not there is one that scanners look for."""
    lowered = path.lower()
    return lowered.startswith(SOUGHT) or lowered.endswith(_SOUGHT_ENDINGS) or "../" in lowered


def network_of(address: str) -> str:
    """The network that one attacker is taken to have: a /24, or a /64."""
    parsed = parse_address(address)
    return (
        str(ip_network((parsed, IPV4_PREFIX), strict=False))
        if isinstance(parsed, IPv4Address)
        else caller(address)
    )


@dataclass(slots=True)
class Seen:
    """What one network (or one name) did."""

    failures: int = 0
    names: set[str] = field(default_factory=set)
    networks: set[str] = field(default_factory=set)
    absent: int = 0
    """Different paths that are not there, as far as one process can tell."""
    probes: set[str] = field(default_factory=set)
    injections: int = 0
    asked: int = 0

    def add(self, trace: Trace, network: str) -> None:
        self.networks.add(network)
        if trace.kind in FAILURES:
            self.failures += trace.count
            self.names.add(trace.field)
        elif trace.kind in INJECTIONS:
            self.injections += trace.count
        elif trace.kind in PROBES:
            self.asked += trace.count
            if trace.kind == "probe":
                self.probes.add(trace.path)
            else:
                self.absent += trace.count

    @property
    def scanned(self) -> int:
        return self.absent + PROBE_WEIGHT * len(self.probes)


#: kind → how many events of it there are, 0 where it is none.
_RULES: dict[str, Callable[[Seen], int]] = {
    "brute_force": lambda seen: seen.failures if seen.failures >= GUESSES and len(seen.names) < NAMES else 0,
    "credential_stuffing": lambda seen: seen.failures if len(seen.names) >= NAMES else 0,
    "scanning": lambda seen: seen.asked if seen.scanned >= PATHS else 0,
    "injection_campaign": lambda seen: seen.injections if seen.injections >= INPUTS else 0,
}


def recognise(traces: Iterable[Trace]) -> list[Campaign]:
    """The campaigns among the events of one window, in the order of KINDS and of the networks."""
    by_network: dict[str, Seen] = {}
    by_name: dict[str, Seen] = {}
    for trace in traces:
        network = network_of(trace.address)
        by_network.setdefault(network, Seen()).add(trace, network)
        if trace.kind in FAILURES and trace.field:
            by_name.setdefault(trace.field, Seen()).add(trace, network)
    return sorted(_of(by_network, by_name), key=lambda one: (KINDS.index(one.kind), one.network))


def _of(by_network: dict[str, Seen], by_name: dict[str, Seen]) -> Iterator[Campaign]:
    for network, seen in by_network.items():
        for kind, rule in _RULES.items():
            if events := rule(seen):
                yield Campaign(kind, network, events)  # type: ignore[arg-type]
    # One name guessed from many places, each too seldom to be noticed.
    spread = [seen for seen in by_name.values() if len(seen.networks) > 1 and seen.failures >= GUESSES]
    known = {network for network, seen in by_network.items() if _RULES["brute_force"](seen)}
    if any(not seen.networks & known for seen in spread):
        yield Campaign("brute_force", "", max(seen.failures for seen in spread))
