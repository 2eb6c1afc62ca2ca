"""The runner on a real database: one run at a time, every run ends, a killed one is marked by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from paiid_perf.contracts import Check, Phase, PhaseResult
from paiid_perf.exceptions import ActionRefused, AlreadyRunning
from paiid_perf.models import OptimizationRun, PhaseRun, Score
from paiid_perf.optimization import runner
from paiid_perf.optimization.health import describe, health, status
from paiid_perf.optimization.lock import run_lock
from paiid_perf.registry import registry

pytestmark = pytest.mark.django_db(transaction=True)
Status = OptimizationRun.Status


def phase(name, run=None, order=1, **values):
    return Phase(
        name, name.title(), order, run or (lambda context: PhaseResult("succeeded", "fine")), **values
    )


@pytest.fixture
def only(monkeypatch):
    """Make these the only phases."""

    def declare(*phases):
        others = {key: item for key, item in registry._items.items() if key[0] is not Phase}
        monkeypatch.setattr(registry, "_items", others | {(Phase, p.name): p for p in phases})

    return declare


def run_full(**values):
    return runner.execute(runner.request("full", "test").pk, **values)


def test_a_run_walks_through_its_phases_and_ends_with_a_score(only):
    def look(context):
        context.progress(0.5, "half way")
        check = Check("database", "hit", "Hit rate", 0.5, target=1.0, worst=0.0, weight=1)
        return PhaseResult("succeeded", "looked", checks=(check,), details={"seen": 1})

    only(phase("database", look, 1), phase("api", order=2))
    steps = []

    run = run_full(report=lambda fraction, step: steps.append((fraction, step)))

    assert run.status == Status.SUCCEEDED
    assert run.step == "nothing to change"
    assert (0.25, "Database: half way") in steps
    assert [fraction for fraction, _ in steps] == sorted(fraction for fraction, _ in steps)
    assert [(row.name, row.status) for row in run.phases.all()] == [
        ("database", "succeeded"),
        ("api", "succeeded"),
    ]
    assert run.phases.get(name="database").details == {"seen": 1}
    assert run.score["areas"]["database"]["score"] == 52  # half of it, and the tolerance
    assert Score.objects.get().overall == run.score["overall"]


def test_a_phase_that_fails_leaves_the_others_running(only):
    def broken(context):
        raise RuntimeError("no such table")

    only(phase("database", broken, 1), phase("api", order=2))

    run = run_full()

    assert run.status == Status.PARTIAL
    assert "database: RuntimeError: no such table" in run.error
    assert run.phases.get(name="api").status == PhaseRun.Status.SUCCEEDED


def test_a_run_whose_phases_all_fail_has_failed(only):
    def broken(context):
        raise RuntimeError("no")

    only(phase("database", broken))

    assert run_full().status == Status.FAILED


def test_a_second_trigger_is_told_which_run_is_at_work_since_when(only):
    only(phase("api"))
    first = runner.request("full", "test")

    with pytest.raises(AlreadyRunning, match=rf"already running: #{first.pk}, since \d{{4}}-"):
        runner.request("quick", "test")

    assert OptimizationRun.objects.count() == 1


def test_of_many_simultaneous_requests_one_gets_through(only):
    only(phase("api"))
    barrier, outcomes = threading.Barrier(8), []

    def ask():
        barrier.wait()
        try:
            outcomes.append(runner.request("full", "test").pk)
        except AlreadyRunning:
            outcomes.append(None)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([pk for pk in outcomes if pk]) == 1
    assert OptimizationRun.objects.filter(status=Status.QUEUED).count() == 1


def test_a_run_does_not_start_while_another_process_holds_the_lock(only):
    only(phase("api"))
    run = runner.request("full", "test")

    with run_lock("default", timezone.now()) as acquired:
        assert acquired
        with pytest.raises(AlreadyRunning):
            runner.execute(run.pk)

    assert not OptimizationRun.objects.filter(pk=run.pk).exists()


HOLDER = """
import os, django, signal, time
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
django.setup()
from django.db import connections
from django.utils import timezone
from paiid_perf.optimization.lock import run_lock
with run_lock("default", timezone.now()) as acquired:
    print(acquired, flush=True)
    signal.pause()
"""


def test_a_run_killed_half_way_is_marked_interrupted_by_the_next(only):
    only(phase("api"))
    database = connection.settings_dict
    url = "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "True\n"
        started = timezone.now()
        dead = OptimizationRun.objects.create(
            kind="full", status=Status.RUNNING, created_at=started, started_at=started, pid=holder.pid
        )
        half = PhaseRun.objects.create(run=dead, name="api", position=0, status="running", started_at=started)
        with pytest.raises(AlreadyRunning, match=f"#{dead.pk}"):
            runner.request("full", "test")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    _until_the_server_notices()

    run = run_full()

    dead.refresh_from_db()
    half.refresh_from_db()
    assert (dead.status, dead.error) == (Status.INTERRUPTED, "its process died")
    assert half.status == PhaseRun.Status.FAILED
    assert run.status == Status.SUCCEEDED


def _until_the_server_notices():
    """PostgreSQL ends a session whose client died as soon as it reads from the closed socket."""
    deadline = timezone.now() + timedelta(seconds=20)
    while timezone.now() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            if cursor.fetchone() == (0,):
                return
    raise AssertionError("the dead session's lock is still there")


def test_a_queued_run_that_nobody_takes_is_given_up(only):
    only(phase("api"))
    old = timezone.now() - runner.QUEUE_PATIENCE - timedelta(seconds=1)
    lost = OptimizationRun.objects.create(kind="full", status=Status.QUEUED, created_at=old)

    run = runner.request("full", "test")

    lost.refresh_from_db()
    assert (lost.status, lost.error) == (Status.INTERRUPTED, "no worker took it")
    assert run.status == Status.QUEUED


def test_a_phase_whose_connection_is_cut_fails_and_the_run_goes_on(only):
    def cut(context):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    only(phase("database", cut, 1), phase("api", order=2))

    run = run_full()

    assert run.status == Status.PARTIAL
    assert "database:" in run.error
    assert OptimizationRun.objects.get(pk=run.pk).status == Status.PARTIAL


def test_a_quick_run_leaves_out_slow_phases(only):
    only(phase("slow", quick=False), phase("api", order=2))

    run = runner.execute(runner.request("quick", "test").pk)

    assert [row.name for row in run.phases.all()] == ["api"]


def test_switched_off_refuses_every_trigger(settings):
    settings.PAIID_PERF = {"ENABLED": False}

    with pytest.raises(ActionRefused, match="ENABLED"):
        runner.request("full", "test")


def test_without_a_broker_the_run_is_withdrawn(only, settings):
    from celery import current_app

    only(phase("api"))
    run = runner.request("full", "test")
    broker, current_app.conf.broker_url = current_app.conf.broker_url, None
    try:
        assert runner.enqueue(run) is False
    finally:
        current_app.conf.broker_url = broker
    assert not OptimizationRun.objects.exists()


def test_without_the_brokers_client_the_run_is_withdrawn(only, monkeypatch, caplog):
    from celery import current_app

    def send_task(*args, **options):
        raise ModuleNotFoundError("No module named 'packaging'")

    only(phase("api"))
    run = runner.request("full", "test")
    monkeypatch.setattr(current_app.conf, "broker_url", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.setattr(current_app, "send_task", send_task)

    assert runner.enqueue(run) is False
    assert "packaging" in caplog.text
    assert "secret" not in caplog.text
    assert not OptimizationRun.objects.exists()


def test_status_and_health_describe_it_in_json_types(only):
    import json

    only(phase("api"))
    run = run_full()

    told = status()

    assert json.loads(json.dumps(told))["last_run"]["id"] == run.pk
    assert told["running"] is None
    assert describe(run)["phases"][0]["status"] == "succeeded"
    assert health().status == "ok"
