"""The models, one file per domain."""

from paiid_perf.models.api import EndpointRule, StrategyTtl
from paiid_perf.models.database import IndexSighting, StatementSnapshot
from paiid_perf.models.marks import Mark
from paiid_perf.models.monitoring import (
    Alert,
    AlertRule,
    AlertSilence,
    Lease,
    Metric,
    MetricBatch,
    MetricTotal,
    Score,
)
from paiid_perf.models.optimization import OptimizationRun, PhaseRun, Recommendation
from paiid_perf.models.security import (
    BlockedAddress,
    LoginFailure,
    PasswordRecord,
    SecurityChain,
    SecurityEvent,
    UserSession,
)

__all__ = [
    "Alert",
    "AlertRule",
    "AlertSilence",
    "BlockedAddress",
    "EndpointRule",
    "IndexSighting",
    "Lease",
    "LoginFailure",
    "Mark",
    "Metric",
    "MetricBatch",
    "MetricTotal",
    "OptimizationRun",
    "PasswordRecord",
    "PhaseRun",
    "Recommendation",
    "Score",
    "SecurityChain",
    "SecurityEvent",
    "StatementSnapshot",
    "StrategyTtl",
    "UserSession",
]
