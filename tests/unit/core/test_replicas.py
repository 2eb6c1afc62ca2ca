"""A commit waits for a replica, and not for one that is not there."""

from __future__ import annotations

import pytest
from redis.exceptions import TimeoutError

from paiid_perf import invalidation
from paiid_perf.invalidation import WITHOUT_REPLICA, _Replicas


class Server:
    """Answers WAIT with what it is told."""

    def __init__(self, answer: int | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[int, int]] = []

    def wait(self, replicas: int, milliseconds: int) -> int:
        self.asked.append((replicas, milliseconds))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [1000.0]
    monkeypatch.setattr(invalidation.time, "monotonic", lambda: time[0])
    return time


def test_each_bump_is_waited_for_while_a_replica_takes_them(now: list[float]) -> None:
    server, replicas = Server(1), _Replicas()
    for _ in range(3):
        replicas.receive(server)
    assert server.asked == [(1, 25)] * 3, "half of what a request waits for Redis"


@pytest.mark.parametrize("answer", [0, TimeoutError("late")])
def test_a_missing_replica_is_not_waited_for_again_for_a_while(
    answer: int | Exception, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    server, replicas = Server(answer), _Replicas()
    for _ in range(3):
        replicas.receive(server)
    assert len(server.asked) == 1
    assert "could bring old values back" in caplog.text
    now[0] += WITHOUT_REPLICA
    replicas.receive(server)
    assert len(server.asked) == 2
