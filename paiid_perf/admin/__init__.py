"""The console, inside the Django admin."""

from paiid_perf.admin import alerts, ledger, pages, runs, scores, security

__all__ = ["alerts", "ledger", "pages", "runs", "scores", "security"]
