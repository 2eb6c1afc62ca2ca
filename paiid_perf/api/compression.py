"""Compression of answers: what the client prefers among what is installed, never twice, never for nothing.

gzip is always there; zstd (Python 3.14, or the ``backports.zstd`` or ``zstandard`` package) and brotli are used
where they can be imported (the extra "compress"). As in Django's GZipMiddleware, up to 100 random bytes vary the length
of a gzip answer, which blunts BREACH (Heal the Breach, Palacios et al. 2022).
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module

from django.http import HttpResponse
from django.utils.cache import patch_vary_headers

#: A good half of the time of level 6 for 1–2 % more bytes on JSON.
GZIP_LEVEL = 5
#: zlib clears its tables for each answer, which takes longer than packing a small one: they are no larger than it is.
SMALLEST_WINDOW = 9
#: Sizes under which no answer shrinks by more than its header grows.
SMALLEST = 200
MAX_RANDOM_BYTES = 100

_COMPRESSIBLE = re.compile(
    r"text/|application/(?:[\w.-]+\+)?(?:json|xml|javascript|x-javascript|x-ndjson|graphql|wasm)\b|image/svg\+xml"
)


@lru_cache(maxsize=256)
def is_compressible(content_type: str) -> bool:
    """Whether it is a type that is text of some kind; images, archives and video are compressed already."""
    return bool(_COMPRESSIBLE.match(content_type.lower()))


def deflate(body: bytes) -> bytes:
    """The part of a gzip answer that depends on the body alone: its deflate stream and its trailer."""
    window = min(zlib.MAX_WBITS, max(SMALLEST_WINDOW, len(body).bit_length()))
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -window, window - 7)
    return b"".join(
        (packer.compress(body), packer.flush(), struct.pack("<LL", zlib.crc32(body), len(body) & 0xFFFFFFFF))
    )


def gzip_of(deflated: bytes) -> bytes:
    """The gzip answer of a deflate stream, under a header whose file name has a random length."""
    name = b"a" * (os.urandom(1)[0] % MAX_RANDOM_BYTES)
    return b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff" + name + b"\x00" + deflated


def inflate(deflated: bytes) -> bytes:
    """The body of a deflate stream."""
    return zlib.decompress(deflated, -zlib.MAX_WBITS)


def _gzip(body: bytes) -> bytes:
    return gzip_of(deflate(body))


def _zstd() -> Callable[[bytes], bytes] | None:
    for module in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            compress: Callable[[bytes], bytes] = import_module(module).compress
        except ImportError:
            continue
        return compress
    return None


def _brotli() -> Callable[[bytes], bytes] | None:
    try:
        compress = import_module("brotli").compress
    except ImportError:
        return None
    return lambda body: bytes(compress(body, quality=4))


def _installed() -> dict[str, Callable[[bytes], bytes]]:
    # In the order of our preference, which decides among those that the client likes equally.
    candidates = {"zstd": _zstd(), "br": _brotli(), "gzip": _gzip}
    return {name: compress for name, compress in candidates.items() if compress}


ENCODERS: Mapping[str, Callable[[bytes], bytes]] = _installed()


@lru_cache(maxsize=512)
def negotiate(accept_encoding: str, available: tuple[str, ...] = tuple(ENCODERS)) -> str:
    """The content coding to answer with, by q-values (RFC 9110, 12.5.3); "" for none.

    Of those that the client likes best, the first in ``available``. ``identity`` preferred to all means none.
    """
    weights = dict(_weights(accept_encoding))
    best = max(
        ((weights.get(name, weights.get("*", 0.0)), name) for name in available), key=lambda pair: pair[0]
    )
    if best[0] <= 0 or best[0] < weights.get("identity", 0.0):
        return ""
    return best[1]


def _weights(header: str) -> list[tuple[str, float]]:
    return [(name, q) for part in header.lower().split(",") for name, q in [_weight(part)] if name]


def _weight(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, min(1.0, max(0.0, float(value)))
            except ValueError:
                return name, 0.0
    return ("gzip" if name == "x-gzip" else name), 1.0


def compress(response: HttpResponse, accept_encoding: str, smallest: int) -> None:
    """Compress a whole (not streaming) answer in place, if it is worth it and the client takes it."""
    body = response.content
    if len(body) < max(smallest, SMALLEST) or response.has_header("Content-Encoding"):
        return
    if not is_compressible(response.headers.get("Content-Type", "")) or _must_not_transform(response):
        return
    patch_vary_headers(response, ("Accept-Encoding",))
    coding = negotiate(accept_encoding)
    if not coding:
        return
    packed = ENCODERS[coding](body)
    if len(packed) < len(body):
        set_encoded(response, packed, coding)


def set_encoded(response: HttpResponse, body: bytes, coding: str) -> None:
    """Make ``body`` the encoded content. A strong ETag becomes weak: the bytes are others, the content is not."""
    response.content = body
    response.headers["Content-Encoding"] = coding
    response.headers["Content-Length"] = str(len(body))
    if response.has_header("ETag"):
        response.headers["ETag"] = weak(response.headers["ETag"])


def weak(etag: str) -> str:
    """The ETag for an encoded form of what it names."""
    return f"W/{etag}" if etag.startswith('"') else etag


def _must_not_transform(response: HttpResponse) -> bool:
    return "no-transform" in response.headers.get("Cache-Control", "").lower()
