"""What waits at the broker and for how long, and since when beat is silent."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import current_app
from django.utils import timezone
from kombu.exceptions import KombuError

from paiid_perf.monitoring import queries

logger = logging.getLogger("paiid_perf")

#: Seconds that a broker has to answer.
PATIENCE = 2
#: When a task was sent (epoch seconds): ``tasks_watch`` puts it in the header of each message.
SENT = "perf_sent"
#: Counted by each collection that beat starts; its newest minute says since when beat is silent.
HEARTBEAT = "monitoring.heartbeat"


def queue_depth() -> Iterable[tuple[str, float]]:
    """(queue, messages that wait in it) for each queue; nothing where no broker is set or answers."""
    return _of_queues(_waiting)


def queue_age() -> Iterable[tuple[str, float]]:
    """(queue, seconds since its oldest message was sent), 0 when it is empty; only Redis lets look."""
    return _of_queues(_oldest)


def beat_silent() -> Iterable[tuple[str, float]]:
    """Seconds since the newest minute in which beat started a collection; nothing where it never did."""
    newest = queries.newest(HEARTBEAT)
    return [] if newest is None else [("", max(0.0, (timezone.now() - newest).total_seconds()))]


def _of_queues(read: Any) -> list[tuple[str, float]]:
    if not current_app.conf.broker_url:
        return []
    try:
        with _channel() as (connection, channel):
            found = [(queue, read(connection, channel, queue)) for queue in _queues()]
    except (KombuError, OSError) as error:
        logger.warning("the queue is not known: the broker does not answer (%s)", type(error).__name__)
        return []
    return [(queue, value) for queue, value in found if value is not None]


def _queues() -> list[str]:
    return sorted({current_app.conf.task_default_queue, *(current_app.amqp.queues or ())})


@contextmanager
def _channel() -> Iterator[tuple[Any, Any]]:
    with current_app.connection_for_read(connect_timeout=PATIENCE) as connection:
        connection.ensure_connection(max_retries=1, timeout=PATIENCE)
        yield connection, connection.default_channel


def _waiting(connection: Any, channel: Any, queue: str) -> float:
    try:
        return float(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:
        return 0.0  # Redis keeps no list for an empty queue


def _oldest(connection: Any, channel: Any, queue: str) -> float | None:
    client = getattr(channel, "client", None)
    if client is None or not hasattr(client, "lindex"):
        return None
    # Messages are pushed on the left and taken from the right.
    message = client.lindex(queue, -1)
    return 0.0 if message is None else age_of(message, time.time())


def age_of(message: bytes | str, now: float) -> float | None:
    """Seconds since a message of Redis' transport was sent; None where it does not say. Pure."""
    try:
        sent = json.loads(message)["headers"][SENT]
        return max(0.0, now - float(sent))
    except (ValueError, KeyError, TypeError):
        return None
