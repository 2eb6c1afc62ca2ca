"""The console, inside the Django admin."""

from paiid_perf.admin import models, pages

__all__ = ["models", "pages"]
