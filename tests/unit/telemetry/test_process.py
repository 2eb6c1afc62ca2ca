"""What a process notes of itself: its memory and its pools, once a minute, counters by their growth."""

from __future__ import annotations

import pytest

from paiid_perf.telemetry import process


class Notes:
    def __init__(self) -> None:
        self.counted: dict[str, int] = {}
        self.gauges: dict[str, float] = {}

    def count(self, name: str, subject: str = "", n: int = 1) -> None:
        self.counted[f"{name} {subject}"] = n

    def gauge(self, name: str, subject: str, value: float) -> None:
        self.gauges[f"{name} {subject.partition(':')[0]}"] = value


def test_memory_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.socket, "gethostname", lambda: "web-1")
    moments = iter([0.0, 0.0, 0.0, 59.0, 61.0, 61.0])
    me = process.Self(lambda: next(moments))
    seen = []
    for _ in range(3):
        notes = Notes()
        me.note(notes)
        seen.append(notes.gauges.get("process.rss_bytes web-1", 0) > 1e6)

    assert seen == [True, False, True]


def test_a_pool_is_told_by_what_came_since(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = [
        {"pool_size": 4, "requests_queued": 5, "requests_errors": 1, "requests_wait_ms": 70},
        {"pool_size": 4, "requests_queued": 9, "requests_errors": 1, "requests_wait_ms": 90},
        {"pool_size": 2, "requests_queued": 2},  # made anew
    ]
    me = process.Self(lambda: 0.0)
    monkeypatch.setattr(process, "EVERY_SECONDS", 0)
    found = []
    for one in stats:
        notes = Notes()
        monkeypatch.setattr(process, "pools", lambda one=one: [("default", one)])
        me.note(notes)
        found.append((notes.counted["pool.waits default"], notes.counted["pool.timeouts default"]))

    assert found == [(5, 1), (4, 0), (2, 0)]
    assert notes.gauges["pool.size default"] == 2
