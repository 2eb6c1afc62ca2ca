"""Advisories of a service: what it is asked, what is made of its answers, and what happens while it is away."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from paiid_perf.security import facts, osv

ADVISORY = {
    "id": "GHSA-x",
    "aliases": ["CVE-2099-1"],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "django"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def service():
    """A service that knows one flaw of Django, on the second page; yields (its address, what it was asked)."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body))
            self._answer({"results": [self._result(query) for query in body["queries"]]})

        def _result(self, query):
            if query["package"]["name"].lower() != "django":
                return {}
            if "page_token" not in query:
                return {"next_page_token": "2"}
            return {"vulns": [{"id": "GHSA-x", "modified": "2099"}]}

        def do_GET(self):
            asked.append((self.path, None))
            self._answer(ADVISORY)

        def _answer(self, document):
            data = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    osv._advisory.cache_clear()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_installed_is_asked_for_and_each_advisory_read_once(service):
    address, asked = service
    for _ in range(2):
        (found,) = facts.vulnerable_distributions(address)
        assert (found.name.lower(), found.fixed, found.ids) == ("django", "99.1", ("CVE-2099-1",))
    assert [path for path, _ in asked] == [
        *["/v1/querybatch"] * 2,
        "/v1/vulns/GHSA-x",
        *["/v1/querybatch"] * 2,
    ]
    first = asked[0][1]["queries"]
    assert {key for query in first for key in query} == {"package", "version"}
    assert {query["package"]["ecosystem"] for query in first} == {"PyPI"}


def test_nothing_wrong_is_said_when_nothing_is_found(service):
    address, _asked = service
    assert list(osv.ask(address, {"other": "1.0"})) == []


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"results": 5}', b'{"results": [{"vulns": [{}]}]}'])
def test_an_answer_of_another_form_leaves_it_open(answer, monkeypatch, caplog):
    monkeypatch.setattr(osv, "_json", lambda request: json.loads(answer))
    assert facts.vulnerable_distributions("https://osv.example") is None
    assert "does not tell of advisories" in caplog.text


def test_a_service_that_is_away_leaves_it_open(caplog):
    assert facts.vulnerable_distributions("http://127.0.0.1:1") is None
    assert "does not tell of advisories" in caplog.text
