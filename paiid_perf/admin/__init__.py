"""The console, inside the Django admin."""

from paiid_perf.admin import models

__all__ = ["models"]
