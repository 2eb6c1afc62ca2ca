"""What the cache domain talks about: strategies, warmers, facts and decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class CacheStrategy:
    """How values under a name are cached.

    ``pickle`` runs code when it is read: it is used only with ``allow_pickle=True`` (a system check says so).
    """

    name: str
    ttl: timedelta | None
    """None: until invalidated."""
    serializer: Literal["json", "msgpack", "pickle"] = "msgpack"
    compress_over: int | None = 1024
    """Bytes from which a value is compressed; None: never."""
    depends_on: Sequence[str] = ()
    """Model labels; a commit that touches one of them invalidates the strategy's values."""
    jitter: float = 0.1
    """Fraction of the TTL taken off at random, so that keys do not expire together."""
    max_bytes: int = 1_000_000
    allow_pickle: bool = False


@dataclass(frozen=True, slots=True)
class CacheWarmer:
    """Values worth having before somebody asks: ``warm()`` yields (key, compute) pairs of ``strategy``.

    ``compute`` is called only for keys that are not there; ``every`` paces scheduled warming.
    """

    name: str
    warm: Callable[[], Any]
    strategy: str = ""
    """Name of the CacheStrategy; the warmer's own name where empty."""
    every: timedelta = timedelta(minutes=5)
