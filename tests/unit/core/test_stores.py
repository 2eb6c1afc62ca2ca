"""The gate to Redis: a failure closes it for a moment, failures in a row for longer, an answer opens it for good."""

import pytest
from redis.exceptions import ConnectionError, TimeoutError

from paiid_perf import stores
from paiid_perf.stores import FIRST_PAUSE, RedisGate


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(clock, monkeypatch):
    """A gate whose Redis is whatever a test calls."""
    made = RedisGate(clock)
    monkeypatch.setattr(made, "is_redis", lambda: True)
    monkeypatch.setattr(made, "_quick", lambda: "client")
    return made


def fail(client):
    raise TimeoutError


def test_an_answer_passes_through(gate):
    assert gate.call(lambda client: f"asked {client}", "nothing") == "asked client"


@pytest.mark.parametrize("error", [TimeoutError, ConnectionError, OSError])
def test_after_a_failure_the_next_calls_do_not_ask(gate, clock, error):
    asked = []

    def ask(client):
        asked.append(client)
        raise error

    assert [gate.call(ask, "open") for _ in range(3)] == ["open"] * 3
    assert len(asked) == 1
    clock.now += FIRST_PAUSE
    gate.call(ask, "open")
    assert len(asked) == 2


def test_failures_in_a_row_close_it_for_longer_up_to_the_cool_off(gate, clock, settings):
    settings.PAIID_PERF = {"REDIS_COOL_OFF": 1.0}
    pauses = []
    for _ in range(6):
        gate.call(fail, None)
        pauses.append(round(gate._closed_until - clock.now, 3))
        clock.now = gate._closed_until

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_an_answer_starts_the_pauses_over(gate, clock):
    for _ in range(3):
        gate.call(fail, None)
        clock.now = gate._closed_until
    gate.call(lambda client: True, None)
    gate.call(fail, None)

    assert gate._closed_until - clock.now == pytest.approx(FIRST_PAUSE)


def test_failures_of_one_moment_count_once(gate, clock):
    gate._trip(TimeoutError())
    gate._trip(TimeoutError())

    assert gate._closed_until - clock.now == pytest.approx(FIRST_PAUSE)


def test_a_cache_that_is_not_redis_gives_the_default():
    assert stores.RedisGate().call(lambda client: True, "default") == "default"
