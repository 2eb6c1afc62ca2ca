"""The kinds of change that the database domain can make, for the ledger."""

from __future__ import annotations

from paiid_perf.contracts import ChangeHandler
from paiid_perf.database import retention_changes, view_changes

HANDLERS: tuple[ChangeHandler, ...] = (view_changes.HANDLER, retention_changes.HANDLER)
