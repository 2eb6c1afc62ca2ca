"""The facts about the health of a server. The fields of each are the columns of the query of the same name in
facts/health.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Generic, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Panel(Generic[Row]):
    """What one query said, or why it could not be asked."""

    rows: tuple[Row, ...] = ()
    unavailable: str = ""
    """Empty, or what is missing and the GRANT, extension or setting that would give it."""
    limited: str = ""
    """Empty, or what the rows do not show for want of a right."""

    def first(self) -> Row | None:
        return self.rows[0] if self.rows else None


@dataclass(frozen=True, slots=True)
class ServerFact:
    """Who answers, and what we may do there."""

    version: int
    """As ``server_version_num``: 180006."""
    role: str
    superuser: bool
    reads_all_stats: bool
    in_recovery: bool
    database: str
    started_at: datetime
    extensions: Sequence[str]
    available: Sequence[str]
    login: str
    """Whose settings a new connection starts with: not ``role`` where the host assumes another after login."""
    managed_by: str
    """``rds``, ``cloudsql``, ``azure``, ``aiven``, ``supabase`` or empty: who owns the configuration file."""


@dataclass(frozen=True, slots=True)
class DatabaseFact:
    """The counters of pg_stat_database since ``stats_reset``, and the age of the oldest transaction id."""

    bytes: int
    connections: int
    connections_all: int
    commits: int
    rollbacks: int
    deadlocks: int
    blocks_hit: int
    blocks_read: int
    temp_files: int
    temp_bytes: int
    stats_reset: datetime | None
    xid_age: int
    multixact_age: int
    sessions: int = 0
    """Connections opened."""
    active_ms: float = 0.0
    """Time spent running statements, over all connections."""


@dataclass(frozen=True, slots=True)
class SessionFact:
    """One client connection. Durations in seconds; what rights hide is None."""

    pid: int
    role: str | None
    database: str | None
    application: str
    source: str
    state: str | None
    query: str
    transaction_seconds: float | None
    query_seconds: float | None
    state_seconds: float | None
    wait: str
    blocked_by: Sequence[int]
    xmin_age: int | None


@dataclass(frozen=True, slots=True)
class TableFact:
    """One table's size, counters and vacuum history."""

    schema: str
    name: str
    live: int
    dead: int
    writes: int
    updates: int
    hot_updates: int
    seq_scans: int
    index_scans: int
    modified_since_analyze: int
    analyzed_at: datetime | None
    vacuumed_at: datetime | None
    bytes: int
    heap_bytes: int
    pages: int
    rows_estimated: float
    row_bytes: float | None
    """Average width of a row from pg_stats; None where the table was never analyzed or may not be read."""
    fillfactor: int
    autovacuum: bool
    vacuum_at: float
    """Dead rows at which autovacuum starts, by the table's own settings or the server's."""
    xid_age: int
    blocks_hit: int
    blocks_read: int
    index_blocks_hit: int
    index_blocks_read: int
    moved_updates: int | None = None
    """Updates whose new row found no room on its page; None before PostgreSQL 16, which counts them."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The table's own storage parameters."""
    owned: bool = True
    """Whether our role may alter it."""

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class IndexFact:
    """One index. ``keys`` are its key columns as text with operator class, collation and order."""

    schema: str
    table: str
    name: str
    method: str
    keys: Sequence[str]
    included: Sequence[str]
    predicate: str
    definition: str
    is_unique: bool
    is_primary: bool
    is_valid: bool
    is_constraint: bool
    is_replica_identity: bool
    is_clustered: bool
    supports_foreign_key: bool
    being_built: bool
    bytes: int
    scans: int
    pages: int
    rows_estimated: float
    key_bytes: float | None
    fillfactor: int

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def is_protected(self) -> bool:
        """Whether it guards something besides speed, so that it must not be dropped."""
        guards = (self.is_unique, self.is_primary, self.is_constraint, self.is_replica_identity)
        return any(guards) or self.is_clustered


@dataclass(frozen=True, slots=True)
class ConstraintFact:
    """A constraint that was added NOT VALID and never validated."""

    schema: str
    table: str
    name: str
    definition: str


@dataclass(frozen=True, slots=True)
class SequenceFact:
    """A sequence and the largest value that it, or the column it feeds, can hold."""

    schema: str
    name: str
    table: str
    column: str
    column_type: str
    last_value: int
    max_value: int
    cycles: bool

    @property
    def used(self) -> float:
        """Share of the values that are gone, 0–1."""
        return self.last_value / self.max_value


@dataclass(frozen=True, slots=True)
class KeyFact:
    """An integer column of a key that no sequence feeds (a foreign key, say), and the largest value known in it."""

    schema: str
    table: str
    column: str
    column_type: str
    largest: int
    max_value: int

    @property
    def used(self) -> float:
        """Share of the values that are gone, 0–1, as of the last ANALYZE."""
        return self.largest / self.max_value


@dataclass(frozen=True, slots=True)
class Growth:
    """How the database's size changed between two moments of its history, and the room that is left."""

    bytes_before: float
    bytes_now: float
    days: float
    free: int | None
    """Bytes free on the disk of the data; None where the server is elsewhere."""

    @property
    def per_day(self) -> float:
        return (self.bytes_now - self.bytes_before) / self.days


@dataclass(frozen=True, slots=True)
class ReplicaFact:
    """A server that streams from this one."""

    application: str
    source: str
    state: str
    lag_seconds: float | None
    lag_bytes: int | None


@dataclass(frozen=True, slots=True)
class SlotFact:
    """A replication slot and the WAL that it keeps from being removed."""

    name: str
    kind: str
    active: bool
    retained_bytes: int | None
    wal_status: str | None


@dataclass(frozen=True, slots=True)
class SettingFact:
    """One server setting. ``context`` says whether a change needs a reload or a restart."""

    name: str
    value: str
    unit: str
    context: str
    source: str
    pending_restart: bool
    by_alter_system: bool = False
    """Whether ALTER SYSTEM wrote the value: then undoing is writing this one again."""


@dataclass(frozen=True, slots=True)
class VacuumFact:
    """A VACUUM that runs now. ``done`` is the share of the heap scanned, 0–1."""

    pid: int
    table: str
    phase: str
    done: float


@dataclass(frozen=True, slots=True)
class PreparedFact:
    """A transaction prepared for two-phase commit that nobody has finished."""

    gid: str
    owner: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StatementFact:
    """One normalised query since the counters began."""

    queryid: int
    text: str
    calls: int
    mean_ms: float
    total_ms: float
    rows: int
    temp_blocks: int


@dataclass(frozen=True, slots=True)
class CheckpointFact:
    """Checkpoints by the clock and by WAL volume since the counters began."""

    timed: int
    requested: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What it takes to say that nothing uses an index. Indexes are named ``schema.name``."""

    since: datetime | None = None
    """From when on the server's statistics count; None where nobody knows."""
    seen: Mapping[str, datetime] = field(default_factory=dict)
    """When each index was first seen by us."""
    scans: Mapping[str, int] = field(default_factory=dict)
    """Scans on the replicas that were asked: each server counts its own."""
    is_complete: bool = True
    """Whether every replica was asked."""

    def watched_since(self, index: str) -> datetime | None:
        """From when on every scan of the index is known; None where that is not known."""
        seen = self.seen.get(index)
        return max(seen, self.since) if seen and self.since and self.is_complete else None


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk that a database lies on. Bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that the server runs on, as far as it can be known. Bytes."""

    memory: int | None = None
    cores: int | None = None
    rotational: bool | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Everything that the health checks judge, read once."""

    server: ServerFact
    database: Panel[DatabaseFact] = Panel()
    sessions: Panel[SessionFact] = Panel()
    tables: Panel[TableFact] = Panel()
    indexes: Panel[IndexFact] = Panel()
    constraints: Panel[ConstraintFact] = Panel()
    sequences: Panel[SequenceFact] = Panel()
    keys: Panel[KeyFact] = Panel()
    replicas: Panel[ReplicaFact] = Panel()
    slots: Panel[SlotFact] = Panel()
    settings: Panel[SettingFact] = Panel()
    vacuums: Panel[VacuumFact] = Panel()
    prepared: Panel[PreparedFact] = Panel()
    statements: Panel[StatementFact] = Panel()
    checkpoints: Panel[CheckpointFact] = Panel()
    machine: Machine = Machine()
    pool: PoolFact | None = None
    growth: Growth | None = None
    evidence: Evidence = Evidence()
    """Of what no index scan has used."""

    def missing(self) -> dict[str, str]:
        """Panel name → what it lacks, for the panels that could not be read in full."""
        panels = {f.name: getattr(self, f.name) for f in fields(self)}
        gaps = {name: p.unavailable or p.limited for name, p in panels.items() if isinstance(p, Panel)}
        return {name: gap for name, gap in gaps.items() if gap}


@dataclass(frozen=True, slots=True)
class PoolFact:
    """How this process reaches the database."""

    min_size: int | None
    """None: no pool in ``OPTIONS``."""
    max_size: int | None
    persistent_seconds: float | None
    """CONN_MAX_AGE; None keeps connections for ever, 0 closes after each request."""
    pgbouncer: bool
    server_side_cursors: bool
    max_connections: int
    reserved: int
    in_use: int
    alias: str = "default"
    transactions_per_connection: float | None = None
    """None while too few connections were opened to say."""
    busy: float | None = None
    """Connections that ran a statement at the same time, on average since the counters began."""
    queued: float | None = None
    """Share of this process' requests that had to wait for a connection of its pool; None of too few."""
    waited_ms: float | None = None
    """How long those waited on average."""
