"""Who is told of an alert. ``settings.PAIID_PERF["NOTIFIERS"]`` names callables; one that fails stops no other.

Where there is a broker, each is called by a Celery task of its own (``paiid_perf.notify``), which tries again with
back-off: one that hangs holds up nobody. Without a broker they are called one after the other, once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.request import Request, urlopen

from celery import current_app
from django.conf import settings as django_settings
from django.core.mail import get_connection, mail_admins
from django.utils import timezone
from django.utils.module_loading import import_string
from kombu.exceptions import KombuError

from paiid_perf.conf import Settings, get_settings
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.models import Alert
from paiid_perf.monitoring.rules.telling import route

logger = logging.getLogger("paiid_perf")
alerts_logger = logging.getLogger("paiid_perf.alerts")
Notifier = Callable[[Alert], None]
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}
#: Seconds that a webhook or a mail server has to answer.
PATIENCE = 5


def notify(alert: Alert, settings: Settings) -> None:
    """Hand an alert to each notifier of its severity. Never raises."""
    for path in route(settings.NOTIFIERS, alert.severity):
        if not _queued(path, alert):
            _tell_now(path, alert)


def tell(path: str, alert: Alert) -> None:
    """Hand one alert to one notifier. Raises what the notifier raises."""
    notifier: Notifier = import_string(path)
    notifier(alert)


def is_chosen(path: str, alert: Alert) -> bool:
    """Whether the settings (still) name that notifier for the alert's severity."""
    return path in route(get_settings().NOTIFIERS, alert.severity)


def _queued(path: str, alert: Alert) -> bool:
    if not current_app.conf.broker_url:
        return False
    try:
        current_app.send_task(
            "paiid_perf.notify", args=[path, alert.pk, alert.status], retry=False, ignore_result=True
        )
    except (KombuError, OSError):
        return False
    return True


def _tell_now(path: str, alert: Alert) -> None:
    try:
        tell(path, alert)
    except Exception:
        logger.exception("the notifier %s failed", path)


# --- the notifiers that come with the app ---------------------------------------------------------------


def log(alert: Alert) -> None:
    """``paiid_perf.monitoring.notifiers.log``: a line in the logger ``paiid_perf.alerts``."""
    alerts_logger.log(LEVELS.get(alert.severity, logging.WARNING), "%s", summary(alert))


def email(alert: Alert) -> None:
    """``paiid_perf.monitoring.notifiers.email``: a mail to ``settings.ADMINS``. Raises what the mail backend raises."""
    patience = django_settings.EMAIL_TIMEOUT or PATIENCE  # Django's own default waits for ever
    mail_admins(summary(alert), body(alert), connection=get_connection(timeout=patience))


def webhook(alert: Alert) -> None:
    """``paiid_perf.monitoring.notifiers.webhook``: JSON to WEBHOOK_URL, signed with WEBHOOK_SECRET.

    ``X-Perf-Signature: sha256=<hex>`` is the HMAC of the body, whose ``sent_at`` tells a repeat from a replay.

    Raises:
        ConfigurationError: WEBHOOK_URL is not an http(s) address.
        OSError: nobody answered, or not with a 2xx.
    """
    settings = get_settings()
    _post(
        settings.WEBHOOK_URL,
        {**describe(alert), "sent_at": timezone.now().isoformat()},
        settings.WEBHOOK_SECRET,
    )


def slack(alert: Alert) -> None:
    """``paiid_perf.monitoring.notifiers.slack``: a line to SLACK_URL, as Slack-compatible chats take it.

    Raises as ``webhook`` does.
    """
    settings = get_settings()
    _post(settings.SLACK_URL or settings.WEBHOOK_URL, {"text": summary(alert)})


def summary(alert: Alert) -> str:
    """One line: [open] or [resolved], the severity, what happened."""
    return f"[{alert.status}] {alert.severity}: {alert.message}"


def body(alert: Alert) -> str:
    """The mail's text: what happened, since when, how often, and who has seen it."""
    lines = (
        alert.message,
        "",
        f"Open since {alert.opened_at:%Y-%m-%d %H:%M} UTC, seen {alert.times} times.",
        f"Resolved at {alert.resolved_at:%Y-%m-%d %H:%M} UTC." if alert.resolved_at else "",
        f"Acknowledged by {alert.acknowledged_by}. {alert.comment}".rstrip() if alert.acknowledged_by else "",
    )
    return "\n".join(lines).strip()


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
        "times": alert.times,
        "opened_at": alert.opened_at.isoformat(),
        "resolved_at": alert.resolved_at and alert.resolved_at.isoformat(),
    }


def signature(content: bytes, secret: str) -> str:
    """The value of ``X-Perf-Signature`` for a body; the receiver computes the same."""
    return "sha256=" + hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def _post(url: str, message: Mapping[str, Any], secret: str = "") -> None:
    if not url.startswith(("https://", "http://")):
        raise ConfigurationError("WEBHOOK_URL (or SLACK_URL) must be an http or https address.")
    content = json.dumps(message).encode()
    signed = {"X-Perf-Signature": signature(content, secret)} if secret else {}
    headers = {"Content-Type": "application/json", **signed}
    request = Request(url, data=content, headers=headers, method="POST")  # noqa: S310 - checked above
    with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
        answer.read()
