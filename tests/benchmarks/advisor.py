"""Index advisors beside each other: the same data, the same queries, really executed with constants unseen before.

    python -m tests.benchmarks.advisor [--json] [--workload tpch] [--scale 0.15] [--advisor ours_estimated] [--url URL]

Without ``--url`` (or ``DATABASE_URL``) PostgreSQL is started from the embedded wheel. Each workload's database has
primary keys only; the queries run with some constants and leave their counters in pg_stat_statements; each
advisor sees those. Then its indexes are built and every query runs with other constants, as often as time allows.

``speedup`` is the geometric mean, over the queries, of the server's CPU time with primary keys only over that with
the indexes (the fastest of several runs; both divided by a yardstick query of the same pass, so that a busy machine
does not show). ``slowed`` counts queries that take more than a tenth longer; what seems to is run again in turns with
and without the indexes, as a busy machine makes a query that has kept its plan look slower. A query that runs into
the time-out counts with the time-out. Nothing is asserted on time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from time import perf_counter, sleep
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.benchmarks.advisor_clinic import CLINIC
from tests.benchmarks.advisor_desk import DESK
from tests.benchmarks.advisor_oltp import OLTP, Mix, Pass
from tests.benchmarks.advisor_retail import RETAIL
from tests.benchmarks.advisor_single import picked
from tests.benchmarks.advisor_tpch import TPCH
from tests.benchmarks.advisor_workload import Template, Workload

ROOT = Path(__file__).resolve().parents[2]
WORKLOADS: Mapping[str, Workload | Mix] = {w.name: w for w in (TPCH, RETAIL, CLINIC, OLTP, DESK)}
SCALES = {"tpch": 0.15, "retail": 0.6, "clinic": 0.6, "oltp": 1.0, "desk": 1.0}
#: Runs of each query with each set of constants; a slow one runs less often.
RUNS, SLOW_MS = 4, 1_500
#: Seeds of the constants that the advisors see, and of those that are measured.
SEEN, UNSEEN = (1, 2, 3), (101, 102)
#: VACUUMs after the load, at most, a second apart.
SETTLING = 10
SLOWED = 1.10
#: Queries that take so many times as long are measured again, in so many turns.
SUSPECT, TURNS = 1.05, 5
#: Passes of a transaction mix with each set of indexes.
ROUNDS = 3
#: What everything is measured in: it reads memory as the queries do, so that what slows them slows it as well.
YARDSTICK = "SELECT count(*) FROM yardstick.lines WHERE pad LIKE '%~%'"
YARDSTICK_DDL = (
    "CREATE SCHEMA yardstick",
    "CREATE UNLOGGED TABLE yardstick.lines (k int, pad text)",
    "INSERT INTO yardstick.lines SELECT k, repeat(md5(k::text), 8) FROM generate_series(1, 60000) k",
)

#: Forgets this database's statements only.
RESET = (
    "SELECT pg_stat_statements_reset(0, (SELECT oid FROM pg_database WHERE datname = current_database()), 0)"
)

#: The CPU time of parallel workers cannot be seen from their leader.
ONE_PROCESS = "ALTER DATABASE {} SET max_parallel_workers_per_gather = 0"

Connection = psycopg.Connection[Any]


# --- the server --------------------------------------------------------------------------------------------


def database_url(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def open_database(url: str) -> Connection:
    return psycopg.connect(url, autocommit=True, prepare_threshold=None, client_encoding="UTF8")


def prepare(url: str, workload: Workload | Mix, scale: float) -> str:
    """The URL of a database with the workload's tables; one that is there at that scale is used again."""
    name = f"bench_{workload.name}"
    with open_database(url) as connection:
        found = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
        if found == (f"scale {scale}",):
            return database_url(url, name)
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
        connection.execute(ONE_PROCESS.format(name).encode())
    with open_database(database_url(url, name)) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        for statement in (*YARDSTICK_DDL, *workload.ddl, *workload.load(scale)):
            connection.execute(statement.encode())
        settle(connection)
        connection.execute(f"COMMENT ON DATABASE {name} IS 'scale {scale}'".encode())
    return database_url(url, name)


def settle(connection: Connection) -> None:
    """VACUUM until the visibility map is whole: an autovacuum worker's snapshot keeps pages out of it, and what
    index-only scans cost would differ from load to load."""
    for _ in range(SETTLING):
        connection.execute("VACUUM ANALYZE")
        row = connection.execute(
            "SELECT sum(relpages) <= sum(relallvisible) FROM pg_class WHERE relkind = 'r' AND relname !~ '^(pg|sql)_'"
        ).fetchone()
        if row and row[0]:
            return
        sleep(1.0)


def cpu_ms(connection: Connection) -> Callable[[], float]:
    """Reads the CPU time that the connection's server process has had (ms); wall time where it cannot be read."""
    path = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    local = connection.info.host in {"127.0.0.1", "localhost"} and path.exists()
    if not local:
        return lambda: perf_counter() * 1000
    return lambda: int(path.read_text().split()[0]) / 1e6


@dataclass(frozen=True)
class Timed:
    ms: float
    timed_out: bool = False


def timed(connection: Connection, cpu: Callable[[], float], text: str, timeout_ms: int) -> Timed:
    """One execution's CPU time; one that is cancelled counts with the time-out."""
    began = cpu()
    try:
        connection.execute(text.encode()).fetchall()
    except psycopg.errors.QueryCanceled:
        return Timed(float(timeout_ms), True)
    return Timed(cpu() - began)


# --- passes ------------------------------------------------------------------------------------------------


def gather(url: str, workload: Workload) -> None:
    """Run the queries with the constants that the advisors may see."""
    with open_database(url) as connection:
        connection.execute(RESET)
        for statement in (f"SET statement_timeout = {workload.timeout_ms}", *workload.settings):
            connection.execute(statement.encode())
        cpu = cpu_ms(connection)
        for template in workload.queries:
            for seed in SEEN:
                if timed(
                    connection, cpu, template.make(Random(f"{template.name}{seed}")), workload.timeout_ms
                ).timed_out:
                    break


def measure(url: str, workload: Workload) -> dict[str, float]:
    """Each query's CPU time in yardsticks, with the constants that nobody has seen."""
    times: dict[str, float] = {}
    with open_database(url) as connection:
        connection.execute(f"SET statement_timeout = {workload.timeout_ms}".encode())
        cpu = cpu_ms(connection)
        for template in workload.queries:
            yardstick = min(timed(connection, cpu, YARDSTICK, 0).ms for _ in range(3))
            texts = [template.make(Random(f"{template.name}{seed}")) for seed in UNSEEN]
            times[template.name] = _query(connection, cpu, texts, workload.timeout_ms) / yardstick
    return times


def _query(connection: Connection, cpu: Callable[[], float], texts: Sequence[str], timeout_ms: int) -> float:
    """The sum over the constants of the fastest run; the time-out for each where one ran into it."""
    spent = 0.0
    for text in texts:
        best = _fastest(connection, cpu, text, timeout_ms)
        if best.timed_out:
            return float(timeout_ms) * len(texts)
        spent += best.ms
    return spent


def _fastest(connection: Connection, cpu: Callable[[], float], text: str, timeout_ms: int) -> Timed:
    best = timed(connection, cpu, text, timeout_ms)
    for _ in range(RUNS - 1):
        if best.timed_out or best.ms > SLOW_MS:
            break
        best = min(best, timed(connection, cpu, text, timeout_ms), key=lambda t: t.ms)
    return best


# --- advisors ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Advised:
    """What an advisor said. ``note`` tells why it said nothing."""

    statements: Sequence[str]
    seconds: float = 0.0
    costed: int | None = None
    unread: int | None = None
    costs: str = ""
    note: str = ""


def ours(url: str, workload: Workload | Mix) -> Advised:
    """The command as a person runs it."""
    began = perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "perf", "advise", "--format", "json"],
        env=os.environ | {"DATABASE_URL": url, "REDIS_URL": ""},
        capture_output=True,
        text=True,
    )
    seconds = perf_counter() - began
    if done.returncode:
        return Advised((), seconds, note=done.stderr.strip()[-500:])
    found = json.loads(done.stdout)
    return Advised(
        [c["statement"] for c in found["recommendations"]],
        seconds,
        found["workload"]["judged"],
        found["workload"]["unread"],
        found["costs"],
    )


def ours_estimated(url: str, workload: Workload | Mix) -> Advised:
    """The same without HypoPG."""
    with open_database(url) as connection:
        connection.execute("DROP EXTENSION IF EXISTS hypopg")
    return ours(url, workload)


def ours_hypopg(url: str, workload: Workload | Mix) -> Advised:
    """The same with HypoPG, where the server has it."""
    with open_database(url) as connection:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS hypopg")
        except psycopg.errors.FeatureNotSupported:
            return Advised((), note="the server has no HypoPG")
    return ours(url, workload)


def ours_trial(url: str, workload: Workload | Mix) -> Advised:
    """What ``--trial`` keeps of it: built, run again and judged in a copy of the database."""
    began = perf_counter()
    with _copied(url) as copy:
        _see(copy, workload)
        for command in ("migrate --verbosity 0", "perf advise --trial"):
            done = subprocess.run(
                [sys.executable, str(ROOT / "manage.py"), *command.split()],
                env=os.environ | {"DATABASE_URL": copy, "REDIS_URL": ""},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                return Advised((), note=done.stderr.strip()[-500:])
        with open_database(copy) as connection:
            kept = [definition for (definition,) in connection.execute(_KEPT).fetchall()]
    return Advised(kept, perf_counter() - began, note="" if kept else "kept nothing")


#: Indexes of ours, as they are built.
_KEPT = """
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE c.relname LIKE 'pf\\_%' AND i.indisvalid AND c.relnamespace = 'public'::regnamespace ORDER BY c.oid
"""

_COLUMNS = """
SELECT c.table_name, c.column_name FROM information_schema.columns c
  JOIN information_schema.tables t USING (table_schema, table_name)
 WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' ORDER BY 1, c.ordinal_position
"""


def every_column(url: str, workload: Workload | Mix) -> Advised:
    """An index on each column of each table."""
    with open_database(url) as connection:
        found = connection.execute(_COLUMNS).fetchall()
    return Advised([f"CREATE INDEX ON {table} ({column})" for table, column in found])


def single_columns(url: str, workload: Workload | Mix) -> Advised:
    """index_advisor's way, where the server has HypoPG."""
    if isinstance(workload, Mix):
        return Advised((), note="for queries only")
    began = perf_counter()
    with open_database(url) as connection:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS hypopg")
        except psycopg.errors.FeatureNotSupported:
            return Advised((), note="the server has no HypoPG")
        texts = [t.make(Random(f"{t.name}{seed}")) for t in workload.queries for seed in SEEN]
        found = picked(connection, texts, connection.execute(_COLUMNS).fetchall())
    return Advised(found, perf_counter() - began)


def foreign_keys(url: str, workload: Workload | Mix) -> Advised:
    """What Django's ``ForeignKey`` makes by itself."""
    return Advised([f"CREATE INDEX ON {table} ({column})" for table, column in workload.foreign_keys])


def hand_made(url: str, workload: Workload | Mix) -> Advised:
    """What a person adds who knows the transactions; the query workloads have no such set."""
    return (
        Advised(workload.hand_made)
        if isinstance(workload, Mix)
        else Advised((), note="for transactions only")
    )


_OPTIMIZER = """
import json, os, sys
import django, environ
from django.conf import settings
settings.configure(DATABASES={"default": environ.Env.db_url_config(os.environ["DATABASE_URL"])})
django.setup()
from optimizer.analyzer import extract_query_patterns, get_frequent_queries
from optimizer.recommender import recommend_indexes
from optimizer.rendering import create_index_sql
from django.db import connection
found = recommend_indexes(extract_query_patterns(get_frequent_queries()), min_calls=1)
print(json.dumps([create_index_sql(r, connection.ops.quote_name) for r in found]))
"""


def index_optimizer(url: str, workload: Workload | Mix) -> Advised:
    """django-index-optimizer, asked for every statement (its default of five calls would leave most out)."""
    if find_spec("optimizer") is None:
        return Advised((), note="django-index-optimizer is not installed")
    began = perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _OPTIMIZER],
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
    )
    seconds = perf_counter() - began
    if done.returncode:
        return Advised((), seconds, note=f"failed: {done.stderr.strip().splitlines()[-1]}")
    return Advised(json.loads(done.stdout), seconds)


ADVISORS: Mapping[str, Callable[[str, Workload | Mix], Advised]] = {
    "ours_estimated": ours_estimated,
    "ours_hypopg": ours_hypopg,
    "ours_trial": ours_trial,
    "single_columns": single_columns,
    "foreign_keys": foreign_keys,
    "django_index_optimizer": index_optimizer,
    "every_column": every_column,
    "hand_made": hand_made,
}


# --- indexes -----------------------------------------------------------------------------------------------

_BUILT = """
SELECT c.relname, pg_relation_size(i.indexrelid) FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'public' AND c.oid NOT IN (SELECT conindid FROM pg_constraint)
"""


@contextmanager
def built(url: str, statements: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(bytes, what failed) of the indexes, which are there for the length of the block."""
    failed = []
    with open_database(url) as connection:
        for statement in statements:
            try:
                connection.execute(statement.replace(" CONCURRENTLY", "").encode())
            except psycopg.Error as error:
                failed.append(f"{statement}: {error}")
        connection.execute("ANALYZE")
        found = connection.execute(_BUILT).fetchall()
    try:
        yield sum(size for _, size in found), failed
    finally:
        with open_database(url) as connection:
            for name, _ in found:
                connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(name)))


# --- results -----------------------------------------------------------------------------------------------


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else 0.0


def compared(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, Any]:
    """The speed-up over all queries, and those that got slower (how many times as long they take)."""
    ratios = {name: before[name] / max(after[name], 1e-9) for name in before}
    slowed = {name: round(1 / ratio, 2) for name, ratio in ratios.items() if 1 / ratio > SLOWED}
    return {
        "speedup": round(geometric_mean(list(ratios.values())), 3),
        "total_speedup": round(sum(before.values()) / max(sum(after.values()), 1e-9), 2),
        "slowed": slowed,
        "queries": {name: round(ratio, 2) for name, ratio in ratios.items()},
    }


def _row(advised: Advised, size: int, failed: Sequence[str], result: dict[str, Any]) -> dict[str, Any]:
    return result | {
        "indexes": len(advised.statements),
        "mib": round(size / 2**20, 1),
        "seconds": round(advised.seconds, 2),
        "costed": advised.costed,
        "unread": advised.unread,
        "costs": advised.costs,
        "note": advised.note,
        "failed": list(failed),
        "statements": list(advised.statements),
    }


def run_queries(url: str, workload: Workload, advisors: Sequence[str]) -> dict[str, Any]:
    """A workload of queries: one pass with primary keys only, one for each advisor."""
    advice = {}
    for name in advisors:
        _see(url, workload)
        advice[name] = ADVISORS[name](url, workload)
    rows: dict[str, Any] = {name: {"note": a.note} for name, a in advice.items() if a.note}
    with _copied(url) as bare:
        before = measure(url, workload)
        for name in (n for n in advisors if n not in rows):
            with built(url, advice[name].statements) as (size, failed):
                after = measure(url, workload)
                result = compared(*_again(bare, url, workload, before, after))
                rows[name] = _row(advice[name], size, failed, result)
    return {"queries": len(workload.queries), "advisors": {n: rows[n] for n in advisors}}


def _again(
    bare: str, url: str, workload: Workload, before: Mapping[str, float], after: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Both passes' times, those of queries that seem slower measured again, in turns."""
    old, new = dict(before), dict(after)
    for template in workload.queries:
        if after[template.name] > SUSPECT * before[template.name]:
            old[template.name], new[template.name] = _turns(bare, url, workload, template)
    return old, new


def _turns(bare: str, url: str, workload: Workload, template: Template) -> tuple[float, float]:
    """One query's CPU time without and with the indexes: the sums over the constants of the fastest of TURNS runs."""
    spent = [0.0, 0.0]
    with open_database(bare) as without, open_database(url) as having:
        clocks = [(c, cpu_ms(c)) for c in (without, having)]
        for connection, _ in clocks:
            connection.execute(f"SET statement_timeout = {workload.timeout_ms}".encode())
        for seed in UNSEEN:
            text = template.make(Random(f"{template.name}{seed}"))
            runs = [[timed(c, cpu, text, workload.timeout_ms).ms for c, cpu in clocks] for _ in range(TURNS)]
            spent = [total + min(r[n] for r in runs) for n, total in enumerate(spent)]
    return spent[0], spent[1]


def run_mix(url: str, mix: Mix, advisors: Sequence[str]) -> dict[str, Any]:
    """A transaction mix: passes with each advisor's indexes and with none take turns, the median of ROUNDS counts. Each
    begins with a fresh copy of the database, so that none sees another's bloat."""
    advice = {name: _advised(url, mix, name) for name in advisors}
    sets = {"": Advised(())} | {name: a for name, a in advice.items() if not a.note}
    passes: dict[str, list[tuple[Pass, int, list[str]]]] = {name: [] for name in sets}
    for turn in range(ROUNDS):
        for name in Random(turn).sample(list(sets), len(sets)):
            passes[name].append(_pass(url, mix, sets[name]))
    middle = {name: sorted(found, key=lambda p: p[0].rate)[ROUNDS // 2] for name, found in passes.items()}
    base, _, _ = middle.pop("")
    rows: dict[str, Any] = {name: {"note": a.note} for name, a in advice.items() if a.note}
    for name, (result, size, failed) in middle.items():
        rows[name] = _row(advice[name], size, failed, _mixed(base, result))
    return {"transactions": mix.transactions, "advisors": {n: rows[n] for n in advisors}}


def _advised(url: str, mix: Mix, name: str) -> Advised:
    with _copied(url) as copy:
        _see(copy, mix)
        return ADVISORS[name](copy, mix)


def _pass(url: str, mix: Mix, advised: Advised) -> tuple[Pass, int, list[str]]:
    with (
        _copied(url) as copy,
        built(copy, advised.statements) as (size, failed),
        open_database(copy) as connection,
    ):
        return mix.pass_(connection, cpu_ms(connection)), size, failed


def _mixed(base: Pass, result: Pass) -> dict[str, Any]:
    return {
        "speedup": round(result.rate / base.rate, 3),
        "hot_ratio": {t: round(r, 3) for t, r in result.hot.items()},
        "hot_before": {t: round(r, 3) for t, r in base.hot.items()},
    }


def _see(url: str, workload: Workload | Mix) -> None:
    """Run the workload where the advisors can see it."""
    if isinstance(workload, Workload):
        gather(url, workload)
        return
    with open_database(url) as connection:
        connection.execute(RESET)
        workload.pass_(connection, cpu_ms(connection))


@contextmanager
def _copied(url: str) -> Iterator[str]:
    name = urlsplit(url).path.lstrip("/")
    with open_database(database_url(url, "postgres")) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}_copy WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}".encode())
        connection.execute(ONE_PROCESS.format(f"{name}_copy").encode())
        try:
            yield database_url(url, f"{name}_copy")
        finally:
            connection.execute(f"DROP DATABASE {name}_copy WITH (FORCE)".encode())


@contextmanager
def server(url: str) -> Iterator[str]:
    """The server to use: the one named, else the embedded one."""
    if url:
        yield url
        return
    from project import embedded

    with tempfile.TemporaryDirectory() as directory:
        os.environ.setdefault("PAIID_PERF_VAR", directory)
        with embedded.start_servers("benchmark", durable=False) as servers:
            yield servers.database_url


def run(url: str, workloads: Sequence[str], advisors: Sequence[str], scale: float | None) -> dict[str, Any]:
    """Everything, as it is printed."""
    results: dict[str, Any] = {}
    with open_database(url) as connection:
        version = connection.info.server_version
    for name in workloads:
        workload = WORKLOADS[name]
        database = prepare(url, workload, scale or SCALES[name])
        if isinstance(workload, Mix):
            results[name] = run_mix(database, workload, advisors)
        else:
            results[name] = run_queries(database, workload, advisors)
    return {"server_version": version, "workloads": results}


def _text(found: Mapping[str, Any]) -> str:
    lines = [f"PostgreSQL {found['server_version']}"]
    for name, workload in found["workloads"].items():
        lines.append(f"\n{name}: speed-up · slowed · MiB · seconds · costed/unread")
        for advisor, row in workload["advisors"].items():
            if "speedup" not in row:
                lines.append(f"  {advisor:24} {row['note']}")
                continue
            slowed = ", ".join(f"{q} ×{r}" for q, r in row.get("slowed", {}).items()) or "0"
            told = f"{row['costed']}/{row['unread']} {row['costs']}" if row["costed"] is not None else ""
            lines.append(
                f"  {advisor:24} {row['speedup']:.2f}× · {slowed} · {row['mib']:.0f} · {row['seconds']:.1f} · {told}"
            )
            if "hot_ratio" in row:
                lines.append(f"  {'':24} HOT {row['hot_before']} → {row['hot_ratio']}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--url", default=os.environ.get("DATABASE_URL", ""))
    parser.add_argument("--workload", action="append", choices=sorted(WORKLOADS))
    parser.add_argument("--advisor", action="append", choices=list(ADVISORS))
    parser.add_argument("--scale", type=float)
    options = parser.parse_args(arguments)
    with server(options.url) as url:
        found = run(
            url, options.workload or list(WORKLOADS), options.advisor or list(ADVISORS), options.scale
        )
    print(json.dumps(found, indent=2) if options.json else _text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
