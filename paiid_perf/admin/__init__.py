"""The console, inside the Django admin."""

from paiid_perf.admin import (
    alerts,
    change_marks,
    endpoint_rules,
    ledger,
    pages,
    runs,
    scores,
    security,
    sessions,
)

__all__ = [
    "alerts",
    "change_marks",
    "endpoint_rules",
    "ledger",
    "pages",
    "runs",
    "scores",
    "security",
    "sessions",
]
