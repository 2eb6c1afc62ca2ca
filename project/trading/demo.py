"""The demo, step by step: load, serve, measure, optimize, measure again.

*Before* is the site as its developers wrote it: Django's own foreign-key indexes, no caching, the app watching
without acting. *After* is the same traffic (same seed, same number of requests) after one full run, with the
middleware acting.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import psycopg
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.utils import timezone
from tqdm import tqdm

from paiid_perf.cache import memory_report
from paiid_perf.conf import get_settings
from paiid_perf.contracts import ChangeContext
from paiid_perf.exceptions import ActionRefused, PerfError
from paiid_perf.models import OptimizationRun, Recommendation
from paiid_perf.optimization import ledger, runner, upkeep
from paiid_perf.optimization.health import describe
from paiid_perf.optimization.lock import run_lock
from project.embedded import ROOT
from project.trading import answers, headline, loader, site, traffic

SEED = 20_260_101
WARM_UP_SEED = 7
WARM_UP_REQUESTS = 200
#: The plan for one second: a faster machine is done sooner, and no user gets over its rate limit.
REQUESTS_PER_SECOND = 300
RUN_TIMEOUT_SECONDS = 900
POLL_SECONDS = 0.3
PERCENT_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
#: One row per normalised statement of this database, the users' counters added up.
COUNTERS_SQL = """
SELECT queryid, min(query), sum(calls), sum(total_exec_time), sum(total_exec_time) / sum(calls),
       sqrt(sum(calls * stddev_exec_time ^ 2) / sum(calls))
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND calls > 0
GROUP BY queryid
"""


@dataclass(frozen=True)
class Options:
    """What the command was asked for."""

    scale: float
    seconds: float
    directory: Path
    port: int
    """0: a free one."""
    out: TextIO


@dataclass(frozen=True)
class Login:
    """An account made for this demo."""

    name: str
    password: str


class Demo:
    """One demo on a database of its own; ``close`` stops what it started."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.port = options.port or site.free_port()
        self.size = loader.Size.of(options.scale)
        self.running: list[site.Process] = []
        self.sessions: dict[int, str] = {}

    def close(self) -> None:
        """Stop the site, last started first."""
        while self.running:
            self.running.pop().stop()

    def prepare(self) -> Login:
        """Migrate, load the data, take back what an earlier demo improved, make the accounts."""
        for log in self.options.directory.glob("*.log"):
            log.unlink()  # an earlier demo's
        self.say("Migrating")
        call_command("migrate", verbosity=0)
        _count_statements()
        if undone := _undo_earlier_changes():
            self.say(f"Took back {undone} changes of earlier demos, so that this one starts where they did")
        if loader.is_loaded(self.options.scale):
            self.say("The trading data of this scale is there already (--fresh makes it anew)")
        else:
            self._load()
        self.sessions = _sessions(self.size)
        return _administrator()

    def measure_before(self) -> tuple[headline.Pass, list[traffic.Request]]:
        """The first pass, on a site where the app only watches; returns the requests that were sent, too."""
        self.serve(act=False)
        planned = traffic.plan(SEED, self.size, round(REQUESTS_PER_SECOND * self.options.seconds))
        outcome, queries = self._measure(planned, "before", self.options.seconds)
        self.close()
        return headline.Pass(outcome, queries, None, _security_score(act=False)), planned[: outcome.requests]

    def optimize(self) -> OptimizationRun:
        """One full run in the Celery worker, watched to its end."""
        upkeep.collect()  # what the processes of the first pass handed over when they ended
        run = runner.request("full", "demo")
        if not runner.enqueue(run):
            raise RuntimeError("Celery's broker does not take the run; see celery.log")
        with self._bar("Optimizing", 100, "%", bar_format=PERCENT_BAR) as bar:
            for progress, step in _watch(run):
                bar.set_postfix_str(step[:60], refresh=False)
                bar.update(round(100 * progress) - bar.n)
        return run

    def measure_after(self, planned: list[traffic.Request]) -> headline.Pass:
        """The same requests again, on a site where the app acts."""
        outcome, queries = self._measure(planned, "after", None)
        return headline.Pass(outcome, queries, None, None)

    def serve(self, *, act: bool) -> None:
        """Start the site: gunicorn, and a Celery worker with beat."""
        self._start(site.worker(self.options.directory, act=act))
        web = self._start(site.web(self.options.directory, self.port, act=act))
        site.wait_until_serving(web, f"http://127.0.0.1:{self.port}/api/optimization/health")

    def say(self, text: str) -> None:
        print(text, file=self.options.out, flush=True)

    def _load(self) -> None:
        with self._bar("Loading", loader.steps(self.options.scale), " rows") as bar:

            def report(table: str, done: int) -> None:
                bar.set_postfix_str(table, refresh=False)
                bar.update(done)

            loader.load(self.options.scale, report)

    def _start(self, process: site.Process) -> site.Process:
        process.start()
        self.running.append(process)
        return process

    def _measure(
        self, planned: list[traffic.Request], label: str, seconds: float | None
    ) -> tuple[traffic.Outcome, tuple[headline.Component, ...]]:
        port = self.port
        traffic.send(traffic.plan(WARM_UP_SEED, self.size, WARM_UP_REQUESTS), port, self.sessions)
        earlier = _counters()
        total = None if seconds is not None else len(planned)
        with self._bar(f"Traffic, {label}", total, " requests") as bar:
            outcome = traffic.send(planned, port, self.sessions, seconds=seconds, report=bar.update)
        return outcome, tuple(headline.window(earlier, _counters()))

    def _bar(self, label: str, total: float | None, unit: str, **how: Any) -> tqdm[Any]:
        hidden = not self.options.out.isatty()
        return tqdm(total=total, desc=label, unit=unit, file=self.options.out, disable=hidden, **how)


def run(demo: Demo) -> tuple[dict[str, Any], Login]:
    """The whole demo up to the figures; the site goes on serving until ``demo.close()``."""
    login = demo.prepare()
    demo.say(f"Measuring the site as it is ({demo.options.seconds:g} s of traffic)")
    before, planned = demo.measure_before()
    demo.serve(act=True)
    demo.say("Running the full optimization (policies on auto)")
    finished = demo.optimize()
    demo.say(f"Run #{finished.pk} {finished.status}: {finished.step}")
    demo.say(f"Sending the same {len(planned):,} requests again")
    after = demo.measure_after(planned)
    memory = memory_report(answers.ROOMS)
    before = replace(before, cache_bytes=memory["pickle_bytes"])
    after = replace(after, cache_bytes=memory["ours_bytes"], security_score=_area(finished, "security"))
    return headline.report(before, after, describe(finished)), login


def _watch(run: OptimizationRun) -> Iterator[tuple[float, str]]:
    deadline = time.monotonic() + RUN_TIMEOUT_SECONDS
    while True:
        run.refresh_from_db()
        yield run.progress, run.step
        if not run.is_active:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"run #{run.pk} has not ended in {RUN_TIMEOUT_SECONDS} s; see celery.log")
        time.sleep(POLL_SECONDS)


def _security_score(*, act: bool) -> float | None:
    """The security area's score of a run that only looks, in a process with the site's present settings."""
    command = [sys.executable, "manage.py", "perf", "run", "--quick", "--dry-run", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env=site.environment(act), capture_output=True, text=True, check=False
    )
    try:
        return float(json.loads(done.stdout)["score"]["areas"]["security"]["score"])
    except (ValueError, KeyError, TypeError):
        return None


def _area(run: OptimizationRun, name: str) -> float | None:
    score: float | None = run.score.get("areas", {}).get(name, {}).get("score")
    return score


def _count_statements() -> None:
    """The demo's own server has the extension; on one that was given it takes a right that we may not have."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            cursor.execute("SELECT FROM pg_stat_statements LIMIT 1")
    except DatabaseError as error:
        raise RuntimeError(
            "the demo measures the database with pg_stat_statements: preload it (shared_preload_libraries) and "
            f"CREATE EXTENSION pg_stat_statements on the server of DATABASE_URL ({error})"
        ) from error


def _undo_earlier_changes() -> int:
    """Undo what earlier demos changed and forget their ledger, so that their verdicts do not rule this one."""
    settings, now = get_settings(), timezone.now()
    with run_lock(settings.DATABASE, now) as acquired:
        if acquired:
            ledger.recover(ChangeContext(settings, now))
    done = Recommendation.objects.filter(
        state__in=(Recommendation.State.VERIFYING, Recommendation.State.KEPT)
    ).order_by("-applied_at")
    undone = sum(_undo(change) for change in done)
    Recommendation.objects.all().delete()
    return undone


def _undo(change: Recommendation) -> bool:
    try:
        ledger.revert(change, None)
    except ActionRefused:  # rows that were deleted by rule do not come back
        return False
    except (PerfError, psycopg.Error) as error:
        raise RuntimeError(
            f"an earlier demo's change stays ({change}: {error}); start with --fresh"
        ) from error
    return True


def _counters() -> dict[int, headline.Statement]:
    with connection.cursor() as cursor:
        cursor.execute(COUNTERS_SQL)
        return {
            queryid: headline.Statement(text, int(calls), float(total), float(mean), float(stddev))
            for queryid, text, calls, total, mean, stddev in cursor.fetchall()
        }


def _administrator() -> Login:
    login = Login("demo", secrets.token_urlsafe(12))
    users = get_user_model()
    user, _ = users.objects.get_or_create(
        username=login.name, defaults={"is_staff": True, "is_superuser": True}
    )
    user.set_password(login.password)
    user.save()
    return login


def _sessions(size: loader.Size) -> dict[int, str]:
    """A session for each simulated user, as a login would have made it."""
    users = get_user_model().objects.filter(id__gt=loader.FIRST_USER).order_by("id")
    active = list(users[: min(traffic.ACTIVE_USERS, size.users)])
    users.filter(id__in=[user.pk for user in active]).update(last_login=timezone.now())
    return {user.pk: _session(user) for user in active}


def _session(user: Any) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)
