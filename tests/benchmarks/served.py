"""What cannot be seen from inside one thread: many misses at once, and requests over HTTP.

``request_path`` runs both. Over HTTP one gunicorn worker with four threads serves a stack while wrk asks on eight
connections; its memory is what the worker has for itself (USS) at the end. Where gunicorn or wrk is not there, the
report says so.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from tests.benchmarks import request_path as bench
from tests.benchmarks.handlers import Caller, Case

AT_ONCE = 100
#: Stacks by the names of ``request_path.cases``; a miss asks for another path each time.
STACKS = ("bare", "ours_record", "ours_limit", "ours_hit", "ours_miss", "composed_hit", "composed_miss")
ADDRESS, CASE, DIRECTORY = "BENCH_REDIS_URL", "BENCH_CASE", "BENCH_DIRECTORY"
FRESH_PATHS = """
local asked = %d
request = function() asked = asked + 1; return wrk.format("GET", "/%s/" .. asked .. "/") end
"""


# --- many misses at once ---------------------------------------------------------------------------------


def misses_at_once() -> dict[str, int]:
    """How often a view of 50 ms is called by a hundred threads that miss one URL, by stack."""
    stacks = {"ours": [bench.PERF], "django_cache": bench.DJANGO_CACHE}
    return {name: _calls_of(name, middleware) for name, middleware in stacks.items()}


def _calls_of(name: str, middleware: list[str]) -> int:
    case = Case(name, bench.fixed("/slow/0/"), middleware, {"INSPECTION": "off", "REDIS_TIMEOUT": 2.0})
    caller = Caller(case)
    bench.SLOW_CALLS.clear()
    with caller.settings(), ThreadPoolExecutor(AT_ONCE) as pool:
        for answer in [pool.submit(caller) for _ in range(AT_ONCE)]:
            answer.result(60)
    return len(bench.SLOW_CALLS)


# --- over HTTP -------------------------------------------------------------------------------------------


def application() -> Any:
    """What gunicorn serves: the stack that the environment names."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.test.utils import override_settings

    bench.prepare(os.environ[ADDRESS], Path(os.environ[DIRECTORY]))
    case = next(case for case in bench.cases() if case.name == os.environ[CASE])
    override_settings(MIDDLEWARE=case.middleware, PAIID_PERF=case.perf).enable()
    return WSGIHandler()


def over_http(url: str, directory: Path, seconds: int) -> dict[str, Any]:
    """Requests a second, latencies (µs) and the worker's own memory (MB) of each stack, or why there are none."""
    absent = [name for name in ("gunicorn", "wrk") if shutil.which(name) is None]
    if absent or not seconds:
        return {"skipped": f"not installed: {', '.join(absent)}" if absent else "not asked for"}
    known = {case.name: case for case in bench.cases()}
    rows = [_measured(known[name], url, directory, seconds) for name in STACKS if name in known]
    return {"cases": rows, "seconds": seconds, "connections": 8, "threads": 4}


def _measured(case: Case, url: str, directory: Path, seconds: int) -> dict[str, Any]:
    with _gunicorn(case, url, directory) as (port, server):
        _wrk(case, port, directory, 1)
        found = _wrk(case, port, directory, seconds)
        own = sum(child.memory_full_info().uss for child in psutil.Process(server.pid).children())
    return {"case": case.name, **found, "memory_mb": round(own / 1e6, 1)}


@contextmanager
def _gunicorn(case: Case, url: str, directory: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        *(sys.executable, "-m", "gunicorn", "tests.benchmarks.served:application()"),
        *("--bind", f"127.0.0.1:{port}", "--threads", "4", "--keep-alive", "30", "--log-level", "error"),
    ]
    environment = os.environ | {ADDRESS: url, CASE: case.name, DIRECTORY: str(directory)}
    server = subprocess.Popen(command, env=environment)
    try:
        _wait_for(port, server)
        yield port, server
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    # The worker imports all of it after gunicorn has begun to listen.
    ends = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < ends:
        try:
            with urlopen(f"http://127.0.0.1:{port}/plain/", timeout=60) as answer:
                answer.read()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("gunicorn does not answer")


def _wrk(case: Case, port: int, directory: Path, seconds: int) -> dict[str, float]:
    script = directory / "paths.lua"
    stem = case.path().strip("/").partition("/")[0]
    # Paths that no run before has asked for.
    script.write_text(FRESH_PATHS % (time.monotonic_ns() // 1000, stem) if "miss" in case.name else "")
    command = [
        "wrk",
        "-t1",
        "-c8",
        f"-d{seconds}s",
        "--latency",
        "-H",
        "Accept-Encoding: gzip",
        "-s",
        str(script),
    ]
    said = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{case.path()}"], check=True, capture_output=True, text=True
    ).stdout
    if "Non-2xx" in said:
        raise RuntimeError(f"{case.name}: {said}")
    return read_wrk(said)


def line(row: dict[str, Any]) -> str:
    """A stack's row for people."""
    return (
        f"HTTP {row['case']:17} {row['requests_per_second']:8.0f}/s  median {row['p50_us']:7.0f} µs  "
        f"p99 {row['p99_us']:7.0f} µs  {row['memory_mb']:6.1f} MB"
    )


UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def read_wrk(said: str) -> dict[str, float]:
    """Requests a second, and the median and the slowest hundredth in µs, from what wrk prints."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    times = {
        share: float(n) * UNITS[unit] for share, n, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", said)
    }
    if rate is None or len(times) != 2:
        raise RuntimeError(f"wrk said: {said}")
    return {"requests_per_second": float(rate[1]), "p50_us": times["50"], "p99_us": times["99"]}
