"""Who is told of an alert. ``settings.PAIID_PERF["NOTIFIERS"]`` names callables; one that fails stops no other.

What fails at first is tried again by Celery with back-off (the task ``paiid_perf.notify``), where there is a broker.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.request import Request, urlopen

from celery import current_app
from django.core.mail import mail_admins
from django.utils.module_loading import import_string
from kombu.exceptions import KombuError

from paiid_perf.conf import Settings, get_settings
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.models import Alert

logger = logging.getLogger("paiid_perf")
alerts_logger = logging.getLogger("paiid_perf.alerts")
Notifier = Callable[[Alert], None]
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}
#: Seconds that a webhook has to answer.
PATIENCE = 5
#: Seconds until Celery tries for the second time.
SECOND_TRY = 30


def notify(alerts: Iterable[Alert], settings: Settings) -> None:
    """Hand each alert to each notifier. Never raises."""
    for alert in alerts:
        for path in settings.NOTIFIERS:
            try:
                tell(path, alert)
            except Exception:
                again = _try_again(path, alert)
                logger.exception("the notifier %s failed%s", path, "; it is tried again" if again else "")


def tell(path: str, alert: Alert) -> None:
    """Hand one alert to one notifier. Raises what the notifier raises."""
    notifier: Notifier = import_string(path)
    notifier(alert)


def _try_again(path: str, alert: Alert) -> bool:
    if not current_app.conf.broker_url:
        return False
    try:
        current_app.send_task(
            "paiid_perf.notify", args=[path, alert.pk], countdown=SECOND_TRY, retry=False, ignore_result=True
        )
    except (KombuError, OSError):
        return False
    return True


# --- the notifiers that come with the app ---------------------------------------------------------------


def log(alert: Alert) -> None:
    """``paiid_perf.monitoring.notifiers.log``: a line in the logger ``paiid_perf.alerts``."""
    alerts_logger.log(LEVELS.get(alert.severity, logging.WARNING), "%s", summary(alert))


def email(alert: Alert) -> None:
    """``paiid_perf.monitoring.notifiers.email``: a mail to ``settings.ADMINS``. Raises what the mail backend raises."""
    mail_admins(summary(alert), alert.message)


def webhook(alert: Alert) -> None:
    """``paiid_perf.monitoring.notifiers.webhook``: JSON to WEBHOOK_URL, signed with WEBHOOK_SECRET.

    ``X-Perf-Signature: sha256=<hex>`` is the HMAC of the body.

    Raises:
        ConfigurationError: WEBHOOK_URL is not an http(s) address.
        OSError: nobody answered, or not with a 2xx.
    """
    _post(describe(alert), get_settings())


def slack(alert: Alert) -> None:
    """``paiid_perf.monitoring.notifiers.slack``: a line to WEBHOOK_URL, as Slack-compatible chats take it.

    Raises as ``webhook`` does.
    """
    _post({"text": summary(alert)}, get_settings())


def summary(alert: Alert) -> str:
    """One line: [open] or [resolved], the severity, what happened."""
    return f"[{alert.status}] {alert.severity}: {alert.message}"


def describe(alert: Alert) -> dict[str, Any]:
    """What ``webhook`` posts; times in ISO 8601."""
    return {
        "id": alert.pk,
        "rule": alert.rule.name,
        "subject": alert.subject,
        "status": alert.status,
        "severity": alert.severity,
        "value": alert.value,
        "message": alert.message,
        "opened_at": alert.opened_at.isoformat(),
        "resolved_at": alert.resolved_at and alert.resolved_at.isoformat(),
    }


def signature(body: bytes, secret: str) -> str:
    """The value of ``X-Perf-Signature`` for a body; the receiver computes the same."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _post(message: Mapping[str, Any], settings: Settings) -> None:
    if not settings.WEBHOOK_URL.startswith(("https://", "http://")):
        raise ConfigurationError("WEBHOOK_URL must be an http or https address for the webhook notifiers.")
    body = json.dumps(message).encode()
    signed = {"X-Perf-Signature": signature(body, settings.WEBHOOK_SECRET)} if settings.WEBHOOK_SECRET else {}
    headers = {"Content-Type": "application/json", **signed}
    request = Request(settings.WEBHOOK_URL, data=body, headers=headers, method="POST")  # noqa: S310 - checked above
    with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
        answer.read()
