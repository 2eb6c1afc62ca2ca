"""``manage.py demo``: the product on a trading site, measured before and after, with nothing to install first."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from project.embedded import Servers, die_with_parent, start_servers
from project.trading import demo, headline

#: Set for the process that runs on the demo's servers; holds the directory of the demo's data.
DIRECTORY = "PAIID_PERF_DEMO_DIRECTORY"
STOP_SECONDS = 60
POLICIES = {
    "PAIID_PERF_POLICY": "auto",
    "PAIID_PERF_VERIFY": "replay",
    "PAIID_PERF_QUERY_SAMPLE_RATE": "0.1",
    "PAIID_PERF_PERFORMANCE_HEADERS": "all",
    "DATABASE_POOL": "1",
}


class Command(BaseCommand):
    """Starts the servers, then runs itself on them as a child, so that Django's settings see where they are."""

    help = (
        "Load a small trading platform, send it real traffic, run the full optimization, send the same traffic "
        "again, and print what changed. PostgreSQL and Valkey come from wheels and end with the demo; "
        "DATABASE_URL and REDIS_URL, where set, are used instead."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--scale", type=_positive, default=1.0, help="1: a million ticks, 200,000 orders")
        parser.add_argument(
            "--seconds", type=_positive, default=20.0, help="length of the first pass of traffic"
        )
        parser.add_argument(
            "--no-serve", action="store_true", help="stop everything and exit after the figures"
        )
        parser.add_argument("--json", action="store_true", help="end standard output with one JSON object")
        parser.add_argument("--fresh", action="store_true", help="delete the data of earlier demos first")
        parser.add_argument("--port", type=_port, default=0, help="of the site; a free one unless given")

    def handle(self, *args: Any, **options: Any) -> None:
        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, _as_interrupt)
        try:
            if DIRECTORY in os.environ:
                self._on_servers(options)
            else:
                self._with_servers(options)
        except KeyboardInterrupt:
            if DIRECTORY not in os.environ:
                _say("Stopped.")
            sys.exit(130)
        except RuntimeError as error:
            raise CommandError(str(error)) from error

    def _with_servers(self, options: dict[str, Any]) -> None:
        _check_port(options["port"])
        with start_servers("demo", fresh=options["fresh"]) as servers:
            _say(_where(servers))
            sys.exit(_wait_for(_child(servers)))

    def _on_servers(self, options: dict[str, Any]) -> None:
        show = demo.Demo(
            demo.Options(
                scale=options["scale"],
                seconds=options["seconds"],
                directory=Path(os.environ[DIRECTORY]),
                port=options["port"],
                out=sys.stderr,
            )
        )
        try:
            figures, login = demo.run(show)
            (sys.stderr if options["json"] else sys.stdout).write(headline.table(figures["headline"]) + "\n")
            if options["json"]:
                print(json.dumps(figures), flush=True)
            if not options["no_serve"]:
                self._serve(show, login)
        finally:
            show.close()

    def _serve(self, show: demo.Demo, login: demo.Login) -> NoReturn:
        _say(
            f"\nThe console: http://127.0.0.1:{show.port}/admin/paiid_perf/\n"
            f"Sign in as {login.name} with {login.password} (made for this demo). Ctrl-C stops everything."
        )
        while True:
            time.sleep(1)


def _say(text: str) -> None:
    """Django's self.stderr is for errors: red on a terminal."""
    print(text, file=sys.stderr, flush=True)


def _check_port(port: int) -> None:
    """Better now than after the data is loaded."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise CommandError(f"--port {port}: {os.strerror(error.errno or 0)}") from error


def _child(servers: Servers) -> subprocess.Popen[bytes]:
    environment = os.environ | POLICIES
    environment |= {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    environment[DIRECTORY] = str(servers.directory)
    # In a group of its own, so that a terminal's Ctrl-C reaches it once: from us.
    return subprocess.Popen(
        [sys.executable, *sys.argv], env=environment, preexec_fn=die_with_parent, process_group=0
    )


def _wait_for(child: subprocess.Popen[bytes]) -> int:
    """The child's exit code. An interrupt is handed on, and what it stops is waited for; a second one is not."""
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
        raise
    finally:
        child.kill()


def _where(servers: Servers) -> str:
    given = [name for name in ("PostgreSQL", "Valkey") if name not in servers.started]
    parts = [f"Started {' and '.join(servers.started)} in {servers.directory}"] if servers.started else []
    variables = {"PostgreSQL": "DATABASE_URL", "Valkey": "REDIS_URL"}
    parts += [f"Using the server of {variables[name]} instead of an own {name}" for name in given]
    return "\n".join(parts)


def _as_interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError("must be above 0")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 65_536:
        raise ArgumentTypeError("must be between 0 and 65535")
    return value
