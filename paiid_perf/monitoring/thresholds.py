"""The alerts that come with the app: the five of the original, and what takes a site down beside them."""

from __future__ import annotations

from datetime import timedelta

from paiid_perf.monitoring.types import AlertThreshold

_FIVE_MINUTES = timedelta(minutes=5)
_FIFTEEN_MINUTES = timedelta(minutes=15)

THRESHOLDS = (
    AlertThreshold("api_p95_ms", above=500, clear=450, for_=_FIVE_MINUTES, unit="ms"),
    AlertThreshold("api_error_rate", above=0.05, clear=0.02, for_=_FIVE_MINUTES, severity="critical"),
    AlertThreshold("cpu_percent", above=80, clear=70, for_=_FIVE_MINUTES, unit="%"),
    AlertThreshold("memory_percent", above=85, clear=80, for_=_FIVE_MINUTES, unit="%"),
    AlertThreshold("cache_hit_ratio", below=0.8, clear=0.85, for_=_FIFTEEN_MINUTES),
    AlertThreshold("disk_percent", above=90, clear=88, for_=_FIVE_MINUTES, severity="critical", unit="%"),
    AlertThreshold("db_connections_percent", above=90, clear=80, for_=_FIVE_MINUTES, unit="%"),
    AlertThreshold("celery_queue_depth", above=1000, clear=500, for_=_FIFTEEN_MINUTES),
    AlertThreshold("api_burn_rate", above=1, clear=0.8, for_=timedelta(0), severity="critical"),
)
