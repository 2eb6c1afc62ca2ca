"""What the cache domain talks about: strategies, warmers, facts and decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from paiid_perf.exceptions import ConfigurationError

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

Serializer = Literal["json", "msgpack", "pickle"]
Compressor = Literal["none", "zlib", "zstd"]


@dataclass(frozen=True, slots=True)
class CacheStrategy:
    """How values under a name are cached.

    ``pickle`` runs code when it is read: it is used only with ``allow_pickle=True`` (a system check says so).

    Raises:
        ConfigurationError: ``serializer="pickle"`` without ``allow_pickle=True``, or a number out of range.
    """

    name: str
    ttl: timedelta | None
    """None: until invalidated."""
    serializer: Serializer = "msgpack"
    compress_over: int | None = 512
    """Bytes from which a value is compressed; None: never."""
    depends_on: Sequence[str] = ()
    """Model labels; a commit that touches one of them invalidates the strategy's values."""
    jitter: float = 0.1
    """Fraction of the TTL taken off at random, so that keys do not expire together."""
    max_bytes: int = 1_000_000
    """A value that takes more than this in the store is handed out and not kept."""
    allow_pickle: bool = False
    compressor: Compressor = "zlib"
    """``zstd`` needs the package ``zstandard`` (or Python 3.14)."""
    negative_ttl: timedelta = timedelta(seconds=30)
    """How long a computed None is kept at the most; zero: it is not kept."""
    early: float = 1.0
    """XFetch's beta: above 1 refreshes earlier before expiry, 0 never."""
    wait: timedelta = timedelta(seconds=2)
    """How long a request waits for another one that computes the same value, before it computes it too."""
    lease: timedelta = timedelta(seconds=10)
    """How long the one that computes is left alone; longer than the slowest compute."""

    def __post_init__(self) -> None:
        wrong = _what_is_wrong(self)
        if wrong:
            raise ConfigurationError(f"CacheStrategy {self.name!r}: {wrong}")


def _what_is_wrong(strategy: CacheStrategy) -> str:
    rules = (
        (
            strategy.serializer == "pickle" and not strategy.allow_pickle,
            "pickle runs code when it is read. Use serializer='msgpack', or say allow_pickle=True where nobody "
            "but this site can write to the cache.",
        ),
        (strategy.ttl is not None and strategy.ttl <= timedelta(0), "ttl must be positive, or None."),
        (not 0 <= strategy.jitter < 1, "jitter is a fraction of the TTL: at least 0 and under 1."),
        (strategy.early < 0, "early must be 0 or more."),
        (isinstance(strategy.depends_on, str), "depends_on is a sequence of model labels, not a string."),
        (not strategy.name or ":" in strategy.name, "a name must not be empty or contain a colon."),
    )
    return next((message for broken, message in rules if broken), "")


@dataclass(frozen=True, slots=True)
class CacheWarmer:
    """Values worth having before somebody asks: ``warm()`` yields (key, compute) pairs of ``strategy``.

    ``compute`` is called only for keys that are not there; ``every`` paces scheduled warming. A third item in
    what ``warm()`` yields, where there is one, is the tags of that key, as in ``get_or_compute``.
    """

    name: str
    warm: Callable[[], Any]
    strategy: str = ""
    """Name of the CacheStrategy; the warmer's own name where empty."""
    every: timedelta = timedelta(minutes=5)

    @property
    def strategy_name(self) -> str:
        return self.strategy or self.name


# --- facts -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One moment of a Redis or Valkey server, from INFO. Sizes in bytes, counters since its start."""

    version: str
    uptime_seconds: int
    used_bytes: int
    rss_bytes: int
    peak_bytes: int
    limit_bytes: int
    """``maxmemory``; 0: none."""
    system_bytes: int
    policy: str
    fragmentation: float
    """``mem_fragmentation_ratio``: resident over used."""
    evicted_keys: int
    expired_keys: int
    keyspace_hits: int
    keyspace_misses: int
    keys: int
    keys_with_ttl: int
    role: str = "master"

    @property
    def lookups(self) -> int:
        return self.keyspace_hits + self.keyspace_misses

    @property
    def keyspace_hit_ratio(self) -> float | None:
        """Fraction 0–1 of all lookups since the server's start; None before the first."""
        return self.keyspace_hits / self.lookups if self.lookups else None

    @property
    def evicted_share(self) -> float:
        """Keys evicted per lookup since the server's start."""
        return self.evicted_keys / self.lookups if self.lookups else 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """What a server's memory goes to: a kind of ``footprint.KINDS``, bytes, and as a share (0–1) of what is used."""

    name: str
    bytes: int
    share: float


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """One sampled key."""

    name: str
    group: str
    """Strategy of one of our keys; ``other`` for the rest."""
    bytes: int
    idle_seconds: int | None = None
    has_ttl: bool = True


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """The sampled keys of one strategy together."""

    group: str
    keys: int
    bytes: int
    idle_keys: int = 0

    @property
    def mean_bytes(self) -> float:
        return self.bytes / self.keys if self.keys else 0.0


@dataclass(frozen=True, slots=True)
class UseFacts:
    """Hits and misses of one strategy in the window that was read."""

    strategy: str
    hits: int
    misses: int

    @property
    def lookups(self) -> int:
        return self.hits + self.misses

    @property
    def ratio(self) -> float | None:
        return self.hits / self.lookups if self.lookups else None


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """Everything that the rules judge."""

    backend: str
    """Class name of the Django cache."""
    is_redis: bool
    shared: bool
    """Whether all processes see the same values."""
    server: ServerFacts | None = None
    config_writable: bool = False
    unreachable: str = ""
    """Why the server could not be read; empty where it could."""
    use: tuple[UseFacts, ...] = ()
    sample: tuple[KeyFacts, ...] = ()
    worth: tuple[tuple[str, int], ...] = ()
    """(key, ms of computing saved per kB) of the keys that the cache saves most with, the best first."""
    sampled_of: int = 0
    """Keys in the database that the sample was drawn from."""
    footprint: tuple[Part, ...] = ()
    """What the server's memory goes to; empty where it does not tell."""


# --- decisions ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConfigAdvice:
    """A server setting that should be another one."""

    setting: str
    value: str
    previous: str
    why: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    risk: Literal["low", "medium", "high"] = "low"
    applicable: bool = True
    """False: a person has to choose the value (``maxmemory``)."""


@dataclass(frozen=True, slots=True)
class StrategyAdvice:
    """Something to change in the host's declarations."""

    strategy: str
    title: str
    why: str
    how: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """One scored fact, as ``contracts.Check`` (which the phase makes of it)."""

    name: str
    label: StrOrPromise
    value: float | None
    target: float
    worst: float
    weight: float
    unit: str = ""
    hint: StrOrPromise = ""


@dataclass(frozen=True, slots=True)
class WarmReport:
    """What one warming pass did for one warmer."""

    warmer: str
    warmed: int = 0
    fresh: int = 0
    failed: int = 0
    left: int = 0
    """Keys not looked at because the budget was spent."""
    seconds: float = 0.0
    error: str = ""
