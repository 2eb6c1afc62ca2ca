"""The five built-in strategies. ``perf.py`` registers them through the same door as a host's own.

A host changes one with ``declarations.replace(CacheStrategy("standard", …))``.
"""

from __future__ import annotations

from datetime import timedelta

from paiid_perf.cache.types import CacheStrategy

STRATEGIES: tuple[CacheStrategy, ...] = (
    CacheStrategy("hot", ttl=timedelta(seconds=10), serializer="msgpack", compress_over=4096),
    CacheStrategy("standard", ttl=timedelta(minutes=5), serializer="json"),
    CacheStrategy("long", ttl=timedelta(hours=6), serializer="msgpack", compress_over=128),
    CacheStrategy("user", ttl=timedelta(minutes=30), serializer="msgpack"),
    CacheStrategy("immutable", ttl=None, serializer="msgpack", compress_over=256),
)
"""``hot`` seconds, rarely compressed · ``standard`` minutes, JSON that a person can read in the store · ``long``
hours, always compressed · ``user`` what belongs to one person (give it a user's tag; pickle by opt-in only) ·
``immutable`` until invalidated."""

#: What is kept until invalidated leaves the store after this long all the same: an invalidation only makes a
#: value unusable, and one whose key is never asked for again would stay for good.
KEPT_UNTIL_INVALIDATED = timedelta(days=30)
