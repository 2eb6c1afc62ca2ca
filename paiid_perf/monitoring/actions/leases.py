"""One leader for a piece of cold work. A leader that was killed is followed once its lease has run out."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import uuid4

from paiid_perf.models import Lease

#: How long a leader is believed to be at work. What it does may be done by two at once and comes out the same: the
#: lease saves the work, and is no lock.
LASTS = timedelta(minutes=10)


@contextmanager
def lease(name: str, now: datetime) -> Iterator[bool]:
    """Yields whether this process leads; the lease ends with the block."""
    holder = f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid4().hex[:12]}"
    Lease.objects.get_or_create(name=name, defaults={"until": now})
    taken = Lease.objects.filter(name=name, until__lte=now).update(holder=holder, until=now + LASTS)
    try:
        yield bool(taken)
    finally:
        if taken:
            Lease.objects.filter(name=name, holder=holder).update(until=now)
