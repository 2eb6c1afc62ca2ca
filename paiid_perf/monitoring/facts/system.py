"""CPU, memory, disk and network of this host, within the limits of its container (cgroup v2)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP_ROOT = Path("/sys/fs/cgroup")
#: How long the first reading of a process watches the CPU; later ones look back to the one before.
FIRST_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use; None where it is not limited."""

    cpus: float | None
    memory_bytes: int | None
    memory_used: int | None


def read_limits(root: Path = CGROUP_ROOT, own: Path | None = None) -> Limits:
    """The limits of this process' cgroup (v2): each the tightest of it and its parents.

    No limit where the files are not there.
    """
    groups = _lineage(own or _own_cgroup(root), root)
    quotas = [quota for group in groups if (quota := _cpu_quota(group / "cpu.max")) is not None]
    if (pinned := _pinned(groups[0] / "cpuset.cpus.effective")) is not None:
        quotas.append(pinned)
    limited = [(limit, group) for group in groups if (limit := _number(group / "memory.max")) is not None]
    if not limited:
        return Limits(min(quotas, default=None), None, None)
    limit, group = min(limited, key=lambda pair: pair[0])
    return Limits(min(quotas, default=None), limit, _working_set(group))


def _lineage(own: Path, root: Path) -> list[Path]:
    return [own, *(parent for parent in own.parents if parent.is_relative_to(root))]


def _working_set(group: Path) -> int | None:
    """What the kernel cannot take back at once: page cache not used lately counts as free, as kubelet has it."""
    used = _number(group / "memory.current")
    return None if used is None else max(0, used - _stat(group / "memory.stat").get("inactive_file", 0))


def _stat(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}


def _own_cgroup(root: Path) -> Path:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return root
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    directory = root / own.lstrip("/")
    return directory if (directory / "cgroup.controllers").exists() else root


def _cpu_quota(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _pinned(path: Path) -> float | None:
    """CPUs of a cpuset ("0-1,4"); None where it is not there, or is all of the machine's."""
    try:
        ranges = [part.partition("-") for part in path.read_text().strip().split(",") if part]
    except OSError:
        return None
    cpus = sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
    return float(cpus) if 0 < cpus < (psutil.cpu_count() or 1) else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


class Cpu:
    """Share of the CPUs that this host (or container) may use which was in use since the last reading."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def percent(self, limits: Limits) -> float:
        """0–100. A container of two CPUs on a host of 64 is at 100 when it uses two."""
        if self._last is None:
            self._last = self._reading(limits)
            time.sleep(FIRST_LOOK_SECONDS)
        (at, used), now = self._last, self._reading(limits)
        self._last = now
        elapsed = (now[0] - at) * (limits.cpus or psutil.cpu_count() or 1)
        return min(100.0, max(0.0, 100 * (now[1] - used) / elapsed)) if elapsed > 0 else 0.0

    def _reading(self, limits: Limits) -> tuple[float, float]:
        used = _cgroup_cpu_seconds() if limits.cpus else None
        if used is None:
            times = psutil.cpu_times()
            used = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        return time.monotonic(), used


def _cgroup_cpu_seconds() -> float | None:
    usage = _stat(_own_cgroup(CGROUP_ROOT) / "cpu.stat").get("usage_usec")
    return None if usage is None else usage / 1e6


_cpu = Cpu()


def cpu_percent() -> Iterable[tuple[str, float]]:
    """Per cent of the CPUs this host may use."""
    return [(socket.gethostname(), _cpu.percent(read_limits()))]


def memory_percent() -> Iterable[tuple[str, float]]:
    """Per cent of the memory this host may use."""
    limits = read_limits()
    if limits.memory_bytes and limits.memory_used is not None:
        percent = 100 * limits.memory_used / limits.memory_bytes
    else:
        percent = psutil.virtual_memory().percent
    return [(socket.gethostname(), percent)]


def disk_percent() -> Iterable[tuple[str, float]]:
    """Per cent of the file system that the process runs in."""
    return [(socket.gethostname(), psutil.disk_usage(str(Path.cwd())).percent)]


def swap_percent() -> Iterable[tuple[str, float]]:
    """Per cent of the swap space in use; nothing where there is none."""
    swap = psutil.swap_memory()
    return [(socket.gethostname(), swap.percent)] if swap.total else []


def load1() -> Iterable[tuple[str, float]]:
    """The load average of one minute, for each CPU of the machine (the kernel keeps none for a container)."""
    return [(socket.gethostname(), os.getloadavg()[0] / (psutil.cpu_count() or 1))]


def open_files_percent() -> Iterable[tuple[str, float]]:
    """Per cent of the files that this process may have open; nothing where the system has no such limit."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [] if soft <= 0 else [(socket.gethostname(), 100 * psutil.Process().num_fds() / soft)]


class Rate:
    """Turns a counter into its growth a second between two readings."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: tuple[float, float] | None = None

    def of(self, value: float) -> float | None:
        """Growth a second since the last reading; None at the first, or after the counter was reset."""
        now, last = self._clock(), self._last
        self._last = (now, value)
        if last is None or value < last[1] or now <= last[0]:
            return None
        return (value - last[1]) / (now - last[0])


_network, _disk = Rate(), Rate()


def network_bytes() -> Iterable[tuple[str, float]]:
    """Bytes a second over all interfaces, both ways."""
    counters = psutil.net_io_counters()
    return _one(_network.of(counters.bytes_sent + counters.bytes_recv) if counters else None)


def disk_bytes() -> Iterable[tuple[str, float]]:
    """Bytes a second read and written; nothing where the kernel does not say."""
    counters = psutil.disk_io_counters()
    return _one(_disk.of(counters.read_bytes + counters.write_bytes) if counters else None)


def _one(value: float | None) -> list[tuple[str, float]]:
    return [] if value is None else [(socket.gethostname(), value)]
