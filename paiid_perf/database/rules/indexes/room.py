"""Whether the disk has room for a build. A full disk stops the server: a slow query does not."""

from __future__ import annotations

from paiid_perf.database.health_types import Disk
from paiid_perf.database.rules.sizes import readable

#: The index itself, and as much again for the files that its sort writes before it (tuplesort.c).
NEEDED = 2.0
#: What stays free for WAL and everybody else's work: this share of the disk, and never more than so many bytes.
KEPT_SHARE, KEPT_BYTES = 0.05, 2 * 2**30


def refused_because(disk: Disk | None, index_bytes: int) -> str:
    """Why an index of that size is not built; empty where it fits, or where nobody knows the disk."""
    if disk is None:
        return ""
    kept = min(KEPT_SHARE * disk.total, KEPT_BYTES)
    needed = NEEDED * index_bytes + kept
    if needed <= disk.free:
        return ""
    return (
        f"the disk has {readable(disk.free)} free, and the build needs {readable(needed)} "
        f"({readable(NEEDED * index_bytes)} for it and its sort, {readable(kept)} that stays free). Make room, or drop "
        "what unused indexes there are."
    )
