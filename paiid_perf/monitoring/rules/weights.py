"""What each scored fact weighs within its area: the one table. A host's own checks bring their weight with them."""

from __future__ import annotations

from collections.abc import Mapping

from paiid_perf.contracts import Check

WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "database": {
        "workload_mean": 25,
        "cache_hit_ratio": 15,
        "connections": 10,
        "dead_rows": 10,
        "longest_transaction": 10,
        "blocked": 5,
        "index_faults": 5,
        "sequences": 5,
        "stale_statistics": 5,
        "wraparound": 5,
    },
    "api": {"objectives": 4, "error_rate": 4, "queries": 2, "limited": 1},
    "cache": {
        "hit_ratio": 4,
        "shared": 2,
        "memory": 2,
        "memory_limit": 2,
        "evictions": 2,
        "fragmentation": 1,
    },
    "monitoring": {
        "alerts": 3,
        "cpu_percent": 2,
        "memory_percent": 2,
        "disk_percent": 2,
        "freshness": 2,
        "dropped": 1,
    },
    "security": {
        "secrets": 16,
        "transport": 12,
        "passwords": 12,
        "login_limits": 12,
        "cookies": 10,
        "headers": 8,
        "content_security_policy": 8,
        "supported_versions": 8,
        "hashing": 6,
        "exposure": 5,
        "vulnerabilities": 10,
        "dangerous_settings": 6,
        "event_chain": 4,
        "inspection": 4,
        "events": 4,
        "sessions": 3,
        "isolation": 3,
        "admin_address": 2,
    },
}


def weight_of(check: Check) -> float:
    """The table's weight of a check; what it brings with it where the table does not know it."""
    return WEIGHTS.get(check.area, {}).get(check.name, check.weight)
