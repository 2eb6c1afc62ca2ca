"""Calls on a connection that the thread (or the event loop) keeps: a fifth of a client library's cost.

redis-py makes the connection (address, TLS, authentication, time-outs: all of the host's configuration); a call itself
is one write and one read of RESP2, which is small enough to spell out: a script (``send``), or plain commands together
(``ask``). A script is named by its digest and sent whole only to a server that does not know it. What nobody waits for
(``tell``, ``note``) is written only: its reply is read with that of the next call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from typing import Any, TypeVar

from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from paiid_perf.clusters import SlotPool

logger = logging.getLogger("paiid_perf")

CHUNK = 16_384
Part = str | int | bytes
T = TypeVar("T")


#: What comes before the keys, with a number of keys of one digit.
_HEAD = b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n%d\r\n"


class Script:
    """A Lua script and its digest."""

    def __init__(self, lua: str) -> None:
        self.lua = lua.encode()
        self.digest = sha1(self.lua, usedforsecurity=False).hexdigest().encode()

    def command(self, keys: Sequence[str], args: Sequence[Part], whole: bool = False) -> bytes:
        """The call as it goes over the wire."""
        verb, body = (b"EVAL", self.lua) if whole else (b"EVALSHA", self.digest)
        return _pack([verb, body, str(len(keys)).encode(), *map(_bytes, keys), *map(_bytes, args)])

    def call(self, count: int, parts: list[str]) -> bytes:
        """The call by digest with ``count`` keys, from text alone: keys and arguments in one list, encoded once."""
        text = "".join([f"${len(part)}\r\n{part}\r\n" for part in parts])
        if count > 9 or not text.isascii():
            return self.command(parts[:count], parts[count:])
        return _HEAD % (len(parts) + 3, self.digest, count) + text.encode()


def _bytes(part: Part) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()


def _pack(parts: list[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(parts), b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]))


# --- replies ---------------------------------------------------------------------------------------------


class Incomplete(Exception):
    """More bytes of the reply are to come."""


def parse(data: bytes, at: int = 0) -> tuple[Any, int]:
    """A RESP2 value and where it ends. An error reply is returned as a ResponseError, not raised.

    Raises:
        Incomplete: the reply has not arrived in full.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind, line, after = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b":":
        return int(line), after
    if kind == b"$":
        return _bulk(data, int(line), after)
    if kind == b"*":
        return _array(data, int(line), after)
    if kind == b"+":
        return line, after
    if kind == b"-":
        return ResponseError(line.decode()), after
    raise RedisConnectionError(f"unexpected reply: {data[at : at + 20]!r}")


def _bulk(data: bytes, length: int, at: int) -> tuple[bytes | None, int]:
    if length < 0:
        return None, at
    if len(data) < at + length + 2:
        raise Incomplete
    return data[at : at + length], at + length + 2


def _array(data: bytes, length: int, at: int) -> tuple[list[Any] | None, int]:
    if length < 0:
        return None, at
    values = []
    for _ in range(length):
        value, at = parse(data, at)
        values.append(value)
    return values, at


def _is_unknown_script(value: Any) -> bool:
    return isinstance(value, ResponseError) and str(value).startswith("NOSCRIPT")


def _is_elsewhere(value: Any) -> bool:
    return isinstance(value, ResponseError) and str(value).startswith(("MOVED ", "ASK "))


def _raised(value: Any) -> Any:
    if isinstance(value, ResponseError):
        raise value
    return value


# --- a connection ----------------------------------------------------------------------------------------


class Line:
    """A connection: the scripts that its server knows, and those whose replies nobody has read yet."""

    __slots__ = ("connection", "knows", "owed", "sock")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.sock: socket.socket = connection._sock
        self.knows: set[Script] = set()
        self.owed: list[Script | None] = []

    def close(self) -> None:
        """Let go of it; what is owed is lost, as if the server had not been there."""
        self.connection.disconnect()

    def read(self, data: bytes) -> Any:
        """The reply to the last call, out of all that has arrived; those owed before it are looked at and forgotten.

        Raises:
            Incomplete: more is to come.
        """
        return self.replies(data, 1)[0] if self.owed else parse(data)[0]

    def replies(self, data: bytes, count: int) -> list[Any]:
        """The same of the last ``count`` commands."""
        at, values, owed = 0, [], len(self.owed)
        for _ in range(owed + count):
            value, at = parse(data, at)
            values.append(value)
        for script, value in zip(self.owed, values, strict=False):
            self._look_at(script, value)
        self.owed.clear()
        return values[owed:]

    def _look_at(self, script: Script | None, value: Any) -> None:
        if script and _is_unknown_script(value):
            self.knows.discard(script)
        if isinstance(value, ResponseError):
            logger.info("Redis did not do what it was told: %s", value)


def _connected(pool: ConnectionPool, **also: Any) -> Line:
    options = {k: v for k, v in pool.connection_kwargs.items() if not k.startswith(_RESP3_ONLY)}
    connection = pool.connection_class(**options | {"protocol": 2} | also)
    connection.connect()
    return Line(connection)


#: Options that redis-py puts on a pool for pushed maintenance messages, which RESP2 does not have.
_RESP3_ONLY = ("maint_notifications", "oss_cluster_maint")
_TIMEVAL = "@ll"


def _leave_waiting_to_kernel(sock: socket.socket, seconds: float | None) -> None:
    """The same time-out without a ``poll`` before each write and each read (TLS needs those)."""
    if seconds is None or type(sock) is not socket.socket or sys.platform != "linux":
        return
    whole = int(seconds)
    value = struct.pack(_TIMEVAL, whole, int((seconds - whole) * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, value)
    sock.settimeout(None)


#: What a time-out is raised as: by Python's sockets, and by the kernel.
LATE = (TimeoutError, BlockingIOError)


# --- sync ------------------------------------------------------------------------------------------------


class _Lines(threading.local):
    """The thread's connection of each pool."""

    def __init__(self) -> None:
        self.open: weakref.WeakKeyDictionary[ConnectionPool, Line] = weakref.WeakKeyDictionary()


_lines = _Lines()


def call(pool: ConnectionPool, script: Script, keys: Sequence[str], args: Sequence[Part]) -> Any:
    """Run a script; one round trip.

    Raises:
        RedisError: the server does not answer within the pool's time-out, or refuses.
    """
    return send(pool, script, script.command(keys, args), keys, args)


def send(
    pool: ConnectionPool, script: Script, command: bytes, keys: Sequence[str], args: Sequence[Part]
) -> Any:
    """``call`` with the command packed already."""
    value = _exchange(pool, command)
    if isinstance(value, bytes):
        return value
    if _is_unknown_script(value):
        value = _exchange(pool, script.command(keys, args, whole=True))
    return _raised(_followed(pool, value, script, keys, args))


def command(*parts: Part) -> bytes:
    """A plain command as it goes over the wire."""
    # Spelled out, not ``_bytes``: a call for each part is half of the time.
    return _pack([part if type(part) is bytes else str(part).encode() for part in parts])


def ask(pool: ConnectionPool, *commands: bytes) -> list[Any]:
    """Commands in one round trip: their replies, an error as a ResponseError that is not raised.

    Raises:
        RedisError: the server does not answer within the pool's time-out.
    """
    together, count = b"".join(commands), len(commands)
    values = _on_a_line(pool, lambda line: _send_and_read_all(line, together, count))
    moved = next((str(value) for value in values if _is_elsewhere(value)), "")
    if not moved.startswith("MOVED") or not isinstance(pool, SlotPool):
        return values
    _move(pool, moved)
    return _on_a_line(pool, lambda line: _send_and_read_all(line, together, count))


def _move(pool: SlotPool, redirection: str) -> None:
    line = _lines.open.pop(pool, None)
    if line is not None:
        line.close()
    pool.move(redirection)


def note(pool: ConnectionPool, *commands: bytes) -> None:
    """Commands that nobody waits for, in one write. On a cluster they are asked, as another node may have the keys.

    Raises:
        RedisError: the connection is not to be had, or takes nothing within the pool's time-out.
    """
    if isinstance(pool, SlotPool):
        ask(pool, *commands)
    else:
        _on_a_line(pool, lambda line: _note(line, commands))


def _note(line: Line, commands: Sequence[bytes]) -> None:
    line.sock.sendall(b"".join(commands))
    line.owed += [None] * len(commands)


def tell(pool: ConnectionPool, script: Script, keys: Sequence[str], args: Sequence[Part]) -> None:
    """Run a script without waiting for it: one write (but for the first time, when the server may not know it).

    Raises:
        RedisError: the connection is not to be had, or takes nothing within the pool's time-out.
    """
    value = _on_a_line(pool, lambda line: _tell(line, script, keys, args))
    _raised(_followed(pool, value, script, keys, args))


def _exchange(pool: ConnectionPool, command: bytes) -> Any:
    return _on_a_line(pool, lambda line: _send_and_read(line, command))


def _on_a_line(pool: ConnectionPool, work: Callable[[Line], T]) -> T:
    line = _lines.open.pop(pool, None)
    if line is not None:
        try:
            return _on(line, pool, work)
        except (RedisConnectionError, BrokenPipeError, ConnectionResetError):
            # The server closed a connection that was idle. A new one says whether it is there.
            line.close()
    line = _connected(pool)
    _leave_waiting_to_kernel(line.sock, pool.connection_kwargs.get("socket_timeout"))
    return _on(line, pool, work)


def _on(line: Line, pool: ConnectionPool, work: Callable[[Line], T]) -> T:
    try:
        value = work(line)
    except LATE as error:
        line.close()
        raise RedisTimeoutError("no answer in time") from error
    _lines.open[pool] = line
    return value


def _send_and_read(line: Line, command: bytes) -> Any:
    return _send_and(line.read, line, command)


def _send_and_read_all(line: Line, commands: bytes, count: int) -> list[Any]:
    return _send_and(lambda data: line.replies(data, count), line, commands)


def _send_and(read: Callable[[bytes], T], line: Line, command: bytes) -> T:
    sock = line.sock
    sock.sendall(command)
    data = b""
    while True:
        some = sock.recv(CHUNK)
        if not some:
            raise RedisConnectionError("the server closed the connection")
        data = data + some if data else some
        try:
            return read(data)
        except Incomplete:
            continue


def _tell(line: Line, script: Script, keys: Sequence[str], args: Sequence[Part]) -> Any:
    if script not in line.knows:
        line.knows.add(script)
        return _send_and_read(line, script.command(keys, args, whole=True))
    line.sock.sendall(script.command(keys, args))
    line.owed.append(script)
    return None


def _followed(
    pool: ConnectionPool, value: Any, script: Script, keys: Sequence[str], args: Sequence[Part]
) -> Any:
    """The value, or where it is a cluster's redirection, what the other node says."""
    if not _is_elsewhere(value) or not isinstance(pool, SlotPool):
        return value
    command = script.command(keys, args, whole=True)
    if str(value).startswith("ASK"):
        return _asked_aside(pool, str(value), script, command)
    _move(pool, str(value))
    return _exchange(pool, command)


def _asked_aside(pool: SlotPool, redirection: str, script: Script, command: bytes) -> Any:
    """The slot is under way to another node, and the keys are there already: ask that once."""
    line = _connected(pool, whereabouts=pool.fixed(redirection))
    try:
        line.owed.append(script)
        return _send_and_read(line, _pack([b"ASKING"]) + command)
    finally:
        line.close()


# --- async -----------------------------------------------------------------------------------------------

_Idle = dict[ConnectionPool, list[Line]]
_idle: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Idle] = weakref.WeakKeyDictionary()


async def call_async(pool: ConnectionPool, script: Script, keys: Sequence[str], args: Sequence[Part]) -> Any:
    """Run a script without blocking the event loop; one round trip, no thread (but for TLS, which takes one).

    Raises:
        RedisError: the server does not answer within the pool's time-out, or refuses.
    """
    if _needs_thread(pool):
        return await asyncio.to_thread(call, pool, script, keys, args)
    value = await _exchange_async(pool, script.command(keys, args))
    if _is_unknown_script(value):
        value = await _exchange_async(pool, script.command(keys, args, whole=True))
    return _raised(await _followed_async(pool, value, script, keys, args))


async def tell_async(pool: ConnectionPool, script: Script, keys: Sequence[str], args: Sequence[Part]) -> None:
    """The same without waiting for the reply.

    Raises:
        RedisError: the connection is not to be had, or takes nothing within the pool's time-out.
    """
    if _needs_thread(pool):
        await asyncio.to_thread(call, pool, script, keys, args)
        return
    value = await _on_a_line_async(pool, lambda line: _tell_async(line, script, keys, args))
    _raised(await _followed_async(pool, value, script, keys, args))


async def _followed_async(
    pool: ConnectionPool, value: Any, script: Script, keys: Sequence[str], args: Sequence[Part]
) -> Any:
    if not _is_elsewhere(value) or not isinstance(pool, SlotPool):
        return value
    command = script.command(keys, args, whole=True)
    if str(value).startswith("ASK"):
        return await asyncio.to_thread(_asked_aside, pool, str(value), script, command)
    idle = _idle_of(pool)
    while idle:
        idle.pop().close()
    pool.move(str(value))
    return await _exchange_async(pool, command)


def _idle_of(pool: ConnectionPool) -> list[Line]:
    return _idle.setdefault(asyncio.get_running_loop(), {}).setdefault(pool, [])


def _needs_thread(pool: ConnectionPool) -> bool:
    return "ssl_cert_reqs" in pool.connection_kwargs or "ssl_ca_certs" in pool.connection_kwargs


async def _exchange_async(pool: ConnectionPool, command: bytes) -> Any:
    return await _on_a_line_async(pool, lambda line: _send_and_read_async(line, command))


async def _on_a_line_async(pool: ConnectionPool, work: Callable[[Line], Awaitable[T]]) -> T:
    idle = _idle_of(pool)
    if idle:
        line = idle.pop()
        try:
            return await _on_async(line, pool, idle, work)
        except (RedisConnectionError, BrokenPipeError, ConnectionResetError):
            line.close()
    line = await asyncio.to_thread(_connected, pool)
    line.sock.setblocking(False)
    return await _on_async(line, pool, idle, work)


async def _on_async(
    line: Line, pool: ConnectionPool, idle: list[Line], work: Callable[[Line], Awaitable[T]]
) -> T:
    done = False
    try:
        async with asyncio.timeout(pool.connection_kwargs.get("socket_timeout")):
            value = await work(line)
        done = True
    except TimeoutError as error:
        raise RedisTimeoutError("no answer in time") from error
    finally:
        # Cancelled or too late: the answer may still come, so nobody may use this connection again.
        if done:
            idle.append(line)
        else:
            line.close()
    return value


async def _send_and_read_async(line: Line, command: bytes) -> Any:
    loop, sock = asyncio.get_running_loop(), line.sock
    await loop.sock_sendall(sock, command)
    data = b""
    while True:
        some = await loop.sock_recv(sock, CHUNK)
        if not some:
            raise RedisConnectionError("the server closed the connection")
        data = data + some if data else some
        try:
            return line.read(data)
        except Incomplete:
            continue


async def _tell_async(line: Line, script: Script, keys: Sequence[str], args: Sequence[Part]) -> Any:
    if script not in line.knows:
        line.knows.add(script)
        return await _send_and_read_async(line, script.command(keys, args, whole=True))
    await asyncio.get_running_loop().sock_sendall(line.sock, script.command(keys, args))
    line.owed.append(script)
    return None


def forget() -> None:
    """Let go of all connections: in a forked child, whose parent goes on using them."""
    global _lines
    _lines = _Lines()
    _idle.clear()


os.register_at_fork(after_in_child=forget)
