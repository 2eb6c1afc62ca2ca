"""The text fields of a multipart body, read as it passes: files are skipped, never kept.

The parts are told apart and their headers read as Django's parser does it
(``django.http.multipartparser``), so that nothing is a field for a view and none for us.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from functools import lru_cache
from typing import BinaryIO

from django.utils.http import parse_header_parameters

#: Django refuses a part whose headers take more.
MAX_HEAD = 1_024
#: What nearly every text field's header is.
_PLAIN = re.compile(rb'\r\ncontent-disposition: ?form-data; ?name="([^"\\%*;]*)"\Z', re.I)
_BLANK = b"\r\n\r\n"
_HEAD, _FIELD, _SKIPPED = range(3)
_Header = tuple[str, dict[str, str]]
_NO_HEADER: _Header = ("", {})


class Fields:
    """Fed with a body piece by piece, it keeps the (name, value) of its text fields.

    Args:
        boundary: what parts the parts.
        encoding: of names and values.
        size: bytes of values that are kept in all.
        count: fields that are kept.
    """

    def __init__(self, boundary: bytes, encoding: str, size: int, count: int) -> None:
        self.found: list[tuple[str, str]] = []
        self._mark = b"--" + boundary
        self._encoding = encoding
        self._left = size
        self._count = count
        self._at = _SKIPPED
        self._head = b""
        self._field = ("", False)
        self._value: list[bytes] = []
        self._waiting = b""

    def feed(self, data: bytes) -> None:
        """Read on."""
        data, at = self._waiting + data, 0
        while (end := data.find(self._mark, at)) >= 0:
            self._take(data[at:end])
            self._end_part()
            at = end + len(self._mark)
        # A boundary may be torn between two pieces.
        sure = max(at, len(data) - len(self._mark) + 1)
        self._take(data[at:sure])
        self._waiting = data[sure:]

    def end(self) -> None:
        """The body ends here, whether its last part does or not."""
        self._take(self._waiting)
        self._waiting = b""
        self._end_part()

    def _take(self, data: bytes) -> None:
        if self._at == _HEAD:
            self._read_head(data)
        elif self._at == _FIELD and data:
            self._value.append(data[: self._left])
            self._left -= len(self._value[-1])

    def _read_head(self, data: bytes) -> None:
        head, found, value = (self._head + data).partition(_BLANK)
        self._head = head[: MAX_HEAD + 1]
        if len(self._head) > MAX_HEAD:
            self._at = _SKIPPED
        elif found:
            field = field_of(head) if len(self.found) < self._count else None
            self._at = _SKIPPED if field is None else _FIELD
            self._field = field or self._field
            self._take(value)

    def _end_part(self) -> None:
        if self._at == _FIELD:
            (name, is_base64), value = self._field, b"".join(self._value)
            value = value.removesuffix(b"\n").removesuffix(b"\r")
            value = _from_base64(value) if is_base64 else value
            self.found.append((name, decoded(value, self._encoding)))
        self._at, self._head, self._value = _HEAD, b"", []


def decoded(value: bytes, encoding: str) -> str:
    """The text, as UTF-8 where the encoding that a request names is none for texts."""
    try:
        return value.decode(encoding, "replace")
    except (LookupError, ValueError):
        return value.decode("utf-8", "replace")


def _from_base64(value: bytes) -> bytes:
    try:
        return b64decode(value)
    except ValueError:
        return value


def field_of(head: bytes) -> tuple[str, bool] | None:
    """(name, whether its value is base64) of a part that is a text field; None: a file, or nothing."""
    plain = _PLAIN.match(head)
    if plain:
        return plain[1].decode("utf-8", "replace").strip(), False
    return _field_of(head)


@lru_cache(maxsize=512)
def _field_of(head: bytes) -> tuple[str, bool] | None:
    headers = dict(_header(line) for line in head.split(b"\r\n"))
    _value, parameters = headers.get("content-disposition", _NO_HEADER)
    # An empty file name is none: what has it is a field.
    if "name" not in parameters or parameters.get("filename"):
        return None
    encoding, _parameters = headers.get("content-transfer-encoding", _NO_HEADER)
    return parameters["name"].strip(), encoding == "base64"


def _header(line: bytes) -> tuple[str, _Header]:
    try:
        main, parameters = parse_header_parameters(line.decode())
        name, value = main.split(":", 1)
    except ValueError:
        return "", _NO_HEADER
    return name, (value.strip(), parameters)


class Passing:
    """A stream that shows what passes to ``fields``, and calls ``judge`` once when nothing is left to read.

    Not before: what it raises then leaves no file of the upload open.
    """

    def __init__(self, stream: BinaryIO, fields: Fields, judge: Callable[[], None]) -> None:
        self._stream = stream
        self._fields: Fields | None = fields
        self._judge = judge

    def read(self, size: int | None = -1) -> bytes:
        wanted = -1 if size is None else size
        data = self._stream.read(wanted)
        self._show(data, is_last=wanted < 0 or (not data and wanted > 0))
        return data

    def readline(self, size: int | None = -1) -> bytes:
        wanted = -1 if size is None else size
        data = self._stream.readline(wanted)
        self._show(data, is_last=not data and wanted != 0)
        return data

    def close(self) -> None:
        self._stream.close()

    def _show(self, data: bytes, *, is_last: bool) -> None:
        fields = self._fields
        if fields is None:
            return
        fields.feed(data)
        if is_last:
            self._fields = None
            fields.end()
            self._judge()
