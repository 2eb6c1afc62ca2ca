"""Which values this process knows to be in the store, and until when: what its next look will most likely find.

Only how to ask depends on it, never what is answered.
"""

from __future__ import annotations

import os

#: Keys remembered, some 100 bytes each; then all are forgotten, which costs each a dearer look.
MOST = 10_000
_FOREVER = 1 << 62


class Known:
    """Keys and the ends of their values' lives (ms since 1970)."""

    def __init__(self) -> None:
        self._ends: dict[str, int] = {}

    def is_there(self, key: str, now_ms: int) -> bool:
        """Whether a value was seen that should not have ended yet."""
        return self._ends.get(key, 0) > now_ms

    def until(self, key: str, expires_ms: int) -> None:
        """A value was seen or stored. It ends then; 0: when it is invalidated."""
        if len(self._ends) >= MOST:
            self._ends.clear()
        self._ends[key] = expires_ms or _FOREVER

    def forget(self, key: str = "") -> None:
        """It is not there; without a key, none is known."""
        if key:
            self._ends.pop(key, None)
        else:
            self._ends.clear()

    def __len__(self) -> int:
        return len(self._ends)


known = Known()
os.register_at_fork(after_in_child=known.forget)
