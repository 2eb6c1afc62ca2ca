"""The clients, against a web server that answers what it is told to."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from project.trading.traffic import Request, send

SESSIONS = {1: "one", 2: "two"}


class Site(BaseHTTPRequestHandler):
    """Answers by path: ``/503/`` is a 503, ``/drop/`` closes the connection, ``/hit/`` comes from the cache."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(int(word) if (word := self.path.strip("/")).isdigit() else 200)

    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._answer(201)

    def _answer(self, status):
        self.server.seen.append((self.command, self.path, self.headers["Cookie"], self.client_address))
        if self.path == "/drop/":
            self.close_connection = True
            return
        self.send_response(status)
        if self.path in ("/hit/", "/stale/", "/miss/"):
            self.send_header("X-Cache", self.path.strip("/").upper())
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.seen, server.bodies, server.daemon_threads = [], [], True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def get(path: str, user: int = 1) -> Request:
    return Request(user, "GET", path)


def test_every_request_is_sent_once_by_its_user(site):
    planned = [get(f"/{n}/", user=1 + n % 2) for n in range(210, 270)]

    outcome = send(planned, site.server_port, SESSIONS)

    assert sorted((path, cookie) for _, path, cookie, _ in site.seen) == sorted(
        (request.path, f"sessionid={SESSIONS[request.user]}") for request in planned
    )
    assert outcome.requests == len(outcome.latencies) == 60


def test_connections_are_kept(site):
    send([get("/200/")] * 40, site.server_port, SESSIONS, clients=2)

    assert len({address for *_, address in site.seen}) <= 2


def test_what_went_wrong_is_counted(site):
    planned = [get(path) for path in ("/200/", "/404/", "/429/", "/500/", "/503/", "/drop/")]

    outcome = send(planned, site.server_port, SESSIONS, clients=1)

    assert (outcome.requests, outcome.errors, outcome.limited) == (6, 3, 1)
    assert len(outcome.latencies) == 5


def test_a_dropped_connection_is_opened_again(site):
    outcome = send([get("/drop/"), get("/200/"), get("/200/")], site.server_port, SESSIONS, clients=1)

    assert (outcome.requests, outcome.errors) == (3, 1)


def test_no_server_is_an_error_not_a_crash(site):
    site.shutdown()
    site.server_close()

    outcome = send([get("/200/")] * 3, site.server_port, SESSIONS, clients=1)

    assert (outcome.requests, outcome.errors, outcome.latencies) == (3, 3, [])


def test_answers_from_the_cache_are_counted(site):
    planned = [get(path) for path in ("/hit/", "/stale/", "/miss/", "/miss/", "/200/")]

    outcome = send(planned, site.server_port, SESSIONS)

    assert (outcome.lookups, outcome.hits, outcome.hit_ratio) == (4, 2, 0.5)


def test_writes_carry_their_body(site):
    outcome = send([Request(1, "POST", "/api/orders/", '{"a": 1}')], site.server_port, SESSIONS)

    assert site.bodies == ['{"a": 1}']
    assert outcome.writes == 1


def test_with_a_time_limit_the_plan_is_sent_up_to_a_point(site):
    planned = [get(f"/{210 + n % 50}/") for n in range(100_000)]

    outcome = send(planned, site.server_port, SESSIONS, seconds=0.2)

    assert 0 < outcome.requests == len(site.seen) < len(planned)


def test_progress_is_reported_request_by_request(site):
    done = []

    send([get("/200/")] * 10, site.server_port, SESSIONS, report=done.append)

    assert sum(done) == 10
