"""paiid_perf: observe, decide, act, prove, keep or revert, for a Django site's speed and safety."""

__version__ = "0.1.0"
