"""The demo's processes: gunicorn and Celery on the demo's servers, started, watched and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from project.embedded import ROOT, die_with_parent, free_port

START_SECONDS = 60
STOP_SECONDS = 15
LOG_TAIL = 3_000

__all__ = ["Process", "environment", "free_port", "wait_until_serving", "web", "worker"]


@dataclass
class Process:
    """A child with a log of its own; it ends when this process does."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(repr=False)
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def stop(self) -> None:
        if self.child is None:
            return
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
        self.child = None

    def check(self) -> None:
        """Raises RuntimeError with the end of the log if it has ended by itself."""
        if self.child is not None and (code := self.child.poll()) is not None:
            tail = self.log.read_text(errors="replace")[-LOG_TAIL:]
            raise RuntimeError(f"{self.name} ended with code {code}; the end of {self.log}:\n{tail}")


def web(directory: Path, port: int, *, act: bool, workers: int = 2) -> Process:
    """gunicorn on the loopback; with ``act`` False the app only watches."""
    command = (
        *(sys.executable, "-m", "gunicorn", "project.wsgi", "--bind", f"127.0.0.1:{port}"),
        *("--workers", str(workers), "--worker-class", "gthread", "--threads", "4", "--keep-alive", "30"),
        *("--timeout", "120", "--graceful-timeout", "10", "--no-control-socket"),
    )
    return Process("gunicorn", command, directory / "gunicorn.log", environment(act))


def worker(directory: Path, *, act: bool) -> Process:
    """A Celery worker with beat in it."""
    command = (
        *(sys.executable, "-m", "celery", "-A", "project", "worker", "--beat", "--loglevel", "WARNING"),
        *("--concurrency", "2", "--schedule", str(directory / "beat-schedule"), "--without-gossip"),
    )
    return Process("Celery", command, directory / "celery.log", environment(act))


def wait_until_serving(process: Process, url: str) -> None:
    """Until something answers at ``url``.

    Raises:
        RuntimeError: the process ended, or nothing answered in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        process.check()
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own address on the loopback
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{process.name} did not answer at {url} in {START_SECONDS} s; see {process.log}")


def environment(act: bool) -> dict[str, str]:
    """The environment of a child whose app acts, or only watches."""
    watching = {} if act else {"PAIID_PERF_POLICY": "report"}
    return {**os.environ, "PAIID_PERF_ACT": str(act), **watching}
