"""No window of the length ever lets more than the limit through, whoever asks at once.

Eight processes hammer the functions that count, with a clock that they drive themselves: each question moves it on,
in the same script, so that times never fall and a minute passes without anybody waiting for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from typing import Any

from paiid_perf.api.limits import LIMIT_LUA, SLICES

PROCESSES = 8
QUESTIONS = 120
LIMIT = 60
PERIOD = 60_000_000
"""A minute, in the script's microseconds."""

DRIVEN = (
    LIMIT_LUA
    + """
local now = 1000000000 + redis.call('INCRBY', 'clock', ARGV[3])
local limit, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local by_log = exact('log', limit, period, now)
local by_ring = ring('ring', limit, period, now, tonumber(ARGV[4]))
return string.format('%.0f %d %d', now, by_log, by_ring)
"""
)
#: What one process does: ask in irregular steps of the clock, and print what it was told, and when.
HAMMER = """
import json, random, socket, sys
from urllib.parse import urlsplit

url, lua, limit, period, slices, questions, seed = json.load(sys.stdin)
steps, there = random.Random(seed), urlsplit(url)
line = socket.create_connection((there.hostname, there.port or 6379), 60)
replies = line.makefile("rb")

def say(*parts):
    words = [str(part).encode() for part in parts]
    line.sendall(b"*%d\\r\\n" % len(words) + b"".join(b"$%d\\r\\n%b\\r\\n" % (len(w), w) for w in words))
    head = replies.readline()
    assert head[:1] in b"+$", head
    return replies.readline() if head[:1] == b"$" else head

if there.password:
    say("AUTH", there.username or "default", there.password)
say("SELECT", there.path.strip("/") or 0)
found = []
for _ in range(questions):
    step = steps.choice((0, 1, 20_000, 200_000, 900_000))
    found.append([int(word) for word in say("EVAL", lua, 0, limit, period, step, slices).split()])
print(json.dumps(found))
"""


def hammered(url: str) -> list[list[int]]:
    """The time, what the log said and what the ring said, for each question of all processes, by time."""
    ours = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", HAMMER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    asked = [json.dumps([url, DRIVEN, LIMIT, PERIOD, SLICES, QUESTIONS, seed]) for seed in range(PROCESSES)]
    try:
        for process, words in zip(ours, asked, strict=True):
            assert process.stdin
            process.stdin.write(words)
            process.stdin.close()
            process.stdin = None
        return sorted(told for process in ours for told in json.loads(process.communicate(timeout=60)[0]))
    finally:
        for process in ours:
            process.kill()
            process.wait()


def most_in_a_window(times: list[int]) -> int:
    """The most of them in any half-open window of the period."""
    window: deque[int] = deque()
    most = 0
    for at in times:
        window.append(at)
        while window[0] <= at - PERIOD:
            window.popleft()
        most = max(most, len(window))
    return most


def test_sixty_a_minute_never_lets_the_sixty_first_through(redis_cache: Any, valkey_url: str) -> None:
    told = hammered(valkey_url)
    assert len(told) == PROCESSES * QUESTIONS
    assert told[-1][0] - told[0][0] > 3 * PERIOD
    for way in (1, 2):
        times = [each[0] for each in told if each[way]]
        assert most_in_a_window(times) == LIMIT
        assert len(times) > 2 * LIMIT


def test_the_count_can_fail() -> None:
    assert most_in_a_window([0] * 60 + [PERIOD - 1]) == 61
    assert most_in_a_window([0] * 60 + [PERIOD]) == 60
