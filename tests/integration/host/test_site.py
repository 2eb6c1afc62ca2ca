"""The demo's child processes: watched, stopped, and their last words shown."""

from __future__ import annotations

import sys

import psutil
import pytest

from project.trading import site

STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def process(tmp_path):
    """Makes a started process of some Python code."""
    started = []

    def start(code: str) -> site.Process:
        made = site.Process("It", (sys.executable, "-c", code), tmp_path / "it.log", {})
        made.start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.stop()


def test_one_that_ends_by_itself_says_why(process):
    made = process("import sys; sys.exit('no such setting')")
    made.child.wait()

    with pytest.raises(RuntimeError, match=r"It ended with code 1; the end of .*\n.*no such setting"):
        made.check()


def test_waiting_for_one_that_ended_says_why_too(process):
    made = process("raise SystemExit('port taken')")

    with pytest.raises(RuntimeError, match="port taken"):
        site.wait_until_serving(made, f"http://127.0.0.1:{site.free_port()}/")


def test_waiting_ends_when_it_serves(process):
    port = site.free_port()
    made = process(
        f"import http.server as h; h.HTTPServer(('127.0.0.1', {port}), h.BaseHTTPRequestHandler).serve_forever()"
    )

    site.wait_until_serving(made, f"http://127.0.0.1:{port}/")

    made.check()


def test_stopping_twice_is_no_error(process):
    made = process("import time; time.sleep(600)")
    made.stop()
    made.stop()

    assert made.child is None


def test_one_that_will_not_stop_is_killed_with_its_children(process, monkeypatch, tmp_path):
    monkeypatch.setattr(site, "STOP_SECONDS", 0.5)
    made = process(STUBBORN)
    family = [psutil.Process(made.child.pid)]
    while not (written := (tmp_path / "it.log").read_text()).strip():
        family[0].cpu_times()  # raises once it is gone
    family.append(psutil.Process(int(written)))

    made.stop()

    _, alive = psutil.wait_procs(family, timeout=5)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize(("act", "policy"), [(True, "auto"), (False, "report")])
def test_only_a_site_that_acts_has_the_policies_of_the_demo(monkeypatch, act, policy):
    monkeypatch.setenv("PAIID_PERF_POLICY", "auto")

    found = site.environment(act)

    assert (found["PAIID_PERF_ACT"], found["PAIID_PERF_POLICY"]) == (str(act), policy)
