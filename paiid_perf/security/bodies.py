"""What a request's body holds, read so that the view finds it untouched.

A body of up to MAX_BODY is read as Django itself would keep it, so that nothing hides behind
padding. Of a larger one, or one of unknown length, only the first PEEK bytes are looked at, and put back in front of
the stream: files go on streaming, ``request.body``,
``request.POST`` and upload handlers work as ever. Nothing is decompressed, so a bomb stays a small parcel.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.http.request import RawPostDataException, UnreadablePostError

#: A body up to this size is read whole, unless Django is told to keep less: what it keeps by default.
MAX_BODY = 2_621_440
#: What is looked at of a larger one.
PEEK = 64 * 1024
#: Parts of a multipart body, and strings of a torn JSON body, that are looked at.
MAX_PARTS = 1_000
MAX_STRINGS = 2_000
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"([^"]*)"|([^;\s]*))')
#: Headers of one part, and characters of one, that are looked at.
MAX_HEADERS = 10
MAX_HEADER = 2_000


def body_of(request: HttpRequest) -> tuple[bytes, bool]:
    """(what is looked at of the body, whether that is all of it); empty where it cannot be had."""
    length = _length(request)
    if length == 0:
        return b"", True
    if length is None or length > min(MAX_BODY, settings.DATA_UPLOAD_MAX_MEMORY_SIZE or MAX_BODY):
        return _peek(request)
    try:
        return request.body, True
    except (RawPostDataException, UnreadablePostError, RequestDataTooBig):
        return b"", True


def _length(request: HttpRequest) -> int | None:
    """The declared length; None: none is declared; 0: what is declared is no length (Django reads nothing then)."""
    declared = request.META.get("CONTENT_LENGTH") or ""
    if not declared:
        return None
    return int(declared) if declared.isascii() and declared.isdigit() else 0


class _PutBack:
    """A stream with what was already read of it in front again."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = BytesIO(head)
        self._rest = rest

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return self._head.read() + self._rest.read()
        head = self._head.read(size)
        return head + self._rest.read(size - len(head)) if len(head) < size else head

    def readline(self, size: int | None = -1) -> bytes:
        limit = -1 if size is None else size
        line = self._head.readline(limit)
        if line.endswith(b"\n") or 0 <= limit <= len(line):
            return line
        return line + self._rest.readline(limit - len(line) if limit >= 0 else -1)

    def close(self) -> None:
        self._rest.close()


def _peek(request: HttpRequest) -> tuple[bytes, bool]:
    stream: Any = getattr(request, "_stream", None)
    if stream is None or hasattr(request, "_body") or getattr(request, "_read_started", False):
        return b"", True
    try:
        head = stream.read(PEEK)
    except (OSError, ValueError):
        return b"", True
    if head and hasattr(stream, "seekable") and stream.seekable():
        stream.seek(0)
    elif head:
        request._stream = cast("BinaryIO", _PutBack(head, stream))
    return head, len(head) < PEEK


# --- multipart ------------------------------------------------------------------------------------------


def form_parts(body: bytes, content_type: str) -> Iterator[tuple[str, bytes]]:
    """(name, value) of the parts of a multipart body that are no files; the torn last one as far as it is there."""
    boundary = _parameters(content_type).get("boundary")
    if not boundary:
        return
    for part in body.split(b"--" + boundary.encode("latin-1", "replace"), MAX_PARTS)[1:MAX_PARTS]:
        head, found, value = part.partition(b"\r\n\r\n")
        headers = _headers(head)
        disposition = _parameters(headers.get("content-disposition", ""))
        if found and "name" in disposition and not disposition.keys() & {"filename", "filename*"}:
            yield disposition["name"], _decoded(value.removesuffix(b"\r\n"), headers)


def _headers(head: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n")[:MAX_HEADERS])
    return {name.strip().lower(): value for name, _, value in lines}


def _parameters(header: str) -> dict[str, str]:
    found = (match.groups("") for match in _PARAMETER.finditer(header[:MAX_HEADER]))
    return {name.lower(): quoted or plain for name, quoted, plain in found}


def _decoded(value: bytes, headers: dict[str, str]) -> bytes:
    """The value as Django gives it to the view: it undoes base64."""
    if headers.get("content-transfer-encoding", "").strip().lower() != "base64":
        return value
    try:
        return b64decode(value)
    except ValueError:
        return value


# --- JSON -----------------------------------------------------------------------------------------------


def parse_json(body: bytes) -> tuple[Any, bool]:
    """(the document, whether an object in it has a key twice, whose values are then a list of all of them).

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deep to be read.
    """
    twice = False

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        twice = True
        together: dict[str, Any] = {}
        for key, value in pairs:
            together.setdefault(key, []).append(value)
        return together

    return json.loads(body, object_pairs_hook=keep), twice


def strings_of(text: str) -> Iterator[str]:
    """The strings of a JSON text that was torn off, the first MAX_STRINGS of them."""
    for found, match in enumerate(_STRING.finditer(text)):
        if found == MAX_STRINGS:
            return
        try:
            yield json.loads(match[0], strict=False)
        except ValueError:
            yield match[1]
