"""What is read each minute, from the real thing: a pool that runs dry, a queue at a broker, tasks as they run."""

from __future__ import annotations

import json
import socket
import time
from datetime import timedelta
from types import SimpleNamespace

import psycopg_pool
import pytest
from celery import Celery, current_app, shared_task
from celery.exceptions import Retry
from django.db import connections
from django.utils import timezone

from paiid_perf import telemetry
from paiid_perf.models import Metric
from paiid_perf.monitoring.facts import celery as facts
from paiid_perf.monitoring.facts import system
from paiid_perf.monitoring.recorders import RECORDERS
from paiid_perf.telemetry import process

pytestmark = pytest.mark.django_db


def cells():
    telemetry.recorder.fold()
    return {(s.name, s.subject): cell for s, cell in telemetry.recorder._cells.items()}


def test_a_pool_that_runs_dry_is_counted(monkeypatch):
    where = connections["default"].get_connection_params()
    with psycopg_pool.ConnectionPool(
        kwargs={key: where[key] for key in ("dbname", "user", "host", "port", "password") if key in where},
        min_size=1,
        max_size=1,
        open=True,
    ) as pool:
        monkeypatch.setattr(
            type(connections["default"]), "_connection_pools", {"default": pool}, raising=False
        )
        with pool.connection(), pytest.raises(psycopg_pool.PoolTimeout), pool.connection(timeout=0.01):
            pass
        process.Self().note(telemetry.recorder)

    found = cells()
    assert found["pool.waits", "default"].total >= 1
    assert found["pool.timeouts", "default"].total == 1
    assert found["pool.size", "default"].total == 1
    assert any(name == "process.rss_bytes" and cell.total > 1e6 for (name, _), cell in found.items())


def test_the_oldest_message_tells_the_queues_age(redis_cache, valkey_url, monkeypatch):
    for key in ("broker_url", "broker_read_url"):
        monkeypatch.setattr(current_app.conf, key, valkey_url)
    queue = current_app.conf.task_default_queue
    assert list(facts.queue_age()) == [(queue, 0.0)]
    for age in (100, 50):
        redis_cache.lpush(queue, json.dumps({"headers": {facts.SENT: time.time() - age}}))

    ((_, age),) = facts.queue_age()

    assert 100 <= age < 150


def test_each_message_says_when_it_was_sent(redis_cache, valkey_url, monkeypatch):
    with Celery("sender", broker=valkey_url, set_as_current=False) as app:
        app.send_task("some.task", queue="perf-sent")
    message = redis_cache.lindex("perf-sent", -1)

    assert facts.age_of(message, time.time() + 60) == pytest.approx(60, abs=30)
    assert facts.age_of(b"no message of Celery's", 0.0) is None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_tasks_are_timed_and_failures_counted():
    @shared_task(name="test.watched", bind=True, max_retries=3)
    def watched(self, how):
        if how == "fails":
            raise ValueError("as asked")
        if how == "again":
            raise Retry

    for how in ("fine", "fails", "again"):
        watched.apply((how,), retries=3)

    found = cells()
    assert found["celery.task_ms", "test.watched"].count == 3
    assert found["celery.failures", "test.watched"].count == 1
    assert found["celery.retries", "test.watched"].count == 1


def test_since_when_beat_is_silent():
    assert list(facts.beat_silent()) == []
    for minutes in (9, 30):
        at = timezone.now() - timedelta(minutes=minutes)
        Metric.objects.create(name=facts.HEARTBEAT, at=at, count=1, resolution=60)

    ((_, seconds),) = facts.beat_silent()

    assert 540 <= seconds < 600


def test_each_fact_of_the_host_is_read_from_the_real_one(monkeypatch):
    swap = SimpleNamespace(total=4, percent=25.0)
    monkeypatch.setattr(system.psutil, "swap_memory", lambda: swap)
    # Two readings a second apart, with 500 bytes more in each direction.
    counted = {
        "net_io_counters": ("bytes_sent", "bytes_recv"),
        "disk_io_counters": ("read_bytes", "write_bytes"),
    }
    for counters, names in counted.items():
        seen = iter([SimpleNamespace(**dict.fromkeys(names, n)) for n in (1_000, 1_500)])
        monkeypatch.setattr(system.psutil, counters, lambda seen=seen: next(seen))
    moments = iter([10.0, 10.0, 11.0, 11.0])
    monkeypatch.setattr(system, "_network", system.Rate(lambda: next(moments)))
    monkeypatch.setattr(system, "_disk", system.Rate(lambda: next(moments)))
    of_host = [recorder for recorder in RECORDERS if recorder.on_each_host]
    first, found = ({one.name: dict(one.read()) for one in of_host} for _ in range(2))

    assert first["system.net_bytes"] == first["system.disk_bytes"] == {}  # a rate takes two readings
    host = socket.gethostname()
    assert all(set(values) == {host} for values in found.values())
    for name in ("cpu_percent", "memory_percent", "disk_percent", "open_files_percent"):
        assert 0 <= found[f"system.{name}"][host] <= 100
    assert found["system.memory_percent"][host] > 0
    assert found["system.open_files_percent"][host] > 0
    assert found["system.swap_percent"][host] == 25
    assert found["system.net_bytes"][host] == found["system.disk_bytes"][host] == 1_000
    assert found["system.load1"][host] >= 0


def test_each_process_notes_its_own_host(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "web-7")
    process.Self().note(telemetry.recorder)

    assert ("system.memory_percent", "web-7") in cells()
    assert not any(name.startswith(("db.", "celery.queue")) for name, _ in cells())


def test_a_swap_that_is_not_there_is_not_said(monkeypatch):
    monkeypatch.setattr(system.psutil, "swap_memory", lambda: SimpleNamespace(total=0, percent=0.0))

    assert system.swap_percent() == []


def test_two_cpus_of_a_big_machine_in_use_are_all_a_container_has(tmp_path, monkeypatch):
    monkeypatch.setattr(system.psutil, "cpu_count", lambda: 64)
    (tmp_path / "cpu.max").write_text("200000 100000")
    limits = system.read_limits(tmp_path, tmp_path)
    readings = iter([(0.0, 10.0), (10.0, 30.0), (20.0, 40.0)])
    monkeypatch.setattr(system.Cpu, "_reading", lambda self, limits: next(readings))
    monkeypatch.setattr(system.time, "sleep", lambda seconds: None)
    cpu = system.Cpu()

    assert [cpu.percent(limits), cpu.percent(limits)] == [100.0, 50.0]


@pytest.mark.parametrize(("cpuset", "cpus"), [("0-1\n", 2), ("0,2-4\n", 4), ("0-63\n", None)])
def test_pinned_to_some_cpus(tmp_path, monkeypatch, cpuset, cpus):
    monkeypatch.setattr(system.psutil, "cpu_count", lambda: 64)
    (tmp_path / "cpuset.cpus.effective").write_text(cpuset)

    assert system.read_limits(tmp_path, tmp_path).cpus == cpus
