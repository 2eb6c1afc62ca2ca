"""Every setting of ``settings.PAIID_PERF``, typed, with its default.

``get_settings()`` costs one attribute read after the first call; it follows Django's
``setting_changed``, so ``override_settings`` works in tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from paiid_perf.exceptions import ConfigurationError

SETTING = "PAIID_PERF"

Policy = Literal["off", "report", "approve", "auto"]
POLICIES: tuple[Policy, ...] = ("off", "report", "approve", "auto")

#: The kinds of change, each with a policy of its own. Reading is the default; acting is by policy.
CHANGE_KINDS: tuple[str, ...] = (
    "index_create",
    "index_drop",
    "materialized_view",
    "retention",
    "setting",
    "table_setting",
    "statistics",
    "cache_warm",
    "cache_config",
    "cache_ttl",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings. Field names in capitals are the keys of ``settings.PAIID_PERF``."""

    # --- the whole -----------------------------------------------------------------------------
    ENABLED: bool = True
    """False turns the middleware into a pass-through and every trigger into a refusal."""
    KILL_SWITCH: bool = False
    """True stops every automatic change at once; reading and reporting go on."""
    DATABASE: str = "default"
    """The database alias that runs look at, and that runs lock."""
    REPLICAS: tuple[str, ...] = ()
    """Aliases of ``DATABASE``'s read replicas. Each counts its own index scans: while a replica streams that is not
    named here, or does not answer, no index is called unused."""
    CACHE: str = "default"
    """The cache alias of the request path. A django-redis cache gives the full product."""
    REDIS_TIMEOUT: float = 0.05
    """Seconds that a request may wait for Redis before it goes on without."""
    REDIS_COOL_OFF: float = 5.0
    """Seconds for which a Redis that goes on failing is left alone at the most (circuit breaker)."""
    KEY_PREFIX: str = "perf"
    """First part of every key written to the cache. On a Redis Cluster ``perf`` is read as the hash tag ``{perf}``."""
    RELEASE: str = ""
    """What runs (a version, a commit): a new one is a mark on every chart. Empty: the commit checked out in
    ``settings.BASE_DIR``."""
    LIMITS_DATABASE: int | None = 15
    """The Redis database that rate limits are counted in, so that ``cache.clear()`` refills nobody's; None, or where
    the server has no such database (a cluster has one only): the cache's own."""

    # --- policies and the closed loop ---------------------------------------------------------
    POLICY: Mapping[str, Policy] = field(default_factory=dict)
    """Policy per kind of change; ``"*"`` is the default of the rest (``report``)."""
    CHANGE_WINDOW: tuple[str, str] | None = None
    """("22:00", "05:00"): automatic changes only between these times (server time zone); None: always."""
    MIN_GAIN: float = 0.10
    """A change is kept only if the affected queries' time falls by at least this fraction."""
    MAX_REGRESSION: float = 0.10
    """A change is reverted if a query of weight gets slower by more than this fraction."""
    VERIFY: Literal["replay", "window"] = "window"
    """``replay`` runs sampled statements again at once (read-only, rolled back); ``window`` compares live counters."""
    VERIFY_WINDOW: timedelta = timedelta(minutes=30)
    """How long live counters gather before a change is judged (with ``VERIFY = "window"``)."""
    REVERTED_COOL_OFF: timedelta = timedelta(days=30)
    """A change that was reverted is not proposed again for this long."""
    RECOMMENDATION_EXPIRES: timedelta = timedelta(days=35)
    """A proposal that no run has confirmed for this long expires (Azure SQL's rule)."""
    PHASE_TIMEOUT: timedelta = timedelta(minutes=30)
    """A phase stops acting past this and reports what it had."""

    # --- database --------------------------------------------------------------------------------
    STATEMENT_TIMEOUT: timedelta = timedelta(seconds=10)
    """On every statement that reads or explains."""
    DDL_TIMEOUT: timedelta = timedelta(minutes=20)
    """On every CREATE / DROP INDEX CONCURRENTLY and REFRESH."""
    LOCK_TIMEOUT: timedelta = timedelta(seconds=2)
    """On every lock that an action waits for."""
    INDEX_STORAGE_BUDGET_MB: int = 0
    """Megabytes that new indexes may take together; 0: two fifths of the database, at least 64."""
    INDEX_MAX_WIDTH: int = 3
    """Columns of an advised index at the most."""
    INDEX_REST: timedelta = timedelta(hours=1)
    """A table whose indexes a run has changed gets no other index from a run for this long: what ran since tells too
    little of the workload."""
    MAX_CHANGES_PER_RUN: int = 25
    """Automatic changes that one run may apply."""
    RETENTION_MAX_ROWS: int = 1_000_000
    """Rows that one retention rule may delete in one run."""
    RETENTION_TIME: timedelta = timedelta(minutes=5)
    """Time that one retention rule may take in one run."""
    QUERY_SAMPLE_RATE: float = 0.01
    """Share of requests whose SELECTs are sampled with their parameters for replay; 0: none."""
    QUERY_SAMPLE_TTL: timedelta = timedelta(hours=1)
    """How long sampled statements live in Redis. They are never stored elsewhere or shown."""

    # --- request path ------------------------------------------------------------------------------
    RECORD: bool = True
    """False: requests are not recorded."""
    RESPONSE_CACHE: bool = True
    """False: no answer is cached, whatever the endpoint classes say."""
    RATE_LIMITS: bool = True
    """False: nobody is limited."""
    COMPRESS_MIN_BYTES: int = 1024
    """Responses under this size are not compressed; 0: none is."""
    PERFORMANCE_HEADERS: Literal["off", "staff", "internal", "all"] = "staff"
    """Who sees ``Server-Timing``, ``X-Response-Time``, ``X-Cache``, ``Cache-Status`` and ``X-Request-ID``;
    ``internal`` is Django's ``INTERNAL_IPS``."""
    TRUSTED_PROXIES: tuple[str, ...] = ()
    """Networks of the proxies in front; the client is the right-most hop that is not one of them."""
    SAFELIST: tuple[str, ...] = ()
    """Networks that are never limited or blocked."""
    FLUSH_INTERVAL: timedelta = timedelta(seconds=5)
    """How often a process hands its recorded metrics over."""

    # --- cache -------------------------------------------------------------------------------------
    VALUE_CACHE: bool = True
    """False: ``get_or_compute`` computes each time and stores nothing."""
    CACHE_WARM_BUDGET: timedelta = timedelta(seconds=30)
    """Wall time that one warming pass may take."""

    # --- monitoring --------------------------------------------------------------------------------
    METRIC_RETENTION: Mapping[str, timedelta] = field(
        default_factory=lambda: {
            "minute": timedelta(hours=48),
            "hour": timedelta(days=60),
            "day": timedelta(days=730),
        }
    )
    """How long metric rows of each resolution are kept."""
    NOTIFIERS: tuple[str, ...] | Mapping[str, tuple[str, ...]] = ()
    """Dotted paths of callables that are handed each alert that opens or resolves; or those of each severity
    (``"*"``: of the others)."""
    NOTIFY_COOL_DOWN: timedelta = timedelta(minutes=10)
    """An alert that opens again soon after it resolved is told no sooner than this, doubled each time."""
    WEBHOOK_URL: str = ""
    """Where the notifier ``webhook`` of ``paiid_perf.monitoring.notifiers`` posts."""
    SLACK_URL: str = ""
    """Where the notifier ``slack`` posts; "": to WEBHOOK_URL."""
    WEBHOOK_SECRET: str = ""
    """Signs what ``webhook`` posts (HMAC-SHA256, header ``X-Perf-Signature``); "": not signed."""
    AVAILABILITY_OBJECTIVE: float = 0.999
    """Share of requests that must not fail; the alert ``api_burn_rate`` watches its error budget."""
    LATENCY_OBJECTIVE: tuple[float, float] | None = None
    """(share, ms), as (0.99, 500): the share of requests that must be answered within so many milliseconds; the
    alert ``api_latency_burn_rate`` watches its error budget. None: nobody is promised anything."""
    UNIT_PRICES: Mapping[str, float] = field(default_factory=dict)
    """What a month costs, in any currency: ``storage_gb``, ``cache_gb``, ``worker``. None given: no money is shown."""
    CURRENCY: str = "USD"
    """The currency of UNIT_PRICES."""
    OTLP_ENDPOINT: str = ""
    """Where beat pushes the metrics each minute (``http://collector:4318/v1/metrics``); "": nowhere. Needs the extra
    ``paiid-perf[otlp]``."""

    # --- security ----------------------------------------------------------------------------------
    INSPECTION: Literal["off", "report", "block"] = "report"
    """What happens to a request whose input carries SQL injection or XSS."""
    INSPECTION_EXEMPT_FIELDS: tuple[str, ...] = ("password", "token", "csrfmiddlewaretoken", "secret")
    """Field names (as substrings, any case) whose values are never looked at."""
    INSPECTION_LENGTHS: Mapping[str, int] = field(default_factory=dict)
    """Characters that a field of that name may have (``"*"``: any other field); a longer value is answered with 400."""
    INSPECTION_HEADERS: tuple[str, ...] = ("User-Agent", "Referer")
    """Headers whose values are looked at as fields are."""
    RESPONSE_HEADERS: Mapping[str, str] = field(default_factory=dict)
    """What ``security.headers.headers_middleware`` adds to answers, over and above its own; "" leaves one out."""
    LOGIN_LIMIT: str = "5/5m"
    """Failed logins per client address before it must wait."""
    PASSWORD_RESET_LIMIT: str = "3/h"
    """Password resets per client address."""
    BAN_FOR: timedelta = timedelta(minutes=30)
    """How long an address is banned once its weighted events pass BAN_SCORE within BAN_WINDOW."""
    BAN_SCORE: int = 100
    """The weight of an address' events from which it is banned."""
    BAN_WINDOW: timedelta = timedelta(minutes=10)
    """The span over which an address' events are weighed."""
    SECURITY_EVENT_RETENTION: timedelta = timedelta(days=90)
    """How long security events are kept."""
    ADVISORIES: str = ""
    """A JSON file of advisories, a directory of them (OSV's format, or pip-audit's), or the address of a service that
    speaks as https://api.osv.dev does; "": no scan."""
    SESSION_IDLE: timedelta | None = None
    """A session that asks for nothing for this long ends; None: when its cookie does."""
    SESSION_ABSOLUTE: timedelta | None = None
    """A session ends this long after the login, whatever it does; None: it may go on."""
    SESSION_LIMIT: int = 0
    """Sessions that one user may have at a time; 0: any number."""
    SESSION_LIMIT_ACTION: Literal["end_oldest", "refuse"] = "end_oldest"
    """What a login past SESSION_LIMIT does."""
    PASSWORD_MAX_AGE: timedelta | None = None
    """A password older than this must be changed; None: only one marked as compromised must."""
    PASSWORD_CHANGE_URL: str = ""
    """Where it is changed (a URL's name); "": ``password_change``, or the admin's."""

    # --- JSON API ----------------------------------------------------------------------------------
    API_TOKENS: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """SHA-256 hex digest of a bearer token → the permissions it carries ("view", "run", "apply", …)."""

    def policy(self, kind: str) -> Policy:
        """The policy that rules changes of ``kind``."""
        return self.POLICY.get(kind, self.POLICY.get("*", "report"))


def known_settings() -> tuple[str, ...]:
    """The names that ``settings.PAIID_PERF`` may hold."""
    return tuple(f.name for f in fields(Settings))


def unknown_settings() -> tuple[str, ...]:
    """Keys of ``settings.PAIID_PERF`` that mean nothing (a system check reports them)."""
    return tuple(sorted(set(_declared()) - set(known_settings())))


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The effective settings.

    Raises:
        ConfigurationError: ``settings.PAIID_PERF`` is not a dict, or a policy is not one of POLICIES.
    """
    known = known_settings()
    chosen = Settings(**{k: v for k, v in _declared().items() if k in known})
    wrong = {k: v for k, v in chosen.POLICY.items() if v not in POLICIES}
    if wrong:
        raise ConfigurationError(f'{SETTING}["POLICY"] has {wrong}: each value must be one of {POLICIES}.')
    return (
        replace(chosen, KEY_PREFIX=_in_one_slot(chosen.KEY_PREFIX)) if _on_cluster(chosen.CACHE) else chosen
    )


def _on_cluster(alias: str) -> bool:
    options = getattr(django_settings, "CACHES", {}).get(alias, {}).get("OPTIONS", {})
    return str(options.get("CONNECTION_FACTORY", "")).endswith("ClusterConnectionFactory")


def _in_one_slot(prefix: str) -> str:
    return prefix if "{" in prefix else f"{{{prefix}}}"


def _declared() -> dict[str, Any]:
    declared = getattr(django_settings, SETTING, {})
    if not isinstance(declared, dict):
        raise ConfigurationError(f"settings.{SETTING} must be a dict, not {type(declared).__name__}.")
    return declared


def _forget(*, setting: str, **_: Any) -> None:
    if setting in {SETTING, "CACHES"}:
        get_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="paiid_perf.conf")
