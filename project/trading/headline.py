"""The demo's figures: pure arithmetic on what was measured before and after."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from project.trading.traffic import Outcome

#: What pg_stat_statements holds besides the host's own queries.
NOT_THE_HOST = ("paiid_perf_", "pg_stat", "pg_catalog", "pg_class", "pg_index", "hypopg", "django_migrations")
QUERIES = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


@dataclass(frozen=True)
class Statement:
    """Counters of one normalised statement (times in ms, as pg_stat_statements has them)."""

    text: str
    calls: int
    total_ms: float
    mean_ms: float
    stddev_ms: float

    @property
    def is_the_hosts(self) -> bool:
        text = self.text.lstrip(" (\n\t")
        return text[:6].upper().startswith(QUERIES) and not any(mark in text for mark in NOT_THE_HOST)


Counters = Mapping[int, Statement]


@dataclass(frozen=True)
class Component:
    """One statement's calls within a window."""

    calls: int
    mean_ms: float
    stddev_ms: float


def window(before: Counters, after: Counters) -> list[Component]:
    """What ran between two readings of the counters. The variance is got from the two readings' moments."""
    return [
        component
        for queryid, later in after.items()
        if later.is_the_hosts and (component := _between(before.get(queryid), later)) is not None
    ]


def _between(earlier: Statement | None, later: Statement) -> Component | None:
    if earlier is None or earlier.calls > later.calls:
        return Component(later.calls, later.mean_ms, later.stddev_ms) if later.calls else None
    calls = later.calls - earlier.calls
    if calls == 0:
        return None
    mean = (later.total_ms - earlier.total_ms) / calls
    squares = later.calls * _second_moment(later) - earlier.calls * _second_moment(earlier)
    return Component(calls, mean, math.sqrt(max(0.0, squares / calls - mean * mean)))


def _second_moment(statement: Statement) -> float:
    return statement.stddev_ms**2 + statement.mean_ms**2


def mean_ms(components: Iterable[Component]) -> float:
    """Calls-weighted mean time of a query; NaN where none ran."""
    parts = list(components)
    calls = sum(part.calls for part in parts)
    return sum(part.calls * part.mean_ms for part in parts) / calls if calls else math.nan


def percentile_ms(components: Iterable[Component], q: float) -> float:
    """The time within which a fraction ``q`` of the queries ended; NaN where none ran.

    pg_stat_statements keeps no histogram, only each statement's mean and deviation: each is taken for
    log-normal with those moments (query times are positive and skewed to the right) and the percentile of
    their calls-weighted mixture is found by bisection.
    """
    parts = list(components)
    total = sum(part.calls for part in parts)
    if not total:
        return math.nan
    low, high = 0.0, 1.0
    while _share_under(parts, total, high) < q:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _share_under(parts, total, middle) < q else (low, middle)
    return high


def _share_under(parts: Iterable[Component], total: int, ms: float) -> float:
    return sum(part.calls * _log_normal_cdf(part, ms) for part in parts) / total


def _log_normal_cdf(part: Component, ms: float) -> float:
    if part.mean_ms <= 0 or ms <= 0:
        return float(ms >= part.mean_ms)
    variance = math.log1p((part.stddev_ms / part.mean_ms) ** 2)
    if variance == 0:
        return float(ms >= part.mean_ms)
    mu = math.log(part.mean_ms) - variance / 2
    return 0.5 * math.erfc((mu - math.log(ms)) / math.sqrt(2 * variance))


# --- before and after ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pass:
    """What one pass of the traffic showed."""

    outcome: Outcome
    queries: tuple[Component, ...]
    cache_bytes: float | None
    security_score: float | None


def headline(before: Pass, after: Pass) -> dict[str, dict[str, float | None]]:
    """``{name: {"before", "after", "improvement"}}``; improvement is 1 - after / before, None where undefined.

    The cache's memory is that of one set of values, those cached after the run: *before* as Django's own cache would
    have pickled them, *after* as they are stored.
    """
    measures: dict[str, Callable[[Pass], float | None]] = {
        "database_query_ms": lambda p: mean_ms(p.queries),
        "database_query_p95_ms": lambda p: percentile_ms(p.queries, 0.95),
        "api_response_ms": lambda p: p.outcome.mean_ms,
        "api_response_p95_ms": lambda p: p.outcome.percentile_ms(0.95),
        "cache_hit_ratio": lambda p: p.outcome.hit_ratio or 0.0,
        "cache_memory_bytes": lambda p: p.cache_bytes,
        "security_score": lambda p: p.security_score,
    }
    return {name: compare(measure(before), measure(after)) for name, measure in measures.items()}


def compare(before: float | None, after: float | None) -> dict[str, float | None]:
    known = [value if value is None or math.isfinite(value) else None for value in (before, after)]
    first, last = known
    gain = None if not first or last is None else 1 - last / first
    return {"before": _rounded(first), "after": _rounded(last), "improvement": _rounded(gain)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


#: name → (label, unit, whether lower is better)
ROWS: Mapping[str, tuple[str, str, bool]] = {
    "database_query_ms": ("Database query, mean", "ms", True),
    "database_query_p95_ms": ("Database query, p95", "ms", True),
    "api_response_ms": ("API response, mean", "ms", True),
    "api_response_p95_ms": ("API response, p95", "ms", True),
    "cache_hit_ratio": ("Cache hit ratio", "%", False),
    "cache_memory_bytes": ("Cache memory, same data", "kB", True),
    "security_score": ("Security score", "", False),
}
SCALE = {"%": 100.0, "kB": 1 / 1024}


def table(figures: Mapping[str, Mapping[str, float | None]]) -> str:
    """The figures as an aligned text table."""
    rows = [("", "before", "after", "change")]
    rows += [(label, *_cells(figures[name], unit, lower)) for name, (label, unit, lower) in ROWS.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
    rule = "─" * max(map(len, lines))
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def _cells(figure: Mapping[str, float | None], unit: str, lower_is_better: bool) -> tuple[str, str, str]:
    before, after = figure["before"], figure["after"]
    return (
        _cell(before, unit),
        _cell(after, unit),
        _change(before, after, figure["improvement"], lower_is_better),
    )


def _cell(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value * SCALE.get(unit, 1.0):,.4g} {unit}".strip()


def _change(before: float | None, after: float | None, gain: float | None, lower_is_better: bool) -> str:
    if lower_is_better and gain is not None:
        return f"{-100 * gain:+.0f} %"
    if before is None or after is None:
        return "–"
    difference = after - before
    return f"{100 * difference:+.0f} points" if abs(after) <= 1 and abs(before) <= 1 else f"{difference:+.0f}"


def report(before: Pass, after: Pass, run: Mapping[str, Any]) -> dict[str, Any]:
    """The demo's JSON."""
    phases = [{key: phase[key] for key in ("name", "status", "seconds")} for phase in run["phases"]]
    changes = {key: run["changes"].get(key, 0) for key in ("applied", "kept", "reverted")}
    return {
        "headline": headline(before, after),
        "run": {
            "id": run["id"],
            "status": run["status"],
            "phases": phases,
            "score": {"overall": run["score"].get("overall"), "areas": _areas(run["score"])},
        },
        "changes": changes,
        "traffic": {
            "requests": before.outcome.requests + after.outcome.requests,
            "errors": before.outcome.errors + after.outcome.errors,
            "limited": before.outcome.limited + after.outcome.limited,
            "writes": before.outcome.writes + after.outcome.writes,
        },
    }


def _areas(score: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: area.get("score") for name, area in score.get("areas", {}).items()}
