"""What the cache domain changes in a server: settings, and scratch keys to measure with."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from paiid_perf.cache.facts import read_config
from paiid_perf.conf import get_settings
from paiid_perf.exceptions import ActionFailed, ActionRefused
from paiid_perf.stores import redis_gate

#: The settings that a change may touch; each can be set and set back while the server runs.
SETTABLE = frozenset({"maxmemory-policy", "maxmemory"})
#: Milliseconds after which a scratch key of a process that died is gone.
SCRATCH_MS = 10_000


def server_client() -> Redis:
    """A patient client of the cache's server.

    Raises:
        ActionRefused: the cache is not Redis.
    """
    client = redis_gate.patient() if redis_gate.is_redis() else None
    if client is None:
        raise ActionRefused("the cache is not on Redis or Valkey: there is no server setting to change.")
    return client


def set_config(client: Redis, setting: str, value: str) -> str:
    """CONFIG SET; returns the value there was before.

    Raises:
        ActionRefused: the setting is not one of SETTABLE, or this server does not let us.
        ActionFailed: the server does not answer, or does not take the value.
    """
    if setting not in SETTABLE:
        raise ActionRefused(
            f"{setting!r} is not one of the settings that may be changed: {sorted(SETTABLE)}."
        )
    try:
        before = read_config(client, setting)
        client.config_set(setting, value)
    except NoPermissionError as error:
        raise ActionRefused(forbidden(setting, value)) from error
    except ResponseError as error:
        if "unknown command" in str(error).lower():
            raise ActionRefused(forbidden(setting, value)) from error
        raise ActionFailed(f"the server does not take {setting} {value}: {error}") from error
    except (RedisError, OSError) as error:
        raise ActionFailed(f"the server does not answer: {error}") from error
    return before or ""


def forbidden(setting: str, value: str) -> str:
    """What to do where CONFIG is not allowed."""
    return (
        f"This server forbids CONFIG, as managed services do. Set {setting} to {value} where the service keeps its "
        "settings: the parameter group (Amazon ElastiCache, MemoryDB), advanced settings or `az redis update` (Azure), "
        "`gcloud redis instances update --update-redis-config` (Google), or the provider's console."
    )


def measure_payloads(client: Redis, sizes: Sequence[tuple[int, bytes]]) -> list[int]:
    """Bytes that each payload takes in the server under a key of the given length; scratch keys, deleted at once.

    Raises:
        RedisError: the server does not answer, or does not let us write or measure.
    """
    pipeline = client.pipeline(transaction=False)
    for number, (key_length, payload) in enumerate(sizes):
        name = _scratch_name(number, key_length)
        pipeline.set(name, payload, px=SCRATCH_MS)
        pipeline.memory_usage(name)
        pipeline.unlink(name)
    answers: list[Any] = pipeline.execute()
    return [int(size or 0) for size in answers[1::3]]


def _scratch_name(number: int, length: int) -> str:
    name = f"{get_settings().KEY_PREFIX}:scratch:{secrets.token_hex(4)}{number}:"
    return name.ljust(length, "x")
