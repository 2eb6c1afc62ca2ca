"""The kinds of change that the database domain can make, for the ledger."""

from __future__ import annotations

from paiid_perf.contracts import ChangeHandler
from paiid_perf.database import retention_changes, setting_changes, statistics_changes, view_changes
from paiid_perf.database.index_changes import INDEX_HANDLERS

HANDLERS: tuple[ChangeHandler, ...] = (
    *INDEX_HANDLERS,
    view_changes.HANDLER,
    retention_changes.HANDLER,
    *setting_changes.HANDLERS,
    statistics_changes.HANDLER,
)
