"""What the client prefers, never twice, never for nothing."""

from __future__ import annotations

import gzip
import sys

import brotli
import pytest
import zstandard
from django.http import HttpResponse, JsonResponse
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.api.compression import (
    ENCODERS,
    _installed,
    compress,
    deflate,
    gzip_of,
    inflate,
    is_compressible,
    negotiate,
)

ALL = ("zstd", "br", "gzip")
LONG = b"the same words again and again " * 100


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("gzip, br", "br"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("gzip;q=0", ""),
        ("*", "zstd"),
        ("*;q=0.5, br;q=0", "zstd"),
        ("identity", ""),
        ("identity;q=1, gzip;q=0.5", ""),
        ("gzip;q=0.5, identity;q=0.1", "gzip"),
        ("GZIP; Q=1", "gzip"),
        ("gzip;q=nonsense", ""),
        ("x-gzip", "gzip"),
        ("gzip, zstd", "zstd"),
        ("deflate", ""),
    ],
)
def test_negotiation(accept: str, coding: str) -> None:
    assert negotiate(accept, ALL) == coding


@given(st.text(max_size=80))
def test_any_header_is_read(accept: str) -> None:
    assert negotiate(accept, ALL) in {"", *ALL}


@given(st.binary(max_size=5_000))
def test_packing_loses_nothing(body: bytes) -> None:
    packed = deflate(body)
    assert gzip.decompress(gzip_of(packed)) == body == inflate(packed)


def test_the_length_varies() -> None:
    """BREACH: what a guess adds is hidden in what chance adds."""
    packed = deflate(LONG)
    assert len({len(gzip_of(packed)) for _ in range(200)}) > 20


def test_a_long_answer_is_compressed() -> None:
    response = HttpResponse(LONG, headers={"ETag": '"abc"', "Vary": "Cookie"})
    compress(response, "gzip", 1024)
    assert gzip.decompress(response.content) == LONG
    assert response["Content-Length"] == str(len(response.content))
    assert response["ETag"] == 'W/"abc"'
    assert response["Vary"] == "Cookie, Accept-Encoding"


@pytest.mark.parametrize(
    "response",
    [
        HttpResponse(LONG[:500]),
        HttpResponse(LONG, content_type="image/png"),
        HttpResponse(LONG, headers={"Content-Encoding": "br"}),
        HttpResponse(LONG, headers={"Cache-Control": "no-transform"}),
        HttpResponse(b"", status=204),
    ],
)
def test_what_stays_as_it_is(response: HttpResponse) -> None:
    before = response.content
    compress(response, "gzip", 1024)
    assert response.content == before
    assert response.headers.get("Content-Encoding", "br") == "br"


UNPACK = {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": zstandard.decompress}


@pytest.mark.parametrize("coding", ALL)
def test_each_coding_is_what_it_says(coding: str) -> None:
    assert tuple(ENCODERS) == ALL
    response = HttpResponse(LONG)
    compress(response, f"{coding}, gzip;q=0.1", 1024)
    assert response["Content-Encoding"] == coding
    assert len(response.content) < 0.1 * len(LONG) + 100
    assert UNPACK[coding](response.content) == LONG


@pytest.mark.parametrize(("missing", "left"), [("zstandard", ("br", "gzip")), ("brotli", ("zstd", "gzip"))])
def test_what_is_not_installed_is_not_offered(
    monkeypatch: pytest.MonkeyPatch, missing: str, left: tuple[str, ...]
) -> None:
    for module in {"zstandard": ("compression.zstd", "backports.zstd", missing)}.get(missing, (missing,)):
        monkeypatch.setitem(sys.modules, module, None)
    assert tuple(_installed()) == left


def test_who_does_not_take_it_is_told_that_it_varies() -> None:
    response = JsonResponse({"words": LONG.decode()})
    compress(response, "", 1024)
    assert "Content-Encoding" not in response
    assert response["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/html; charset=utf-8", True),
        ("application/json", True),
        ("application/problem+json", True),
        ("image/svg+xml", True),
        ("application/zip", False),
        ("video/mp4", False),
        ("application/octet-stream", False),
    ],
)
def test_types(content_type: str, expected: bool) -> None:
    assert is_compressible(content_type) is expected
