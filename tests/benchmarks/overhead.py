"""What a full database phase costs a server under load: throughput with and without it, in one run.

    python -m tests.benchmarks.overhead [--json] [--pairs 4] [--seconds 20] [--clients 4] [--scale 10]

pgbench runs throughout. Windows alternate: in one of each pair a full phase in ``report`` mode runs once, in the other
nothing does. ``ratio`` is the median over the pairs of throughput with / without; ``while_at_work`` compares only the
seconds in which the phase ran. On a machine that others use as well these drift by more than the phase costs;
``cpu_ratio`` does not: what is left of the machine's processor time in a window after the phase's own, here and in its
server processes. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

import psutil

#: ``progress: 1700000000.123 s, 812.3 tps, lat …`` of ``pgbench --progress-timestamp``.
_PROGRESS = re.compile(r"progress: (\d+\.\d+) s, (\d+\.\d+) tps")
_WARM_UP = 5


@dataclass
class Load:
    """A running pgbench and its throughput, a point for each second."""

    points: list[tuple[float, float]] = field(default_factory=list)

    def between(self, begin: float, end: float) -> list[float]:
        """Transactions a second in the seconds that lie wholly between two moments."""
        return [tps for at, tps in self.points if begin + 1 <= at <= end]

    def touching(self, begin: float, end: float) -> list[float]:
        """Transactions a second in the seconds that two moments fall into or lie around."""
        return [tps for at, tps in self.points if at > begin and at - 1 < end]


@dataclass(frozen=True)
class Window:
    """One stretch of time: its throughput, and when the phase was at work in it."""

    tps: float
    phase: tuple[float, float] | None
    at_work: float | None
    cpu: float = 0.0
    """Processor seconds that the phase took in this process …"""
    server_cpu: float = 0.0
    """… and in server processes that ended meanwhile: its own, pgbench's live on."""


def pgbench() -> str:
    """The program, also where Debian keeps it out of the path.

    Raises:
        SystemExit: there is none.
    """
    found = shutil.which("pgbench") or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), reverse=True)), None
    )
    if found is None:
        raise SystemExit("pgbench is not installed (Debian: postgresql-client or postgresql-contrib)")
    return found


@contextmanager
def load(url: str, clients: int, seconds: int) -> Iterator[Load]:
    """pgbench at work for the length of a block."""
    command = [pgbench(), "-n", "-c", str(clients), "-j", "1", "-T", str(seconds), "-P", "1"]
    process = subprocess.Popen(
        [*command, "--progress-timestamp", url], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    found = Load()
    reader = threading.Thread(target=_read, args=(process, found), daemon=True)
    reader.start()
    try:
        yield found
    finally:
        process.terminate()
        process.wait()
        reader.join()


def _read(process: subprocess.Popen[str], found: Load) -> None:
    for line in process.stderr or ():
        if match := _PROGRESS.search(line):
            found.points.append((float(match[1]), float(match[2])))


@dataclass
class Context:
    """A PhaseContext on the real ledger, under the default policy: everything is reported, nothing is done."""

    settings: Any
    now: datetime
    quick: bool = False
    dry_run: bool = False

    def progress(self, fraction: float, step: str) -> None:
        """Nobody watches."""

    def propose(self, proposals: Any) -> Any:
        from paiid_perf.optimization import ledger

        return ledger.propose(proposals, now=self.now, settings=self.settings)

    def settle(self, area: str) -> dict[str, int]:
        return {}

    def out_of_time(self) -> bool:
        return False


def phase() -> None:
    """One full database phase in report mode; its connections are closed at the end."""
    from dataclasses import replace

    from django.db import connections
    from django.utils import timezone

    from paiid_perf.conf import get_settings
    from paiid_perf.database.phase import PHASE

    settings = replace(get_settings(), POLICY={})
    PHASE.run(Context(settings, timezone.now()))
    connections.close_all()


def postmaster() -> psutil.Process | None:
    """The server's first process, where the server is on this machine."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    try:
        return psutil.Process(pid).parent()
    except psutil.NoSuchProcess:
        return None


def reaped(server: psutil.Process | None) -> float:
    """Processor seconds of the server's processes that have ended."""
    times = server.cpu_times() if server else None
    return times.children_user + times.children_system if times else 0.0


def window(found: Load, seconds: float, server: psutil.Process | None, *, run: bool) -> Window:
    """Let a stretch of time go by, with or without a phase at its beginning."""
    begin = time.time()
    cpu, ended = time.process_time(), reaped(server)
    worked = None
    if run:
        phase()
        worked = (begin, time.time())
    cpu = time.process_time() - cpu
    time.sleep(max(0.0, begin + seconds - time.time()))
    end = time.time()
    time.sleep(1.1)  # pgbench tells of a second once it is over
    at_work = found.touching(*worked) if worked else []
    tps = fmean(found.between(begin, end))
    return Window(tps, worked, fmean(at_work) if at_work else None, cpu, reaped(server) - ended)


def measure(url: str, pairs: int, seconds: int, clients: int) -> dict[str, Any]:
    """Alternate the windows; the order within a pair changes, so that a drift falls on both alike."""
    phase()  # what is read for the first time is read from disk
    server = postmaster()
    off: list[Window] = []
    on: list[Window] = []
    with load(url, clients, _WARM_UP + pairs * 2 * (seconds + 2) + 60) as found:
        time.sleep(_WARM_UP)
        for pair in range(pairs):
            for run in (True, False) if pair % 2 else (False, True):
                (on if run else off).append(window(found, seconds, server, run=run))
    return _summary(on, off, seconds)


def _summary(on: list[Window], off: list[Window], seconds: int) -> dict[str, Any]:
    ratios = [w.tps / wo.tps for w, wo in zip(on, off, strict=True)]
    spent = median(w.cpu + w.server_cpu for w in on) - median(w.server_cpu for w in off)
    at_work = [w.at_work / wo.tps for w, wo in zip(on, off, strict=True) if w.at_work]
    return {
        "window_seconds": seconds,
        "tps_without": [round(w.tps, 1) for w in off],
        "tps_with": [round(w.tps, 1) for w in on],
        "ratios": [round(r, 4) for r in ratios],
        "ratio": round(median(ratios), 4),
        "while_at_work": round(median(at_work), 4) if at_work else None,
        "phase_seconds": round(median(w.phase[1] - w.phase[0] for w in on if w.phase), 2),
        "phase_cpu_seconds": round(median(w.cpu for w in on), 2),
        "phase_server_cpu_seconds": round(
            median(w.server_cpu for w in on) - median(w.server_cpu for w in off), 2
        ),
        "cpu_ratio": round(1 - spent / (seconds * (os.cpu_count() or 1)), 4),
        "load_average": round(os.getloadavg()[0], 2),
    }


def prepare(url: str, scale: int) -> None:
    """Django on the server, its tables, and pgbench's."""
    os.environ["DATABASE_URL"] = url
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    subprocess.run([pgbench(), "-i", "-q", "-s", str(scale), url], check=True, capture_output=True)


def main() -> None:
    """Start a server of its own, measure, print."""
    from project.embedded import start_servers

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--scale", type=int, default=10)
    options = parser.parse_args()
    # Not durable: a disk that others write to as well would drown what is measured.
    with start_servers("overhead", fresh=True, durable=False) as servers:
        prepare(servers.database_url, options.scale)
        result = measure(servers.database_url, options.pairs, options.seconds, options.clients)
    if options.json:
        json.dump(result, sys.stdout, indent=1)
        print()
    else:
        print(*(f"{name:18} {value}" for name, value in result.items()), sep="\n")


if __name__ == "__main__":
    main()
