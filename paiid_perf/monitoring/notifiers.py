"""Who is told of an alert. ``settings.PAIID_PERF["NOTIFIERS"]`` names callables; one that fails stops no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from django.core.mail import mail_admins
from django.utils.module_loading import import_string

from paiid_perf.conf import Settings
from paiid_perf.models import Alert

logger = logging.getLogger("paiid_perf")
alerts_logger = logging.getLogger("paiid_perf.alerts")
Notifier = Callable[[Alert], None]
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}


def notify(alerts: Iterable[Alert], settings: Settings) -> None:
    """Hand each alert to each notifier. Never raises."""
    for alert in alerts:
        for path in settings.NOTIFIERS:
            try:
                notifier: Notifier = import_string(path)
                notifier(alert)
            except Exception:
                logger.exception("the notifier %s failed", path)


def log(alert: Alert) -> None:
    """``paiid_perf.monitoring.notifiers.log``: a line in the logger ``paiid_perf.alerts``."""
    alerts_logger.log(LEVELS.get(alert.severity, logging.WARNING), "%s", summary(alert))


def email(alert: Alert) -> None:
    """``paiid_perf.monitoring.notifiers.email``: a mail to ``settings.ADMINS``."""
    mail_admins(summary(alert), alert.message)


def summary(alert: Alert) -> str:
    """One line: [open] or [resolved], the severity, what happened."""
    return f"[{alert.status}] {alert.severity}: {alert.message}"
