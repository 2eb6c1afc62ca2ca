"""What people and runs change while the site runs, brought from its tables to every process.

No request asks for it. Each process' flusher thread looks every ``FLUSH_INTERVAL``: in Redis at a word that changes
with every edit, and in the tables when it did, once a minute anyway, and each time where there is no Redis.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Model
from django.db.models.signals import post_delete, post_save
from redis.exceptions import RedisError

from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate
from paiid_perf.telemetry import recorder

logger = logging.getLogger("paiid_perf")

#: Seconds after which the tables are read although Redis says nothing of an edit (it may have been down then).
ANYWAY_SECONDS = 60.0

_readers: list[Callable[[], None]] = []


def follow(model: type[Model], take_over: Callable[[], None]) -> None:
    """Have ``take_over`` read the model's table, in every process, soon after a row of it was saved or deleted."""
    if take_over not in _readers:
        _readers.append(take_over)
    for signal in (post_save, post_delete):
        signal.connect(_changed, sender=model, dispatch_uid="paiid_perf.edits")


def connect() -> None:
    """Look with every flush."""
    recorder.beside("edits", Edits().look)


def _changed(**_sent: Any) -> None:
    transaction.on_commit(tell)


def tell() -> None:
    """Make every process look at the tables: this one now, the others at their next flush."""
    try:
        client = redis_gate.patient()
        if client is not None:
            client.set(word_key(), uuid.uuid4().hex)
    except RedisError as error:
        logger.warning("The others hear of the edit within a minute (%s).", error)
    take_over()


def take_over() -> None:
    """Read the tables, and put what they say in force in this process."""
    for reader in _readers:
        reader()


def word_key() -> str:
    """Where Redis holds the word that changes with every edit."""
    return f"{get_settings().KEY_PREFIX}:edited"


class Edits:
    """What this process knows of the edits, and when it looked. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._word: bytes | None = None
        self._read_at: float | None = None
        self._failed = False

    def look(self) -> None:
        """Take the edits over if there may be new ones. Never raises; what cannot be read stays as it was."""
        try:
            word = self._told()
            if self._is_due(word):
                take_over()
                self._word, self._read_at, self._failed = word, self._clock(), False
        except (DatabaseError, RedisError) as error:
            if not self._failed:
                logger.warning("What was edited cannot be read (%s); what is known stays.", error)
            self._failed = True

    def _told(self) -> bytes | None:
        client = redis_gate.patient()
        try:
            return client.get(word_key()) if client else None  # type: ignore[return-value]
        except RedisError:
            return None  # the tables say it, at their pace

    def _is_due(self, word: bytes | None) -> bool:
        at = self._read_at
        return at is None or word is None or word != self._word or self._clock() - at >= ANYWAY_SECONDS
