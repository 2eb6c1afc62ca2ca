"""What is stored around a value: how to read it, when it ends, what it cost, and what it was computed from.

17 bytes: one for the format and the codec, 8 for the stamp (the newest version of the value's tags, read before
the value was computed), 8 for the end of its life (ms since 1970, 42 bits) and its cost (ms, 22 bits).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

from paiid_perf.cache.serialization import Unreadable

_HEADER = struct.Struct(">BQQ")
HEADER_BYTES = _HEADER.size
_FORMAT = 0xA0
_COST_BITS = 22
_MOST = (1 << _COST_BITS) - 1


class Envelope(NamedTuple):
    """One stored value. ``expires_ms`` 0: when invalidated."""

    codec: int
    stamp: int
    expires_ms: int
    cost_ms: int
    body: bytes


def seal(envelope: Envelope) -> bytes:
    """The bytes to store."""
    life = envelope.expires_ms << _COST_BITS | min(envelope.cost_ms, _MOST)
    return _HEADER.pack(_FORMAT | envelope.codec, envelope.stamp, life) + envelope.body


def open_(stored: bytes) -> Envelope:
    """The envelope in the bytes.

    Raises:
        Unreadable: they are not an envelope of this format.
    """
    if len(stored) < HEADER_BYTES or stored[0] & 0xF0 != _FORMAT:
        raise Unreadable("not a value of this cache (another format, or another writer).")
    first, stamp, life = _HEADER.unpack_from(stored)
    return Envelope(first & 0x0F, stamp, life >> _COST_BITS, life & _MOST, stored[HEADER_BYTES:])


def stamp_of(versions: Sequence[int]) -> int | None:
    """The stamp of a value computed now: its tags' newest version; None while that cannot be known.

    All versions come from one growing sequence, so a bump of any tag makes the newest one newer.
    """
    if not versions:
        return 0
    return max(versions) if min(versions) >= 0 else None


def is_stamped(stored: bytes | None, stamp: int) -> bool:
    """Whether the bytes are a value with that stamp, whatever else there is to say of them."""
    return stored is not None and len(stored) >= HEADER_BYTES and _HEADER.unpack_from(stored)[1] == stamp


def is_fresh(envelope: Envelope, stamp: int | None, now_ms: int) -> bool:
    """Whether no tag was bumped since before the value was computed, and its time has not run out."""
    return (
        stamp is not None
        and envelope.stamp == stamp
        and (not envelope.expires_ms or now_ms < envelope.expires_ms)
    )


def is_early(envelope: Envelope, now_ms: int, beta: float, chance: float) -> bool:
    """Whether this reader should compute the value again before it expires; ``chance`` is uniform in (0, 1].

    XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015.
    """
    if not envelope.expires_ms or not beta:
        return False
    return now_ms - envelope.cost_ms * beta * math.log(chance) >= envelope.expires_ms
