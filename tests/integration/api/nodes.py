"""A small Valkey cluster: two primaries, of which one has our keys; a slot can be moved between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.crc import key_slot

from project.embedded import Valkey, free_port, start_valkey

#: Where the keys of the default prefix lie.
SLOT = key_slot(b"{perf}")
HALVES = ((0, 8_191), (8_192, 16_383))


def tell(node: Valkey, *command: Any) -> Any:
    """What one node says."""
    with Redis(port=node.port, protocol=2) as client:
        return client.execute_command(*command)


def until(is_so: Callable[[], bool]) -> None:
    """Bounded by what a loaded machine may take, not by what is expected."""
    ends, pause = time.monotonic() + 30, threading.Event()
    while not is_so():
        assert time.monotonic() < ends
        pause.wait(0.02)


@dataclass
class Cluster:
    """``owner`` has our slot at first."""

    owner: Valkey
    other: Valkey

    @property
    def nodes(self) -> tuple[Valkey, Valkey]:
        return self.owner, self.other

    def begin_move(self) -> None:
        """Our slot is under way to the other node, and its keys are there."""
        tell(self.other, "CLUSTER", "SETSLOT", SLOT, "IMPORTING", _name(self.owner))
        tell(self.owner, "CLUSTER", "SETSLOT", SLOT, "MIGRATING", _name(self.other))
        keys = tell(self.owner, "CLUSTER", "GETKEYSINSLOT", SLOT, 1000)
        tell(self.owner, "MIGRATE", "127.0.0.1", self.other.port, "", 0, 5000, "KEYS", *keys)

    def end_move(self, *nodes: Valkey) -> None:
        """The other node has it, and these know."""
        _give(self.other, nodes)

    def restore(self) -> None:
        """As it was."""
        for node in self.nodes:
            tell(node, "FLUSHALL")
            tell(node, "CLUSTER", "SETSLOT", SLOT, "STABLE")
        _give(self.owner, self.nodes)


def _give(owner: Valkey, nodes: tuple[Valkey, ...]) -> None:
    """Until all of them keep to it: a message that was under way may give it back before the epoch is raised."""
    name = _name(owner)

    def is_given() -> bool:
        for node in nodes:
            tell(node, "CLUSTER", "SETSLOT", SLOT, "NODE", name)
        tell(owner, "CLUSTER", "BUMPEPOCH")
        return all(_owner_by(node) == name for node in nodes)

    until(is_given)


def _owner_by(node: Valkey) -> bytes | None:
    shares = tell(node, "CLUSTER", "SLOTS")
    return next((primary[2] for first, last, primary, *_ in shares if first <= SLOT <= last), None)


def _name(node: Valkey) -> bytes:
    return bytes(tell(node, "CLUSTER", "MYID"))


@contextmanager
def start_cluster(directory: Path) -> Iterator[Cluster]:
    """For the length of a ``with`` block."""
    with ExitStack() as stack:
        nodes = [_start(directory / str(number)) for number in range(2)]
        for node, half in zip(nodes, HALVES, strict=True):
            stack.callback(node.stop)
            tell(node, "CLUSTER", "ADDSLOTSRANGE", *half)
        for node, another in (nodes, reversed(nodes)):
            tell(node, "CLUSTER", "MEET", "127.0.0.1", another.port, another.options["cluster-port"])
        until(lambda: all(_is_ready(node, nodes) for node in nodes))
        first = HALVES[0][1] >= SLOT
        yield Cluster(*(nodes if first else reversed(nodes)))


def _start(directory: Path) -> Valkey:
    options = {
        "cluster-enabled": "yes",
        "cluster-port": str(free_port()),
        "cluster-node-timeout": "60000",  # which node is dead is for the test to say
        "cluster-require-full-coverage": "no",
    }
    return start_valkey(directory, fresh=True, options=options)


def _is_ready(node: Valkey, places: list[Valkey]) -> bool:
    """Whether it takes requests, and knows who serves the slots."""
    slots = str(tell(node, "CLUSTER", "SLOTS"))
    ready = b"cluster_state:ok" in tell(node, "CLUSTER", "INFO")
    return ready and all(str(place.port) in slots for place in places)
