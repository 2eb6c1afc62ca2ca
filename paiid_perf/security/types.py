"""What the security domain talks about: policies, events, decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

Severity = Literal["info", "low", "medium", "high", "critical"]
Action = Literal["allow", "report", "block", "refuse"]


@dataclass(frozen=True, slots=True)
class InspectionPolicy:
    """How the input of some endpoints is inspected; the longest ``match`` (path prefix) wins."""

    name: str
    match: str = ""
    mode: Literal["off", "report", "block"] = "report"
    exempt_fields: Sequence[str] = field(default_factory=tuple)
    lengths: Mapping[str, int] = field(default_factory=dict)
    """Characters that fields may have, by name (``"*"``: any other), over and above ``INSPECTION_LENGTHS``."""
    scores: Mapping[str, int] = field(default_factory=dict)
    """What findings of a kind weigh here, where that is not what ``SCORES`` says."""
    threshold: int = 5
    """What a request's findings must weigh together to be blocked; below it they are only reported."""


#: What one finding of a kind weighs; as in OWASP's Core Rule Set, an attack is 5 and an oddity less.
SCORES: Mapping[str, int] = {
    **dict.fromkeys(("sqli", "xss", "traversal", "command", "template"), 5),
    "duplicate_key": 2,
}


# --- input inspection ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """One value that looks like an attack, without the value."""

    kind: str
    """One of ``detection.KINDS``, else ``nul``, ``encoding``, ``depth``, ``length``, ``fields``, ``headers``
    or ``duplicate_key``."""
    field: str
    """Where it was, e.g. ``query:q``, ``json:orders.0.note``, ``path``."""
    sample: str = ""
    """The value's shape: letters and digits masked (see ``redaction.redact``)."""
    limit: int = 0
    """What was allowed, where something was too long or too many."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a request: let it go, let it go and say so, answer 403 (block) or 400 (refuse)."""

    action: Action
    findings: tuple[Finding, ...] = ()
    reason: str = ""
    """Why a request is refused, for whoever sent it."""
    score: int = 0
    """What the findings weigh together."""

    @property
    def status(self) -> int:
        """The HTTP status of the answer; 0 where the request goes on."""
        return {"block": 403, "refuse": 400}.get(self.action, 0)


ALLOW = Verdict("allow")


# --- limits ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds."""

    limit: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Tier:
    """One counter of a login attempt: what it counts by, how many it allows, how long it then stays shut."""

    name: Literal["address", "crowd", "pair", "user"]
    key: str
    """A hash: no name or address is stored."""
    rate: Rate
    at_start: bool = True
    """Counted when the attempt starts and given back by success; else counted when it fails."""


# --- bans ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventCount:
    """How often a kind of event came from an address inside the ban window."""

    address: str
    kind: str
    severity: Severity
    count: int


#: The rungs of the ladder, the mildest first (what is below ``notify`` is only logged).
Response = Literal["notify", "delay", "log_out", "ban"]


@dataclass(frozen=True, slots=True)
class Ban:
    """A decision about a network for a while, with its reason."""

    network: str
    for_: timedelta
    reason: str
    response: Response = "ban"


# --- what many events together mean ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trace:
    """Alike events of one address inside the window in which campaigns are looked for."""

    address: str
    kind: str
    field: str
    path: str
    count: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """Many events that are one attack."""

    kind: Literal["brute_force", "credential_stuffing", "scanning", "injection_campaign"]
    network: str
    """Where it comes from; empty where it comes from many places."""
    events: int


@dataclass(frozen=True, slots=True)
class ChainState:
    """How far the chain of events is whole."""

    checked: int
    broken_at: int | None = None
    """The number of the first row that does not fit; None: all do."""
    why: Literal["", "changed", "missing", "seal", "no_chain"] = ""


# --- what the phase judges -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeployMessage:
    """One result of ``check --deploy``."""

    id: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """A piece of software in use: ``series`` as its table of support periods names it (``5.2``, ``3.11``, ``18``)."""

    product: str
    series: str
    installed: str


#: The parts that the security score is told by.
Policy = Literal["inspection", "passwords", "limits", "sessions", "transport", "software"]


@dataclass(frozen=True, slots=True)
class Deduction:
    """Points that a policy's score loses through one measure."""

    measure: str
    label: str
    points: float


@dataclass(frozen=True, slots=True)
class PolicyScore:
    """What one policy is worth, 0–100 (None: nothing can be said)."""

    policy: Policy
    score: float | None
    deductions: tuple[Deduction, ...]


@dataclass(frozen=True, slots=True)
class Vulnerable:
    """An installed distribution that advisories name."""

    name: str
    installed: str
    ids: tuple[str, ...]
    fixed: str = ""
    """The lowest version that mends all of them; empty where none is known."""
    severity: Severity = "medium"
    """The gravest that the advisories say; ``medium`` where they say none."""
    summary: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.installed} ({', '.join(self.ids)})"


@dataclass(frozen=True, slots=True)
class Danger:
    """A setting that opens what Django keeps shut."""

    setting: str
    why: str


@dataclass(frozen=True, slots=True)
class SecurityFacts:
    """The state of the site's defences, read once per run."""

    deploy: tuple[DeployMessage, ...]
    debug: bool
    middleware: frozenset[str]
    """Dotted paths."""
    validators: frozenset[str]
    """Class names of AUTH_PASSWORD_VALIDATORS."""
    minimum_length: int
    hasher: str
    """Class name of the preferred password hasher."""
    weak_hashers: tuple[str, ...]
    login_limited: bool
    login_limit: str
    inspection: str
    content_security_policy: bool
    admin_path: str
    """Where the admin answers; empty where there is none."""
    cors_open: bool
    session_age: timedelta
    session_pickled: bool
    versions: tuple[Version, ...]
    debug_packages: tuple[str, ...]
    trusts_everyone: bool
    """TRUSTED_PROXIES holds a network of everyone: any client can name its own address."""
    events: Mapping[str, int] = field(default_factory=dict)
    """Events of the last day by severity."""
    blocked: int = 0
    built_statements: tuple[str, ...] = ()
    """Lines of code that built SQL from what a request carried, in the last day."""
    today: date = date.min
    vulnerable: tuple[Vulnerable, ...] | None = None
    """Installed distributions that advisories name; None: there are no advisories to look in."""
    dangers: tuple[Danger, ...] = ()
    chain: ChainState = ChainState(0)
    password_expiry: bool = False
    longest_password: int | None = None
    """The longest password that the validators take; None: any."""
    headers: frozenset[str] = frozenset()
    """Headers that a middleware adds which is known to."""


@dataclass(frozen=True, slots=True)
class SecurityEventData:
    """One event as it waits to be written; ``count`` alike ones are one row."""

    at: datetime
    kind: str
    severity: Severity
    address: str | None
    user_id: int | None
    path: str
    field: str
    sample: str
    action: str
    count: int = 1
