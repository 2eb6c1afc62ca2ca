"""What a host imports in its ``perf.py``: ``register()`` and the declarations.

    from paiid_perf import declarations as perf

    perf.register(perf.EndpointClass("market_data", match="/api/market-data/", rate="600/m", cache="market_data"))
"""

from paiid_perf.api.types import EndpointClass, ResponseStrategy
from paiid_perf.cache.types import CacheStrategy, CacheWarmer
from paiid_perf.contracts import ChangeHandler, Phase
from paiid_perf.database.types import IndexCandidate, MaterializedView, RetentionRule
from paiid_perf.monitoring.types import AlertThreshold, Recorder
from paiid_perf.registry import registry
from paiid_perf.security.types import InspectionPolicy

register = registry.register
replace = registry.replace

__all__ = [
    "AlertThreshold",
    "CacheStrategy",
    "CacheWarmer",
    "ChangeHandler",
    "EndpointClass",
    "IndexCandidate",
    "InspectionPolicy",
    "MaterializedView",
    "Phase",
    "Recorder",
    "ResponseStrategy",
    "RetentionRule",
    "register",
    "replace",
]
