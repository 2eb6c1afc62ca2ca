"""RESP2, spelled out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from paiid_perf.wire import Incomplete, Line, Script, _tell, parse

VALUES = st.recursive(
    st.integers(-(2**62), 2**62) | st.binary(max_size=40) | st.none(),
    lambda inner: st.lists(inner, max_size=4),
)


def encode(value: Any) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(encode, value))


@given(VALUES)
def test_a_reply_is_read(value: Any) -> None:
    data = encode(value)
    assert parse(data) == (value, len(data))


@given(VALUES, st.data())
def test_a_reply_in_pieces_is_waited_for(value: Any, data: st.DataObject) -> None:
    whole = encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Incomplete):
        parse(whole[:cut])


def test_simple_replies() -> None:
    assert parse(b"+OK\r\n")[0] == b"OK"
    assert parse(b"*-1\r\n")[0] is None
    error = parse(b"-NOSCRIPT no\r\n")[0]
    assert isinstance(error, ResponseError)
    with pytest.raises(RedisConnectionError):
        parse(b"HTTP/1.1 400\r\n")


def test_a_command() -> None:
    script = Script("return 1")
    assert script.command(["k"], [1, b"\xff", "é"], whole=True) == (
        b"*7\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\n1\r\n$1\r\n\xff\r\n$2\r\n\xc3\xa9\r\n"
    )
    assert b"EVALSHA" in script.command([], [])


class Sent:
    """A socket whose server has answered already."""

    def __init__(self) -> None:
        self._sock = self
        self.written: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.written.append(data)


def test_replies_that_nobody_waited_for_are_passed_over() -> None:
    line, told = Line(Sent()), Script("return 1")
    line.knows.add(told)
    _tell(line, told, ["k"], [])
    _tell(line, told, ["k"], [])

    for cut in range(len(b":1\r\n:1\r\n$2\r\nok\r\n")):
        with pytest.raises(Incomplete):
            line.read(b":1\r\n:1\r\n$2\r\nok\r\n"[:cut])
    assert line.read(b":1\r\n:1\r\n$2\r\nok\r\n") == b"ok"
    assert line.read(b":7\r\n") == 7
    assert told in line.knows


def test_a_script_that_the_server_forgot_is_sent_whole_the_next_time() -> None:
    line, told = Line(Sent()), Script("return 1")
    line.knows.add(told)
    _tell(line, told, [], [])

    assert line.read(b"-NOSCRIPT gone\r\n:5\r\n") == 5
    assert told not in line.knows
