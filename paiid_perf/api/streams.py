"""An answer that streams is not over when its view returns: its bytes and its queries are counted as it goes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from paiid_perf.telemetry import trace as tracing
from paiid_perf.telemetry.trace import Trace


class Stream:
    """The body of a streaming answer on its way. ``size`` is in bytes so far."""

    __slots__ = ("size", "trace")

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.size = 0

    def parts(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """The same parts, each asked for under the request's trace."""
        while True:
            token = tracing.current.set(self.trace)
            try:
                part = next(body)
            except StopIteration:
                return
            finally:
                tracing.current.reset(token)
            self.size += len(part)
            yield part

    async def parts_async(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same for an asynchronous body."""
        while True:
            token = tracing.current.set(self.trace)
            try:
                part = await anext(body)
            except StopAsyncIteration:
                return
            finally:
                tracing.current.reset(token)
            self.size += len(part)
            yield part


def when_sent(response: HttpResponseBase, trace: Trace, record: Callable[[int], None]) -> None:
    """Call ``record`` with the bytes that were sent, once the server closes the answer.

    The server may hand a file to the kernel as it is; its size is the one it was announced with.
    """
    closers: list[Callable[[], None]] = response._resource_closers  # type: ignore[attr-defined]
    if (
        not isinstance(response, StreamingHttpResponse)
        or getattr(response, "file_to_stream", None) is not None
    ):
        announced = response.headers.get("Content-Length", "")
        closers.append(lambda: record(int(announced) if announced.isdigit() else 0))
        return
    stream, body = Stream(trace), _body(response)
    wrap: Any = stream.parts_async if response.is_async else stream.parts
    response.streaming_content = wrap(body)
    closers.append(lambda: record(stream.size))


def _body(response: StreamingHttpResponse) -> Any:
    body: Any = response.streaming_content
    return body.__aiter__() if response.is_async else iter(body)
