"""What a host imports in its ``perf.py``: ``register()`` and the declarations (docs/reference.md lists them)."""

from paiid_perf.api.endpoints import in_class
from paiid_perf.api.renewal import renew
from paiid_perf.api.types import EndpointClass, ResponseStrategy
from paiid_perf.cache.types import CacheStrategy, CacheWarmer
from paiid_perf.contracts import ChangeHandler, Phase
from paiid_perf.database.types import IndexCandidate, MaterializedView, RetentionRule
from paiid_perf.invalidation import depends_on, invalidate
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
    "depends_on",
    "in_class",
    "invalidate",
    "register",
    "renew",
    "replace",
]
