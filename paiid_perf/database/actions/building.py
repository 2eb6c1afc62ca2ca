"""A build in a thread of its own, while this one tells how far it is: the run's bar moves and its heart beats."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from contextlib import ExitStack

import psycopg

from paiid_perf.database.rules.indexes.progress import Progress, done, step
from paiid_perf.database.session import Session

logger = logging.getLogger("paiid_perf")

#: Told the share that is done (0–1) and what the server does now.
Tell = Callable[[float, str], None]

#: Seconds between two looks. A build that is over sooner is never looked at.
EVERY = 1.0

_PROGRESS = """
SELECT phase, coalesce(blocks_done, 0) AS blocks_done, coalesce(blocks_total, 0) AS blocks_total,
       coalesce(tuples_done, 0) AS tuples_done, coalesce(tuples_total, 0) AS tuples_total,
       coalesce(lockers_done, 0) AS lockers_done, coalesce(lockers_total, 0) AS lockers_total
  FROM pg_stat_progress_create_index WHERE relid = to_regclass(format('%%I.%%I', %s::text, %s::text))
"""


def nobody(done: float, step: str) -> None:
    """For whom it need not be told."""


def part_of(tell: Tell, number: int, count: int) -> Tell:
    """Tell of one of several builds (from 0) as of a part of the whole."""
    return lambda share, said: tell((number + share) / count, said)


def watched(session: Session, work: Callable[[], None], table: tuple[str, str], tell: Tell) -> None:
    """Do the work on the session's connection to its end; raises what it raises.

    Interrupted (Ctrl-C, Celery's time limit), the server is asked to stop before anything else is done.
    """
    with ThreadPoolExecutor(1, "paiid_perf-build") as executor:
        job = executor.submit(work)
        try:
            _follow(session, job, table, tell)
            job.result()
        except BaseException:
            if not job.done():
                session.cancel()
            raise


def _follow(session: Session, job: Future[None], table: tuple[str, str], tell: Tell) -> None:
    """Look until the work is over. A look that fails is left out: it must not stop the build."""
    with ExitStack() as stack:
        beside: Session | None = None
        while not _over(job):
            try:
                beside = beside or stack.enter_context(session.beside())
                found = beside.rows_of(Progress, _PROGRESS, table)
            except psycopg.Error as error:
                logger.debug("no look at the build: %s", error)
                return
            for one in found:
                tell(done(one), step(one))


def _over(job: Future[None]) -> bool:
    try:
        job.exception(timeout=EVERY)
    except StillRunning:
        return False
    return True
