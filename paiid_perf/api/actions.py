"""What the api phase writes: the metrics that the processes have handed over."""

from __future__ import annotations

import logging

from redis.exceptions import RedisError

from paiid_perf import telemetry

logger = logging.getLogger("paiid_perf")


def store_recorded() -> int:
    """Store what every process has recorded so far; returns rows. Redis away: another time."""
    try:
        return telemetry.collect()
    except RedisError as error:
        logger.warning("what Redis holds of the recorded metrics is stored another time (%s)", error)
        return 0
