"""Every setting of ``settings.PAIID_PERF``, typed, with its default.

``get_settings()`` costs one attribute read after the first call; it follows Django's
``setting_changed``, so ``override_settings`` works in tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal, TypeVar, cast

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

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


T = TypeVar("T")


def setting(default: T, meaning: str | Promise) -> T:
    """A field of Settings with what it means, in the reader's language, as its metadata ``meaning``."""
    if isinstance(default, dict):
        return field(default_factory=lambda: cast("T", dict(default)), metadata={"meaning": meaning})
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings. Field names in capitals are the keys of ``settings.PAIID_PERF``."""

    # --- the whole -----------------------------------------------------------------------------
    ENABLED: bool = setting(
        True,
        _("False turns the middleware into a pass-through and every trigger into a refusal."),
    )
    KILL_SWITCH: bool = setting(
        False,
        _("True stops every automatic change at once; reading and reporting go on."),
    )
    DATABASE: str = setting(
        "default",
        _("The database alias that runs look at, and that runs lock."),
    )
    REPLICAS: tuple[str, ...] = setting(
        (),
        _(
            "Aliases of `DATABASE`'s read replicas. Each counts its own index scans: while a replica "
            "streams that is not named here, or does not answer, no index is called unused."
        ),
    )
    CACHE: str = setting(
        "default",
        _("The cache alias of the request path. A django-redis cache gives the full product."),
    )
    REDIS_TIMEOUT: float = setting(
        0.05,
        _("Seconds that a request may wait for Redis before it goes on without."),
    )
    REDIS_COOL_OFF: float = setting(
        5.0,
        _("Seconds for which a Redis that goes on failing is left alone at the most (circuit breaker)."),
    )
    KEY_PREFIX: str = setting(
        "perf",
        _(
            "First part of every key written to the cache. On a Redis Cluster `perf` is read as the "
            "hash tag `{perf}`."
        ),
    )
    RELEASE: str = setting(
        "",
        _(
            "What runs (a version, a commit): a new one is a mark on every chart. Empty: the commit "
            "checked out in `settings.BASE_DIR`."
        ),
    )
    LIMITS_DATABASE: int | None = setting(
        15,
        _(
            "The Redis database that rate limits are counted in, so that `cache.clear()` refills "
            "nobody's; None, or where the server has no such database (a cluster has one only): the "
            "cache's own."
        ),
    )

    # --- policies and the closed loop ---------------------------------------------------------
    POLICY: Mapping[str, Policy] = setting(
        {},
        _('Policy per kind of change; `"*"` is the default of the rest (`report`).'),
    )
    CHANGE_WINDOW: tuple[str, str] | None = setting(
        None,
        _('("22:00", "05:00"): automatic changes only between these times (server time zone); None: always.'),
    )
    MIN_GAIN: float = setting(
        0.10,
        _("A change is kept only if the affected queries' time falls by at least this fraction."),
    )
    MAX_REGRESSION: float = setting(
        0.10,
        _("A change is reverted if a query of weight gets slower by more than this fraction."),
    )
    VERIFY: Literal["replay", "window"] = setting(
        "window",
        _(
            "`replay` runs sampled statements again at once (read-only, rolled back); `window` "
            "compares live counters."
        ),
    )
    VERIFY_WINDOW: timedelta = setting(
        timedelta(minutes=30),
        _('How long live counters gather before a change is judged (with `VERIFY = "window"`).'),
    )
    REVERTED_COOL_OFF: timedelta = setting(
        timedelta(days=30),
        _("A change that was reverted is not proposed again for this long."),
    )
    RECOMMENDATION_EXPIRES: timedelta = setting(
        timedelta(days=35),
        _("A proposal that no run has confirmed for this long expires (Azure SQL's rule)."),
    )
    PHASE_TIMEOUT: timedelta = setting(
        timedelta(minutes=30),
        _("A phase stops acting past this and reports what it had."),
    )

    # --- database --------------------------------------------------------------------------------
    STATEMENT_TIMEOUT: timedelta = setting(
        timedelta(seconds=10),
        _("On every statement that reads or explains."),
    )
    DDL_TIMEOUT: timedelta = setting(
        timedelta(minutes=20),
        _("On every CREATE / DROP INDEX CONCURRENTLY and REFRESH."),
    )
    LOCK_TIMEOUT: timedelta = setting(
        timedelta(seconds=2),
        _("On every lock that an action waits for."),
    )
    INDEX_STORAGE_BUDGET_MB: int = setting(
        0,
        _("Megabytes that new indexes may take together; 0: half of the size of the database, at least 64."),
    )
    INDEX_MAX_WIDTH: int = setting(
        3,
        _("Columns of an advised index at the most."),
    )
    INDEX_REST: timedelta = setting(
        timedelta(hours=1),
        _(
            "A table whose indexes a run has changed gets no other index from a run for this long: "
            "what ran since tells too little of the workload."
        ),
    )
    MAX_CHANGES_PER_RUN: int = setting(
        25,
        _("Automatic changes that one run may apply."),
    )
    RETENTION_MAX_ROWS: int = setting(
        1_000_000,
        _("Rows that one retention rule may delete in one run."),
    )
    RETENTION_TIME: timedelta = setting(
        timedelta(minutes=5),
        _("Time that one retention rule may take in one run."),
    )
    QUERY_SAMPLE_RATE: float = setting(
        0.01,
        _("Share of requests whose SELECTs are sampled with their parameters for replay; 0: none."),
    )
    QUERY_SAMPLE_TTL: timedelta = setting(
        timedelta(hours=1),
        _("How long sampled statements live in Redis. They are never stored elsewhere or shown."),
    )

    # --- request path ------------------------------------------------------------------------------
    RECORD: bool = setting(
        True,
        _("False: requests are not recorded."),
    )
    RESPONSE_CACHE: bool = setting(
        True,
        _("False: no answer is cached, whatever the endpoint classes say."),
    )
    RATE_LIMITS: bool = setting(
        True,
        _("False: nobody is limited."),
    )
    COMPRESS_MIN_BYTES: int = setting(
        1024,
        _("Responses under this size are not compressed; 0: none is."),
    )
    PERFORMANCE_HEADERS: Literal["off", "staff", "internal", "all"] = setting(
        "staff",
        _(
            "Who sees `Server-Timing`, `X-Response-Time`, `X-Cache`, `Cache-Status` and `X-Request-"
            "ID`; `internal` is Django's `INTERNAL_IPS`."
        ),
    )
    TRUSTED_PROXIES: tuple[str, ...] = setting(
        (),
        _("Networks of the proxies in front; the client is the right-most hop that is not one of them."),
    )
    SAFELIST: tuple[str, ...] = setting(
        (),
        _("Networks that are never limited or blocked."),
    )
    FLUSH_INTERVAL: timedelta = setting(
        timedelta(seconds=5),
        _("How often a process hands its recorded metrics over."),
    )

    # --- cache -------------------------------------------------------------------------------------
    VALUE_CACHE: bool = setting(
        True,
        _("False: `get_or_compute` computes each time and stores nothing."),
    )
    CACHE_WARM_BUDGET: timedelta = setting(
        timedelta(seconds=30),
        _("Wall time that one warming pass may take."),
    )

    # --- monitoring --------------------------------------------------------------------------------
    METRIC_RETENTION: Mapping[str, timedelta] = setting(
        {
            "minute": timedelta(hours=48),
            "hour": timedelta(days=60),
            "day": timedelta(days=730),
        },
        _("How long metric rows of each resolution are kept."),
    )
    NOTIFIERS: tuple[str, ...] | Mapping[str, tuple[str, ...]] = setting(
        (),
        _(
            "Dotted paths of callables that are handed each alert that opens or resolves; or those of"
            ' each severity (`"*"`: of the others).'
        ),
    )
    NOTIFY_COOL_DOWN: timedelta = setting(
        timedelta(minutes=10),
        _("An alert that opens again soon after it resolved is told no sooner than this, doubled each time."),
    )
    WEBHOOK_URL: str = setting(
        "",
        _("Where the notifier `webhook` of `paiid_perf.monitoring.notifiers` posts."),
    )
    SLACK_URL: str = setting(
        "",
        _('Where the notifier `slack` posts; "": to WEBHOOK_URL.'),
    )
    WEBHOOK_SECRET: str = setting(
        "",
        _('Signs what `webhook` posts (HMAC-SHA256, header `X-Perf-Signature`); "": not signed.'),
    )
    AVAILABILITY_OBJECTIVE: float = setting(
        0.999,
        _("Share of requests that must not fail; the alert `api_burn_rate` watches its error budget."),
    )
    LATENCY_OBJECTIVE: tuple[float, float] | None = setting(
        None,
        _(
            "(share, ms), as (0.99, 500): the share of requests that must be answered within so many "
            "milliseconds; the alert `api_latency_burn_rate` watches its error budget. None: nobody "
            "is promised anything."
        ),
    )
    UNIT_PRICES: Mapping[str, float] = setting(
        {},
        _(
            "What a month costs, in any currency: `storage_gb`, `cache_gb`, `worker`. None given: no "
            "money is shown."
        ),
    )
    CURRENCY: str = setting(
        "USD",
        _("The currency of UNIT_PRICES."),
    )
    OTLP_ENDPOINT: str = setting(
        "",
        _(
            'Where beat pushes the metrics each minute (`http://collector:4318/v1/metrics`); "": '
            "nowhere. Needs the extra `paiid-perf[otlp]`."
        ),
    )

    # --- security ----------------------------------------------------------------------------------
    INSPECTION: Literal["off", "report", "block"] = setting(
        "report",
        _("What happens to a request whose input carries SQL injection or XSS."),
    )
    INSPECTION_EXEMPT_FIELDS: tuple[str, ...] = setting(
        ("password", "token", "csrfmiddlewaretoken", "secret"),
        _("Field names (as substrings, any case) whose values are never looked at."),
    )
    INSPECTION_LENGTHS: Mapping[str, int] = setting(
        {},
        _(
            'Characters that a field of that name may have (`"*"`: any other field); a longer value '
            "is answered with 400."
        ),
    )
    INSPECTION_HEADERS: tuple[str, ...] = setting(
        ("User-Agent", "Referer"),
        _("Headers whose values are looked at as fields are."),
    )
    RESPONSE_HEADERS: Mapping[str, str] = setting(
        {},
        _(
            'What `security.headers.headers_middleware` adds to answers, over and above its own; "" '
            "leaves one out."
        ),
    )
    LOGIN_LIMIT: str = setting(
        "5/5m",
        _("Failed logins per client address before it must wait."),
    )
    PASSWORD_RESET_LIMIT: str = setting(
        "3/h",
        _("Password resets per client address."),
    )
    BAN_FOR: timedelta = setting(
        timedelta(minutes=30),
        _("How long an address is banned once its weighted events pass BAN_SCORE within BAN_WINDOW."),
    )
    BAN_SCORE: int = setting(
        100,
        _("The weight of an address' events from which it is banned."),
    )
    BAN_WINDOW: timedelta = setting(
        timedelta(minutes=10),
        _("The span over which an address' events are weighed."),
    )
    SECURITY_EVENT_RETENTION: timedelta = setting(
        timedelta(days=90),
        _("How long security events are kept."),
    )
    ADVISORIES: str = setting(
        "",
        _(
            "A JSON file of advisories, a directory of them (OSV's format, or pip-audit's), or the "
            'address of a service that speaks as https://api.osv.dev does; "": no scan.'
        ),
    )
    SESSION_IDLE: timedelta | None = setting(
        None,
        _("A session that asks for nothing for this long ends; None: when its cookie does."),
    )
    SESSION_ABSOLUTE: timedelta | None = setting(
        None,
        _("A session ends this long after the login, whatever it does; None: it may go on."),
    )
    SESSION_LIMIT: int = setting(
        0,
        _("Sessions that one user may have at a time; 0: any number."),
    )
    SESSION_LIMIT_ACTION: Literal["end_oldest", "refuse"] = setting(
        "end_oldest",
        _("What a login past SESSION_LIMIT does."),
    )
    PASSWORD_MAX_AGE: timedelta | None = setting(
        None,
        _("A password older than this must be changed; None: only one marked as compromised must."),
    )
    PASSWORD_CHANGE_URL: str = setting(
        "",
        _("Where it is changed (a URL's name); \"\": `password_change`, or the admin's."),
    )

    # --- JSON API ----------------------------------------------------------------------------------
    API_TOKENS: Mapping[str, tuple[str, ...]] = setting(
        {},
        _('SHA-256 hex digest of a bearer token → the permissions it carries ("view", "run", "apply", …).'),
    )

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
