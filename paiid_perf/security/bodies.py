"""What a request's body holds, read so that the view finds it untouched.

A body of up to MAX_BODY is read as Django itself would keep it, a form as far as Django does, so that nothing hides
behind padding; the text fields of a larger upload are seen as it passes to whoever reads it (``multipart.py``). Of any
other, or one of unknown length, only the first PEEK bytes are looked at, and put back in front of the stream: files go
on streaming, ``request.body``, ``request.POST`` and upload handlers work as ever. Nothing is decompressed, so a bomb
stays a small parcel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.http.request import RawPostDataException, UnreadablePostError

from paiid_perf.security.multipart import Fields, decoded

#: A body up to this size is read whole, unless Django is told to keep less: what it keeps by default.
MAX_BODY = 2_621_440
#: What is looked at of a larger one.
PEEK = 64 * 1024
#: Strings of a torn JSON body that are looked at.
MAX_STRINGS = 2_000
#: Fields of an upload, and bytes of a form, that are looked at where Django is told of no limit.
MAX_FIELDS = 10_000
MAX_FORM = 10 * MAX_BODY
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)


def body_of(request: HttpRequest, limit: int = MAX_BODY) -> tuple[bytes, bool]:
    """(what is looked at of the body, whether that is all of it); empty where it cannot be had.

    Args:
        limit: a longer one is not read whole.
    """
    length = _length(request)
    if length == 0:
        return b"", True
    if length is None or length > min(limit, kept_size()):
        return _peek(request)
    try:
        return request.body, True
    except (RawPostDataException, UnreadablePostError, RequestDataTooBig):
        return b"", True


def begins_like_json(request: HttpRequest) -> bool:
    """Whether a body that does not say so may be JSON: many views read theirs whatever its type is."""
    head = request._body[:PEEK] if hasattr(request, "_body") else _peek(request)[0]
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def kept_size() -> int:
    """The bytes of fields that Django keeps of a request."""
    kept = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return MAX_FORM if kept is None else int(kept)


def upload_of(request: HttpRequest) -> tuple[bytes | None, Fields | None]:
    """(an upload that is read whole; None: it is to be watched as it passes, what takes its fields; None: none can)."""
    boundary = (request.content_params or {}).get("boundary", "")
    if not boundary or (getattr(request, "_read_started", False) and not hasattr(request, "_body")):
        return None, None
    count = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
    encoding = request.encoding or settings.DEFAULT_CHARSET
    fields = Fields(
        boundary.encode("latin-1", "replace"), encoding, kept_size(), MAX_FIELDS if count is None else count
    )
    length = _length(request)
    is_kept = length is not None and length <= min(MAX_BODY, kept_size())
    return (body_of(request)[0] if is_kept or hasattr(request, "_body") else None), fields


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


# --- JSON -----------------------------------------------------------------------------------------------


def readings(body: bytes, encoding: str | None) -> Iterator[bytes | str]:
    """The body, and as a parser reads it that goes by the charset of the request, where that is another text."""
    yield body
    if encoding and encoding.lower() not in ("utf-8", "utf8"):
        text = decoded(body, encoding)
        if text.encode("utf-8", "replace") != body:
            yield text


def parse_json(body: bytes | str) -> tuple[Any, bool]:
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
