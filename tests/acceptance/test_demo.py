"""``manage.py demo`` as somebody types it: the figures, the site that goes on serving, and nothing left behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest

ROOT = Path(__file__).parent.parent.parent
SMALL = ("--scale", "0.02", "--seconds", "2")
PHASES = ["database", "api", "cache", "monitoring", "security"]
HEADLINE = {
    "database_query_ms",
    "database_query_p95_ms",
    "api_response_ms",
    "api_response_p95_ms",
    "cache_hit_ratio",
    "cache_memory_bytes",
    "security_score",
}


@contextmanager
def demo(var: Path, *arguments: str):
    """A demo under way, with its data in ``var``."""
    given = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
    environment = {name: value for name, value in os.environ.items() if name not in given}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "demo", *SMALL, *arguments],
        cwd=ROOT,
        env=environment | {"PAIID_PERF_VAR": str(var)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(stream, text: str) -> str:
    """What was said up to and including the line that holds ``text``."""
    said = ""
    for line in stream:
        said += line
        if text in line:
            return said
    pytest.fail(f"it ended without saying {text!r}:\n{said}")


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_it_measures_optimizes_measures_again_serves_and_stops(tmp_path):
    with demo(tmp_path, "--json") as process:
        figures = json.loads(process.stdout.readline())
        said = read_until(process.stderr, "Sign in as")
        everything = family(process)

        assert_figures(figures)
        assert "Database query, mean" in said
        assert_login_works(said)

        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stdout.read() == ""
        assert len(everything) > 8
        assert survivors(everything) == []


def assert_figures(figures) -> None:
    assert set(figures["headline"]) == HEADLINE
    assert all(set(value) == {"before", "after", "improvement"} for value in figures["headline"].values())
    assert figures["run"]["status"] == "succeeded"
    assert [phase["name"] for phase in figures["run"]["phases"]] == PHASES
    assert figures["changes"]["kept"] >= 1
    assert figures["traffic"]["errors"] == figures["traffic"]["limited"] == 0
    assert figures["traffic"]["writes"] > 0
    assert figures["headline"]["database_query_ms"]["improvement"] > 0
    assert figures["headline"]["cache_hit_ratio"]["after"] > 0


def assert_login_works(said: str) -> None:
    port, name, password = re.search(
        r"http://127\.0\.0\.1:(\d+)/.*\n+Sign in as (\S+) with (\S+)", said
    ).groups()
    site = http.client.HTTPConnection("127.0.0.1", int(port))
    site.request("GET", "/admin/login/?next=/admin/paiid_perf/")
    token = SimpleCookie(site.getresponse().getheader("Set-Cookie"))["csrftoken"].value
    site.close()
    form = {
        "username": name,
        "password": password,
        "csrfmiddlewaretoken": token,
        "next": "/admin/paiid_perf/",
    }
    headers = {"Cookie": f"csrftoken={token}", "Content-Type": "application/x-www-form-urlencoded"}
    site.request("POST", "/admin/login/", urlencode(form), headers)
    answer = site.getresponse()
    site.close()
    assert (answer.status, answer.getheader("Location")) == (302, "/admin/paiid_perf/")


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_ended_in_the_middle_of_the_traffic_it_leaves_nothing_running(tmp_path, how, code):
    with demo(tmp_path, "--no-serve") as process:
        read_until(process.stderr, "Measuring")
        while not (tmp_path / "demo" / "gunicorn.log").exists():
            assert process.poll() is None
        everything = family(process)

        process.send_signal(how)

        assert process.wait(60) == code
        assert survivors(everything) == []


def test_a_port_that_is_taken_is_said_at_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with demo(tmp_path, "--port", port) as process:
            _, said = process.communicate(timeout=60)

    assert (process.returncode, said.strip()) == (1, f"CommandError: --port {port}: Address already in use")
