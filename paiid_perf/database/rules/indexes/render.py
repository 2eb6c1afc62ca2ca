"""Advice as text, JSON, SQL and Django migrations. Pure: the same advice gives the same text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from paiid_perf.contracts import Proposal
from paiid_perf.database.index_types import Advice
from paiid_perf.database.rules.indexes.model_index import dependency, imports

_BREAK = re.compile(r"\s*\n\s*")


def as_sql(advice: Advice) -> str:
    """One executable statement a line, nothing else."""
    found = (statement for p in advice.proposals for statement in p.how.split(";\n"))
    return "".join(f"{_BREAK.sub(' ', statement)};\n" for statement in found)


def as_json(advice: Advice) -> str:
    """Everything, for machines."""
    return json.dumps(to_json(advice), indent=2, ensure_ascii=False, default=str)


def to_json(advice: Advice) -> dict[str, Any]:
    return {
        "recommendations": [_recommendation(p) for p in advice.proposals],
        "refused": [
            {"candidate": r.candidate, "because": r.because, "source": r.source} for r in advice.refused
        ],
        "workload": dict(advice.workload),
        "costs": advice.cost_source,
        "notes": list(advice.notes),
        "seconds": round(advice.seconds, 3),
        "out_of_time": advice.out_of_time,
    }


def _recommendation(p: Proposal) -> Mapping[str, Any]:
    return {
        "kind": p.kind,
        "key": p.key,
        "title": p.title,
        "statement": p.how,
        "undo": p.undo,
        "django_index": p.evidence.get("django_index", ""),
        "migration": p.migration,
        "table": p.evidence.get("table"),
        "size_bytes": p.evidence.get("size_bytes"),
        "expected_gain": p.expected_gain,
        "queries": p.evidence.get("queries", []),
        "write_ms": p.evidence.get("write_ms"),
        "saved_ms": p.evidence.get("saved_ms"),
        "reasons": [p.why],
        "risk": p.risk,
    }


def as_migration(advice: Advice) -> str:
    """The migration files, each after a line that says where it goes, those of one app following each other; then what
    each model's ``Meta.indexes`` gets, so that ``makemigrations`` finds nothing to do.

    What no model's fields can say is named with its SQL.
    """
    parts: list[str] = []
    last: dict[str, str] = {}
    entries: dict[str, list[str]] = {}
    for p in advice.proposals:
        if not p.migration:
            parts.append(f"# no model's fields say this: {p.how}\n")
            continue
        app, model, latest, entry = (
            str(p.evidence.get(k, "")) for k in ("app", "model", "latest_migration", "django_index")
        )
        before = last.get(app, latest)
        name = last[app] = _file(before, str(p.payload["name"]))
        text = (
            p.migration.replace(dependency(app, latest), dependency(app, before)) if latest else p.migration
        )
        parts.append(f"# {app}/migrations/{name}.py\n{text}")
        entries.setdefault(f"{app}.{model}", []).append(entry)
    return "\n".join([*parts, *(_meta(model, found) for model, found in entries.items())])


def _meta(model: str, entries: Sequence[str]) -> str:
    lines = [*imports("\n".join(entries)), "indexes = [", *(f"    {entry}," for entry in entries), "]"]
    return "".join(f"# {line}\n" for line in [f"add to Meta of {model}:", *lines])


def _file(before: str, name: str) -> str:
    """The module that comes after ``before`` (``0007_more`` → ``0008_…``)."""
    number = int(before[:4]) + 1 if before[:4].isdigit() else 1
    return f"{number:04d}_{name}"


def as_text(advice: Advice) -> str:
    """For a person at a terminal."""
    lines = [
        f"{len(advice.proposals)} recommendations (costs: {advice.cost_source}, {advice.seconds:.1f} s)",
        "",
    ]
    for p in advice.proposals:
        lines += [p.title, f"  {p.why}", *(f"  {line}" for line in (p.how + ";").splitlines())]
        lines += [f"  cost: {p.cost}"] if p.cost else []
        lines.append("")
    if advice.refused:
        lines += ["Refused:", *(f"  {r.candidate}: {r.because}" for r in advice.refused), ""]
    lines += [f"Note: {n}" for n in advice.notes]
    return "\n".join(lines).rstrip() + "\n"


FORMATS = {"text": as_text, "json": as_json, "sql": as_sql, "migration": as_migration}
