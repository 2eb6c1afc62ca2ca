"""What the benchmark reads from a load generator."""

from __future__ import annotations

import pytest

from tests.benchmarks.served import over_http, read_wrk

SAID = """
  Latency Distribution
     50%  812.00us
     75%    1.02ms
     90%    1.40ms
     99%    2.51ms
  18422 requests in 2.00s, 92.10MB read
Requests/sec:   9203.37
"""


def test_wrks_words_are_read() -> None:
    assert read_wrk(SAID) == {"requests_per_second": 9203.37, "p50_us": 812.0, "p99_us": 2510.0}


def test_other_words_are_no_figures() -> None:
    with pytest.raises(RuntimeError, match="wrk said"):
        read_wrk("unable to connect")


def test_without_a_load_generator_the_report_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("PATH", "")
    said = over_http("redis://127.0.0.1:1/0", tmp_path_factory.getbasetemp(), 1)
    assert said == {"skipped": "not installed: gunicorn, wrk"}
