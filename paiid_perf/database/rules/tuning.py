"""Advice on server settings from memory, disk, version and workload: value, reason, source, reload or restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from paiid_perf.database.health_types import Health, ServerFact, SettingFact
from paiid_perf.database.rules.health.common import Rule, quoted
from paiid_perf.database.rules.health.work import forced_checkpoints, spills
from paiid_perf.database.rules.sizes import readable
from paiid_perf.database.rules.thresholds import limit
from paiid_perf.database.types import Finding, Severity

KB = 1024
MB = 1024 * KB
GB = 1024 * MB
_UNITS = {"B": 1, "kB": KB, "8kB": 8 * KB, "16kB": 16 * KB, "MB": MB, "": 1}
_MANUAL = "PostgreSQL manual, "
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Server:
    """What the advice depends on, looked up by name."""

    health: Health
    settings: dict[str, SettingFact]
    now: datetime

    def text(self, name: str) -> str | None:
        return self.settings[name].value if name in self.settings else None

    def size(self, name: str) -> int | None:
        """A memory setting in bytes; None where it cannot be read."""
        setting = self.settings.get(name)
        return int(setting.value) * _UNITS[setting.unit] if setting and setting.unit in _UNITS else None

    def number(self, name: str) -> float | None:
        return float(self.settings[name].value) if name in self.settings else None

    @property
    def memory(self) -> int | None:
        return self.health.machine.memory

    @property
    def data(self) -> int:
        """Bytes of the database."""
        database = self.health.database.first()
        return database.bytes if database else 0


@dataclass(frozen=True, slots=True)
class SettingRule:
    """One setting: what it should be (None: as it is), and why."""

    name: str
    better: Callable[[Server], str | None]
    why: Callable[[], str]
    source: str
    severity: Severity = "info"
    of_role: bool = False
    """Whether it is better set for the role that needs it than for the whole server."""


def _whole_mb(size: float) -> str:
    return f"{max(1, int(size // MB))}MB"


def _shared_buffers(server: Server) -> str | None:
    have = server.size("shared_buffers")
    if have is None or server.memory is None or server.data <= have or have >= server.memory * 0.15:
        return None
    return _whole_mb(min(server.memory * 0.25, 16 * GB))


def _effective_cache_size(server: Server) -> str | None:
    have = server.size("effective_cache_size")
    if have is None or server.memory is None:
        return None
    enough = min(server.memory * 0.4, server.data) <= have <= server.memory
    return None if enough else _whole_mb(server.memory * 0.65)


def _maintenance_work_mem(server: Server) -> str | None:
    have = server.size("maintenance_work_mem")
    if have is None or server.memory is None:
        return None
    wanted = min(server.memory / 16, GB)
    return _whole_mb(wanted) if have < wanted / 2 and server.data > have else None


def _work_mem(server: Server) -> str | None:
    have, most = server.size("work_mem"), server.number("max_connections")
    if have is None or not most or server.memory is None or not any(spills(server.health, server.now)):
        return None
    fair = (server.memory - (server.size("shared_buffers") or 0)) / (most * 3)
    return _whole_mb(min(fair, have * 4)) if fair > have * 1.5 else None


def _random_page_cost(server: Server) -> str | None:
    if (server.number("random_page_cost") or 0) < 4 or server.health.machine.rotational:
        return None
    return "1.1"


def _io_concurrency(server: Server) -> str | None:
    known_ssd = server.health.machine.rotational is False
    return "200" if known_ssd and (server.number("effective_io_concurrency") or 0) <= 1 else None


def _switch(name: str, wrong: str, right: str) -> Callable[[Server], str | None]:
    return lambda server: right if server.text(name) == wrong else None


def _completion_target(server: Server) -> str | None:
    have = server.number("checkpoint_completion_target")
    return "0.9" if have is not None and have < 0.9 else None


def _max_wal_size(server: Server) -> str | None:
    have, forced = server.size("max_wal_size"), forced_checkpoints(server.health)
    too_often = forced is not None and forced > limit("checkpoints_requested")
    return _whole_mb(min(have * 4, 16 * GB)) if have and too_often and have < 16 * GB else None


def _wal_compression(server: Server) -> str | None:
    """Full-page images are what forced checkpoints multiply."""
    return "on" if server.text("wal_compression") == "off" and _max_wal_size(server) else None


def _jit(server: Server) -> str | None:
    calls = sum(statement.calls for statement in server.health.statements.rows)
    total = sum(statement.total_ms for statement in server.health.statements.rows)
    is_short = calls >= limit("slow_calls") and total / calls < limit("slow_ms")
    return "off" if server.text("jit") == "on" and is_short else None


def _idle_timeout(server: Server) -> str | None:
    return "5min" if server.text("idle_in_transaction_session_timeout") == "0" else None


def _preload(server: Server) -> str | None:
    loaded = server.text("shared_preload_libraries")
    if loaded is None or "pg_stat_statements" in loaded:
        return None
    return ",".join(filter(None, (loaded, "pg_stat_statements")))


RULES: tuple[SettingRule, ...] = (
    SettingRule(
        "fsync",
        _switch("fsync", "off", "on"),
        lambda: _("A crash of the machine may destroy the whole database."),
        _MANUAL + "19.5.1",
        "critical",
    ),
    SettingRule(
        "full_page_writes",
        _switch("full_page_writes", "off", "on"),
        lambda: _("A page half written in a crash cannot be repaired."),
        _MANUAL + "19.5.1",
        "critical",
    ),
    SettingRule(
        "autovacuum",
        _switch("autovacuum", "off", "on"),
        lambda: _("Nothing removes dead rows or refreshes the planner's statistics."),
        _MANUAL + "24.1.6",
        "critical",
    ),
    SettingRule(
        "shared_preload_libraries",
        _preload,
        lambda: _("pg_stat_statements counts what each normalised query costs; the advisor works from it."),
        _MANUAL + "F.32",
        "warning",
    ),
    SettingRule(
        "track_io_timing",
        _switch("track_io_timing", "off", "on"),
        lambda: _(
            "Tells time on disk from time on the processor; pg_test_timing shows its price, mostly nothing."
        ),
        _MANUAL + "19.9.1",
    ),
    SettingRule(
        "compute_query_id",
        _switch("compute_query_id", "off", "auto"),
        lambda: _("Without it pg_stat_statements records nothing."),
        _MANUAL + "19.9.2",
    ),
    SettingRule(
        "shared_buffers",
        _shared_buffers,
        lambda: _("The data is larger than the buffers; a quarter of the memory is where the manual starts."),
        _MANUAL + "19.4.1",
    ),
    SettingRule(
        "effective_cache_size",
        _effective_cache_size,
        lambda: _(
            "The planner should know how much of an index it will find in memory; nothing is allocated."
        ),
        _MANUAL + "19.7.2; half to three quarters of memory: PostgreSQL wiki, Tuning Your Server",
    ),
    SettingRule(
        "maintenance_work_mem",
        _maintenance_work_mem,
        lambda: _("CREATE INDEX and VACUUM work in one pass where this is large enough."),
        _MANUAL + "19.4.1; a sixteenth of memory: pgtune",
    ),
    SettingRule(
        "work_mem",
        _work_mem,
        lambda: _("Sorts and hashes spill to disk. Each node of each query may take this much."),
        _MANUAL + "19.4.1; the share of memory: pgtune",
        of_role=True,
    ),
    SettingRule(
        "random_page_cost",
        _random_page_cost,
        lambda: _(
            "4 is the price of a disk that has to seek; on solid state 1.1 lets the planner use indexes."
        ),
        _MANUAL + "19.7.2",
    ),
    SettingRule(
        "effective_io_concurrency",
        _io_concurrency,
        lambda: _("Solid state answers many reads at once; bitmap scans then prefetch."),
        _MANUAL + "19.4.5",
    ),
    SettingRule(
        "checkpoint_completion_target",
        _completion_target,
        lambda: _("Checkpoints spread over the interval do not flood the disk."),
        _MANUAL + "19.5.2",
    ),
    SettingRule(
        "max_wal_size",
        _max_wal_size,
        lambda: _(
            "WAL volume forces checkpoints; each writes every dirty page and makes full-page images anew."
        ),
        _MANUAL + "28.5",
    ),
    SettingRule(
        "wal_compression",
        _wal_compression,
        lambda: _("Full-page images fill the WAL, and compress well."),
        _MANUAL + "19.5.1",
    ),
    SettingRule(
        "jit",
        _jit,
        lambda: _(
            "Queries take a few milliseconds: compiling one whose cost was overestimated takes longer."
        ),
        _MANUAL + "30.2",
        of_role=True,
    ),
    SettingRule(
        "idle_in_transaction_session_timeout",
        _idle_timeout,
        lambda: _("A forgotten transaction holds its locks, and keeps vacuum from working, without end."),
        _MANUAL + "19.11.1",
    ),
)


def advise(health: Health, now: datetime) -> Iterator[Finding]:
    """Settings that should be otherwise, pending restarts, and extensions that are there for the taking."""
    settings = {setting.name: setting for setting in health.settings.rows}
    server = Server(health, settings, now)
    for rule in RULES:
        value = rule.better(server)
        if value is not None:
            yield _finding(rule, value, server)
    yield from _pending(health)
    yield from _extensions(health)


def _finding(rule: SettingRule, value: str, server: Server) -> Finding:
    setting = server.settings[rule.name]
    change = change_of(setting, value, server.health.server, of_role=rule.of_role)
    managed_by = server.health.server.managed_by
    return Finding(
        "setting",
        rule.name,
        rule.severity,
        _("Set %(name)s to %(value)s (now %(now)s)")
        % {"name": rule.name, "value": value, "now": _shown(setting)},
        rule.why(),
        how=_statements(change) if change else _by_hand(setting, value, managed_by),
        undo=_statements(undone(change)) if change else _undo_by_hand(setting, managed_by),
        source=rule.source,
        numbers={"now": _shown(setting), "advised": value, "takes": takes_effect(setting)},
        change=change,
    )


#: Sources that win over what ALTER SYSTEM or ALTER ROLE would say: a change there would do nothing.
_STRONGER = frozenset(
    {"command line", "environment variable", "override", "client", "session", "database", "database user"}
)


def change_of(setting: SettingFact, value: str, server: ServerFact, *, of_role: bool = False) -> Json:
    """The payload of ``ALTER SYSTEM``, or of ``ALTER ROLE`` for the role that logs in; empty where neither is ours to
    say: a role that is assumed after login may not alter the one that logged in, and its own settings never apply."""
    may_alter_system = server.superuser and not server.managed_by
    may_alter_role = server.superuser or server.login == server.role
    by_role = setting.context == "user" and may_alter_role and (of_role or not may_alter_system)
    if setting.source in _STRONGER or not (by_role or may_alter_system):
        return {}
    previous = _literal(setting) if setting.source == "user" or setting.by_alter_system else None
    return {
        "kind": "setting",
        "name": setting.name,
        "value": value,
        "previous": previous if by_role == (setting.source == "user") else None,
        "role": server.login if by_role else "",
        "takes": takes_effect(setting),
    }


def undone(change: Json) -> Json:
    """The payload that puts back what there was."""
    return {**change, "value": change["previous"], "previous": change["value"]}


def _literal(setting: SettingFact) -> str:
    """The present value as SET takes it: ``16384`` of ``8kB`` is ``131072kB``."""
    scale = {"8kB": 8, "16kB": 16}.get(setting.unit)
    return f"{int(setting.value) * scale}kB" if scale else f"{setting.value}{setting.unit}"


#: Settings that are lists: each item is quoted by itself, or the server takes the whole for one name.
_LISTS = frozenset({"shared_preload_libraries"})


def statement(change: Json) -> str:
    """The SQL of a change's payload, without a semicolon. Pure."""
    target = f"ROLE {quoted(change['role'])}" if change["role"] else "SYSTEM"
    if change["value"] is None:
        return f"ALTER {target} RESET {change['name']}"
    items = change["value"].split(",") if change["name"] in _LISTS else [change["value"]]
    values = ", ".join("'" + item.strip().replace("'", "''") + "'" for item in items)
    return f"ALTER {target} SET {change['name']} = {values}"


def _statements(change: Json) -> str:
    if change["role"]:
        return f"{statement(change)};  -- " + _("for the connections opened from then on")
    return f"{statement(change)};\n{_activate(change['takes'])}"


def takes_effect(setting: SettingFact) -> str:
    """``restart`` or ``reload``: what a change of this setting needs."""
    return "restart" if setting.context == "postmaster" else "reload"


def _shown(setting: SettingFact) -> str:
    scale = _UNITS.get(setting.unit) if setting.unit else None
    return readable(int(setting.value) * scale) if scale else f"{setting.value}{setting.unit}"


def _by_hand(setting: SettingFact, value: str, managed_by: str) -> str:
    takes = takes_effect(setting)
    if managed_by:
        return _(
            "Managed service (%(who)s): put %(name)s = %(value)s in the parameter group; needs a %(takes)s."
        ) % {"who": managed_by, "name": setting.name, "value": value, "takes": takes}
    if setting.source in _STRONGER:
        return _("Set %(name)s = %(value)s where it is set now (%(source)s); needs a %(takes)s.") % {
            "name": setting.name,
            "value": value,
            "source": setting.source,
            "takes": takes,
        }
    payload = {"name": setting.name, "value": value, "role": "", "takes": takes}
    return _statements(payload)


def _undo_by_hand(setting: SettingFact, managed_by: str) -> str:
    if managed_by or setting.source in _STRONGER:
        return ""
    return _statements({"name": setting.name, "value": None, "role": "", "takes": takes_effect(setting)})


def _activate(takes: str) -> str:
    return "-- " + _("then restart the server") if takes == "restart" else "SELECT pg_reload_conf();"


def _pending(health: Health) -> Iterator[Finding]:
    for setting in health.settings.rows:
        if setting.pending_restart:
            yield Finding(
                "pending_restart",
                setting.name,
                "info",
                _("%(name)s was changed and waits for a restart") % {"name": setting.name},
                _("The configuration file says otherwise than the running server."),
                how=_("Restart the server."),
                source=_MANUAL + "53.24",
            )


_WANTED: dict[str, Callable[[], str]] = {
    "pg_stat_statements": lambda: _("It counts what each normalised query costs."),
    "hypopg": lambda: _("It lets the advisor ask the planner about indexes that do not exist yet."),
}


def _extensions(health: Health) -> Iterator[Finding]:
    for name, why in _WANTED.items():
        if name in health.server.available and name not in health.server.extensions:
            yield Finding(
                "extension",
                name,
                "info",
                _("Extension %(name)s is on the server but not in this database") % {"name": name},
                why(),
                how=f"CREATE EXTENSION {name};",
                undo=f"DROP EXTENSION {name};",
            )


RULE: Rule = advise
