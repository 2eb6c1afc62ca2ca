"""The alerts that come with the app: the five of the original, and what takes a site down beside them."""

from __future__ import annotations

from datetime import timedelta

from paiid_perf.monitoring.types import AlertThreshold

_NOW = timedelta(0)
_FIVE_MINUTES = timedelta(minutes=5)
_FIFTEEN_MINUTES = timedelta(minutes=15)

#: Replication lag, queue age and the longest transaction are a team's own to say; these are where most begin to ask.
#: Transaction ids: 50 % of the way to the shutdown is about five times ``autovacuum_freeze_max_age``'s default, which
#: autovacuum holds to where it keeps up (PostgreSQL manual, "Preventing Transaction ID Wraparound Failures").
THRESHOLDS = (
    AlertThreshold("api_p95_ms", above=500, clear=450, for_=_FIVE_MINUTES, unit="ms"),
    AlertThreshold("api_error_rate", above=0.05, clear=0.02, for_=_FIVE_MINUTES, severity="critical"),
    AlertThreshold("cpu_percent", above=80, clear=70, for_=_FIVE_MINUTES, unit="%"),
    AlertThreshold("memory_percent", above=85, clear=80, for_=_FIVE_MINUTES, unit="%"),
    AlertThreshold("cache_hit_ratio", below=0.8, clear=0.85, for_=_FIFTEEN_MINUTES),
    AlertThreshold("disk_percent", above=90, clear=88, for_=_FIVE_MINUTES, severity="critical", unit="%"),
    AlertThreshold("db_connections_percent", above=90, clear=80, for_=_FIVE_MINUTES, unit="%"),
    AlertThreshold("db_replication_lag_s", above=60, clear=30, for_=_FIVE_MINUTES, unit="s"),
    AlertThreshold(
        "db_txid_age_percent", above=50, clear=45, for_=_FIVE_MINUTES, severity="critical", unit="%"
    ),
    AlertThreshold("celery_queue_depth", above=1000, clear=500, for_=_FIFTEEN_MINUTES),
    AlertThreshold("celery_queue_age_s", above=600, clear=300, for_=_FIVE_MINUTES, unit="s"),
    AlertThreshold("celery_beat_silent_s", above=300, clear=120, for_=_NOW, severity="critical", unit="s"),
    AlertThreshold("api_burn_rate", above=1, clear=0.8, for_=_NOW, severity="critical"),
    AlertThreshold("api_slow_burn_rate", above=1, clear=0.8, for_=_NOW),
    AlertThreshold("api_latency_burn_rate", above=1, clear=0.8, for_=_NOW, severity="critical"),
    AlertThreshold("api_slow_latency_burn_rate", above=1, clear=0.8, for_=_NOW),
    AlertThreshold("anomaly", above=1, clear=1, for_=_NOW, severity="info"),
)
