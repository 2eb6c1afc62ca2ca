"""How many tasks wait at the broker."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from celery import current_app
from kombu.exceptions import KombuError

logger = logging.getLogger("paiid_perf")

#: Seconds that a broker has to answer.
PATIENCE = 2


def queue_depth() -> Iterable[tuple[str, float]]:
    """Messages waiting in Celery's default queue, as (queue, messages); nothing where no broker is set or answers."""
    queue = current_app.conf.task_default_queue
    if not current_app.conf.broker_url:
        return []
    try:
        return [(queue, float(_waiting(queue)))]
    except (KombuError, OSError) as error:
        logger.warning("the queue's depth is unknown: the broker does not answer (%s)", type(error).__name__)
        return []


def _waiting(queue: str) -> int:
    with current_app.connection_for_read(connect_timeout=PATIENCE) as connection:
        connection.ensure_connection(max_retries=1, timeout=PATIENCE)
        channel: Any = connection.default_channel
        try:
            declared = channel.queue_declare(queue, passive=True)
        except connection.channel_errors:
            return 0  # Redis keeps no list for an empty queue
        return int(declared.message_count)
