"""Each node by itself: of a cluster, all of them; beside a primary, its replicas."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from django.utils.translation import gettext
from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import SSLConnection
from redis.exceptions import RedisError
from redis.retry import Retry

from paiid_perf.cache.facts import read_server
from paiid_perf.cache.types import ServerFacts
from paiid_perf.clusters import SlotPool
from paiid_perf.stores import redis_gate

logger = logging.getLogger("paiid_perf")

#: What of the host's way to one node leads to the others, too.
_SAME = ("username", "password", "socket_timeout", "socket_connect_timeout", "ssl_ca_certs", "ssl_cert_reqs")
_SAME_SSL = ("ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
#: The slow log's newest entries that are looked at, and the seconds that count.
SLOW_LOG, SLOW_WITHIN = 128, 60


def each(client: Redis) -> Iterator[tuple[str, ServerFacts, int]]:
    """(``host:port``, INFO, slow commands of the last minute) of every node; the name is "" of one that is alone.

    A node that does not answer is logged and left out.

    Raises:
        RedisError: the server that ``client`` leads to does not answer.
    """
    addresses = list(_cluster(client))
    if not addresses:
        yield "", read_server(client), slow_commands(client)
        addresses = list(_replicas(client))
    for host, port in addresses:
        try:
            with closing(_to(client, host, port)) as node:
                yield f"{host}:{port}", read_server(node), slow_commands(node)
        except (RedisError, OSError) as error:
            logger.warning("the cache node %s:%s does not answer (%s)", host, port, type(error).__name__)


def table() -> list[dict[str, Any]]:
    """What the console shows of each node; nothing of one that is alone, or where Redis does not answer."""
    client = redis_gate.patient()
    try:
        found = list(each(client)) if client else []
    except (RedisError, OSError) as error:
        logger.warning("the cache's nodes are not known (%s)", type(error).__name__)
        return []
    return [
        {
            "node": name or gettext("primary"),
            "role": server.role,
            "bytes": server.used_bytes,
            "keys": server.keys,
            "evicted_keys": server.evicted_keys,
            "fragmentation": server.fragmentation,
            "slow_commands": slow,
        }
        for name, server, slow in (found if len(found) > 1 else ())
    ]


def slow_commands(client: Redis) -> int:
    """Commands of the last minute, by the server's clock, that its slow log kept (``slowlog-log-slower-than``)."""
    seconds: Any = client.time()
    entries: Any = client.slowlog_get(SLOW_LOG)
    return sum(entry["start_time"] > seconds[0] - SLOW_WITHIN for entry in entries)


def _cluster(client: Redis) -> Iterator[tuple[str, int]]:
    info: Any = client.info("cluster")
    if not info.get("cluster_enabled"):
        return
    known: Any = client.cluster("NODES")
    for address, facts in known.items():
        host, _, port = address.partition("@")[0].rpartition(":")
        if "fail" not in facts["flags"].split(",") and "noaddr" not in facts["flags"]:
            yield host or _host(client), int(port)


def _replicas(client: Redis) -> Iterator[tuple[str, int]]:
    info: Any = client.info("replication")
    for number in range(int(info.get("connected_slaves", 0))):
        replica = info.get(f"slave{number}", {})
        if replica.get("state") == "online":
            yield replica["ip"], int(replica["port"])


def _host(client: Redis) -> str:
    pool = client.connection_pool
    return pool.whereabouts.node().host if isinstance(pool, SlotPool) else str(_own(client)["host"])


def _own(client: Redis) -> dict[str, Any]:
    found: dict[str, Any] = client.connection_pool.connection_kwargs
    return found


def _to(client: Redis, host: str, port: int) -> Redis:
    own, ssl = _own(client), issubclass(client.connection_pool.connection_class, SSLConnection)
    same = {name: own[name] for name in (*_SAME, *_SAME_SSL) if name in own and (ssl or "ssl" not in name)}
    return Redis(host=host, port=port, ssl=ssl, retry=Retry(NoBackoff(), 0), **same)
