"""The app's configuration: what Django loads at start-up. No query, no thread."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class PaiidPerfConfig(AppConfig):
    """Finds every installed app's ``perf.py`` (ours first), then connects checks and signals."""

    name = "paiid_perf"
    label = "paiid_perf"
    verbose_name = _("Performance")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from paiid_perf import checks, perf
        from paiid_perf.registry import registry

        autodiscover_modules("perf", register_to=registry)
        perf.connect()
        checks.register()
