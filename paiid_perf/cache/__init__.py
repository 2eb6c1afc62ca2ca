"""The cache: strategies, invalidation on commit, warming, memory.

from paiid_perf.cache import cached, get_or_compute, invalidate
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paiid_perf.cache.manager import (
        adelete,
        aget,
        aget_or_compute,
        ainvalidate,
        aset,
        cached,
        delete,
        get,
        get_or_compute,
        invalidate,
        set,
    )
    from paiid_perf.cache.memory import memory_report
    from paiid_perf.cache.rows import cached_rows
    from paiid_perf.cache.serialization import NotCacheable
    from paiid_perf.cache.warming import warm

_HOMES = {
    "manager": (
        "adelete",
        "aget",
        "aget_or_compute",
        "ainvalidate",
        "aset",
        "cached",
        "delete",
        "get",
        "get_or_compute",
        "invalidate",
        "set",
    ),
    "memory": ("memory_report",),
    "rows": ("cached_rows",),
    "serialization": ("NotCacheable",),
    "warming": ("warm",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "NotCacheable",
    "adelete",
    "aget",
    "aget_or_compute",
    "ainvalidate",
    "aset",
    "cached",
    "cached_rows",
    "delete",
    "get",
    "get_or_compute",
    "invalidate",
    "memory_report",
    "set",
    "warm",
]


def __getattr__(name: str) -> Any:
    # Declarations import ``cache.types`` through this package: nothing else may load with it.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    return value
