"""The handlers that the benchmarks call directly, and what one request sends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any


@dataclass
class Case:
    """One stack. ``path`` gives each request's path; ``perf`` are settings of PAIID_PERF."""

    name: str
    path: Callable[[], str]
    middleware: list[str] = field(default_factory=list)
    perf: dict[str, Any] = field(default_factory=dict)
    aim: str = ""
    rounds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)
    trips: float = 0.0
    sql: float = 0.0
    every: int = 1
    """Runs in every n-th round only (for what is slow)."""
    shelved: bool = True
    """Whether the process keeps answers at hand that the store says are current."""

    @property
    def is_async(self) -> bool:
        return self.name.startswith("asgi_")

    @property
    def base(self) -> str:
        """The case that it is compared with."""
        return "asgi_bare" if self.is_async else "bare"


class Caller:
    """A handler of one stack, called directly."""

    def __init__(self, case: Case) -> None:
        from django.test.utils import override_settings

        self.case = case
        self._settings = override_settings(MIDDLEWARE=case.middleware, PAIID_PERF=case.perf)
        with self._settings:
            self.handler = self.make_handler()

    def make_handler(self) -> Any:
        from django.core.handlers.wsgi import WSGIHandler

        return WSGIHandler()

    @contextmanager
    def settings(self) -> Iterator[None]:
        """The case's."""
        from paiid_perf.api import shelf

        longest = shelf.LONGEST
        with self._settings:
            shelf.shelf.clear()
            shelf.LONGEST = longest if self.case.shelved else 0
            try:
                yield
            finally:
                shelf.LONGEST = longest

    def __call__(self) -> bytes:
        environ = dict(ENVIRON, PATH_INFO=self.case.path())
        environ["wsgi.input"] = EMPTY
        statuses: list[str] = []
        response = self.handler(environ, lambda status, headers: statuses.append(status))
        body = b"".join(response)
        response.close()
        self.check(int(statuses[0][:3]), body)
        return body

    def check(self, status: int, body: bytes) -> None:
        if status != 200:
            raise RuntimeError(f"{self.case.name}: {status} {body[:200]!r}")


class AsyncCaller(Caller):
    """The same for ASGI, each request in the one event loop of the run."""

    loop = asyncio.new_event_loop()

    def make_handler(self) -> Any:
        from django.core.handlers.asgi import ASGIHandler

        return ASGIHandler()

    def __call__(self) -> bytes:
        return self.loop.run_until_complete(self.request())

    async def request(self) -> bytes:
        sent: list[dict[str, Any]] = []
        received = iter([{"type": "http.request", "body": b""}])

        async def receive() -> dict[str, Any]:
            for message in received:
                return message
            return await asyncio.Future()  # the client stays

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        path = self.case.path()
        await self.handler(SCOPE | {"path": path, "raw_path": path.encode()}, receive, send)
        body = b"".join(message["body"] for message in sent[1:])
        self.check(sent[0]["status"], body)
        return body


EMPTY = BytesIO()
ENVIRON = {
    "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "QUERY_STRING": "", "SERVER_NAME": "testserver", "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "192.0.2.1", "HTTP_HOST": "testserver",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate, br", "HTTP_ACCEPT": "*/*", "HTTP_USER_AGENT": "benchmark",
    "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.errors": sys.stderr, "wsgi.multithread": True,
    "wsgi.multiprocess": True, "wsgi.run_once": False,
}  # fmt: skip


SCOPE = {
    "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
    "query_string": b"", "root_path": "", "client": ("192.0.2.1", 50_000), "server": ("testserver", 80),
    "headers": [
        (b"host", b"testserver"), (b"accept-encoding", b"gzip, deflate, br"), (b"accept", b"*/*"),
        (b"user-agent", b"benchmark"),
    ],
}  # fmt: skip


@contextmanager
def counted_trips() -> Iterator[list[int]]:
    """Counts what is sent by redis-py and by our own wire: one write of a command or a pipeline is a round trip."""
    from redis.connection import AbstractConnection

    from paiid_perf import wire

    trips = [0]
    plain = AbstractConnection.send_packed_command

    def send(self: Any, *args: Any, **kwargs: Any) -> Any:
        trips[0] += 1
        return plain(self, *args, **kwargs)

    ours = ("_exchange", "_tell", "_exchange_async", "_tell_async")
    kept = {name: getattr(wire, name) for name in ours}

    def counted(work: Callable[..., Any]) -> Callable[..., Any]:
        def one_more(*args: Any) -> Any:
            trips[0] += 1
            return work(*args)

        return one_more

    AbstractConnection.send_packed_command = send
    for name, work in kept.items():
        setattr(wire, name, counted(work))
    try:
        yield trips
    finally:
        AbstractConnection.send_packed_command = plain
        for name, work in kept.items():
            setattr(wire, name, work)
