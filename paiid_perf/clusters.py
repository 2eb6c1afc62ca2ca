"""Redis Cluster: the host's cache on all of its nodes, and ours on one slot, wherever that moves.

All keys of this app carry one hash tag (``KEY_PREFIX``), so that what a request asks is one script on one node. The
connections find the node that has the slot by themselves: from any node that answers, from a redirection, and anew
when it is gone. Replicas are not read: they may be behind a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

from django_redis.pool import ConnectionFactory  # type: ignore[import-untyped]
from redis import ConnectionPool
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisError

#: Nodes that are asked where the slot is before a request gives up.
ASKED_AT_MOST = 3


class Node(NamedTuple):
    """Where a node listens."""

    host: str
    port: int


# --- the host's cache ------------------------------------------------------------------------------------


class HostsCluster(RedisCluster):
    """redis-py's client, with the one command that django-redis sends for keys of several slots."""

    def mget(self, keys: Any, *args: Any) -> Any:
        """The values of keys wherever they are."""
        return self.mget_nonatomic(keys, *args)


class ClusterConnectionFactory(ConnectionFactory):  # type: ignore[misc]
    """django-redis on a Redis Cluster: write its dotted path as ``CONNECTION_FACTORY`` in the cache's ``OPTIONS``.

    ``LOCATION`` names one node or several; the others are learned from them.
    """

    _clusters: ClassVar[dict[str, RedisCluster]] = {}

    def get_connection(self, params: dict[str, Any]) -> Any:
        """The process' client of the cluster.

        Raises:
            RedisClusterException: none of its nodes is to be had.
        """
        url = params["url"]
        if url not in self._clusters:
            options = {k: v for k, v in params.items() if k != "parser_class"} | self.pool_cls_kwargs
            self._clusters[url] = HostsCluster.from_url(**options)
        return self._clusters[url]

    def disconnect(self, connection: Any) -> None:
        """Let go of its connections."""
        connection.disconnect_connection_pools()

    def nodes(self, urls: Iterable[str]) -> list[ConnectionPool]:
        """A pool for each node that the host names, as its options have it; nothing is connected."""
        return [self.get_connection_pool(self.make_connection_params(url)) for url in urls]


# --- ours ------------------------------------------------------------------------------------------------


class Whereabouts:
    """Which node has the slot. ``ask`` puts CLUSTER SLOTS to a node."""

    def __init__(self, slot: int, nodes: Iterable[Node], ask: Callable[[Node], Any]) -> None:
        self._slot = slot
        self._nodes = list(nodes)
        self._ask = ask
        self._found: Node | None = None

    def node(self) -> Node:
        """The node.

        Raises:
            RedisConnectionError: nobody who was asked knows.
        """
        found = self._found
        if found is None:
            # Each thread for itself: behind a lock they would wait for each other's time-outs.
            found = self._found = self._look()
        return found

    def moved(self, node: Node) -> None:
        """A node has said that another has the slot now."""
        self._found = node

    def lost(self, node: Node) -> None:
        """The node does not answer: ask the others, and this one last."""
        if self._found == node:
            self._found = None
        self._nodes = sorted(self._nodes, key=lambda known: known == node)

    def _look(self) -> Node:
        for asked in self._nodes[:ASKED_AT_MOST]:
            try:
                answer = self._ask(asked)
            except (RedisError, OSError):
                self.lost(asked)
                continue
            owner, nodes = owner_of(answer, self._slot, asked)
            self._nodes = sorted(dict.fromkeys([*self._nodes, *nodes]), key=lambda known: known == owner)
            if owner is not None:
                return owner
        raise RedisConnectionError("no node of the cluster says where the keys are")


def owner_of(answer: Any, slot: int, asked: Node) -> tuple[Node | None, list[Node]]:
    """From what CLUSTER SLOTS returns: the node that has ``slot``, and all nodes. An empty host is the asked one's."""
    owner, nodes = None, []
    for first, last, *places in answer:
        here = [Node(_text(host) or asked.host, int(port)) for host, port, *_ in places]
        nodes += here
        if first <= slot <= last:
            owner = here[0]
    return owner, nodes


def _text(host: bytes | str | None) -> str:
    text = host.decode() if isinstance(host, bytes) else host or ""
    return "" if text == "?" else text


def redirected(message: str, asked: Node) -> Node:
    """The node that a redirection names; without a host it is the asked one's."""
    host, _, port = message.split()[-1].rpartition(":")
    return Node(host or asked.host, int(port))


class SlotPool(ConnectionPool):
    """Connections to whichever node has the slot."""

    def __init__(self, whereabouts: Whereabouts, connection_class: type, **options: Any) -> None:
        self.whereabouts = whereabouts
        following = type("SlotConnection", (_AtSlot, connection_class), {})
        super().__init__(connection_class=following, whereabouts=whereabouts, **options)

    def move(self, message: str) -> None:
        """Connect to the node that a ``MOVED 866 127.0.0.1:6379`` names from now on."""
        self.whereabouts.moved(redirected(message, self.whereabouts.node()))

    def fixed(self, message: str) -> Whereabouts:
        """The node that an ``ASK 866 127.0.0.1:6379`` names, for one question."""
        there = Whereabouts(0, [], lambda node: ())
        there.moved(redirected(message, self.whereabouts.node()))
        return there


class _AtSlot:
    """Over redis-py's connections: each is opened to the node of the moment, and closed when it is another."""

    def __init__(self, *, whereabouts: Whereabouts, **options: Any) -> None:
        self.whereabouts = whereabouts
        super().__init__(**options)

    def _connect(self) -> Any:
        # What redis-py opens a socket with, whichever way it came to have none.
        here: Any = self
        node = here.host, here.port = self.whereabouts.node()
        try:
            return super()._connect()  # type: ignore[misc]
        except (RedisError, OSError):
            self.whereabouts.lost(Node(*node))
            raise

    def disconnect(self, *args: Any) -> None:
        here: Any = self
        super().disconnect(*args)  # type: ignore[misc]
        self.whereabouts.lost(Node(here.host, here.port))  # perhaps another has the slot next time

    def read_response(self, disable_decoding: bool = False, **options: Any) -> Any:
        here: Any = self
        options["disconnect_on_error"] = True
        try:
            return super().read_response(disable_decoding, **options)  # type: ignore[misc]
        except MovedError as error:
            here.disconnect()
            self.whereabouts.moved(redirected(str(error), Node(here.host, here.port)))
            raise RedisConnectionError("the keys are on another node now") from error


def slot_pool(pools: list[ConnectionPool], key: str, options: dict[str, Any]) -> SlotPool:
    """Connections to the node that has ``key``'s slot; ``options`` are a connection's, but for where it goes."""
    connection_class = pools[0].connection_class
    options = {k: v for k, v in options.items() if k not in {"host", "port", "db"}}
    nodes = [Node(pool.connection_kwargs["host"], pool.connection_kwargs.get("port", 6379)) for pool in pools]

    def ask(node: Node) -> Any:
        connection = connection_class(host=node.host, port=node.port, **options)
        try:
            connection.send_command("CLUSTER", "SLOTS")
            return connection.read_response()
        finally:
            connection.disconnect()

    return SlotPool(Whereabouts(key_slot(key.encode()), nodes, ask), connection_class, **options)
